"""A target from what people pass for one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..errors import TargetError
from .classifier import Classifier
from .target import Target


@runtime_checkable
class TorchModule(Protocol):
    """A `torch.nn.Module`, by what no target has: an annotation that mypy tells from a target's access."""

    training: bool

    def zero_grad(self, set_to_none: bool = ...) -> None:
        """Forget the gradients of the parameters."""


def as_target(given: Any) -> Target[Any]:
    """Return the target: itself, that of a loaded model, or a `Classifier` around a module.

    Raises: TargetError for anything else.
    """
    if isinstance(given, Target):
        return given
    if isinstance(given, nn.Module):
        return Classifier(given)
    held = getattr(given, "target", None)
    if isinstance(held, Target):  # of the zoo
        return held
    if isinstance(given, type):
        raise TargetError(f"{given.__name__} is a class; pass an object of it, Classifier({given.__name__}(...))")
    cure = "load it: sparring.zoo.load_model(...)" if isinstance(given, str) else "wrap it: Classifier(model)"
    raise TargetError(f"a {type(given).__name__} is no target; {cure}, or Model(model, task) of another task")
