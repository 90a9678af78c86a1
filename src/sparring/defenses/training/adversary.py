"""`Adversary`: the attacks that training runs, their radius and steps by epoch, and the model's mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from ...access import Attack, Keep
from ...access.attack import check_attacks
from ...errors import ConfigError
from ...geometry import L0, Ball, Union
from ...targets import Target

Knots = tuple[tuple[float, float], ...]  # (epoch, value), rising epochs


@dataclass(frozen=True)
class Adversary:
    """The attacks that make the training examples, their strength by epoch, and the mode of the attacked model.

    Args:
        attacks: one, or one per threat for objectives over several.
        batch_norm: "eval": the model is attacked in eval mode; "train": in train mode, with the
            statistics of the adversarial batch and dropout on. Running statistics are left alone either way.
        keep: "last": the last iterate, at the cost of the attack's steps alone; "highest_loss": the highest loss
            of all iterates, which costs a further pass on the clean images, the last iterates and the successes.
        eps_schedule: (epoch, share of eps) between which the radius is linear, and step sizes with it; full by default.
        steps_schedule: (epoch, steps): from that epoch on; the attacks' own by default.
        sources: other models whose examples are mixed in, for objectives that want some.

    Raises: ConfigError.
    """

    attacks: tuple[Attack[Any, Any], ...] = ()
    batch_norm: str = "eval"
    keep: str = "last"
    eps_schedule: Knots = ()
    steps_schedule: Knots = ()
    sources: tuple[Target[Any], ...] = ()

    def __post_init__(self) -> None:
        for word, value, known in (("batch_norm", self.batch_norm, MODES), ("keep", self.keep, KEPT)):
            if value not in known:
                raise ConfigError(f"adversary {word}={value!r}; pass one of {', '.join(known)}")
        if isinstance(self.attacks, Attack):
            raise ConfigError("attacks is one attack; pass a tuple, as Adversary((PGD(Linf(8 / 255)),))")
        check_attacks(self, *self.attacks)
        for attack in self.attacks:
            if attack.keep is Keep.SMALLEST:
                raise ConfigError(f"{attack.name} searches for the smallest example; train with PGD or its like")
            attack.ball.bounded(attack.name)
        check_knots("eps_schedule", self.eps_schedule, least=0.0)
        check_knots("steps_schedule", self.steps_schedule, least=1.0)
        if self.steps_schedule and not all("steps" in names(attack) for attack in self.attacks):
            raise ConfigError("steps_schedule is for attacks with a number of steps: PGD, BIM, APGD, ...")

    def eps_share(self, epoch: float) -> float:
        """Return the share of the radius `epoch` epochs after the beginning."""
        return interpolate(self.eps_schedule, epoch) if self.eps_schedule else 1.0

    def at(self, epoch: float) -> tuple[Attack[Any, Any], ...]:
        """Return the attacks `epoch` epochs after the beginning."""
        share = self.eps_share(epoch)
        steps = [int(value) for since, value in self.steps_schedule if since <= epoch]
        return tuple(scaled(attack, share, steps[-1] if steps else None) for attack in self.attacks)


LEAST = 1e-4  # of the radius: attacks want steps above 0
MODES, KEPT = ("eval", "train"), ("last", "highest_loss")


def names(attack: Attack[Any, Any]) -> set[str]:
    """Return the parameters of an attack."""
    return {field.name for field in fields(attack)}  # type: ignore[arg-type]


def scaled(attack: Attack[Any, Any], share: float, steps: int | None) -> Attack[Any, Any]:
    """Return the attack with its radii and step sizes times `share`, and so many steps."""
    changes: dict[str, Any] = {}
    if share != 1.0:
        for name in names(attack) & {"ball", "balls", "step_size", "step_sizes", "learning_rate"}:
            changes[name] = times(getattr(attack, name), max(share, LEAST))
    if steps is not None:
        changes["steps"] = steps
    changed: Attack[Any, Any] = replace(cast(Any, attack), **changes) if changes else attack
    return changed


def times(value: Any, share: float) -> Any:
    """Return a ball, a number, or a tuple of them, scaled by `share`."""
    if isinstance(value, tuple):
        return tuple(times(one, share) for one in value)
    if isinstance(value, Union):
        return replace(value, balls=times(value.balls, share))
    if isinstance(value, Ball):
        eps = value.eps * share
        return replace(value, eps=max(1.0, round(eps)) if isinstance(value, L0) else eps)
    return None if value is None else value * share


def interpolate(knots: Sequence[tuple[float, float]], epoch: float) -> float:
    """Interpolate linearly between the knots (epoch, value); constant before the first and after the last."""
    before, after = knots[0], knots[-1]
    if epoch <= before[0]:
        return before[1]
    for knot in knots[1:]:
        if epoch < knot[0]:
            return before[1] + (knot[1] - before[1]) * (epoch - before[0]) / (knot[0] - before[0])
        before = knot
    return after[1]


def check_knots(word: str, knots: Knots, least: float) -> None:
    """Raise ConfigError where epochs do not rise or a value is too small."""
    epochs = [knot[0] for knot in knots]
    if any(len(knot) != 2 for knot in knots) or epochs != sorted(set(epochs)) or any(e < 0 for e in epochs):
        raise ConfigError(f"adversary {word}={knots}; pass (epoch, value) pairs with rising epochs from 0")
    if any(not knot[1] >= least for knot in knots):
        raise ConfigError(f"adversary {word}={knots}; values must be at least {least:g}")
