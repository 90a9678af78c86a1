"""Distillation of a victim into a model of one's own: query it, and train on its answers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..batching import map_batches
from ..log_probabilities import soft_cross_entropy
from ..random import Key
from ..targets import Classifier, Target


def query_labels(victim: Target[Any], images: Tensor, batch_size: int) -> Tensor:
    """Return (N,) the classes that the victim predicts for images (N, C, H, W)."""
    return _asked(victim, images, batch_size).argmax(1)


def query_probabilities(victim: Target[Any], images: Tensor, batch_size: int) -> Tensor:
    """Return (N, K) the softmax of what the victim answers for images (N, C, H, W)."""
    return _asked(victim, images, batch_size).softmax(1)


def _asked(victim: Target[Any], images: Tensor, batch_size: int) -> Tensor:
    with victim.frozen():
        answers = map_batches(lambda part: victim(part.to(victim.device)), images, batch_size=batch_size)
    return answers.to(images.device)


def train_student(net: nn.Module, images: Tensor, wanted: Tensor, epochs: int, lr: float, size: int, key: Key) -> float:
    """Train `net` on labels (N,) or probabilities (N, K); return the share of images on which it then agrees.

    Args:
        net: from images (B, C, H, W) to logits (B, K); trained in place.
        images: (N, C, H, W), on the device of the net.
        wanted: what the victim answered.
        epochs, lr, size: of Adam: passes over the images, learning rate, images per update.
        key: of the order of the images.
    """
    training = net.training
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for epoch in range(epochs):
        order = key.uniform("order", (len(images),), epoch)[0].argsort().to(images.device)
        for part in batch_slices(len(images), size):
            rows = order[part]
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(_loss(net(images[rows]), wanted[rows]).mean())
            optimizer.step()
    agrees = query_labels(Classifier(net), images, size) == (wanted if wanted.ndim == 1 else wanted.argmax(1))
    net.train(training)
    return float(agrees.double().mean())


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    return F.cross_entropy(logits, wanted, reduction="none") if wanted.ndim == 1 else soft_cross_entropy(logits, wanted)


def batch_slices(count: int, size: int) -> list[slice]:
    """Return the slices of at most `size` rows that make up `count`."""
    return [slice(start, start + size) for start in range(0, count, size)]
