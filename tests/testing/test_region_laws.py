"""The laws of regions reject regions that break them."""

from dataclasses import dataclass, fields

import pytest
import torch

from sparring import L2, Linf, testing
from sparring.geometry.region import Region
from sparring.random import Key

SHAPE = (4, 2, 3, 3)


class BoundsAlone(Region):
    """Takes the mask for a range of width 0."""

    def masked(self, values):
        return values


class OneRadius(Region):
    """Gives every row the radius of the first."""

    @property
    def radius(self):
        return float(self.eps[0])

    def project(self, delta, radius=None):
        return super().project(delta, torch.full_like(self.eps, self.eps[0]) if radius is None else radius)


class Unprojected(Region):
    """Draws beyond the range."""

    def sample(self, key, stream="ball"):
        return self.masked(key.normal(stream, self.x.shape[1:], dtype=self.x.dtype))


@dataclass(frozen=True)
class Rescaled(L2):
    """Clips and rescales: feasible, and not the nearest point."""

    def project_between(self, delta, lower, upper, radius=None):
        inside, limit = delta.clamp(lower, upper), radius if radius is not None else torch.full((len(delta),), self.eps)
        share = (limit / self.norm(inside)).clamp(max=1)
        return inside * share.view(-1, *[1] * (delta.ndim - 1))

    def nearest_within_(self, images, x, low, high, bounds, limit, memory):
        return x + self.project_between(images - x, *bounds(), limit)


def region(kind, ball, eps=None):
    key = Key(torch.arange(SHAPE[0]), 0)
    x = (0.5 + 0.5 * key.normal("x", SHAPE[1:], dtype=torch.float64)).clamp(0, 1)
    made = Region.around(x, ball, mask=key.uniform("mask", SHAPE[1:]) < 0.6, eps=eps)
    return kind(**{f.name: getattr(made, f.name) for f in fields(made)})


@pytest.mark.parametrize(
    ("kind", "ball", "eps", "law"),
    [
        (BoundsAlone, L2(0.5), None, "steepest counts what may not move"),
        (BoundsAlone, Linf(0.1), None, "what may not move"),
        (OneRadius, L2(0.5), torch.linspace(0.1, 0.4, 4), "outside its region|away from the nearest|disagree"),
        (Unprojected, Linf(0.1), None, "nearer than the projection|draws outside its region"),
        (Region, Rescaled(0.5), None, "nearer than the projection|away from the nearest|steepest"),
    ],
)
def test_broken_regions_are_found_out(kind, ball, eps, law):
    with pytest.raises(AssertionError, match=law):
        testing.check_region(region(kind, ball, eps))
    testing.check_region(region(Region, L2(0.5), eps))
