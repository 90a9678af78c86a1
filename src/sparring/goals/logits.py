"""Losses on logits in closed form, with their gradients: the same as in `climbs`, in fewer operations.

All are of logits (B, K) and the class (B,) int64 that is to be left. A logit of -inf is that of a class which the model
never answers. Where it answers no other class, the largest other logit counts as the lowest number of the dtype, and
nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..shapes import FloatPerRow, FloatPerWay, IntPerRow, Logits


def margin(logits: Logits, classes: IntPerRow) -> FloatPerRow:
    """Return the largest other logit minus that of `classes`, (B,): positive where another class leads."""
    index = classes[:, None]
    return (_others(logits, index).amax(1, keepdim=True) - logits.gather(1, index)).squeeze(1)


def log_odds(logits: Logits, classes: IntPerRow) -> FloatPerRow:
    """Return log (1 - p) / p, (B,), of the probability p of `classes`."""
    index = classes[:, None]
    return _others(logits, index).logsumexp(1) - logits.gather(1, index).squeeze(1)


def power_margin(leads: FloatPerWay, every: bool) -> FloatPerRow:
    """Return the smooth maximum (B,) of `PowerMargin` of the leads (B, K) of the other classes.

    A lead of -inf is that of a class that is never answered.
    """
    leads = leads.clamp_min(torch.finfo(leads.dtype).min)
    share, near, beyond = _shares(leads.sub, leads.detach().amax(1, keepdim=True), every)
    root = share.square().square().sum(1, keepdim=True).sqrt().sqrt()
    return _smooth(root, near, beyond, every)


def power_margin_and_gradient(
    logits: Logits, classes: IntPerRow, every: bool
) -> tuple[FloatPerRow, FloatPerRow, Logits]:
    """Return the margin (B,), its smooth maximum `power_margin` (B,) and that one's gradient (B, K).

    With r_k the ratios of `_shares` and R = |r|_4 the gradient is (r_k / R)^3, or (r_k / R)^5 of reciprocals.
    """
    index, logits = classes[:, None], logits.detach()
    leads = _others(logits, index).sub_(logits.gather(1, index))
    lead = leads.amax(1, keepdim=True)
    share, near, beyond = _shares(leads.sub_, lead, every)
    fourth = share.square().square_()  # torch's pow rounds by how many numbers there are
    total = fourth.sum(1, keepdim=True)
    root = total.sqrt().sqrt_()
    slope = share.div_(root).pow_(3) if every else fourth.mul_(share).div_(total.mul_(root))
    loss = _smooth(root, near, beyond, every)
    return lead.squeeze(1), loss, slope.scatter_(1, index, slope.sum(1, keepdim=True).neg_())


def _shares(less: Callable[..., Tensor], lead: Tensor, every: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ratios (B, K) whose fourth powers are added, the lead they refer to and what is beyond 0, (B, 1).

    `less` subtracts from the leads. Those of a row on the other side of the boundary are shifted by twice the largest
    one, so that the ratios are the same at equal distances of both sides; 1 is that of the largest.
    """
    limits = torch.finfo(lead.dtype)
    small, large = limits.tiny * 2**20, limits.max / 4  # at the boundary itself nothing is divided by 0
    beyond = lead.clamp(-large, -small) if every else lead.clamp(small, large)
    leads, near = less(beyond, alpha=2), lead.sub(beyond, alpha=2)
    if every:
        near = near.clamp_min(small)  # where all others are never answered
        return leads.clamp_min(limits.tiny) / near, near, beyond
    return near / leads, near, beyond


def _smooth(root: Tensor, near: Tensor, beyond: Tensor, every: bool) -> FloatPerRow:
    return (near * root if every else near / root).add(beyond, alpha=2).squeeze(1)


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
