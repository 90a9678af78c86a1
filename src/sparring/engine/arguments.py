"""The arguments of `run`, `craft`, `fit` and `judge_artifact`: what is meant plainly is taken, all else is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..access import Budget, Keep
from ..errors import BudgetError, ConfigError, InputError, ThreatError
from ..scalars import plain_number
from .options import Engine


def as_tensor(given: Any) -> Any:
    """Return an array of numpy as a tensor that shares its memory, where it can, and a tensor without its gradient."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(given))
    return given.detach() if isinstance(given, Tensor) else given


def as_budget(given: Any) -> Budget:
    """Return the budget, without limits for None; BudgetError for anything else."""
    if given is None or isinstance(given, Budget):
        return given or Budget()
    raise BudgetError(f"budget={given!r} is no Budget; pass Budget(forwards=...) or Budget(backwards=...)")


def as_engine(given: Any) -> Engine:
    """Return the engine, the default one for None; ConfigError for anything else."""
    if given is None or isinstance(given, Engine):
        return given or Engine()
    raise ConfigError(f"engine={given!r} is no Engine; pass Engine(batch_size=..., seed=...)")


def as_keep(given: Any) -> Keep | None:
    """Return which example is kept, also for its word, and None for None; ConfigError for anything else."""
    if given is None or isinstance(given, Keep):
        return given
    try:
        return Keep(given)
    except ValueError:
        words = ", ".join(repr(one.value) for one in Keep)
        raise ConfigError(f"keep={given!r}; pass one of Keep, or its word: {words}") from None


def as_radii(given: Any, count: int) -> Tensor | None:
    """Return the radii (N,) of a tensor, an array or a list of numbers, or one number for all; None for None.

    Raises: ThreatError for anything else.
    """
    if given is None:
        return None
    given = plain_number(as_tensor(given))
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return torch.full((count,), float(given))
    try:
        radii = torch.tensor(given, dtype=torch.float64).float() if isinstance(given, list | tuple) else given
    except (TypeError, ValueError):
        radii = given
    if not isinstance(radii, Tensor) or not radii.is_floating_point():
        got = str(radii.dtype) if isinstance(radii, Tensor) else type(radii).__name__
        raise ThreatError(f"eps is a radius per row, as a float tensor, and this is {got}; pass a tensor")
    return radii


def as_indices(given: Any, count: int) -> Tensor:
    """Return positions (N,) int64 on the CPU, 0 to N - 1 for None; InputError for anything else."""
    if given is None:
        return torch.arange(count)
    whole = isinstance(given, list | tuple) and all(type(plain_number(one)) is int for one in given)
    indices = torch.tensor([plain_number(one) for one in given]) if whole else as_tensor(given)
    if isinstance(indices, Tensor) and indices.dtype in (torch.int32, torch.int64) and indices.shape == (count,):
        return indices.long().cpu()
    got = f"{indices.dtype} of shape {tuple(indices.shape)}" if isinstance(indices, Tensor) else type(given).__name__
    raise InputError(f"indices must be int64 of shape ({count},), one position per image; got {got}")
