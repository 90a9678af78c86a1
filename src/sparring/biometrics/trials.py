"""Trials: attacked pictures, each with the template that it is compared with, and all that calibrates the threshold.

    persons        those who calibrate and those who are attacked are disjoint
    thresholds     at stated false accept rates, on all impostor pairs of those who calibrate
    templates      the first picture of each attacked person in which a face is found is enrolled
    dodge          the next pictures of a person against the template of that person
    impersonate    the next pictures of a person against the template of the next person
    evade, identify  the same against the templates of all attacked persons at once (1:N identification)

A picture in which no face is found takes no part, and is counted (failure to acquire).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..error_rates import Comparisons, ScoreMap, calibrate_threshold
from ..errors import ConfigError, InputError, nearest
from ..goals import Dodge, EvadeIdentification, Goal, IdentifyAs, Impersonate
from ..intervals import clopper_pearson
from ..rows import take
from ..zoo.dataset import Chunk, Skipped
from .acquisition import Acquisition

GOALS = ("dodge", "impersonate", "evade", "identify")
IDENTIFICATION = ("evade", "identify")  # goals of 1:N identification
RATES = (0.01, 0.001)
MOST_ATTACKED = 10  # persons that are attacked where nobody says who
ATTACKED_SHARE = 4  # and no more than one of so many
PICTURES = 1 << 24  # bytes of template pictures that are kept for the report


@dataclass
class Trials:
    """Trials as the data of `audit`: chunks of pictures with their goal, and the reference for the report."""

    name: str
    goal: Goal
    images: Tensor
    names: tuple[str, ...]
    reference: dict[str, Any]
    label_note: str
    skipped: list[Skipped] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Trials:
        """Return the first trials."""
        part = slice(0, count)
        beside = {"templates": self.reference["templates"][part], "template_of": self.reference["template_of"][part]}
        return replace(
            self,
            goal=take(self.goal, part),
            images=self.images[part],
            names=self.names[part],
            reference=self.reference | beside,
        )

    @property
    def scores(self) -> ScoreMap | None:
        """The map of similarities to scores of 0 to 100; None where there is none."""
        values = self.reference["scores"]
        return None if values is None else ScoreMap(**values)

    @property
    def goal_word(self) -> str:
        """The goal as the command line calls it."""
        return str(self.reference["goal"])

    @property
    def candidates(self) -> int:
        """How many trials there are."""
        return len(self.images)

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        """Yield trials, at most `batch_size` at a time."""
        for first in range(0, len(self.images), batch_size):
            part = slice(first, first + batch_size)
            yield Chunk(self.images[part], None, list(self.names[part]), first, take(self.goal, part))


@dataclass(frozen=True)
class Roles:
    """Who calibrates and who is attacked, by name."""

    calibration: tuple[str, ...]
    attacked: tuple[str, ...]


def make_trials(
    acquisition: Acquisition,
    goal: str = "dodge",
    *,
    false_accept_rates: Sequence[float] = RATES,
    threshold: float | None = None,
    attacked: int | Sequence[str] | None = None,
    calibration: int | Sequence[str] | None = None,
    probes: int = 1,
    rank: int = 1,
) -> Trials:
    """Make the trials of a goal.

    Args:
        acquisition: the embeddings of all pictures (`acquire`).
        goal: "dodge" or "impersonate"; of 1:N identification "evade" (not to be identified at `rank`) or "identify"
            (to be identified as the next person).
        false_accept_rates: at each a threshold is calibrated. The attacks aim at the one that is hardest for them, and
            the report judges their examples at all.
        threshold: a similarity, in place of calibrated ones: a cosine, or minus a distance.
        attacked, calibration: persons by name, or how many: attacked are the last of those with enough pictures,
            calibrating the first of the others. None: a quarter and at most ten are attacked, all others calibrate.
        probes: attacked pictures of each person.
        rank: of "evade": within how many leading persons one must not be.

    Raises:
        ConfigError: what is no goal, rate, number or known person, or persons who calibrate and are attacked.
        InputError: attacked persons with too few pictures, a rate that too few impostors decide, a threshold of another
            metric.
    """
    if goal not in GOALS:
        raise ConfigError(f"goal {goal!r:.80} is unknown ({', '.join(GOALS)}).{nearest(str(goal), GOALS)}")
    rates = _checked_rates(false_accept_rates)
    for word, number in (("probes", probes), ("rank", rank)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigError(f"{word}={number!r:.80}; pass an int >= 1")
    roles = assign_roles(acquisition, attacked, calibration, probes)
    own, others = acquired_rows(acquisition, roles.attacked), acquired_rows(acquisition, roles.calibration)
    unattacked, calibrating = all_pairs(acquisition, own), all_pairs(acquisition, others)
    listed = thresholds(acquisition, calibrating, unattacked, rates, threshold)
    stated = [one for one in listed if "rate" in one]
    enrolled, probed = enrol(acquisition, roles.attacked, probes)
    targets = [(place + (goal in ("impersonate", "identify"))) % len(enrolled) for place, _ in probed]
    aimed = hardest([one["value"] for one in stated], goal)
    made = trial_goal(acquisition, goal, enrolled, targets, aimed, rank)
    rows = [row for _, row in probed]
    images = read_pictures(acquisition, [*enrolled, *rows])
    reference = {
        "goal": goal,
        "metric": acquisition.metric,
        "rank": rank,
        "aimed": aimed,
        "thresholds": stated,
        "equal_error_rate": listed[len(stated) :],
        "calibration": role_values(acquisition, roles.calibration, calibrating),
        "attacked": role_values(acquisition, roles.attacked, unattacked),
        "scores": score_values(
            calibrating if len(calibrating.impostor) else unattacked, stated[0]["value"], acquisition.metric
        ),
        "templates": [roles.attacked[place] for place in targets],
        "template_of": torch.tensor(targets),
        "genuine": unattacked.genuine,
        "impostor": unattacked.impostor,
        "template_pictures": template_pictures(images[: len(enrolled)]),
    }
    if goal in IDENTIFICATION:
        reference |= {
            "gallery": len(enrolled),
            "searches": search_values(acquisition, enrolled, others, stated),
        }
    counts = f"{len(roles.attacked)} persons attacked, {len(roles.calibration)} others calibrate"
    note = f"{counts}; the first picture of each is enrolled"
    return Trials(
        name=acquisition.pictures.name,
        goal=made,
        images=images[len(enrolled) :],
        names=tuple(acquisition.names[row] for row in rows),
        reference=reference,
        label_note=note,
        skipped=acquisition.pictures.skipped(),
    )


def assign_roles(
    acquisition: Acquisition, attacked: int | Sequence[str] | None, calibration: int | Sequence[str] | None, probes: int
) -> Roles:
    """Return who is attacked and who calibrates, by the rules of `make_trials`."""
    everybody = list(dict.fromkeys(acquisition.persons))
    pairs = zip(acquisition.persons, acquisition.acquired.tolist(), strict=True)
    pictures = Counter(person for person, found in pairs if found)
    needed = 1 + probes
    fit = [person for person in everybody if pictures[person] >= needed]
    named = _names("calibration", calibration, everybody)
    if attacked is None or isinstance(attacked, int):
        free = [person for person in fit if person not in (named or ())]
        count = min(MOST_ATTACKED, max(2, len(everybody) // ATTACKED_SHARE)) if attacked is None else attacked
        if isinstance(attacked, bool) or count < 2:
            raise ConfigError(f"attacked={attacked!r:.80}; name two persons at least, or pass an int >= 2")
        if len(free) < count:
            raise InputError(
                f"{count} persons are to be attacked, and {len(free)} have {needed} pictures in which a face is found "
                "(one is enrolled) and do not calibrate; attack fewer, or give more pictures of each"
            )
        chosen = free[-count:]
    else:
        chosen = _names("attacked", attacked, everybody) or []
        if len(chosen) < 2:
            raise ConfigError(f"attacked={attacked!r:.80}; name two persons at least: one is taken for another")
        for person in chosen:
            if pictures[person] < needed:
                raise InputError(
                    f"{person!r} is to be attacked and has {pictures[person]} picture"
                    f"{'' if pictures[person] == 1 else 's'} in which a face is found; {needed} are needed: one "
                    "that is "
                    f"enrolled, and {probes} to attack. Leave the person out, or give more pictures"
                )
    rest = [person for person in everybody if person not in chosen]
    if named is None:
        return Roles(tuple(rest if calibration is None else _first(rest, calibration)), tuple(chosen))
    both = [person for person in named if person in chosen]
    if both:
        raise ConfigError(
            f"{', '.join(map(repr, both))} calibrate{'s' if len(both) == 1 else ''} the threshold and "
            f"{'is' if len(both) == 1 else 'are'} attacked; a threshold is calibrated on other persons: name them for "
            "one of the two"
        )
    return Roles(tuple(named), tuple(chosen))


def _first(rest: list[str], count: Any) -> list[str]:
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= len(rest):
        raise ConfigError(f"calibration={count!r:.80}; {len(rest)} persons are not attacked: pass an int from 2 on")
    return rest[:count]


def _names(word: str, given: int | Sequence[str] | None, known: list[str]) -> list[str] | None:
    """Return persons that were named; None where none were."""
    if given is None or isinstance(given, int):
        return None
    listed = list(dict.fromkeys(given))
    for person in listed:
        if person not in known:
            raise ConfigError(f"{word} names {person!r:.80}, whom no picture shows.{nearest(str(person), known)}")
    return listed


def _checked_rates(rates: Sequence[float]) -> list[float]:
    """Return the rates, highest first; ConfigError for what is none."""
    listed = [rates] if isinstance(rates, int | float) else list(rates)
    for rate in listed:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
            raise ConfigError(f"false_accept_rates={rates!r:.80}: {rate!r:.40} is no share; pass e.g. 0.01")
    if not listed:
        raise ConfigError("false_accept_rates is empty; pass shares, as 0.01 and 0.001")
    return sorted({float(rate) for rate in listed}, reverse=True)


def acquired_rows(acquisition: Acquisition, persons: Sequence[str]) -> Tensor:
    """Return the positions of the pictures of these persons in which a face is found."""
    rows = acquisition.rows_of(persons)
    return rows[acquisition.acquired[rows]]


@dataclass(frozen=True)
class Pairs:
    """The similarities of all pairs among some pictures, of one person (n,) and of two (m,); either may be empty."""

    genuine: Tensor
    impostor: Tensor

    def rates(self, threshold: float) -> dict[str, list[float] | None]:
        """Return both error rates at a threshold with their intervals; None where there are no such pairs."""
        accepted, rejected = int((self.impostor >= threshold).sum()), int((self.genuine < threshold).sum())
        return {
            "false_accept": _share(accepted, len(self.impostor)),
            "false_reject": _share(rejected, len(self.genuine)),
        }

    def equal_error_threshold(self) -> float | None:
        """Return the threshold at which both rates are equal; None where pairs of one kind are missing."""
        if not len(self.genuine) or not len(self.impostor):
            return None
        return Comparisons(self.genuine, self.impostor).equal_error_rate().threshold


def _share(count: int, total: int) -> list[float] | None:
    if not total:
        return None
    found = clopper_pearson(count, total)
    return [found.value, found.low, found.high]


def all_pairs(acquisition: Acquisition, rows: Tensor) -> Pairs:
    """Return the similarities of these pictures, each pair once."""
    alike = acquisition.alike(rows, rows)
    numbers = {person: place for place, person in enumerate(dict.fromkeys(acquisition.persons))}
    persons = torch.tensor([numbers[acquisition.persons[row]] for row in rows.tolist()])
    same = persons[:, None] == persons
    once = torch.ones_like(same).triu(1)
    return Pairs(alike[once & same], alike[once & ~same])


def thresholds(
    acquisition: Acquisition, calibrating: Pairs, unattacked: Pairs, rates: list[float], threshold: float | None
) -> list[dict[str, Any]]:
    """Return the thresholds at the rates, or the one that was given, with the error rates that they have."""
    found: list[tuple[float | None, float]]
    if threshold is None:
        if not len(calibrating.impostor):
            raise InputError(
                f"fewer than two persons of {acquisition.pictures.name} calibrate the threshold; attack fewer, give "
                "pictures of more persons, or pass the threshold"
            )
        found = [(rate, calibrate_threshold(calibrating.impostor, rate).value) for rate in rates]
    else:
        found = [(None, checked_threshold(threshold, acquisition.metric))]
    listed = [threshold_values({"rate": rate}, value, calibrating, unattacked) for rate, value in found]
    equal = calibrating.equal_error_threshold()
    return (
        listed
        if equal is None
        else [*listed, threshold_values({"name": "equal error rate"}, equal, calibrating, unattacked)]
    )


def threshold_values(name: dict[str, Any], value: float, calibrating: Pairs, unattacked: Pairs) -> dict[str, Any]:
    """Return a threshold as the report reads it; `rate` is None where it was given and not calibrated."""
    both = {"calibration": calibrating.rates(value), "attacked": unattacked.rates(value)}
    return {**name, "value": float(value), **both}


def checked_threshold(threshold: float, metric: str) -> float:
    """Return a threshold that was given; InputError where it is no similarity in this metric."""
    euclidean = metric == "euclidean"
    low, high = (-math.inf, 0.0) if euclidean else (-1.0, 1.0)
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if number and low < threshold < high:
        return float(threshold)
    turned = euclidean and number and 0 < threshold < math.inf
    cure = f"pass {-threshold:g}" if turned else f"pass a number between {low:g} and {high:g}"
    raise InputError(
        f"threshold={threshold!r:.40} is no similarity of this verifier, which compares by metric={metric!r} "
        f"({'minus a distance' if euclidean else 'a cosine'}: higher is more alike); {cure}"
    )


def hardest(values: Sequence[float], goal: str) -> float:
    """Return the threshold that is hardest to cross for the attacker."""
    return min(values) if goal in ("dodge", "evade") else max(values)


def enrol(acquisition: Acquisition, attacked: Sequence[str], probes: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the picture that each person is enrolled with, and (place of the person, picture) of each probe."""
    enrolled, probed = [], []
    for place, person in enumerate(attacked):
        rows = acquired_rows(acquisition, [person]).tolist()
        enrolled.append(rows[0])
        probed += [(place, row) for row in rows[1 : 1 + probes]]
    return enrolled, probed


