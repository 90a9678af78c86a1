"""Runs one comparison: every library in turn, alternated, timed, counted and judged."""

import gc
import logging
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.clock import Elapsed, TimeLimitReached, stopwatch, time_limit
from benchmarks.counting import CountedNet
from benchmarks.judging import judge, weigh
from benchmarks.libraries import Attack, Task, attack_of
from benchmarks.nets import Victim
from benchmarks.suites import Comparison, Entry, Settings
from benchmarks.tracing import Queries, TracedNet

WARM_UP_IMAGES = 2
WARM_UP_LIMIT = 10.0

Row = dict[str, Any]
Report = Callable[[str], None]


def compare(comparison: Comparison, victim: Victim, repeats: int, report: Report) -> list[Row]:
    """One row for each run; a library that failed, or was stopped, has one row that says so.

    The order is turned round on every second repeat, and the seed is the number of the repeat.
    """
    logging.getLogger("art").setLevel(logging.ERROR)
    rows: list[Row] = []
    finished: set[Entry] = set()
    for repeat in range(repeats):
        entries = comparison.entries if repeat % 2 == 0 else comparison.entries[::-1]
        for entry in entries:
            if entry in finished:
                continue
            row = _described(comparison, entry, repeat) | _run(comparison, entry, victim, repeat, rows)
            rows.append(row)
            report(_line(row))
            if row["note"] or row["seconds"] > comparison.once_over:
                finished.add(entry)
    return rows


def skipped(comparison: Comparison, note: str) -> list[Row]:
    """The rows of a comparison that cannot be made here."""
    figures = dict.fromkeys(("seconds", "cpu", "wall", "forwards", "backwards"), 0.0)
    shared: Row = {"images": comparison.images, **figures, "device": None, "note": note, "stopped": False}
    return [_described(comparison, entry, 0) | shared for entry in comparison.entries]


def _described(comparison: Comparison, entry: Entry, repeat: int) -> Row:
    return {
        "net": comparison.net,
        "attack": comparison.attack,
        "norm": comparison.norm,
        "eps": comparison.eps if isfinite(comparison.eps) else None,
        "settings": dict(comparison.settings),
        "own_settings": dict(entry.settings),
        "library": entry.peer,
        "variant": entry.variant,
        "repeat": repeat,
    }


def _run(comparison: Comparison, entry: Entry, victim: Victim, repeat: int, rows: list[Row]) -> Row:
    """The measured part of a row."""
    net = CountedNet(victim.net).eval()
    images, labels = victim.images, victim.labels
    elapsed, note, stopped, answer = Elapsed(), "", False, None
    try:
        attack = attack_of(entry.peer, entry.attack or comparison.attack)
        settings = _settings(comparison, entry, rows)
        if repeat == 0:
            warm_up(attack, victim, settings)
        _seed(repeat)
        with _quietly(), stopwatch(victim.device) as elapsed, time_limit(comparison.limit, victim.device):
            answer = attack(Task(net, images, labels, repeat), **settings)
    except TimeLimitReached:
        note, stopped = f"stopped after {comparison.limit:.0f} s", True
    except Exception as error:
        note = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    row: Row = {
        "images": len(images),
        "seconds": elapsed.measured,
        **asdict(elapsed),
        "forwards": net.forwards / len(images),
        "backwards": net.backwards / len(images),
        "note": note,
        "stopped": stopped,
    }
    if answer is not None:
        targeted = comparison.attack == "jsma" and not entry.settings.get("untargeted")
        wanted = Task(net, images, labels, repeat).next_classes if targeted else None
        row |= asdict(judge(victim.net, images, labels, answer, comparison.norm, comparison.eps, wanted))
        if comparison.traced:
            row |= asdict(_traced(comparison, victim, attack, settings, repeat, answer))
    return row


def _traced(
    comparison: Comparison, victim: Victim, attack: Attack, settings: Settings, repeat: int, answer: Tensor
) -> Queries:
    """The queries to success, from a second run; unknown where that does not end as the first did."""
    asked_of = victim.net, victim.images, victim.labels
    net = TracedNet(*asked_of, comparison.norm, comparison.eps).eval()
    _seed(repeat)
    with _quietly():
        again = attack(Task(net, victim.images, victim.labels, repeat), **settings)
    if not torch.equal(again, answer):
        return Queries()
    return net.queries(weigh(*asked_of, answer, comparison.norm, comparison.eps).fallen)


def _settings(comparison: Comparison, entry: Entry, rows: list[Row]) -> Settings:
    settings = {**comparison.settings, **entry.settings}
    if isfinite(comparison.eps):
        settings["eps"] = comparison.eps
    if entry.queries_of is not None:
        spent = [row["forwards"] for row in rows if row["library"] == entry.queries_of]
        if not spent:
            raise ValueError(f"{entry.queries_of} has to be measured first, for its queries")
        settings["queries"] = int(spent[0])
    return settings


def warm_up(attack: Attack, victim: Victim, settings: Settings) -> None:
    """The same call on a few images, so that imports, caches and lazy set-up are not measured."""
    try:
        with _quietly(), time_limit(WARM_UP_LIMIT, victim.device):
            few = slice(WARM_UP_IMAGES)
            attack(Task(CountedNet(victim.net).eval(), victim.images[few], victim.labels[few], 0), **settings)
    except TimeLimitReached:
        pass


@contextmanager
def _quietly() -> Iterator[None]:
    """No warnings on the screen, and no garbage of the run before inside this one."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _seed(seed: int) -> None:
    """The peers draw from the global generators."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - art draws from it
    torch.manual_seed(seed)


def _line(row: Row) -> str:
    head = f"{row['net']} {row['attack']} {row['library']}"
    head += f" ({row['variant']})" if row["variant"] else ""
    figures = f"{row['seconds']:.2f} s, {row['forwards']:.1f} forwards, {row['backwards']:.1f} backwards"
    if row["note"]:
        return f"{head}: {figures}: {row['note']}"
    distance = "none" if row["median_distance"] is None else f"{row['median_distance']:.4f}"
    answer = f"robust {row['robust_accuracy']:.3f}, success {row['success']:.3f}, median {distance}"
    if row.get("queries_to_success") is not None:
        answer += f", {row['queries_to_success']:.0f} queries to success"
    return f"{head}: {figures}, {answer}"
