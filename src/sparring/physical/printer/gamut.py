"""A printer as inks on paper: impure inks, dots that grow, and paper that is not white.

Coverage of cyan, magenta and yellow is c = 1 - light of red, green and blue, as a driver calibrated for sRGB asks for
it.

    grown    c' = c + 4 g c (1 - c)                         dot gain: g more of the paper at a coverage of one half
    spread   c' under a Gaussian of `spread` pixels          ink that runs
    mixed    c'' = M c'                                     an ink that also absorbs its neighbours' light
    light    (paper (1 - c'') + ink c'') ^ gamma            Murray & Davies 1936

Dots grow by 10 to 20 % in many printing processes. Inks and paper are guesses at an office printer: `fit_printer`
measures one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
from torch import Tensor

from ...access.parameters import Bounds, NonNegativeFloat
from ...random import Key
from ..blurring import blur, gaussian
from ..colour import to_linear, to_srgb
from ..stage import around, between, check_length, per_image
from .printer import Printer

# share of red, green and blue light that each ink takes: cyan also takes green, magenta blue, yellow some green
INKS = ((0.94, 0.05, 0.01), (0.08, 0.84, 0.08), (0.02, 0.14, 0.84))
LEAST_LIGHT = 1e-6
Share = Annotated[float, Bounds(ge=0, le=1)]


@dataclass(frozen=True)
class GamutParameters:
    """Inks (B, C, C), dot gain (B,), spread (B,) in pixels, paper and ink (B, C) in linear light, gamma (B,)."""

    inks: Tensor
    dot_gain: Tensor
    spread: Tensor
    paper: Tensor
    ink: Tensor
    gamma: Tensor


@dataclass(frozen=True, kw_only=True)
class GamutPrinter(Printer[GamutParameters]):
    """Artifacts (B, C, h, w) in sRGB as inks on paper show them, with random inks, dots, paper and tone.

    Args:
        dot_gain: smallest and largest.
        spread: largest standard deviation of the running ink, in pixels of the artifact.
        paper: light that the paper reflects of red, green and blue: office paper, a little blue.
        ink: light that full coverage still reflects.
        impurity: factor of what inks absorb beside their own light; 1 is the matrix `INKS`.
        gamma: largest deviation of the exponent of the tone curve from 1.
        variation: largest deviation of impurity, paper and ink, as a share of each.
    """

    ranges = ("dot_gain",)
    family: str = "held-out"
    dot_gain: tuple[Share, Share] = (0.08, 0.2)
    spread: NonNegativeFloat = 0.6
    paper: tuple[Share, Share, Share] = (0.84, 0.86, 0.89)
    ink: tuple[Share, Share, Share] = (0.02, 0.02, 0.025)
    impurity: NonNegativeFloat = 1.0
    gamma: Annotated[float, Bounds(ge=0, lt=0.5)] = 0.12
    variation: Annotated[float, Bounds(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for word in ("paper", "ink"):
            check_length(self, word, getattr(self, word), 3)

    @property
    def stochastic(self) -> bool:
        varied = (self.spread, self.gamma, self.variation, self.dot_gain[1] - self.dot_gain[0])
        return self.severity > 0 and max(varied) > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> GamutParameters:
        channels, severity = like.shape[1], self.severity

        def varied(stream: str, shape: tuple[int, ...]) -> Tensor:
            return severity * (1 + around(key, stream, min(self.variation * severity, 1.0), like, shape))

        unit = torch.eye(channels, dtype=like.dtype, device=like.device)
        mixing = like.new_tensor(INKS) if channels == 3 else unit
        inks = (unit + (mixing - unit) * self.impurity * varied("inks", (channels, channels))).clamp_min(0)
        white, black = (like.new_tensor(one)[:channels] for one in (self.paper, self.ink))
        paper = (1 - (1 - white) * varied("paper", (channels,))).clamp(0.05, 1)
        return GamutParameters(
            inks / inks.sum(2, keepdim=True),
            between(key, "dot gain", self.dot_gain, like) * severity,
            between(key, "spread", (0.0, self.spread * severity), like),
            paper,
            torch.minimum((black * varied("ink", (channels,))).clamp_min(0), 0.8 * paper),
            1 + around(key, "gamma", min(self.gamma * severity, 0.9), like),
        )

    def apply_parameters(self, x: Tensor, parameters: GamutParameters, context: object = None) -> Tensor:
        coverage = 1 - to_linear(x)
        coverage = (coverage + 4 * per_image(parameters.dot_gain) * coverage * (1 - coverage)).clamp(0, 1)
        if self.spread * self.severity > 0:
            coverage = blur(coverage, gaussian(parameters.spread, self.spread * self.severity))
        coverage = torch.einsum("bkc,bchw->bkhw", parameters.inks, coverage)
        light = per_image(parameters.paper) * (1 - coverage) + per_image(parameters.ink) * coverage
        return to_srgb(light.clamp(LEAST_LIGHT, 1) ** per_image(parameters.gamma)).clamp(0, 1)

    def _steady(self) -> Self:
        middle = sum(self.dot_gain) / 2
        return replace(self, dot_gain=(middle, middle), spread=0.0, gamma=0.0, variation=0.0)
