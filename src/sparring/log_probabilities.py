"""Sums and divergences of probabilities held as logarithms, in which -inf is a probability of zero.

A class that a model never answers has a logit of -inf, as where ImageNet is cut down to a subset. torch's own functions
then compute inf - inf or 0 * inf; these give what the formula gives without the class, and a gradient of zero to it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_sum_exp(values: Tensor, dim: int) -> Tensor:
    """Return log sum exp(values) over axis `dim`; where it is infinite, its gradient is zero and not NaN."""
    top = values.detach().amax(dim, keepdim=True)
    infinite = top.isinf()
    finite = values.masked_fill(infinite, 0).logsumexp(dim)
    return torch.where(infinite.squeeze(dim), top.squeeze(dim), finite)


def weighted_sum(log_weights: Tensor, values: Tensor) -> Tensor:
    """Return sum_k exp(log_weights_k) values_k over axis 1; where a weight is zero, the value is not looked at."""
    absent = log_weights.isneginf()
    return (log_weights.masked_fill(absent, 0).exp() * values.masked_fill(absent, 0)).sum(1)


def kl_divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """Return KL( softmax(reference) || softmax(logits) ) (B,) of logits (B, K); both are differentiated."""
    expected, found = reference.log_softmax(1), logits.log_softmax(1)
    absent = expected.isneginf()
    return weighted_sum(expected, expected.masked_fill(absent, 0) - found.masked_fill(absent, 0))


def soft_cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Return -sum_k p_k log softmax(logits)_k (B,) of logits and probabilities p (B, K)."""
    return -(probabilities * logits.log_softmax(1).masked_fill(probabilities == 0, 0)).sum(1)
