"""Checks of images, labels and models before a detector is fitted or scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...engine import check_images
from ...errors import InputError, TargetError
from ...goals import Misclassify
from ...targets import Target


def check_detector_images(word: str, images: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return `images` detached; InputError unless they are floats (N, C, H, W) in [0, 1], of `shape` if given."""
    if not isinstance(images, Tensor):
        raise InputError(f"{word}: pass a tensor of images (N, C, H, W), not a {type(images).__name__}")
    try:
        check_images(images, Misclassify(torch.zeros(len(images) if images.ndim else 0, dtype=torch.long)))
    except InputError as error:
        raise InputError(f"{word}: {error}") from error
    if shape is not None and tuple(images.shape[1:]) != tuple(shape):
        raise InputError(f"{word}: images of shape {tuple(images.shape[1:])}, where {tuple(shape)} was seen before")
    with torch.inference_mode(False):
        return images.clone() if images.is_inference() else images.detach()


def check_detector_labels(labels: Tensor, count: int) -> Tensor:
    """Return `labels` as int64; InputError unless they are one class per clean image."""
    whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex())
    if not whole or labels.dtype == torch.bool or labels.shape != (count,):
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise InputError(f"labels must be integers ({count},), one per clean image; got {got}")
    if bool((labels < 0).any()):
        raise InputError(f"labels[{int((labels < 0).nonzero()[0])}] is {int(labels.min())}; classes count from 0")
    return labels.long()


def check_logits(target: Target[Any], images: Tensor) -> Tensor:
    """Return the target's logits (1, K) for the first image; TargetError where a detector cannot work with it."""
    if not isinstance(target, Target):
        raise TargetError(f"target={target!r:.60} is no target; pass Classifier(model)")
    if target.stochastic:
        raise TargetError(f"{target.name} answers otherwise each time; fit a detector on the model without its draws")
    with target.frozen(), torch.no_grad():
        outputs = target(images[:1].to(target.device))
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise TargetError(f"{target.name} gives no logits (images, classes); fit a detector on a Classifier")
    target.check(outputs)
    return outputs
