"""The probes of determinism: does the output depend on the image alone, not on chance or on the batch?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...rows import flatten, join, take
from ...targets import Restricted
from ...targets.pipeline import Pipeline
from ...transforms import networks
from ..evaluation.predictions import DRAW_OFFSET, predict
from ..evaluation.weights import innermost_target
from .sample import ProbeSample

FORWARDS = 4  # passes per image, about


def check_determinism(sample: ProbeSample) -> dict[str, Any]:
    """Differences of answers that ought to be equal, relative to the largest output, and layers that explain them.

    `again`: the same batch twice, with the same draws where randomness is declared. `together`: the same images in
    two batches of half the size, and the first one alone.
    """
    target, size = sample.evaluated.target, max(len(sample), 1)

    def asked(rows: Tensor) -> Any:
        chosen = sample.clean.key(rows, sample.plan.seed, DRAW_OFFSET - 2)
        return predict(target, sample.images[rows], size, chosen, sample.clean.context_of(rows)).outputs

    everything = torch.arange(len(sample))
    half = everything[: max(1, len(sample) // 2)]
    once, halves, alone = asked(everything), asked(half), asked(everything[:1])
    return {
        "of": len(sample),
        "again": largest_difference(once, asked(everything)),
        "together": max(largest_difference(once, halves), largest_difference(once, alone)),
        "batch_norm": batch_norm_in_use(sample),
    }


def largest_difference(whole: Any, first: Any) -> float:
    """Return by how much the outputs `first` differ from those of the same, first rows of `whole`.

    Relative to the largest of `whole`; of several kinds of outputs (boxes, logits) the most. What is not finite in
    either is left out.
    """
    count = len(next(iter(flatten(first)[0].values())))
    both = join([first, take(whole, slice(0, count))])  # as many boxes in either
    largest = 0.0
    for name, values in flatten(whole)[0].items():
        if values.is_floating_point() and values.numel():
            scale = values.abs().nan_to_num(posinf=0.0).amax().clamp_min(1e-12)
            one, other = flatten(both)[0][name].tensor_split(2)
            apart = (one - other).abs().nan_to_num(nan=0.0, posinf=0.0).amax()
            largest = max(largest, float(apart / scale))
    return largest


def batch_norm_in_use(sample: ProbeSample) -> list[str]:
    """Return the names of the batch-norm layers that use the statistics of the batch when the model is attacked."""
    target, images = sample.evaluated.target, sample.images
    inside = target.target if isinstance(target, Restricted) else target
    model = getattr(innermost_target(inside), "model", None)
    modules = [model] if isinstance(model, nn.Module) else []
    modules += networks(inside.parts) if isinstance(inside, Pipeline) else []
    found: dict[str, None] = {}
    seen: list[tuple[str, _BatchNorm]] = [
        (name, layer) for module in modules for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)
    ]

    def note(name: str) -> Any:
        def hook(layer: _BatchNorm, *_: Any) -> None:
            if layer.training or layer.running_mean is None:
                found[name] = None

        return hook

    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in seen]
    try:
        if hooks:
            predict(target, images, max(len(images), 1), context=sample.clean.context)
    finally:
        for hook in hooks:
            hook.remove()
    return list(found)
