"""What can be attacked: something that answers, grants a kind of access, and can be held still."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..access import Decisions
from ..goals import Goal
from ..inputs import Images, Inputs
from ..random import Key
from ..tasks import Task

G = TypeVar("G", bound=Decisions, covariant=True)


@dataclass(frozen=True)
class Unidentified:
    """Stands in a target's identity for a function that has no identity of its own, and may be any function."""

    name: str


class Target(ABC, Generic[G]):
    """`Target[Jacobians]` is a white box; `Target[Scores]` answers queries with scores only."""

    @property
    @abstractmethod
    def access(self) -> type[G]:
        """The most that an attack may ask of it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What reports call it."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def inputs(self) -> Inputs:
        """The kind of inputs it takes, which knows their valid range: images in [0, 1], unless it says otherwise."""
        return Images()

    @property
    def task(self) -> Task | None:
        """What its outputs are. None: it does not say, so that goals are not checked, and no audit can be made."""
        return None

    @property
    def takes_context(self) -> bool:
        """Has it a use for what lies beside the inputs (`run(..., context=)`)?"""
        return False

    @property
    def stochastic(self) -> bool:
        """Does it answer otherwise each time? Then it is asked with a key, from which all its draws are."""
        return False

    @property
    def draws(self) -> int:
        """Over how many passes an attack's question is averaged, where answers are random."""
        return 1

    @property
    def confirming_target(self) -> Target[Any]:
        """What is in use and confirms an example; this target may be a view of it that attacks are given."""
        return self

    def adapt_goal(self, goal: Goal) -> Goal:
        """The goal as it is judged on this target's outputs: undetected too, where the target may reject."""
        return goal

    @abstractmethod
    def __call__(self, images: Tensor, key: Key | None = None, context: Any = None) -> Any:
        """Return the outputs of its task for `inputs` of its kind: images (B, C, H, W) in [0, 1] by default.

        A stochastic target draws from `key`, which has one index per image and is fresh at each question; without one
        it draws as it would in use. A target that takes a `context` is given a row-wise record of what lies beside the
        inputs: boxes, landmarks, which points are present.
        """

    def identity(self) -> tuple[object, ...]:
        """Tensors and texts that tell this target from others: a checkpoint belongs to one."""
        return (type(self).__name__, self.name)

    def check(self, outputs: Any) -> None:
        """Raise TargetError where the outputs for real images show that they cannot be judged."""

    def __repr__(self) -> str:
        """The same in every process, as a checkpoint's mark must be."""
        return f"{type(self).__name__}({self.name!r})"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the target still for an attack, and leave no trace of it."""
        yield


T = TypeVar("T", bound=Decisions)


def answered(target: Target[Any], images: Tensor, key: Key | None = None, context: Any = None) -> Any:
    """Ask the target, with the key if it draws and with the context if there is one."""
    drawn = key if target.stochastic else None
    if context is not None:
        return target(images, drawn, context)
    return target(images) if drawn is None else target(images, drawn)


class WrappedTarget(Target[T]):
    """A target around another: whatever it does not change is that of the `target` inside."""

    def __init__(self, target: Target[Any]) -> None:
        self.target = target

    @property
    def access(self) -> type[T]:
        return self.target.access

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def device(self) -> torch.device:
        return self.target.device

    @property
    def inputs(self) -> Inputs:
        return self.target.inputs

    @property
    def task(self) -> Task | None:
        return self.target.task

    @property
    def takes_context(self) -> bool:
        return self.target.takes_context

    @property
    def stochastic(self) -> bool:
        return self.target.stochastic

    @property
    def draws(self) -> int:
        return self.target.draws

    def adapt_goal(self, goal: Goal) -> Goal:
        return self.target.adapt_goal(goal)

    def __call__(self, images: Tensor, key: Key | None = None, context: Any = None) -> Any:
        return answered(self.target, images, key, context)

    def check(self, outputs: Any) -> None:
        self.target.check(outputs)

    def identity(self) -> tuple[object, ...]:
        return self.target.identity()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with self.target.frozen():
            yield


class Restricted(WrappedTarget[T]):
    """A target that answers as `target` does and grants no more than `access`: a black box around a module."""

    def __init__(self, target: Target[Any], access: type[T]) -> None:
        super().__init__(target)
        self._access = access

    @property
    def access(self) -> type[T]:
        return self._access

    def identity(self) -> tuple[object, ...]:
        return (self._access.__name__, *self.target.identity())
