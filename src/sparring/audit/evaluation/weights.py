"""Hashes of model weights and images in memory, which say whether two runs had the same ones."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from ...engine import fingerprint
from ...targets import Identifier, Restricted, Target
from ...targets.pipeline import Pipeline


def tensor_bytes(tensor: Tensor) -> Any:
    """Return the bytes of a tensor of any shape and device in row-major order, as a memoryview on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def image_hash(image: Tensor) -> str:
    """SHA-256 of one image as float32."""
    return hashlib.sha256(tensor_bytes(image.float())).hexdigest()


def innermost_target(target: Target[Any]) -> Target[Any]:
    """Return the target inside all wrappers and pipelines."""
    while isinstance(target, Restricted | Pipeline | Identifier):
        target = target.target
    return target


def weights_hash(target: Target[Any]) -> str | None:
    """SHA-256 over the names and values of a module's parameters and buffers, and over all parts of a pipeline.

    None for what is no module.
    """
    model = getattr(innermost_target(target), "model", None)
    if not isinstance(model, nn.Module):
        return None
    while isinstance(target, Restricted):
        target = target.target
    if isinstance(target, Pipeline):
        return fingerprint(*target.identity())
    digest = hashlib.sha256()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.numel():
            digest.update(tensor_bytes(value))
    return digest.hexdigest()
