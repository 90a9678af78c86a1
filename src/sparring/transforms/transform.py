"""The base classes `Transform`, `Stage` and `Detector` of what inputs pass before a model, and BPDA through them.

Each declares what an adaptive attack must know: whether it is stochastic, whether autograd goes through it, or which
differentiable approximation replaces it on the backward pass (BPDA: Athalye et al. 2018, arXiv:1802.00420, section
4.1), which kind of inputs it takes, and whether it may reject an image.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import TargetError
from ..hashing import Unidentified
from ..inputs import Inputs
from ..module_identity import module_identity
from ..random import Key
from ..rows import flatten
from ..tasks import Task

PLAIN = bool | int | float | str | Enum | None  # their text tells them apart
TOLD = np.generic | Path | torch.dtype | torch.device | bytes | complex  # and theirs


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
    def may_decline(self) -> bool:
        """Whether it makes NaN of some inputs by design, as of a picture without a face."""
        return False

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Its networks, which are frozen during an attack: by default the modules among its attributes."""
        return tuple(value for value in vars(self).values() if isinstance(value, nn.Module))

    def identity(self) -> tuple[object, ...]:
        """Return what distinguishes this part from others: class, parameters, and the identity of its networks."""
        weights = [word for module in self.modules for word in module_identity(module)]
        own: list[object] = []
        declared = type(self).modules is not PipelinePart.modules
        for name, value in sorted(vars(self).items()):
            if not (declared and isinstance(value, nn.Module) and value in self.modules):
                own += [name, *_words(value, f"{type(self).__name__}.{name}")]
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
    def exact_gradient(self) -> bool:
        """Is the gradient through `apply` that of its forward pass? False where `apply` itself rounds straight through.

        It counts only where `differentiable` is declared: `apply` is then run with autograd, and no approximation
        asked.
        """
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
    before = _versions(x, context)
    made, beside = _transformed(transform, x, key, context)
    if _versions(x, context) != before:
        raise TargetError(f"{transform.name} changes its input or its context in place; let it work on x.clone()")
    return made, beside


def _versions(x: Tensor, context: Any) -> list[int]:
    """Return how often each tensor has been changed in place."""
    beside = flatten(context)[0].values() if is_dataclass(context) else ()
    return [one._version for one in (x, *beside) if not one.is_inference()]


def _transformed(transform: Transform, x: Tensor, key: Key, context: Any) -> tuple[Any, Any]:
    if transform.differentiable or not (torch.is_grad_enabled() and x.requires_grad):
        made, beside = _pair(transform, transform.apply(x, key, context))
        return _checked(transform, made, x), beside
    with torch.no_grad():
        made, beside = _pair(transform, transform.apply(x.detach(), key, context))
    exact, smooth = _checked(transform, made, x), transform.apply_approximation(x, key, context)
    return straight_through(exact, _checked(transform, smooth, x)), beside


def apply_with_bpda(stage: Transform, images: Tensor, key: Key) -> Tensor:
    """Apply the transform to images, with its own gradient or that of its approximation."""
    return transform_with_bpda(stage, images, key)[0]


def _pair(transform: Transform, made: Any) -> tuple[Any, Any]:
    """Return what `apply` returned; TargetError unless it is inputs and their context."""
    if not isinstance(made, tuple) or len(made) != 2:
        got = f"{len(made)} values" if isinstance(made, tuple) else f"a {type(made).__name__}"
        raise TargetError(f"{transform.name}.apply returned {got}; return the inputs and their context: x, context")
    return made


def _checked(transform: Transform, made: Any, x: Tensor) -> Tensor:
    """Return what the transform returned; TargetError unless it is one input per row."""
    if not isinstance(made, Tensor) or made.ndim == 0 or len(made) != len(x):
        got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise TargetError(f"{transform.name} returned {got} for {len(x)} images; return one image for each")
    return made


def _words(value: Any, place: str) -> list[object]:
    """Return tensors and texts that tell a parameter of a part from others; `Unidentified` where nothing does."""
    if isinstance(value, PipelinePart):
        return list(value.identity())
    if isinstance(value, nn.Module):
        return [*module_identity(value)]
    if isinstance(value, tuple | list) and not all(isinstance(one, PLAIN) for one in value):
        parts = [word for number, one in enumerate(value) for word in _words(one, f"{place}[{number}]")]
        return [type(value).__name__, len(value), *parts]
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: repr(pair[0]))
        return ["dict", *(word for key, one in pairs for word in (repr(key), *_words(one, f"{place}[{key!r}]")))]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(map(repr, value))]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, TOLD | type):
        return [repr(value)]
    if isinstance(value, PLAIN | tuple | list | Tensor) or is_dataclass(value):
        return [value]
    return [
        Unidentified(
            place, "an object or a function", "keep it in a frozen dataclass or write the part's own identity()"
        )
    ]


def networks(parts: Iterable[PipelinePart]) -> list[nn.Module]:
    """Return all networks of the parts."""
    return [module for part in parts for module in part.modules]
