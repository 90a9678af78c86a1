"""The base classes `Transform`, `Stage` and `Detector` of what inputs pass before a model, and BPDA through them.

A transform declares what it is, so that whoever attacks through it need not guess: is it stochastic? Does autograd go
through it, or which function stands in for its slope (BPDA: Athalye et al. 2018, arXiv:1802.00420, section 4.1)? Does
it take inputs of a kind of its own? May it reject an image?
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TargetError
from ..inputs import Inputs
from ..random import Key
from ..tasks import Task

KEPT = bool | int | float | str | tuple | list | Tensor | Enum | None  # type: ignore[type-arg]


class Part(ABC):  # noqa: B024 - its two kinds have the abstract methods
    """A part of a pipeline: a transform, or a detector that may reject."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return type(self).__name__

    @property
    def stochastic(self) -> bool:
        """Does the same input come out differently each time? All its draws are then from the key."""
        return False

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks inside, which are held still during an attack."""
        return ()

    def identity(self) -> tuple[object, ...]:
        """What tells this part from others: its kind, its parameters, and the weights of its networks."""
        weights = [word for module in self.modules for pair in sorted(module.state_dict().items()) for word in pair]
        own: list[object] = []
        for name, value in sorted(vars(self).items()):
            if isinstance(value, Part):
                own += [name, *value.identity()]
            elif isinstance(value, KEPT) or (is_dataclass(value) and not isinstance(value, type)):
                own += [name, value]
        return (type(self).__name__, *own, *weights)


class Transform(Part):
    """Inputs (B, ...) in, inputs (B, ...) out, and with them what lies beside them.

    `apply` changes the inputs and, where that moves things, the context: a shift moves boxes along. `restore` brings
    outputs back into the frame of what went in: boxes that were found in the shifted image are shifted back.
    """

    @property
    def differentiable(self) -> bool:
        """Has `apply` a useful gradient of its own? If not, that of `stand_in` is taken in its place."""
        return True

    @property
    def inputs(self) -> Inputs | None:
        """The kind of inputs it takes, where it is another than it gives: a flow field in, images out."""
        return None

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        """The tasks whose outputs it can be put before; None: every one.

        What moves pixels and does not bring boxes and maps back would make them miss where they did not: it names the
        tasks whose outputs have no places.
        """
        return None

    @abstractmethod
    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        """Return what becomes of x (B, ...) and of the context, a row-wise record or None.

        `key` has one index per row and is fresh at each question.
        """

    def stand_in(self, x: Tensor, key: Key, context: Any) -> Tensor:
        """Return a differentiable function close to `apply`, with its output shape: the identity unless declared."""
        return x

    def restore(self, outputs: Any, key: Key, context: Any) -> Any:
        """Return the outputs in the frame of the inputs; `key` and `context` are those that `apply` was given."""
        return outputs


class Stage(Transform):
    """A transform of images alone: (B, C, H, W) in [0, 1] in; images, of another size perhaps, out."""

    @abstractmethod
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        """What is really done. `key` has one index per image and is fresh at each question."""

    def smooth(self, images: Tensor, key: Key) -> Tensor:
        """A differentiable function close to the stage, with its output shape: the identity unless declared."""
        return images

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        return self(x, key), context

    def stand_in(self, x: Tensor, key: Key, context: Any) -> Tensor:
        return self.smooth(x, key)


class Detector(Part):
    """A detector of adversarial examples at its place in a defence: images pass it unchanged, or are rejected."""

    @abstractmethod
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        """(B,) above 0 exactly where the image is rejected, in units of the spread of clean images' alarms.

        Differentiable; where the true alarm is not, straight through (`straight_through`) a function that is.
        """


class _StoodIn(torch.autograd.Function):
    """The exact value forward, the gradient of the smooth one backward."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(exact: Tensor, smooth: Tensor) -> Tensor:
    """Return `exact`, bit for bit, with the gradient of `smooth`, which has its shape.

    Raises: TargetError where the shapes differ.
    """
    if exact.shape != smooth.shape:
        raise TargetError(
            f"the smooth stand-in gives {tuple(smooth.shape)} and the stage {tuple(exact.shape)}; a stage that changes "
            "the size declares a stand-in that does too"
        )
    through: Tensor = _StoodIn.apply(smooth, exact.detach())  # type: ignore[no-untyped-call]
    return through


def transform_with_bpda(transform: Transform, x: Tensor, key: Key, context: Any = None) -> tuple[Tensor, Any]:
    """Return what the transform makes of x and of the context, with its own gradient or that of its stand-in."""
    if transform.differentiable or not (torch.is_grad_enabled() and x.requires_grad):
        made, beside = transform.apply(x, key, context)
        return _checked(transform, made, x), beside
    with torch.no_grad():
        made, beside = transform.apply(x.detach(), key, context)
    exact, smooth = _checked(transform, made, x), transform.stand_in(x, key, context)
    return straight_through(exact, _checked(transform, smooth, x)), beside


def apply_with_bpda(stage: Transform, images: Tensor, key: Key) -> Tensor:
    """Return what the transform makes of the images, with its own gradient or that of its stand-in."""
    return transform_with_bpda(stage, images, key)[0]


def _checked(transform: Transform, made: Any, x: Tensor) -> Tensor:
    """What the transform returned; TargetError where it is not one input for each."""
    if not isinstance(made, Tensor) or len(made) != len(x):
        got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise TargetError(f"{transform.name} returned {got} for {len(x)} images; return one image for each")
    return made


def networks(parts: Iterable[Part]) -> list[nn.Module]:
    """All networks of the parts."""
    return [module for part in parts for module in part.modules]
