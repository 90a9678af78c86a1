"""The least value of a linear function in a region: a ball, in Linf, L2 or L1, cut by the valid range and a mask.

    min  <a, x>   subject to   |x - x0|_p <= eps,   low <= x <= high

With gains g_i = |a_i| and the room r_i to the edge of the range in the direction that lowers the function, it is
<a, x0> less the most that sizes 0 <= d_i <= r_i of norm eps can gain:

    Linf   sum_i g_i min(r_i, eps)
    L1     the room of the largest gains first, until eps is used up
    L2     d_i = min(t g_i, r_i), with t such that |d|_2 = eps; for any t > 0 no less is gained than
           sum_i (g_i d_i - d_i^2 / 2t) + eps^2 / 2t, the Lagrangian dual, which is what is returned

All three are exact, the third to rounding from above.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ThreatError
from ...geometry import L1, L2, Ball, Linf
from ...geometry.region import Region

SWEEPS = 12  # of the fixed point in L2, each of which clips more components or is the last


@dataclass(frozen=True)
class InputSet:
    """The inputs that are certified: a region in one dtype, with its bounding box.

    Args:
        x: (B, ...) the centre.
        low, high: (B, ...) the bounding box of ball, range and mask.
        eps: (B,) the radius.
        norm: math.inf, 2 or 1.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    eps: Tensor
    norm: float

    @classmethod
    def of(cls, region: Region, dtype: torch.dtype, tolerance: float = 0.0) -> InputSet:
        """Return the set of a region, in `dtype`; with a tolerance that of all inputs which `Region.contains`.

        Radii are larger by tolerance * max(1, radius), and ranges, of fixed components too, wider by it on each side.

        Raises:
            ThreatError: a ball other than Linf, L2 and L1, or a radius that is infinite.
        """
        check_ball(region.ball)
        if not bool(region.eps.isfinite().all()):
            name = type(region.ball).__name__
            raise ThreatError(f"a certificate holds within a radius; pass {name}(eps), or eps= per row")
        x, eps = region.x.to(dtype), region.eps.to(dtype)
        eps = eps + tolerance * eps.clamp(min=1)
        low, high = (torch.as_tensor(bound, dtype=dtype, device=x.device) for bound in region.range)
        low, high = low - tolerance, high + tolerance
        edge = eps.view(-1, *[1] * (x.ndim - 1))
        return cls(x, torch.maximum(x - edge, low), torch.minimum(x + edge, high), eps, float(region.ball.p))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> InputSet:
        """Return the sets of these rows."""
        return InputSet(self.x[rows], self.low[rows], self.high[rows], self.eps[rows], self.norm)

    def to(self, dtype: torch.dtype) -> InputSet:
        """Return the sets in another precision."""
        return InputSet(self.x.to(dtype), self.low.to(dtype), self.high.to(dtype), self.eps.to(dtype), self.norm)

    @property
    def is_box(self) -> bool:
        """Is the set its bounding box?"""
        return self.norm == torch.inf

    def least(self, coefficients: Tensor) -> Tensor:
        """Return the least value (B, S) of each linear function with these coefficients (B or 1, S, ...)."""
        a, x, low, high = self._flat(coefficients)
        if self.is_box:
            centre, radius = (low + high) / 2, (high - low) / 2
            return _dot(a, centre) - _dot(a.abs(), radius)
        gain, room = self._gain_and_room(a, x, low, high)
        most = self._most_l2(gain, room) if self.norm == 2 else self._most_l1(gain, room)
        return _dot(a, x) - torch.minimum(most, (gain * room).sum(2))

    @torch.no_grad()
    def minimizer(self, coefficients: Tensor) -> Tensor:
        """Return a point (B, S, ...) of the set at which each linear function is least, in L2 nearly so."""
        a, x, low, high = self._flat(coefficients)
        gain, room = self._gain_and_room(a, x, low, high)
        if self.is_box:
            size = room
        elif self.norm == 2:
            size = torch.minimum(self._scale(gain, room)[..., None] * gain, room)
            size = size * (self.eps[:, None, None] / size.norm(dim=2, keepdim=True).clamp(min=1e-300)).clamp(max=1)
        else:
            size = self._sizes_l1(gain, room)
        point = x[:, None] - a.sign() * size
        return torch.minimum(torch.maximum(point, low[:, None]), high[:, None]).view_as(coefficients)

    def _flat(self, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a = coefficients.flatten(2)
        return a.expand(len(self), *a.shape[1:]), self.x.flatten(1), self.low.flatten(1), self.high.flatten(1)

    def _gain_and_room(self, a: Tensor, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return a.abs(), torch.where(a > 0, (x - low)[:, None], (high - x)[:, None])

    def _sizes_l1(self, gain: Tensor, room: Tensor) -> Tensor:
        order = gain.argsort(dim=2, descending=True)
        width = room.gather(2, order)
        before = width.cumsum(2) - width
        size = torch.minimum((self.eps[:, None, None] - before).clamp(min=0), width)
        return torch.zeros_like(room).scatter(2, order, size)

    def _most_l1(self, gain: Tensor, room: Tensor) -> Tensor:
        return (gain * self._sizes_l1(gain.detach(), room)).sum(2)

    @torch.no_grad()
    def _scale(self, gain: Tensor, room: Tensor) -> Tensor:
        """The t (B, S) at which the sizes min(t gain, room) have the norm eps."""
        squares = self.eps.square()[:, None]
        tiny = torch.finfo(gain.dtype).tiny
        scale = (squares / gain.square().sum(2).clamp(min=tiny)).sqrt()
        for _ in range(SWEEPS):
            clipped = scale[..., None] * gain >= room
            left = (squares - room.square().masked_fill(~clipped, 0).sum(2)).clamp(min=0)
            free = gain.square().masked_fill(clipped, 0).sum(2)
            grown = torch.where(free > 0, (left / free.clamp(min=tiny)).sqrt(), scale)
            grown = torch.maximum(grown, scale)
            if torch.equal(grown, scale):
                break
            scale = grown
        return scale

    def _most_l2(self, gain: Tensor, room: Tensor) -> Tensor:
        scale = self._scale(gain.detach(), room).clamp(min=torch.finfo(gain.dtype).tiny ** 0.5)
        size = torch.minimum(scale[..., None] * gain, room).detach()
        dual = (gain * size).sum(2) - (size.square().sum(2) - self.eps.square()[:, None]) / (2 * scale)
        return torch.where(self.eps[:, None] > 0, dual, 0.0)


def check_ball(ball: Ball) -> None:
    """Raise ThreatError where the ball is not Linf, L2 or L1."""
    if not isinstance(ball, Linf | L2 | L1):
        raise ThreatError(f"certificates are known in Linf, L2 and L1, not in {ball}; pass one of those")


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of a (B, S, n) with b (B, n)."""
    return torch.einsum("bsn,bn->bs", a, b)
