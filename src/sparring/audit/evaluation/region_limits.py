"""`RegionLimits`: the mask and the radius per input that limit the examples of an audit, beside its threats."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError, ThreatError
from .weights import tensor_bytes


@dataclass(frozen=True)
class RegionLimits:
    """Where the inputs of a data set may move, and how far.

    Args:
        mask: bool, true where a component may move: (1, ...) for all inputs, or (N, ...) one for each. None: all may.
        eps: (N,) the radius of each input, in place of the threat's own. None: every input has that.
    """

    mask: Tensor | None = None
    eps: Tensor | None = None

    @classmethod
    def make(cls, mask: Any, eps: Any, shape: tuple[int, ...]) -> RegionLimits:
        """Make the limits for inputs of this `shape`, from what a caller gave.

        Raises: InputError for a mask that does not fit or leaves an input nothing to move, ThreatError for radii.
        """
        return cls(None if mask is None else checked_mask(mask, shape), None if eps is None else checked_radii(eps))

    @property
    def mask_digest(self) -> str | None:
        """SHA-256 of the mask, which tells one run from another."""
        return None if self.mask is None else tensor_digest(self.mask)

    @property
    def eps_digest(self) -> str | None:
        return None if self.eps is None else tensor_digest(self.eps)

    def rows(self, first: int, count: int) -> RegionLimits:
        """Return the limits of `count` inputs from position `first` on; InputError where there are not that many."""
        mask, eps = self.mask, self.eps
        self.check_count(first + count, exact=False)
        if mask is not None and len(mask) == 1:
            mask = mask.expand(count, *mask.shape[1:])
        elif mask is not None:
            mask = mask[first : first + count]
        if eps is not None:
            eps = eps[first : first + count]
        return replace(self, mask=mask, eps=eps)

    def check_count(self, count: int, exact: bool) -> None:
        """Raise InputError where there are `count` inputs, or (not `exact`) more of them, and not as many limits."""
        for word, limits in (("masks", self.mask), ("radii", self.eps)):
            if limits is None or (word == "masks" and len(limits) == 1):
                continue
            if len(limits) < count or (exact and len(limits) != count):
                there = f"{count} inputs" if exact else f"at least {count} inputs"
                raise InputError(f"there are {len(limits)} {word} and {there}; pass one for each")


def checked_mask(mask: Any, shape: tuple[int, ...]) -> Tensor:
    """Return the mask with a row for all inputs, (1, ...), or one for each, (N, ...).

    Raises: InputError, with both sizes where they do not fit.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = str(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"a mask is a bool tensor, true where a component may move, and this is {got}; pass mask > 0")
    mask = mask.detach().cpu()
    each = mask.ndim == len(shape) + 1
    try:
        rows: Tensor = mask.expand(len(mask), *shape) if each else mask.expand(shape)[None]
    except RuntimeError as error:
        raise InputError(
            f"the mask has shape {tuple(mask.shape)}, and one input has {tuple(shape)}; pass a mask of that shape for "
            f"all inputs, or one for each, (N, {', '.join(map(str, shape))})"
        ) from error
    stuck = (~rows.flatten(1).any(1)).nonzero().squeeze(1)
    if len(stuck):
        where = f" of input {int(stuck[0])}" if each else ""
        raise InputError(f"the mask{where} is false everywhere: nothing may move; pass true where a component may")
    return rows


def checked_radii(eps: Any) -> Tensor:
    """Return the radii (N,); ThreatError for what are none."""
    if not isinstance(eps, Tensor) or not eps.is_floating_point() or eps.ndim != 1:
        got = f"{eps.dtype} of shape {tuple(eps.shape)}" if isinstance(eps, Tensor) else type(eps).__name__
        raise ThreatError(f"eps is a float tensor (N,), a radius for each input, and this is {got}")
    if not bool(((eps > 0) & eps.isfinite()).all()):
        row = int((~((eps > 0) & eps.isfinite())).nonzero()[0])
        raise ThreatError(f"eps[{row}] is {float(eps[row]):g}; a radius is above 0 and finite")
    return eps.detach().cpu()


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 over the shape and the values."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
