"""The base class `Shared`: attacks that fit one variable to many images, such as a universal perturbation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, get_args

from torch import Tensor

from ..geometry import Ball
from ..random import Key
from ..shapes import FloatBatch
from .attack import Attack, check_ball, take_ball
from .oracle import Decisions
from .parameters import check_parameters, refuse_unknown

A = TypeVar("A", bound=Decisions, contravariant=True)
S = TypeVar("S")
R = TypeVar("R")

Inner = Callable[[Attack[Any, Any], Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SharedBatch:
    """The images (B, C, H, W) in [0, 1] of one step, and the key of their random draws.

    `attacked(attack, images, rows)` runs an ordinary attack, with the goals of `rows` (Q,), from `images`
    (Q, C, H, W). It returns the examples (Q, C, H, W), and (Q,) bool: where the attack succeeded.
    """

    x: FloatBatch
    key: Key
    attacked: Inner


class Shared(ABC, Generic[A, S, R]):
    """Base class of attacks that `fit` runs: `class Universal(Shared[Jacobians, UniversalState, Perturbation])`.

    The type arguments are the access it needs, its state, and the artifact that it returns. The state is a frozen
    dataclass of tensors and plain values that belong to no row.
    """

    norms: ClassVar[tuple[type[Ball], ...]] = (Ball,)  # the norms that the attack supports
    alternative: ClassVar[str] = ""  # for the error message: which attack supports the other norms
    uses_region: ClassVar[bool] = False  # are all bounds from `oracle.region`? Then masks and radii per row are served
    _access: ClassVar[type[Decisions]]
    _state: ClassVar[Any]
    _makes: ClassVar[Any]

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Raise ConfigError for a parameter that the attack does not have."""
        refuse_unknown(cls, named)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check the parameters that the fields' types bound (ConfigError), and the ball.

        Raises ThreatError for a ball that the attack does not know, or one without a radius.
        """
        check_parameters(self)
        take_ball(self)
        check_ball(self.name, self.ball, self.norms, self.alternative)
        self.ball.bounded(self.name)

    if TYPE_CHECKING:  # fields or properties of every such attack

        @property
        def ball(self) -> Ball:
            """The threat: how far each image may be moved."""

        @property
        def epochs(self) -> int:
            """How often each image is seen at most."""

        @property
        def batch_size(self) -> int:
            """Images per step, which is part of the result, unlike the engine's batch size."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(base)
            if len(arguments) == 3 and isinstance(arguments[0], type):
                cls._access, cls._state, cls._makes = arguments

    @property
    def access(self) -> type[Decisions]:
        """The access that the attack needs."""
        return self._access

    @property
    def state(self) -> Any:
        """The type of the state."""
        return self._state

    @property
    def makes(self) -> Any:
        """The type of the artifact."""
        return self._makes

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def init(self, like: Tensor, seed: int, start: R | None) -> S:
        """Return the state before the first step, for images like `like` (1, C, H, W), or from `start`."""

    @abstractmethod
    def step(self, oracle: A, state: S, batch: SharedBatch, progress: float) -> S:
        """Return the state after a step on one batch; `progress` in [0, 1) is the share of all steps that is done."""

    @abstractmethod
    def artifact(self, state: S) -> R:
        """Return the artifact made from the final state; it can be applied to any image."""

    def done(self, state: S, fooled: float) -> bool:
        """Return whether the fit ends after this epoch; `fooled` is the share of the images on which it succeeded."""
        return False
