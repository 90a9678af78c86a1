"""A printer fitted to measurements: colours that were sent to it, and how they came out of a photograph or a scanner.

    light of what is seen = M (light of what was sent) ^ gamma + b

by least squares in M and b for each gamma of a grid: patches of a colour strip give a few dozen pairs, on which a finer
model would fit the noise. The residual becomes the random deviation of the printer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from ...access.parameters import NonNegativeFloat, PositiveFloat
from ...errors import ConfigError, InputError
from ...random import Key
from ..colour import to_linear, to_srgb
from ..stage import around, check_images, per_image
from .printer import Printer

GAMMAS = torch.linspace(0.5, 2.0, 61, dtype=torch.float64)
FEWEST = 8  # patches; a matrix and an offset have four unknowns for each channel


@dataclass(frozen=True)
class MeasuredParameters:
    """Matrix (B, 3, 3) and offset (B, 3) in linear light, and exponent (B,)."""

    matrix: Tensor
    offset: Tensor
    gamma: Tensor


@dataclass(frozen=True, kw_only=True)
class MeasuredPrinter(Printer[MeasuredParameters]):
    """Artifacts (B, 3, h, w) in sRGB as a printer shows them that was measured (`fit_printer`).

    Args:
        matrix, offset: M (3, 3) and b (3,).
        gamma: the exponent of the light that is sent.
        deviation: largest random deviation of each channel, in linear light.
        residual: root of the mean squared error of the fit, in sRGB.
    """

    family: str = "measured"
    matrix: Tensor = field(repr=False)
    offset: Tensor = field(repr=False)
    gamma: PositiveFloat
    deviation: NonNegativeFloat = 0.0
    residual: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for word, shape in (("matrix", (3, 3)), ("offset", (3,))):
            given: Any = getattr(self, word)
            if not isinstance(given, Tensor) or given.shape != shape or not bool(given.isfinite().all()):
                raise ConfigError(f"MeasuredPrinter {word}={given!r:.80}; pass a tensor {shape}, as fit_printer does")

    @property
    def stochastic(self) -> bool:
        return self.severity * self.deviation > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> MeasuredParameters:
        unit = torch.eye(3, dtype=like.dtype, device=like.device)
        matrix = unit + self.severity * (self.matrix.to(like) - unit)
        deviation = around(key, "deviation", self.deviation * self.severity, like, (3,))
        gamma = max(1 + self.severity * (self.gamma - 1), 0.1)
        count = len(key.indices)
        return MeasuredParameters(
            matrix.expand(count, 3, 3), self.offset.to(like) * self.severity + deviation, like.new_full((count,), gamma)
        )

    def apply_parameters(self, x: Tensor, parameters: MeasuredParameters, context: object = None) -> Tensor:
        check_images(x, self.name, (3,))
        light = _raised(to_linear(x), per_image(parameters.gamma))
        seen = torch.einsum("bkc,bchw->bkhw", parameters.matrix, light) + per_image(parameters.offset)
        return to_srgb(seen.clamp(0, 1))

    def _steady(self) -> Self:
        return replace(self, deviation=0.0)


def _raised(light: Tensor, gamma: Tensor) -> Tensor:
    """Return light to the power gamma, with a finite gradient at black."""
    return light.clamp_min(1e-6) ** gamma


def fit_printer(sent: Tensor, seen: Tensor, *, family: str = "measured") -> MeasuredPrinter:
    """Fit a printer to colours (N, 3) in sRGB that were sent to it, and (N, 3) as they are seen on paper.

    `seen` comes of a photograph or a scan whose own white is balanced: what the camera changes counts as the printer's.

    Raises: InputError for fewer than 8 colours, or for colours that do not span the three channels.
    """
    for word, given in (("sent", sent), ("seen", seen)):
        colours: Any = given
        if not isinstance(colours, Tensor) or colours.ndim != 2 or colours.shape[1] != 3 or colours.shape != sent.shape:
            raise InputError(f"fit_printer {word}: pass colours (N, 3) in [0, 1], as many of both; got {given!r:.80}")
        if not bool(((colours >= 0) & (colours <= 1)).all()):
            raise InputError(f"fit_printer {word}: colours are sRGB in [0, 1]; divide bytes by 255")
    if len(sent) < FEWEST:
        raise InputError(f"fit_printer got {len(sent)} colours; print and measure at least {FEWEST}")
    light, wanted = to_linear(sent.double().cpu()), to_linear(seen.double().cpu())
    raised = torch.stack([_raised(light, gamma) for gamma in GAMMAS])
    known = torch.cat((raised, torch.ones_like(raised[:, :, :1])), 2)  # (gammas, N, 4)
    if int(torch.linalg.matrix_rank(known[len(GAMMAS) // 3])) < 4:
        raise InputError("fit_printer: the colours do not span red, green and blue; send patches of different colours")
    solved = torch.linalg.lstsq(known, wanted.expand(len(GAMMAS), -1, -1)).solution
    errors = (to_srgb((known @ solved).clamp(0, 1)) - to_srgb(wanted)).square().mean((1, 2))
    best = int(errors.argmin())
    remaining = float((known[best] @ solved[best] - wanted).square().mean().sqrt())
    return MeasuredPrinter(
        matrix=solved[best, :3].T.contiguous(),
        offset=solved[best, 3],
        gamma=float(GAMMAS[best]),
        deviation=math.sqrt(3) * remaining,
        residual=float(errors[best].sqrt()),
        family=family,
    )
