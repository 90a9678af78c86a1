"""Penalties of an artifact: what varies more than a camera resolves, colours that cannot be printed, a changed look.

Each is a mean over pixels, so that its size does not depend on that of the artifact; with a `mask` (h, w) over those
that are paper, weighted by it. How they enter an attack: `sparring.targets.Regularized`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.spatial import ConvexHull, QhullError  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import pad

from ..access.parameters import NonNegativeFloat, PositiveFloat
from ..errors import ConfigError, InputError
from ..targets.regularized import Penalty
from .colour import to_lab
from .stage import check_choice, check_images

TINY = 1e-12  # so that a root has a finite gradient at 0


@dataclass(frozen=True, kw_only=True)
class MaskedPenalty(Penalty):
    """Base class of penalties that are a mean over the pixels of artifacts (B, C, h, w).

    Args:
        mask: (h, w) in [0, 1], 1 where there is paper; None: everywhere.
    """

    mask: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        mask: Any = self.mask
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2 and bool((mask > 0).any())):
            raise ConfigError(f"{type(self).__name__} mask={mask!r:.80}; pass a tensor (h, w), 1 where there is paper")

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean (B,) of values (B, h, w) over the paper."""
        paper = self.paper(values)
        return values.mean((1, 2)) if paper is None else (values * paper).sum((1, 2)) / paper.sum()

    def paper(self, like: Tensor) -> Tensor | None:
        """Return the mask (h, w) in the dtype of artifacts (..., h, w); InputError where they have another size."""
        if self.mask is None:
            return None
        if self.mask.shape != like.shape[-2:]:
            raise InputError(
                f"{type(self).__name__} has a mask {tuple(self.mask.shape)} for artifacts {tuple(like.shape[-2:])}"
            )
        return self.mask.to(like)


@dataclass(frozen=True, kw_only=True)
class TotalVariation(MaskedPenalty):
    """The mean difference between neighbouring pixels, isotropic (Rudin, Osher & Fatemi 1992).

        mean over i, j, c of   sqrt( (x_i+1,j - x_ij)^2 + (x_i,j+1 - x_ij)^2 + smoothing^2 ) - smoothing

    Sharif et al. 2016 have it without `smoothing`, by which the gradient is finite, and 0, on flat grey. A pixel of the
    last row or column has one neighbour. Under a mask a difference counts by the paper on both its sides.
    """

    smoothing: PositiveFloat = 1e-3

    def __call__(self, x: Tensor) -> Tensor:
        check_images(x, "TotalVariation")
        paper = self.paper(x)
        down, across = pad(x.diff(dim=2), (0, 0, 0, 1)), pad(x.diff(dim=3), (0, 1))
        if paper is not None:
            down = down * pad(paper[1:] * paper[:-1], (0, 0, 0, 1))
            across = across * pad(paper[:, 1:] * paper[:, :-1], (0, 1))
        varied = (down**2 + across**2 + self.smoothing**2).sqrt() - self.smoothing
        return self.mean(varied.mean(1))


@dataclass(frozen=True, kw_only=True)
class NonPrintability(MaskedPenalty):
    """How far colours are from a palette of printable ones.

    With the distances d_k of a pixel from the K colours of the palette:

        "min"       min_k d_k                                          Thys et al. 2019 (arXiv:1904.08653)
        "softmin"   -T log( sum_k exp(-d_k / T) )                       smooth, and at most T log K less
        "product"   prod_k d_k                                         Sharif et al. 2016; RP2

    The product of thirty distances below 1 spans many orders of magnitude over the colours, and so does its gradient;
    the others have a gradient of about 1 everywhere. The penalty is one of what is printed: of a perturbation pass the
    perturbed image.

    Args:
        palette: (K, C) printable colours in [0, 1], as `printer.palette()` or as measured.
        kind: "softmin", "min" or "product".
        temperature: T of the soft minimum, a distance.
    """

    palette: Tensor
    kind: str = "softmin"
    temperature: PositiveFloat = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        palette: Any = self.palette
        if not isinstance(palette, Tensor) or palette.ndim != 2 or palette.shape[1] not in (1, 3) or not len(palette):
            raise ConfigError(f"NonPrintability palette={palette!r:.80}; pass colours (K, 3), as printer.palette()")
        check_choice(self, "kind", self.kind, ("softmin", "min", "product"))

    def __call__(self, x: Tensor) -> Tensor:
        check_images(x, "NonPrintability", (self.palette.shape[1],))
        colours, palette = x.flatten(2).mT, self.palette.to(x)  # (B, pixels, C)
        distances = torch.cdist(colours, palette, compute_mode="donot_use_mm_for_euclid_dist")
        if self.kind == "min":
            values = distances.amin(2)
        elif self.kind == "product":
            values = distances.prod(2)
        else:
            values = -self.temperature * torch.logsumexp(-distances / self.temperature, 2)
        return self.mean(values.view(len(x), *x.shape[2:]))


@dataclass(frozen=True, kw_only=True)
class OutOfGamut(MaskedPenalty):
    """How far colours are outside the gamut of a printer: the convex hull of its palette, 0 inside of it.

    The distance from the plane of the hull's surface that is farthest below the colour: the distance from the hull
    where its nearest point lies inside a face, and else a little less.

    Args:
        palette: (K, 3) colours that the printer prints, as `printer.palette()`.
    """

    palette: Tensor
    faces: Tensor = field(init=False, repr=False)  # of the hull (F, 4): outward normal, and minus the distance

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            hull = ConvexHull(self.palette.detach().double().cpu().numpy())
        except (QhullError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"OutOfGamut palette={self.palette!r:.80} spans no volume of colours; pass (K, 3), as printer.palette()"
            ) from error
        object.__setattr__(self, "faces", torch.from_numpy(hull.equations))

    def __call__(self, x: Tensor) -> Tensor:
        check_images(x, "OutOfGamut", (3,))
        faces = self.faces.to(x)
        beyond = torch.einsum("kc,bchw->bkhw", faces[:, :3], x) + faces[:, 3, None, None]
        return self.mean(beyond.amax(1).clamp_min(0))


@dataclass(frozen=True, kw_only=True)
class ContentDistance(MaskedPenalty):
    """The mean colour difference from a reference in CIELAB (CIE76), as Athalye et al. 2018 (arXiv:1707.07397)
    penalise it.

    Args:
        reference: (C, h, w) in [0, 1], how the artifact is to look.
        tolerance: the difference up to which nothing is penalised; 2.3 is just noticeable (Mahy et al. 1994).
    """

    reference: Tensor
    tolerance: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        reference: Any = self.reference
        if not isinstance(reference, Tensor) or reference.ndim != 3 or len(reference) != 3:
            raise ConfigError(f"ContentDistance reference={reference!r:.80}; pass an image (3, h, w) in [0, 1]")

    def __call__(self, x: Tensor) -> Tensor:
        check_images(x, "ContentDistance", (3,))
        if self.reference.shape != x.shape[1:]:
            raise InputError(f"ContentDistance has a reference {tuple(self.reference.shape)} for {tuple(x.shape[1:])}")
        apart = (to_lab(x) - to_lab(self.reference.to(x)[None])).square().sum(1)
        return self.mean(((apart + TINY).sqrt() - self.tolerance).clamp_min(0))
