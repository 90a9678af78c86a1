"""The base class `Task`: how a target's outputs are checked, fused and reported."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import ConfigError, TargetError
from ..log_probabilities import log_sum_exp
from ..rows import flatten
from .report import Results, Section


class Task(ABC):
    """Base class of the tasks: how outputs for B inputs are checked, fused and reported.

    A task is a frozen dataclass without tensors: it belongs to all rows, and to the identity of its target.
    """

    name: ClassVar[str]  # what messages and reports call it
    fusions: ClassVar[tuple[str, ...]]  # the ways in which several answers become one, the usual one first

    @abstractmethod
    def check(self, outputs: Any, count: int) -> None:
        """Raise TargetError where these are no outputs of the task for `count` inputs."""

    def valid(self, outputs: Any) -> Tensor:
        """Return (B,) bool: the rows that are an answer, without NaN or infinity.

        In a record (of boxes) infinity may stand for absence.
        """
        if isinstance(outputs, Tensor):
            return outputs.flatten(1).isfinite().all(1)
        return without_nan(outputs)

    def fuse(self, answers: Sequence[Any], how: str | None = None) -> Any:
        """Return several answers of a target to the same inputs as one, by `how`, one of `fusions`; None: the first.

        Raises: ConfigError for a way that the task does not know.
        """
        self.check_fusion(how)
        return answers[0] if len(answers) == 1 else self._fused(answers, how or self.fusions[0])

    @abstractmethod
    def _fused(self, answers: Sequence[Any], how: str) -> Any:
        """Return two or more answers as one."""

    def check_fusion(self, how: str | None) -> None:
        """Raise ConfigError where answers of the task are not fused in this way."""
        if how is not None and how not in self.fusions:
            raise ConfigError(f"fuse {how!r} is unknown in {self.name}; pass one of {', '.join(self.fusions)}")

    @abstractmethod
    def prediction(self, outputs: Any, goal: Any) -> dict[str, Tensor]:
        """Return the columns of a record by name, each (B,): for reports: the predicted class, a similarity, ...

        `goal` is what the attacker wants of the same B inputs; its templates, truths and labels give the columns
        their meaning.
        """

    def details(self, outputs: Any, goal: Any) -> Sequence[Any] | None:
        """Return what a report needs of each of B answers beside the columns, as JSON has it: the boxes found, ...

        None: nothing. It is recorded with every prediction.
        """
        return None

    @classmethod
    def sections(cls, results: Results) -> tuple[Section, ...]:
        """Return the sections that a report has for this task, made of what an audit recorded; by default none.

        It knows no target and no data: `sparring report` makes it again from the records alone.
        """
        return ()


def task_named(name: str) -> type[Task] | None:
    """Return the task of this name, one of ours or of the caller's; None where no such class is loaded."""
    kinds = [Task]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return next((kind for kind in kinds if getattr(kind, "name", None) == name), None)


def check_tensor(outputs: Any, count: int, axes: tuple[str, ...], task: Task) -> None:
    """Raise TargetError where the outputs are no real tensor with these axes, of which the first counts the inputs."""
    fits = isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.ndim == len(axes)
    if not fits or len(outputs) != count:
        got = f"{outputs.dtype} {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TargetError(
            f"the outputs of {task.name} are real numbers ({', '.join(axes)}) for {count} inputs; got {got}"
        )
    check_dense(outputs)


def check_dense(outputs: Tensor) -> None:
    """Raise TargetError where the outputs of a model are sparse, or on the meta device."""
    if outputs.is_meta:
        raise TargetError("the model's outputs are on the meta device, where tensors have no values; load its weights")
    if outputs.layout != torch.strided:
        raise TargetError(f"the model's outputs are {outputs.layout}; return outputs.to_dense()")


def without_nan(outputs: Any) -> Tensor:
    """Return (B,) bool: the rows of a tensor or record in which no number is NaN."""
    tensors = [tensor for tensor in flatten(outputs)[0].values() if tensor.is_floating_point()]
    return torch.stack([~tensor.flatten(1).isnan().any(1) for tensor in tensors]).all(0)


def valid_logits(logits: Tensor) -> Tensor:
    """Return (B,) bool for logits (B, K, ...): none is NaN or +inf, and each K of them holds one that is not -inf.

    -inf is the logit of a class that the model never answers.
    """
    whole = ~(logits.isnan() | logits.isposinf()).any(1) & logits.isfinite().any(1)
    return whole.flatten(1).all(1) if whole.ndim > 1 else whole


def mean_of_probabilities(answers: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of the softmax over axis 1 of logits (B, K, ...)."""
    return log_sum_exp(torch.stack([logits.log_softmax(1) for logits in answers]), 0) - math.log(len(answers))