def trial_goal(
    acquisition: Acquisition, goal: str, enrolled: list[int], targets: list[int], threshold: float, rank: int
) -> Goal:
    """Return the goal of all trials, a row for each; `targets` are places among the enrolled."""
    templates, place, metric = acquisition.embeddings[enrolled], torch.tensor(targets), acquisition.metric
    if goal == "dodge":
        return Dodge(templates[place], threshold, metric=metric)
    if goal == "impersonate":
        return Impersonate(templates[place][:, None], threshold, metric=metric)
    gallery = templates.expand(len(place), -1, -1)
    if goal == "identify":
        return IdentifyAs(gallery, place, threshold, metric=metric)
    if rank >= len(templates):
        raise ConfigError(f"rank={rank} of a gallery of {len(templates)} persons is always reached; pass a lower one")
    return EvadeIdentification(gallery, place, threshold, rank, metric=metric)


def read_pictures(acquisition: Acquisition, rows: list[int]) -> Tensor:
    """Return the pictures (M, C, H, W) at these positions, which are read again."""
    wanted = set(rows)
    found = {row: picture.image for row, picture in enumerate(acquisition.pictures) if row in wanted}
    return torch.stack([found[row] for row in rows])


def role_values(acquisition: Acquisition, persons: Sequence[str], pairs: Pairs) -> dict[str, int]:
    """Return what the report says of the persons of a role."""
    rows = acquisition.rows_of(persons)
    return {
        "persons": len(persons),
        "pictures": len(rows),
        "no_face": int((~acquisition.acquired[rows]).sum()),
        "genuine": len(pairs.genuine),
        "impostor": len(pairs.impostor),
    }


def score_values(pairs: Pairs, threshold: float, metric: str) -> dict[str, float] | None:
    """Return the map to scores of 0 to 100: 0 at the mean impostor, 60 at the threshold, 100 for the same picture.

    None where they do not ascend.
    """
    zero = float(pairs.impostor.mean()) if len(pairs.impostor) else math.nan
    hundred = 0.0 if metric == "euclidean" else 1.0
    return dict(vars(ScoreMap(zero, threshold, hundred))) if zero < threshold < hundred else None


def search_values(
    acquisition: Acquisition, enrolled: list[int], others: Tensor, listed: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return how often a search for somebody who is not enrolled finds somebody, at each threshold."""
    if not len(others):
        return []
    best = acquisition.alike(others, torch.tensor(enrolled)).amax(1)
    return [
        {
            "rate": one["rate"],
            "value": one["value"],
            "false_positive": _share(int((best >= one["value"]).sum()), len(best)),
        }
        for one in listed
    ]


def template_pictures(images: Tensor) -> Tensor:
    """Return the enrolled pictures (K, C, H, W) in 8 bits for the report, as many as it keeps."""
    most = max(1, PICTURES // max(1, images[0].numel()))
    return images[:most].mul(255).round().byte()
