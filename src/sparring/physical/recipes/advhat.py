"""AdvHat: a sticker on the forehead, bent and pitched as on a hat (Komkov & Petiushko 2019, arXiv:1908.08705).

    minimize  L_sim + lambda TV(sticker),  L_sim = cos(e(T(sticker)), e_enrolled),  lambda = 1e-4

T bends the sticker to a parabola, pitches it, puts it on the forehead of a picture drawn anew, and captures that. The
sticker is optimised by the sign of a running mean of gradients: first 100 steps of 1/51 with momentum 0.9, then 200
of 1/255 with momentum 0.995. Dodging (`Dodge`) is the paper's; `Impersonate` is the same sticker with the other sign,
of which the authors say that they did not pursue it.

Departures: the stages have fixed lengths, where the authors end one when the loss has stopped falling; the loss is that
of the goal (`Climb`), which takes any metric; and the canvas is smaller, so that 1e-4 of the sum over its pixels
weighs less than on the authors' 400 x 900.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...access import Gradients
from ...attacks import MIFGSM
from ...engine import Engine
from ...geometry import Linf
from ...goals import Goal
from ...random import Key
from ...targets import Pipeline, Target
from ...transforms import Transform
from ..chain import PhysicalChain
from ..families import optimization_family
from ..placement import LandmarkAnchor, Parabola
from ..regularizers import TotalVariation
from .fit_artifact import FittedArtifact, fit_artifact

SIZE = (40, 90)  # of the sticker in pixels; the authors have ten times as many each way
FOREHEAD = LandmarkAnchor(width=1.9, offset=(0.0, -0.75))  # verifiers cut faces out close above the eyebrows
STAGES = ((100, 1 / 51, 0.9), (200, 1 / 255, 0.995))  # steps, step size, momentum


@dataclass(frozen=True)
class ForgetLandmarks(Transform):
    """Images as they are, without the landmarks beside them: what comes after has to look for the face itself."""

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        return x, replace(context, landmarks=None)


def as_deployed(verifier: Target[Gradients]) -> Target[Gradients]:
    """Return the verifier as a service has it: it looks for the face in each image that it is given.

    A sticker is put on a face by the landmarks of the clean picture, which the service does not have. The verifier
    needs a detector (`Verifier(..., detector=)`); one that finds no face answers nothing, which is no success.
    """
    return Pipeline(verifier, ForgetLandmarks())


def advhat_chain(anchor: LandmarkAnchor = FOREHEAD, *, severity: float = 1.0) -> PhysicalChain:
    """Return the chain to fit the sticker through: a bent and pitched sticker, printed and captured."""
    placement = Parabola(anchor=anchor, scale=0.05, shift=0.02, roll=2.0)
    return replace(optimization_family(), placement=placement).at_severity(severity)


def advhat(
    target: Target[Gradients],
    goal: Goal,
    scenes: Any,
    chain: PhysicalChain | None = None,
    *,
    size: tuple[int, int] = SIZE,
    stages: tuple[tuple[int, float, float], ...] = STAGES,
    tv_weight: float | None = None,
    scenes_per_question: int = 8,
    engine: Engine | None = None,
) -> FittedArtifact:
    """Fit a sticker for the forehead of the persons in the scenes.

    Args:
        target: a verifier, as `Verifier(net, 150)`.
        goal: `Dodge` or `Impersonate`, one row per picture.
        scenes: pictures with their landmarks, `Scene(images, landmarks=)`.
        chain: `advhat_chain()` by default.
        size: height and width of the sticker in pixels.
        stages: steps, step size and momentum of each stage.
        tv_weight: of the mean total variation; None: the paper's 1e-4 of the sum, 1e-4 * height * width.
        scenes_per_question: scenes of one query (20 in the paper).

    Returns: a `FittedArtifact`, whose success is inside the simulation that it was fitted in.
    """
    chain = advhat_chain() if chain is None else chain
    weight = 1e-4 * size[0] * size[1] if tv_weight is None else tv_weight
    attacks = [MIFGSM(Linf(1.0), steps=steps, decay=mu, step_size=size_of_step) for steps, size_of_step, mu in stages]
    penalties = (TotalVariation(weight=weight),) if weight else ()
    return fit_artifact(
        target, goal, scenes, chain, torch.full((3, *size), 0.5), attacks, penalties=penalties,
        scenes_per_question=scenes_per_question, engine=engine,
    )  # fmt: skip
