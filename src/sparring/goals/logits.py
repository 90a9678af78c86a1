"""Losses on logits in closed form, with their gradients: the same as in `climbs`, in fewer operations.

All are of logits (B, K) and the class (B,) int64 that is to be left. A logit of -inf is that of a class which the model
never answers. Where it answers no other class, the largest other logit counts as the lowest number of the dtype, and
nothing is NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..shapes import FloatPerRow, IntPerRow, Logits


def margin(logits: Logits, classes: IntPerRow) -> FloatPerRow:
    """Return the largest other logit minus that of `classes`, (B,): positive where another class leads."""
    index = classes[:, None]
    return (_others(logits, index).amax(1, keepdim=True) - logits.gather(1, index)).squeeze(1)


def log_odds(logits: Logits, classes: IntPerRow) -> FloatPerRow:
    """Return log (1 - p) / p, (B,), of the probability p of `classes`."""
    index = classes[:, None]
    return _others(logits, index).logsumexp(1) - logits.gather(1, index).squeeze(1)


def cross_entropy_and_gradient(logits: Logits, classes: IntPerRow) -> tuple[FloatPerRow, Logits]:
    """Return -log p (B,) and its gradient (B, K): the softmax, less 1 at the class."""
    log_p = logits.detach().log_softmax(1)
    loss = F.nll_loss(log_p, classes, reduction="none")
    return loss, log_p.exp_().scatter_add_(1, classes[:, None], loss.new_full((len(loss), 1), -1.0))


def log_odds_and_gradient(logits: Logits, classes: IntPerRow) -> tuple[FloatPerRow, FloatPerRow, Logits]:
    """Return the margin (B,), the log-odds (B,) and their gradient (B, K): the softmax of the others, -1 at the class.

    Spelled out, since the softmax of PyTorch on a CPU takes four times as long on a few classes.
    """
    index, logits = classes[:, None], logits.detach()
    others = _others(logits, index)
    top = others.amax(1, keepdim=True)
    lead = (top - logits.gather(1, index)).squeeze(1)
    share = others.sub_(top).exp_()
    total = share.sum(1, keepdim=True)
    return lead, total.log().squeeze(1).add_(lead), share.div_(total).scatter_(1, index, -1.0)


def _others(logits: Logits, index: Tensor) -> Logits:
    """The logits with the lowest number in place of those at `index` (B, 1)."""
    return logits.scatter(1, index, torch.finfo(logits.dtype).min)
