"""The base class `Target` (what can be attacked), and the wrappers `WrappedTarget` and `Restricted`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..access import ACCESS, Decisions
from ..batching import BATCH_SIZE, iterate_batches
from ..errors import AccessError, ConfigError, GoalError, InputError, TargetError
from ..goals import Goal
from ..inputs import Images, Inputs
from ..isolation import isolated
from ..random import Key
from ..rows import flatten, floats_to, join, take, to
from ..shapes import FloatBatch
from ..tasks import Task
from ..transforms import Scene

G = TypeVar("G", bound=Decisions, covariant=True)


class Target(ABC, Generic[G]):
    """Base class of what can be attacked. `Target[Jacobians]` is a white box, `Target[Scores]` gives scores only."""

    @property
    @abstractmethod
    def access(self) -> type[G]:
        """The access it grants: `Decisions`, `Scores`, `Gradients` or `Jacobians`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in reports."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def inputs(self) -> Inputs:
        """The kind of inputs it takes, which knows their valid range: images in [0, 1], unless it says otherwise."""
        return Images()

    @property
    def task(self) -> Task | None:
        """The kind of its outputs. None: unknown, so that goals are not checked and it cannot be audited."""
        return None

    @property
    def takes_context(self) -> bool:
        """Does it take a context, the data beside the inputs (`run(..., context=)`)?"""
        return False

    @property
    def stochastic(self) -> bool:
        """Are its answers random? It is then called with a key, from which all its draws are made."""
        return False

    @property
    def draws(self) -> int:
        """The number of passes over which a query of an attack is averaged, where answers are random (EOT)."""
        return 1

    @property
    def metered(self) -> bool:
        """Whether somebody else counts the answers, who may charge for them or lock out who asks too much."""
        return False

    @property
    def may_decline(self) -> bool:
        """Whether some inputs get no answer (NaN) by design, as a picture without a face: neither success nor fault."""
        return False

    @property
    def confirming_target(self) -> Target[Any]:
        """The deployed target, which confirms examples; this target may be a view of it that attacks are given."""
        return self

    def adapt_goal(self, goal: Goal) -> Goal:
        """Return the goal for this target's outputs: `Undetected(goal)` where the target may reject inputs."""
        return goal

    @abstractmethod
    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        """Return the outputs of its task for `inputs` of its kind: images (B, C, H, W) in [0, 1] by default.

        A stochastic target draws from `key`, which has one index per image and is new for each query; without one it
        draws as it would when deployed. `context`, for targets that take one, is a row-wise record of data beside the
        inputs: boxes, landmarks, which points are present.
        """

    def identity(self) -> tuple[object, ...]:
        """Return tensors and texts that distinguish this target from others: a checkpoint belongs to one target."""
        return (type(self).__name__, self.name)

    def check(self, outputs: Any) -> None:
        """Raise TargetError where the outputs for real images show that they cannot be judged."""

    def predict(self, images: Any, *, context: Any = None, batch_size: int = BATCH_SIZE) -> Any:
        """Return the outputs for all inputs: of a classifier the logits (N, K), on the target's device.

        The target is frozen meanwhile (eval mode), no gradients are kept, and nothing of it is changed afterwards.

        Args:
            images: (N, C, H, W) float in [0, 1], or what the target takes, as a tensor or an array; anywhere.
            context: data beside the inputs, for targets that take it.
            batch_size: inputs of one pass; halved where memory runs out.

        Raises: InputError, ConfigError, and what the model raises, as a UserCodeError.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size={batch_size!r}; pass an int >= 1")
        x = torch.from_numpy(np.ascontiguousarray(images)) if _is_numeric(images) else images
        self.inputs.check(x)
        check_context(self, context, len(x))

        def ask(rows: Tensor) -> Any:
            beside = None if context is None else to(take(context, rows), self.device)
            return answered(self, x[rows].to(self.device), None, beside)

        with isolated(), self.frozen():
            return join(list(iterate_batches(ask, torch.arange(len(x)), batch_size=batch_size)))

    def __repr__(self) -> str:
        """Return a text that is the same in every process, as fingerprints of checkpoints need it."""
        return f"{type(self).__name__}({self.name!r})"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the target within this context (eval mode, no parameter gradients), and restore it afterwards."""
        yield


T = TypeVar("T", bound=Decisions)


