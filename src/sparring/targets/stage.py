"""A stage of a defence: what images pass through, or are screened by, before a model answers.

A stage declares what it is, so that whoever attacks it need not guess: is it stochastic? Does autograd go through it,
or which smooth function stands in for its slope (BPDA: Athalye et al. 2018, arXiv:1802.00420, section 4.1)? May it
reject an image?
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TargetError
from ..random import Key

KEPT = bool | int | float | str | tuple | Tensor | None  # type: ignore[type-arg]


class Stage(ABC):
    """Images (B, C, H, W) in [0, 1] in; images, of another size perhaps, out. The stages before it made them."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return type(self).__name__

    @property
    def stochastic(self) -> bool:
        """Does the same image come out differently each time? All its draws are then from the key."""
        return False

    @property
    def differentiable(self) -> bool:
        """Has `__call__` a useful gradient of its own? If not, that of `smooth` is taken in its place."""
        return True

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks inside, which are held still during an attack."""
        return ()

    @abstractmethod
    def __call__(self, images: Tensor, key: Key) -> Tensor:
        """What the defence really does. `key` has one id per image and is fresh at each question."""

    def smooth(self, images: Tensor, key: Key) -> Tensor:
        """A differentiable function close to the stage, with its output shape: the identity unless declared."""
        return images

    def identity(self) -> tuple[object, ...]:
        """What tells this stage from others: its parameters, and the weights of its networks."""
        return stage_identity(self)


class Detector(ABC):
    """A detector at its place in a defence: it lets images pass unchanged, or rejects them."""

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def stochastic(self) -> bool:
        return False

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks inside, which are held still during an attack."""
        return ()

    @abstractmethod
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        """(B,) above 0 exactly where the image is rejected, in units of the spread of clean images' alarms.

        Differentiable; where the true alarm is not, straight through (`straight_through`) a function that is.
        """

    def identity(self) -> tuple[object, ...]:
        """What tells this detector from others: its parameters, and the weights of its networks."""
        return stage_identity(self)


class _StoodIn(torch.autograd.Function):
    """The exact value forward, the gradient of the smooth one backward."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(exact: Tensor, smooth: Tensor) -> Tensor:
    """`exact`, bit for bit, with the gradient of `smooth`, which has its shape."""
    if exact.shape != smooth.shape:
        raise TargetError(
            f"the smooth stand-in gives {tuple(smooth.shape)} and the stage {tuple(exact.shape)}; a stage that changes "
            "the size declares a stand-in that does too"
        )
    through: Tensor = _StoodIn.apply(smooth, exact.detach())  # type: ignore[no-untyped-call]
    return through


def apply_with_bpda(stage: Stage, images: Tensor, key: Key) -> Tensor:
    """The stage's output, with its own gradient or that of its stand-in."""
    if stage.differentiable or not (torch.is_grad_enabled() and images.requires_grad):
        return _checked(stage, stage(images, key), images)
    with torch.no_grad():
        exact = _checked(stage, stage(images.detach(), key), images)
    return straight_through(exact, _checked(stage, stage.smooth(images, key), images))


def _checked(stage: Stage, made: Any, images: Tensor) -> Tensor:
    """What the stage returned; TargetError where it is not one image for each."""
    if not isinstance(made, Tensor) or len(made) != len(images):
        got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise TargetError(f"{stage.name} returned {got} for {len(images)} images; return one image for each")
    return made


def stage_identity(part: Stage | Detector) -> tuple[object, ...]:
    """The kind of a part, its plain parameters and tensors by name, and the weights of its networks."""
    weights = [word for module in part.modules for pair in sorted(module.state_dict().items()) for word in pair]
    own = [(name, value) for name, value in sorted(vars(part).items()) if isinstance(value, KEPT)]
    return (type(part).__name__, *(word for pair in own for word in pair), *weights)


def networks(parts: Iterable[Stage | Detector]) -> list[nn.Module]:
    """All networks of the parts."""
    return [module for part in parts for module in part.modules]
