"""Is the answer a function of the image alone?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...targets import Defended, Granting, Target
from ...targets.stage import networks
from ..evaluation.predictions import MOMENT, look
from ..evaluation.weights import within
from .sample import Sample

FORWARDS = 4  # passes per image, about


def steady(sample: Sample) -> dict[str, Any]:
    """Differences of answers that ought to be equal, relative to the largest output, and layers that explain them.

    `again`: the same batch twice, with the same draws where randomness is declared. `together`: the same images in
    two batches of half the size, and the first one alone.
    """
    target, size = sample.ring.target, max(len(sample), 1)

    def asked(rows: Tensor) -> Tensor:
        chosen = sample.clean.key(rows, sample.plan.seed, MOMENT - 2)
        return look(target, sample.images[rows], size, chosen).outputs

    everything = torch.arange(len(sample))
    half = everything[: max(1, len(sample) // 2)]
    once, halves, alone = asked(everything), asked(half), asked(everything[:1])
    scale = once.abs().nan_to_num(posinf=0.0).amax().clamp_min(1e-12)
    together = torch.maximum(far(once[half], halves), far(once[:1], alone))
    return {
        "of": len(sample),
        "again": float(far(once, asked(everything)) / scale),
        "together": float(together / scale),
        "batch_norm": by_batch(target, sample.images),
    }


def far(a: Tensor, b: Tensor) -> Tensor:
    """The largest difference; what is not finite in either is left out."""
    return (a - b).abs().nan_to_num(nan=0.0, posinf=0.0).amax()


def by_batch(target: Target[Any], images: Tensor) -> list[str]:
    """The names of the batch-norm layers that use the statistics of the batch when the model is attacked."""
    inside = target.target if isinstance(target, Granting) else target
    model = getattr(within(inside), "model", None)
    modules = [model] if isinstance(model, nn.Module) else []
    modules += networks(inside.parts) if isinstance(inside, Defended) else []
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
            look(target, images, max(len(images), 1))
    finally:
        for hook in hooks:
            hook.remove()
    return list(found)
