"""The base class `Attack`: a frozen dataclass of parameters with `init`, `step`, `finish`, called by the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, get_args

from torch import Tensor

from ..errors import ConfigError, InputError, ThreatError
from ..geometry import Ball
from ..geometry.region import Region
from ..goals import Goal
from ..inputs import Images
from ..random import Key
from ..scalars import plain_number
from ..shapes import FloatBatch, FloatPerRow
from ..threats import norm_alone, parse_threat
from .ledger import Keep
from .oracle import Decisions
from .parameters import check_parameters, refuse_unknown

A = TypeVar("A", bound=Decisions, contravariant=True)
S = TypeVar("S")


@dataclass(frozen=True)
class Batch:
    """The images to attack, (B, C, H, W) in [0, 1], the key of their random draws, and optional starting points."""

    x: FloatBatch
    key: Key
    start: FloatBatch | None = None  # (B, C, H, W); only attacks with `accepts_start` are given any


class Attack(ABC, Generic[A, S]):
    """Base class of the attacks: `class PGD(Attack[Gradients, PGDState])` names the access it needs and its state.

    The state is a frozen dataclass in which every tensor has one row per example, so that the engine may drop
    rows between steps. An attack neither decides on success nor counts queries nor keeps its best example: it queries
    the oracle, and the ledger behind the oracle does all of that.
    """

    norms: ClassVar[tuple[type[Ball], ...]] = (Ball,)  # the norms that the attack supports
    alternative: ClassVar[str] = ""  # for the error message: which attack supports the other norms
    spends_radius: ClassVar[bool] = False  # does the attack need a finite radius?
    pixel_grid: ClassVar[bool] = False  # does the attack need images?
    uses_region: ClassVar[bool] = False  # are all bounds from `oracle.region`? Then masks and radii per row are served
    _access: ClassVar[type[Decisions]]
    _state: ClassVar[Any]

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Raise ConfigError for a parameter that the attack does not have."""
        refuse_unknown(cls, named)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check the parameters that the fields' types bound (ConfigError), and the ball.

        Raises ThreatError for a norm that the attack does not support, or a ball without the radius that it needs.
        """
        check_parameters(self)
        take_ball(self)
        check_ball(self.name, self.ball, self.norms, self.alternative)
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
        """The access that the attack needs."""
        return self._access

    @property
    def state(self) -> Any:
        """The type of the state, which a checkpoint is read into."""
        return self._state

    @property
    def total_steps(self) -> int:
        """The largest number of calls of `step`: the field `steps`, unless the attack counts otherwise."""
        steps: int = self.steps  # type: ignore[attr-defined]
        return steps

    @property
    def keep(self) -> Keep:
        """Which example `run` returns when its argument `keep` is None."""
        return Keep.FIRST

    @property
    def confidence(self) -> float:
        """The margin that an example must exceed to be kept."""
        return 0.0

    @property
    def queries_outside_ball(self) -> bool:
        """Does the attack query images outside its ball? The ledger keeps none of them."""
        return self.keep is Keep.SMALLEST

    @property
    def accepts_start(self) -> bool:
        """Can the attack begin at given images (`Batch.start`)?"""
        return False

    @property
    def begins_again(self) -> bool:
        """Does the attack begin again at other points, so that a zero gradient at one says nothing of the next?

        Other attacks end a row whose gradients have been exactly zero and which does not move any more.
        """
        return False

    @property
    def batch_coupled(self) -> bool:
        """Does the result of a row depend on other rows? True of `BatchCoupled` attacks and of their wrappers."""
        return False

    def measure(self, delta: FloatBatch, region: Region) -> FloatPerRow:
        """Return the size (B,) that `Keep.SMALLEST` minimizes, of perturbations (B, ...) of the inputs of `region`.

        It is the norm of the region's ball, unless the paper minimizes another distance (EAD's elastic net).
        """
        return region.norm(delta)

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def init(self, oracle: A, batch: Batch) -> S:
        """Return the state before the first step."""

    @abstractmethod
    def step(self, oracle: A, state: S, t: int) -> S:
        """Return the state after step t = 0, 1, ...; a step may query the oracle any number of times."""

    def finish(self, oracle: A, state: S) -> None:
        """Query the last iterate, for attacks whose steps do not query the iterate that they return."""
        return

    def done(self, state: S) -> Tensor | None:
        """Return (B,) bool: rows that stop before `total_steps`. None: no row does."""
        return None

    def stuck(self, state: S) -> Tensor | None:
        """Return (B,) bool: rows for which no starting point was found. None: every row has one."""
        return None


def check_attacks(owner: object, *given: Any) -> None:
    """Raise ConfigError where something that `owner` is made of is no attack."""
    for one in given:
        if not isinstance(one, Attack):
            kind = f"the class {one.__name__}" if isinstance(one, type) else f"{one!r:.80}"
            raise ConfigError(
                f"{type(owner).__name__} is made of attacks, one by one, each with its ball, as PGD(Linf(8 / 255)); "
                f"{kind} is none"
            )


class BatchCoupled(Attack[A, S]):
    """Base class of attacks in which the result of a row depends on the other rows of its batch, such as DAA.

    They are exempt from the law that a batch of N gives what N batches of one give, and from no other law.
    """

    @property
    def batch_coupled(self) -> bool:
        return True


def take_ball(attack: Any) -> None:
    """Replace the field `ball` of an attack by the ball that it says in words, as "linf:8/255".

    Raises: ThreatError for other words, and for what is no ball at all.
    """
    given = attack.ball
    if isinstance(given, Ball):
        return
    name = type(attack).__name__
    if isinstance(given, str):
        alone = norm_alone(given)
        balls = parse_threat(given).balls() if alone is None else [alone]
        if len(balls) > 1:
            raise ThreatError(f"{name} has one radius, and {given!r} are {len(balls)}; make an attack for each")
        object.__setattr__(attack, "ball", balls[0])
        return
    if isinstance(given, type):
        raise ThreatError(f"{given.__name__} is a class; pass a ball, as {name}({given.__name__}(8 / 255))")
    number = plain_number(given)
    radius = f"{number:g}" if isinstance(number, (int, float)) else "8 / 255"
    raise ThreatError(f'{name} takes a ball, not {number!r}; pass {name}(Linf({radius})), or {name}("linf:8/255")')


def check_ball(attack: str, ball: Ball, norms: tuple[type[Ball], ...], alternative: str) -> None:
    """Raise ThreatError for a ball of a norm not among `norms`; the message names the `alternative`."""
    if not isinstance(ball, norms):
        known = [norm.__name__ for norm in norms]
        told = " and ".join((", ".join(known[:-1]), known[-1]) if len(known) > 1 else known)
        cure = f"; use {alternative} there" if alternative else ""
        raise ThreatError(f"{attack} knows {told}, not {ball}{cure}")
