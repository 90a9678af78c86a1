"""Robust physical perturbations: stickers on a sign (Eykholt et al. 2018, arXiv:1707.08945, RP2).

    minimize  lambda ||M_x d||_p + NPS(M_x d) + E_{x_i} J(f(x_i + T_i(M_x d)), y*)                             (eq. 3)

First a run in L1 over all of the sign, whose few large changes show where the model is vulnerable; stickers are put on
the hottest places. Then a run on the stickers alone, with nothing but the range of colours to bound them. T_i puts the
sign into each scene.

Departures: the hot places are found by a threshold on the smoothed change, where the authors look at it and place
rectangles by hand; stickers are opaque, so that their colour is the variable and not a difference from the sign; and
the score of non-printability is taken of that colour, where the authors' code takes it of the difference, which may be
negative. Optimised by sign steps with momentum, where the paper has Adam.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scipy import ndimage  # type: ignore[import-untyped]
from torch import Tensor

from ...access import Gradients
from ...attacks import MIFGSM, PGD
from ...engine import Engine
from ...engine.arguments import as_engine
from ...errors import ConfigError, InputError
from ...geometry import L1, Linf
from ...goals import Goal
from ...targets import Target
from ...targets.regularized import Penalty
from ..chain import PhysicalChain
from ..regularizers import NonPrintability, TotalVariation
from .fit_artifact import FittedArtifact, fit_artifact

SMOOTHING = 1 / 24  # of the sign's width: stickers are no smaller
BRIGHTER = 0.5  # mean change of a hot pixel that the L1 budget allows for


def find_hot_mask(
    target: Target[Gradients],
    goal: Goal,
    scenes: Any,
    sign: Tensor,
    chain: PhysicalChain,
    *,
    area: float = 0.15,
    steps: int = 40,
    scenes_per_question: int = 8,
    engine: Engine | None = None,
) -> tuple[Tensor, Tensor]:
    """Return where stickers belong, (h, w) bool, and how much a sparse attack changes each place, (h, w).

    Args:
        target, goal, scenes, chain: as `fit_artifact` takes them. Only where the mask of the chain's placement is 1, on
            the sign itself, may there be stickers.
        sign: (3, h, w) in [0, 1], without stickers.
        area: the share of the sign that stickers cover.
        steps: of projected gradient descent in L1.
    """
    if not isinstance(area, int | float) or not 0 < area < 1:
        raise ConfigError(f"area={area!r}; pass the share of the sign that stickers cover, above 0 and below 1")
    on_sign = _on_sign(chain, sign)
    budget = area * float(on_sign.sum()) * sign.shape[0] * BRIGHTER
    fitted = fit_artifact(
        target, goal, scenes, chain, sign, (PGD(L1(budget), steps=steps, random_start=False),), changed=on_sign,
        scenes_per_question=scenes_per_question, engine=engine,
    )  # fmt: skip
    change = (fitted.image - sign).abs().sum(0)
    heat = torch.from_numpy(ndimage.gaussian_filter(change.double().cpu().numpy(), SMOOTHING * sign.shape[2]))
    heat = torch.where(on_sign, heat, -1.0)
    count = max(1, round(area * float(on_sign.sum())))
    least = heat.flatten().topk(count).values[-1]
    return (heat >= least) & on_sign, heat.clamp_min(0)


def rp2(
    target: Target[Gradients],
    goal: Goal,
    scenes: Any,
    sign: Tensor,
    chain: PhysicalChain,
    *,
    stickers: Tensor | None = None,
    area: float = 0.15,
    steps: int = 100,
    step_size: float = 0.04,
    nps_weight: float = 0.1,
    tv_weight: float = 0.0,
    scenes_per_question: int = 8,
    engine: Engine | None = None,
) -> FittedArtifact:
    """Fit stickers on a sign that deceive a model in many scenes.

    Args:
        target, goal, scenes, chain: as `fit_artifact` takes them.
        sign: (3, h, w) in [0, 1], without stickers; its shape is the mask of the chain's placement.
        stickers: (h, w) bool, where they are. None: the hottest `area` of the sign (`find_hot_mask`).
        steps, step_size: of sign steps with momentum on the stickers.
        nps_weight: of the distance from the colours that the chain's printer has; 0 or no printer: none.
        tv_weight: of the total variation; 0: none.

    Returns: a `FittedArtifact`: the sign with its stickers.
    """
    engine = as_engine(engine)
    if stickers is None:
        stickers, _ = find_hot_mask(
            target, goal, scenes, sign, chain, area=area, steps=max(1, steps // 2),
            scenes_per_question=scenes_per_question, engine=engine,
        )  # fmt: skip
        engine = replace(engine, seed=engine.seed + 1, checkpoint=_beside(engine))
    if not isinstance(stickers, Tensor) or stickers.dtype != torch.bool or stickers.shape != sign.shape[1:]:
        raise InputError(f"stickers is bool {tuple(sign.shape[1:])}, True where there is one")
    changed = stickers & _on_sign(chain, sign)
    penalties: list[Penalty] = []
    paper = changed.to(sign)
    if nps_weight and chain.printer is not None:
        penalties.append(
            NonPrintability(weight=nps_weight, palette=chain.printer.palette(channels=sign.shape[0]), mask=paper)
        )
    if tv_weight:
        penalties.append(TotalVariation(weight=tv_weight, mask=paper))
    attack = MIFGSM(Linf(1.0), steps=steps, decay=0.9, step_size=step_size)
    return fit_artifact(
        target, goal, scenes, chain, sign, (attack,), penalties=penalties, changed=changed,
        scenes_per_question=scenes_per_question, engine=engine,
    )  # fmt: skip


def _on_sign(chain: PhysicalChain, sign: Tensor) -> Tensor:
    mask = chain.placement.mask
    return torch.ones(sign.shape[1:], dtype=torch.bool) if mask is None else mask > 0.5


def _beside(engine: Engine) -> Path | None:
    return None if engine.checkpoint is None else Path(engine.checkpoint) / "stickers"
