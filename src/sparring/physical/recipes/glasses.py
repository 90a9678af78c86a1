"""The frame of glasses, printed (Sharif et al. 2016, "Accessorize to a Crime", section 4).

    minimize  sum_{x in X} loss(f(x + r), c) + kappa_1 TV(r) + kappa_2 NPS(r)                                   (eq. 6)

X are several pictures of one person, so that one frame serves all of them; r is the frame alone. Departures: the goal
is any of the model's (`Dodge`, `Impersonate`, or a class); the frame moves on the face as the chain's placement says;
weights are of means over pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...access import Gradients
from ...attacks import MIFGSM
from ...engine import Engine
from ...errors import ConfigError
from ...geometry import Linf
from ...goals import Goal
from ...targets import Target
from ...targets.regularized import Penalty
from ..chain import PhysicalChain
from ..families import optimization_family
from ..placement import Homography, LandmarkAnchor
from ..regularizers import NonPrintability, TotalVariation
from .fit_artifact import FittedArtifact, fit_artifact

WIDTH = 2.2  # in distances of the eyes from each other
ON_EYES = LandmarkAnchor(width=WIDTH, offset=(0.0, 0.0))
LENS, FRAME, BRIDGE = (0.40, 0.30), 0.11, 0.16  # in the same unit: half the sides of a lens, its frame, the bridge


def glasses_mask(height: int = 40, width: int = 100) -> Tensor:
    """Return the shape of a frame (height, width), 1 where it is: two rounded lenses around the eyes, and a bridge.

    Made for an anchor 2.2 distances of the eyes wide, whose middle lies between them.

    Raises: ConfigError for one of fewer than 8 x 20 pixels.
    """
    if height < 8 or width < 20:
        raise ConfigError(f"a frame of {width} x {height} pixels has no lenses; pass at least 20 x 8")
    x = ((torch.arange(width) + 0.5) / width - 0.5) * WIDTH
    y = ((torch.arange(height) + 0.5) - height / 2) * (WIDTH / width)
    apart = (x.abs() - 0.5).abs()  # from the middle of the nearer eye

    def within(half_width: float, half_height: float) -> Tensor:
        round_ = (apart / half_width) ** 4 + (y[:, None] / half_height) ** 4
        return round_ <= 1

    frame = within(LENS[0] + FRAME, LENS[1] + FRAME) & ~within(*LENS)
    bridge = (x.abs() < 0.5 - LENS[0]) & ((y[:, None] + 0.1).abs() < BRIDGE / 2)
    return (frame | bridge).float()


def glasses_chain(*, size: tuple[int, int] = (40, 100), severity: float = 1.0) -> PhysicalChain:
    """Return the chain to fit glasses through: the frame on the eyes, turned a little, printed and captured."""
    placement = Homography(
        anchor=ON_EYES, mask=glasses_mask(*size), scale=0.05, shift=0.03, roll=4.0, yaw=10.0, pitch=5.0
    )
    return replace(optimization_family(), placement=placement).at_severity(severity)


def glasses(
    target: Target[Gradients],
    goal: Goal,
    scenes: Any,
    chain: PhysicalChain | None = None,
    *,
    steps: int = 150,
    step_size: float = 0.03,
    tv_weight: float = 0.3,
    nps_weight: float = 0.1,
    scenes_per_question: int = 8,
    engine: Engine | None = None,
) -> FittedArtifact:
    """Fit the colours of a frame for the person in the scenes.

    Args:
        target, goal, scenes: as `advhat` takes them.
        chain: `glasses_chain()` by default; the mask of its placement is the frame.
        steps, step_size: of sign steps with momentum 0.4.
        tv_weight, nps_weight: of total variation and non-printability, means over pixels; 0: none.

    Returns: a `FittedArtifact`; export it with `alpha=chain.placement.mask[None]`.

    Raises: ConfigError for a chain without a mask.
    """
    chain = glasses_chain() if chain is None else chain
    mask = chain.placement.mask
    if mask is None:
        raise ConfigError("the chain's placement has no mask, so that glasses are a board; pass glasses_chain()")
    penalties: list[Penalty] = [TotalVariation(weight=tv_weight, mask=mask)] if tv_weight else []
    if nps_weight and chain.printer is not None:
        penalties.append(NonPrintability(weight=nps_weight, palette=chain.printer.palette(), mask=mask))
    attack = MIFGSM(Linf(1.0), steps=steps, decay=0.4, step_size=step_size)
    start = torch.full((3, *mask.shape), 0.5)
    return fit_artifact(
        target, goal, scenes, chain, start, (attack,), penalties=penalties, changed=mask > 0,
        scenes_per_question=scenes_per_question, engine=engine,
    )  # fmt: skip
