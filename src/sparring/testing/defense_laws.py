"""The laws that every part of a defence must pass, ours or a stranger's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..random import Key
from ..transforms import Detector, Stage, apply_with_bpda
from .attack_laws import require
from .cases import draw

STEP = 1e-6


def check_defense(
    part: Stage | Detector, images: Tensor | None = None, *, tolerance: float = 1e-9, slope: float = 1e-4
) -> None:
    """The laws of a stage or a screen on `images` (N, C, H, W) float64 in [0, 1]; AssertionError with what was seen.

    (1) Finite, one row per image, in the images' dtype. (2) What comes of an image does not depend on its batch, to
    `tolerance`; the same key gives the same answer, and another key another one exactly where `stochastic` is
    declared; no global generator moves, the images stay as they are. (3) Where `differentiable` is declared, the
    gradient is that of a difference quotient, to `slope`; otherwise the forward pass is exact, bit for bit, and its
    stand-in has the right shape and a gradient that is not zero throughout, as a screen's alarm has.
    """
    if images is None:
        images = (0.5 + 0.2 * draw("defense", (6, 3, 16, 16))).clamp(0.02, 0.98)
    if isinstance(part, Stage):
        _check_answers(part.name, part, images, part.stochastic, tolerance)
        _check_stage_slope(part, images, slope)
        return
    _check_answers(part.name, part.alarm, images, part.stochastic, tolerance)
    require(part.alarm(images, _key(images)).shape == (len(images),), f"{part.name}: an alarm is one number per image")
    x = images.clone().requires_grad_()
    with torch.enable_grad():
        loud = part.alarm(x, _key(images))
    require(loud.requires_grad, f"{part.name}: no gradient leads from the alarm to the images")
    (grad,) = torch.autograd.grad(loud.sum(), x)
    _check_gradient(part.name, grad)


def _key(images: Tensor) -> Key:
    return Key(torch.arange(len(images)), 5)


def _check_answers(
    name: str, ask: Callable[[Tensor, Key], Tensor], images: Tensor, stochastic: bool, tolerance: float
) -> None:
    key, before, generator = _key(images), images.clone(), torch.get_rng_state()
    with torch.no_grad():
        whole = ask(images, key)
        again, other = ask(images, key), ask(images, key.reseeded(1))
        rows = torch.tensor([len(images) - 1, 0])
        part = ask(images[rows], replace(key, indices=key.indices[rows]))
        single = ask(images.float(), key)
    require(torch.equal(torch.get_rng_state(), generator), f"{name}: the global random state has moved")
    require(torch.equal(images, before), f"{name}: the images have changed")
    require(len(whole) == len(images) and bool(whole.isfinite().all()), f"{name}: not one finite row per image")
    require(whole.dtype == images.dtype, f"{name}: {images.dtype} comes out as {whole.dtype}")
    require(single.dtype == torch.float32, f"{name}: float32 comes out as {single.dtype}")
    require(torch.equal(whole, again), f"{name}: the same key gives another answer")
    changed = not torch.equal(whole, other)
    require(changed == stochastic, f"{name} declares stochastic={stochastic}, and another key changes it: {changed}")
    gap = float((whole[rows] - part).abs().max())
    require(gap <= tolerance, f"{name}: a row alone differs by {gap:g} from the row in its batch")


def _check_stage_slope(stage: Stage, images: Tensor, slope: float) -> None:
    key = _key(images)
    x = images.clone().requires_grad_()
    with torch.enable_grad():
        out = apply_with_bpda(stage, x, key)
    with torch.no_grad():
        require(torch.equal(out, stage(images, key)), f"{stage.name}: under attack another forward pass than its own")
    weights = draw("weights", tuple(out.shape))
    require(out.requires_grad, f"{stage.name}: no gradient comes through it, nor through its stand-in")
    (grad,) = torch.autograd.grad(out, x, weights)
    _check_gradient(stage.name, grad)
    if not stage.differentiable:
        return
    way = draw("way", tuple(images.shape))
    with torch.no_grad():
        ahead, behind = (stage(images + side * STEP * way, key) for side in (1, -1))
    measured = ((ahead - behind) * weights).flatten(1).sum(1) / (2 * STEP)
    told = (grad * way).flatten(1).sum(1)
    gap = float(((measured - told).abs() / (1 + measured.abs())).max())
    require(gap <= slope, f"{stage.name}: the gradient is off by {gap:g} from a difference quotient")


def _check_gradient(name: str, grad: Tensor) -> None:
    require(grad.isfinite().all(), f"{name}: a gradient that is not finite")
    require(bool((grad != 0).any()), f"{name}: a gradient of exactly zero")
