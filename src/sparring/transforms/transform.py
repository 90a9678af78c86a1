"""The base classes `Transform`, `Stage` and `Detector` of what inputs pass before a model, and BPDA through them.

Each declares what an adaptive attack must know: whether it is stochastic, whether autograd goes through it, or which
differentiable approximation replaces it on the backward pass (BPDA: Athalye et al. 2018, arXiv:1802.00420, section
4.1), which kind of inputs it takes, and whether it may reject an image.
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


class PipelinePart(ABC):  # noqa: B024 - its two kinds have the abstract methods
    """Base class of the parts of a pipeline: transforms, and detectors that may reject inputs."""

    @property
    def name(self) -> str:
        """The name in reports."""
        return type(self).__name__

    @property
    def stochastic(self) -> bool:
        """Is its result random? All its draws are then made from the key."""
        return False

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Its networks, which are frozen during an attack."""
        return ()

    def identity(self) -> tuple[object, ...]:
        """Return what distinguishes this part from others: class, parameters, and weights of its networks."""
        weights = [word for module in self.modules for pair in sorted(module.state_dict().items()) for word in pair]
        own: list[object] = []
        for name, value in sorted(vars(self).items()):
            if isinstance(value, PipelinePart):
                own += [name, *value.identity()]
            elif isinstance(value, KEPT) or (is_dataclass(value) and not isinstance(value, type)):
                own += [name, value]
        return (type(self).__name__, *own, *weights)


class Transform(PipelinePart):
    """Base class of functions from inputs (B, ...) and their context to inputs (B, ...) and context.

    `apply` changes the inputs and, if it moves pixels, the context: a shift also shifts boxes. `restore` maps outputs
    back to the coordinates of the original inputs: boxes found in the shifted image are shifted back.
    """

    @property
    def differentiable(self) -> bool:
        """Has `apply` a useful gradient? If not, the backward pass uses that of `apply_approximation` (BPDA)."""
        return True

    @property
    def inputs(self) -> Inputs | None:
        """The kind of inputs it takes, where it differs from what it returns: a flow field in, images out."""
        return None

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        """The tasks of the models that it can be put before; None: every task.

        A transform that moves pixels without a `restore` for boxes and maps would displace them. It lists the tasks
        whose outputs have no position in the image.
        """
        return None

    @abstractmethod
    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        """Return the transformed x (B, ...) and context, a row-wise record or None.

        `key` has one index per row and is new for each query.
        """

    def apply_approximation(self, x: Tensor, key: Key, context: Any) -> Tensor:
        """Return a differentiable approximation of `apply`, of the same shape; by default the identity."""
        return x

    def restore(self, outputs: Any, key: Key, context: Any) -> Any:
        """Return the outputs in the coordinates of the inputs; `key` and `context` are those given to `apply`."""
        return outputs


class Stage(Transform):
    """Base class of transforms from images (B, C, H, W) in [0, 1] to images, perhaps of another size."""

    @abstractmethod
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        """Return the transformed images. `key` has one index per image and is new for each query."""

    def differentiable_approximation(self, images: Tensor, key: Key) -> Tensor:
        """Return a differentiable approximation of the stage, of the same shape; by default the identity (BPDA)."""
        return images

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        return self(x, key), context

    def apply_approximation(self, x: Tensor, key: Key, context: Any) -> Tensor:
        return self.differentiable_approximation(x, key)


class Detector(PipelinePart):
    """Base class of detectors of adversarial examples in a pipeline: images pass unchanged, or are rejected."""

    @abstractmethod
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        """Return (B,) above 0 exactly where the image is rejected, in units of the spread of clean images' alarms.

        It must be differentiable; if the true alarm is not, use `straight_through` with an approximation that is.
        """


class _StraightThrough(torch.autograd.Function):
    """Returns `exact` on the forward pass, and passes the gradient to `smooth` on the backward pass."""

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
            f"the differentiable approximation gives {tuple(smooth.shape)} and the stage {tuple(exact.shape)}; a stage "
            "that changes the size declares an approximation that does too"
        )
    through: Tensor = _StraightThrough.apply(smooth, exact.detach())  # type: ignore[no-untyped-call]
    return through


def transform_with_bpda(transform: Transform, x: Tensor, key: Key, context: Any = None) -> tuple[Tensor, Any]:
    """Apply the transform to x and context, with its own gradient or that of its approximation."""
    if transform.differentiable or not (torch.is_grad_enabled() and x.requires_grad):
        made, beside = transform.apply(x, key, context)
        return _checked(transform, made, x), beside
    with torch.no_grad():
        made, beside = transform.apply(x.detach(), key, context)
    exact, smooth = _checked(transform, made, x), transform.apply_approximation(x, key, context)
    return straight_through(exact, _checked(transform, smooth, x)), beside


def apply_with_bpda(stage: Transform, images: Tensor, key: Key) -> Tensor:
    """Apply the transform to images, with its own gradient or that of its approximation."""
    return transform_with_bpda(stage, images, key)[0]


def _checked(transform: Transform, made: Any, x: Tensor) -> Tensor:
    """Return what the transform returned; TargetError unless it is one input per row."""
    if not isinstance(made, Tensor) or len(made) != len(x):
        got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise TargetError(f"{transform.name} returned {got} for {len(x)} images; return one image for each")
    return made


def networks(parts: Iterable[PipelinePart]) -> list[nn.Module]:
    """Return all networks of the parts."""
    return [module for part in parts for module in part.modules]
