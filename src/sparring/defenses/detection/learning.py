"""Initialisation and training of the networks of detectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..fitting import FitConfig, minimize_loss


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's own generator within this context, for initial weights, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def train_network(
    net: nn.Module, loss: Callable[..., Tensor], config: FitConfig, seed: int, *tensors: Tensor
) -> nn.Module:
    """Train the net to minimize the mean of loss(*rows of tensors) (B,); return it in eval mode, without gradients."""
    minimize_loss(
        (net,), len(tensors[0]), lambda rows: loss(*(t[rows] for t in tensors)).mean(), replace(config, seed=seed)
    )
    return net.requires_grad_(False)
