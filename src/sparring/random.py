"""Keyed randomness: a draw depends on (seed, example id, stream, step) and on nothing else.

So a batch of N draws what N batches of one draw, on one machine or on forty, and no global generator
is read or moved. Bits come from the splitmix64 finaliser (Steele, Lea, Flood 2014) over a counter that
starts at a hash of the key; `stream` names the purpose of the draw inside one attack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .shapes import IntPerRow

FloatDraw = Float[Tensor, "{len(self.indices)} ..."]  # (B, *shape) of what a Key draws
IntDraw = Int[Tensor, "{len(self.indices)} ..."]
BroadcastInt = Int[Tensor, "..."]

GOLDEN = 0x1E3779B97F4A7C15  # 2^64 / golden ratio, made to fit a signed 64-bit integer
MIX_A, MIX_B = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, signed


BLOCK = 32_768  # words mixed at a time on a CPU: what stays in its cache
UPPER = 31  # bits of a word, from the top, that the last round of mixing leaves as they are


def _mix(h: Tensor, wanted: int = 64) -> Tensor:
    """Apply the splitmix64 finaliser in place; int64 wraps around like uint64. The upper `wanted` bits are right."""
    shifted = torch.empty_like(h)
    for bits, factor in ((30, MIX_A), (27, MIX_B)):
        torch.bitwise_right_shift(h, bits, out=shifted)
        h.bitwise_xor_(shifted.bitwise_and_((1 << (64 - bits)) - 1)).mul_(factor)
    if wanted > UPPER:
        torch.bitwise_right_shift(h, UPPER, out=shifted)
        h.bitwise_xor_(shifted.bitwise_and_((1 << (64 - UPPER)) - 1))
    return h


def _word(n: int) -> int:
    """Return n as a signed 64-bit integer, wrapped around."""
    return (n + (1 << 63)) % (1 << 64) - (1 << 63)


def _levels(dtype: torch.dtype) -> int:
    """Return how many random bits fit the mantissa, so that no draw is rounded up to 1."""
    return 1 - round(math.log2(torch.finfo(dtype).eps))


@dataclass(frozen=True)
class Key:
    """The key of a batch's random draws: `indices` (B,) int64 are positions in the data set, `seed` is the run's."""

    indices: IntPerRow
    seed: int

    def reseeded(self, round: int) -> Key:
        """Return an independent key for the same examples, numbered by `round`: for restarts and repeated draws."""
        state = torch.tensor([_word(self.seed * GOLDEN)])
        return replace(self, seed=int(_mix(_mix(state).add_(round + 1))))

    def at(self, turn: int | IntPerRow) -> Key:
        """Return an independent key for each example at each turn: one number for all, or (B,) int64."""
        state = _mix(self.indices * GOLDEN + _word(self.seed * 0x5851F42D + crc32(b"turn")))
        return replace(self, indices=_mix(state.add_(turn)))

    def bits(self, stream: str, shape: Sequence[int], step: int | IntPerRow = 0, wanted: int = 64) -> IntDraw:
        """Return (B, *shape) int64 words, whose upper `wanted` bits are random. `step`: a number, or (B,) int64."""
        start = self.indices * GOLDEN + _word(self.seed * 0x5851F42D + crc32(stream.encode()))
        start = _mix(_mix(start).add_(step))
        counter = torch.arange(1, math.prod(shape) + 1, device=self.indices.device) * GOLDEN
        words = start[:, None] + counter
        rows = max(1, BLOCK // max(1, len(counter))) if words.device.type == "cpu" else max(1, len(words))
        for first in range(0, len(words), rows):
            _mix(words[first : first + rows], wanted)
        return words.view(len(self.indices), *shape)

    def uniform(
        self, stream: str, shape: Sequence[int], step: int | IntPerRow = 0, dtype: torch.dtype = torch.float32
    ) -> FloatDraw:
        """Return (B, *shape) values uniform in [0, 1)."""
        mantissa = _levels(dtype)
        words = self.bits(stream, shape, step, mantissa).bitwise_right_shift_(64 - mantissa)
        words.bitwise_and_((1 << mantissa) - 1)
        wide = torch.promote_types(dtype, torch.float32)
        return words.to(wide).mul_(2.0**-mantissa).to(dtype)

    def integers(
        self, stream: str, shape: Sequence[int], high: int | BroadcastInt, step: int | IntPerRow = 0
    ) -> IntDraw:
        """Return (B, *shape) int64 values uniform in [0, high); `high` broadcasts over them."""
        words = self.bits(stream, shape, step, 31).bitwise_right_shift_(33).bitwise_and_((1 << 31) - 1)
        return (words * high) >> 31

    def signs(
        self, stream: str, shape: Sequence[int], step: int | IntPerRow = 0, dtype: torch.dtype = torch.float32
    ) -> FloatDraw:
        """Return (B, *shape) values of -1 and +1, each from one random bit."""
        count = math.prod(shape)
        octets = self.bits(stream, ((count + 63) // 64,), step).view(torch.uint8)
        byte = torch.arange(256, device=self.indices.device)[:, None] >> torch.arange(8, device=self.indices.device)
        table = (byte & 1).to(dtype).mul_(2).sub_(1)
        return table.index_select(0, octets.flatten().int()).view(len(self.indices), -1)[:, :count].reshape(-1, *shape)

    def normal(
        self, stream: str, shape: Sequence[int], step: int | IntPerRow = 0, dtype: torch.dtype = torch.float32
    ) -> FloatDraw:
        """Return (B, *shape) standard normal values: two from each word (Box & Muller 1958)."""
        count, wide = math.prod(shape), torch.promote_types(dtype, torch.float32)
        words = self.bits(stream, ((count + 1) // 2,), step)
        radius = (words >> 32).bitwise_and_(0xFFFFFFFF).to(wide).add_(0.5).mul_(2.0**-32)
        radius = radius.clamp_(max=1 - 2.0**-24).log_().mul_(-2).sqrt_()
        angle = words.bitwise_and_(0xFFFFFFFF).to(wide).mul_(2 * math.pi * 2.0**-32)
        pairs = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
        return pairs.flatten(1)[:, :count].reshape(len(self.indices), *shape).to(dtype)
