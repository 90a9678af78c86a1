"""What can be attacked: something that answers, grants a kind of access, and can be held still."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..access import Decisions

G = TypeVar("G", bound=Decisions, covariant=True)


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

    @abstractmethod
    def __call__(self, images: Tensor) -> Any:
        """Outputs, as the target's goals read them, for images (B, C, H, W) in [0, 1]."""

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


class Granting(Target[T]):
    """A target that answers as `target` does and grants no more than `access`: a black box around a module."""

    def __init__(self, target: Target[Any], access: type[T]) -> None:
        self.target, self._access = target, access

    @property
    def access(self) -> type[T]:
        return self._access

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def device(self) -> torch.device:
        return self.target.device

    def __call__(self, images: Tensor) -> Any:
        return self.target(images)

    def identity(self) -> tuple[object, ...]:
        return (self._access.__name__, *self.target.identity())

    def check(self, outputs: Any) -> None:
        self.target.check(outputs)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with self.target.frozen():
            yield