def _is_numeric(given: Any) -> bool:
    return isinstance(given, np.ndarray) and given.dtype.kind in "biuf"


def check_task(target: Target[Any], goal: Goal) -> None:
    """Raise GoalError where the goal judges outputs of another task than the target's."""
    if target.task is not None and goal.task is not None and not isinstance(target.task, goal.task):
        raise GoalError(
            f"{type(goal).__name__} is a goal of {goal.task.name}, and {target.name} gives the outputs of "
            f"{target.task.name}; pass a goal of that, or the task that it has: Model(module, {goal.task.__name__}())"
        )
    if target.task is not None:
        goal.check_task(target.task)


def check_context(target: Target[Any], context: Any, count: int) -> None:
    """Raise InputError where the context is no row-wise record with `count` rows, or the target takes none."""
    if context is None:
        return
    if not target.takes_context:
        raise InputError(
            f"{target.name} takes no context; leave context= out, or pass Model(..., takes_context=True) around what "
            "is called with it"
        )
    check_rows(context, count, "context")


def check_rows(record: Any, count: int, word: str) -> None:
    """Raise InputError where `record` is no row-wise record with `count` rows; `word` is what messages call it."""
    try:
        tensors = flatten(record)[0]
    except TypeError as error:
        raise InputError(f"a {word} is a row-wise record: {error}") from error
    if not tensors:
        raise InputError(f"a {word} holds tensors with one row per input; {record!r:.80} holds none")
    for name, tensor in tensors.items():
        if tensor.ndim == 0:
            raise InputError(f"{word} {name} is a single number; pass one for each of the {count} inputs")
        if len(tensor) != count:
            raise InputError(f"{word} {name} has {len(tensor)} rows, and there are {count} inputs; pass one for each")
    if isinstance(record, Scene):
        record.check()


def answered(target: Target[Any], images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
    """Call the target, with the key if it is stochastic and with the context if there is one.

    The numbers of its outputs are in the dtype of the images, whatever the model computes in: the one place where
    answers are brought to the dtype that an attack works in.
    """
    drawn = key if target.stochastic else None
    if context is not None:
        outputs = target(images, drawn, context)
    else:
        outputs = target(images) if drawn is None else target(images, drawn)
    if (isinstance(outputs, Tensor) and outputs.dtype == images.dtype) or isinstance(outputs, list | tuple | dict):
        return outputs  # what is no record is refused by the task
    try:
        return floats_to(outputs, images.dtype)
    except TypeError as error:
        raise TargetError(f"the outputs of {target.name} cannot be read: {error}") from error


class WrappedTarget(Target[T]):
    """Base class of wrappers: everything that a subclass does not override is that of the `target` inside."""

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

    @property
    def metered(self) -> bool:
        return self.target.metered

    @property
    def may_decline(self) -> bool:
        return self.target.may_decline

    @property
    def confirming_target(self) -> Target[Any]:
        """This wrapper around the confirming target of the target inside."""
        theirs = self.target.confirming_target
        if theirs is self.target:
            return self
        twin = copy(self)
        twin.target = theirs
        return twin

    def adapt_goal(self, goal: Goal) -> Goal:
        return self.target.adapt_goal(goal)

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
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
    """A target that answers as `target` does and grants no more than `access`: a black box around a module.

    `access` is Decisions, Scores, Gradients or Jacobians, or its word ("scores").

    Raises: TargetError for what is no target, AccessError for another access, or more than the target grants.
    """

    def __init__(self, target: Target[Any], access: type[T] | str) -> None:
        if not isinstance(target, Target):
            raise TargetError(f"a {type(target).__name__} is no target; wrap it: Classifier(model), Model(model, task)")
        super().__init__(target)
        given = ACCESS.get(access.lower()) if isinstance(access, str) else access
        if not isinstance(given, type) or not issubclass(given, Decisions):
            known = ", ".join(kind.__name__ for kind in ACCESS.values())
            raise AccessError(f"{access!r} is no access; pass one of {known}, or its word")
        if not issubclass(target.access, given):
            raise AccessError(f"{target.name} grants {target.access.__name__}, which is less than {given.__name__}")
        self._access: type[T] = given  # type: ignore[assignment]  # T by the word

    @property
    def access(self) -> type[T]:
        return self._access

    def identity(self) -> tuple[object, ...]:
        return (self._access.__name__, *self.target.identity())
