"""What an attack is: a frozen record of parameters, and three pure functions that the engine calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

from torch import Tensor

from ..errors import InputError, ThreatError
from ..geometry import Ball
from ..geometry.region import Region
from ..goals import Goal
from ..inputs import Images
from ..random import Key
from ..shapes import FloatBatch, FloatPerRow
from .ledger import Keep
from .oracle import Decisions
from .parameters import check_parameters

A = TypeVar("A", bound=Decisions, contravariant=True)
S = TypeVar("S")


@dataclass(frozen=True)
class Batch:
    """The images to attack, (B, C, H, W) in [0, 1], the key of their randomness, and where to begin if not there."""

    x: FloatBatch
    key: Key
    start: FloatBatch | None = None  # images; only a `warm` attack is given any


class Attack(ABC, Generic[A, S]):
    """`class PGD(Attack[Gradients, PGDState])`: the access it needs, and its state.

    The state is a frozen dataclass in which every tensor has one row per example, so that the engine may drop
    rows between steps. An attack judges nothing and counts nothing: it asks, and the ledger remembers.
    """

    norms: ClassVar[tuple[type[Ball], ...]] = (Ball,)  # that it knows
    elsewhere: ClassVar[str] = ""  # which attack serves the other norms
    spends_radius: ClassVar[bool] = False  # does it need a finite radius?
    pixel_grid: ClassVar[bool] = False  # does it need inputs that are pictures?
    uses_region: ClassVar[bool] = False  # does it go by `oracle.region` alone? Then it serves masks and radii per row
    _access: ClassVar[type[Decisions]]
    _state: ClassVar[Any]

    def __post_init__(self) -> None:
        """Check the parameters that the fields' types bound (ConfigError), and the ball.

        Raises ThreatError for a ball that the attack does not know, or one without the radius that it needs.
        """
        check_parameters(self)
        check_ball(self.name, self.ball, self.norms, self.elsewhere)
        if self.spends_radius:
            self.ball.bounded(self.name)

    def check(self, region: Region) -> None:
        """Raise where the attack cannot work in this region: InputError for inputs, ThreatError for masks and radii."""
        plain = region.free is None and not isinstance(region.radius, Tensor) and isinstance(region.inputs, Images)
        if not self.uses_region and not (plain and region.radius == self.ball.eps):
            raise ThreatError(f"{self.name} knows no mask, no radius per row and no inputs but images; use PGD there")
        if self.pixel_grid and not isinstance(region.inputs, Images):
            raise InputError(f"{self.name} needs a grid of pixels, and these are {region.inputs.plural}; use PGD there")
        if self.spends_radius and not bool(region.eps.isfinite().all()):
            row = int((~region.eps.isfinite()).nonzero()[0])
            raise ThreatError(f"{self.name} needs a radius, and that of row {row} is infinite; pass finite eps")

    def check_goal(self, goal: Goal) -> None:
        """Raise GoalError where the attack cannot work for this goal; most attacks work for every goal."""
        return

    if TYPE_CHECKING:  # a field or property of every attack

        @property
        def ball(self) -> Ball:
            """The threat: where examples must lie, and the norm that measures them."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(base)
            if len(arguments) == 2 and isinstance(arguments[0], type):
                cls._access, cls._state = arguments
            elif len(arguments) == 1 and isinstance(arguments[0], type) and issubclass(arguments[0], Decisions):
                cls._access = arguments[0]

    @property
    def access(self) -> type[Decisions]:
        """The least access the attack can work with."""
        return self._access

    @property
    def state(self) -> Any:
        """The type of the state, from which a checkpoint is read back."""
        return self._state

    @property
    def total_steps(self) -> int:
        """How often `step` is called at most: the field `steps`, unless the attack counts otherwise."""
        steps: int = self.steps  # type: ignore[attr-defined]
        return steps

    @property
    def keep(self) -> Keep:
        """Which example the attack is after, unless the caller says otherwise."""
        return Keep.FIRST

    @property
    def confidence(self) -> float:
        """The margin that an example must exceed to be kept."""
        return 0.0

    @property
    def queries_outside_ball(self) -> bool:
        """Does it ask about images beyond its ball? The ledger keeps none of them."""
        return self.keep is Keep.SMALLEST

    @property
    def accepts_start(self) -> bool:
        """Can it begin at given images (`Batch.start`)?"""
        return False

    @property
    def batch_coupled(self) -> bool:
        """Do its rows act on one another? `BatchCoupled` attacks, and those made of one."""
        return False

    def measure(self, delta: FloatBatch, ball: Ball) -> FloatPerRow:
        """(B,) the size that `Keep.SMALLEST` minimizes, from perturbations (B, ...): the norm of the region's ball,
        unless the paper has another."""
        return ball.norm(delta)

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def init(self, oracle: A, batch: Batch) -> S:
        """The state before the first step."""

    @abstractmethod
    def step(self, oracle: A, state: S, t: int) -> S:
        """One step, t = 0, 1, ...; it may ask the oracle any number of times."""

    def finish(self, oracle: A, state: S) -> None:
        """After the last step: ask about the last iterate where no step has."""
        return

    def done(self, state: S) -> Tensor | None:
        """(B,) bool: rows that have come to their end early. None: none has."""
        return None

    def stuck(self, state: S) -> Tensor | None:
        """(B,) bool: rows for which no starting point was found. None: none."""
        return None


class BatchCoupled(Attack[A, S]):
    """An attack whose rows act on one another: what comes of a row depends on the batch that it is in.

    The one exception to the batch law, and by definition; everything else holds as for every attack.
    """

    @property
    def batch_coupled(self) -> bool:
        return True


def check_ball(attack: str, ball: Ball, norms: tuple[type[Ball], ...], elsewhere: str) -> None:
    """Raise ThreatError for a ball that is none of the `norms`, with the attack that serves other norms."""
    if not isinstance(ball, norms):
        known = [norm.__name__ for norm in norms]
        told = " and ".join((", ".join(known[:-1]), known[-1]) if len(known) > 1 else known)
        cure = f"; use {elsewhere} there" if elsewhere else ""
        raise ThreatError(f"{attack} knows {told}, not {ball}{cure}")
