"""Run attacks over a data set, chunk by chunk: what `sparring attack` does.

Each attack runs on all images, whatever the others found. The folder `out` gets, while the attacks run,

    images.csv    a row for each image and attack: already, success, distance, queries to success, reason
    N-NAME-FIRST.safetensors, pictures    the examples
    attacks.csv, attacks.json    the sums of each attack; written at the end, also where the run is interrupted
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Budget, Gradients, Keep, Reason
from ..attacks import PGD
from ..attacks.spec import describe
from ..audit.evaluation.predictions import predict, round_to_uint8
from ..audit.evaluation.region_limits import RegionLimits
from ..audit.records.example_files import write_examples
from ..audit.records.statistics import wilson
from ..audit.report.gallery import png_bytes
from ..engine import Engine, Outcome, region_of, run
from ..errors import InputError, LockedOut, ThreatError
from ..geometry import Ball
from ..goals import ClassifyAs, Goal, Misclassify
from ..rows import take
from ..storage import write_atomically
from ..targets import Target
from ..zoo import Chunk, Data, LoadedModel
from .figures import query_curves, size_curves
from .observer import ExperimentObserver
from .output import refuse_used_folder, report_write_errors

FORMULA = ("=", "+", "-", "@")  # how a cell begins that a spreadsheet would compute
PREVIEWS = 16  # images of the data set whose examples are also written as pictures


@dataclass
class AttackTotals:
    """Sums of one attack over the chunks of a data set."""

    images: int = 0
    already: int = 0  # images on which the goal was met before the attack
    sizes: list[float] = field(default_factory=list)  # of the examples found, in the attack's norm
    queries: list[int] = field(default_factory=list)  # forward passes after which each image fell
    notes: set[str] = field(default_factory=set)
    survive_uint8: int = 0  # examples that still succeed after rounding to 8 bits
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    def record(self, label: str, ball: Ball) -> dict[str, Any]:
        """Return the sums as plain values; None where nothing was found or attacked."""
        low, high = wilson(self.fell, self.attacked)
        return {
            "attack": label,
            "norm": type(ball).__name__,
            "eps": ball.eps if math.isfinite(ball.eps) else None,
            "images": self.images,
            "already": self.already,
            "fell": self.fell,
            "success": self.fell / self.attacked if self.attacked else None,
            "success_low": low if self.attacked else None,
            "success_high": high if self.attacked else None,
            "median_size": median(self.sizes) if self.sizes else None,
            "median_queries": median(self.queries) if self.queries else None,
            "survive_uint8": self.survive_uint8,
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": self.seconds,
            "reasons": dict(sorted(self.reasons.items())),
            "notes": sorted(self.notes),
        }

    @property
    def fell(self) -> int:
        """Return the number of successes of the attack."""
        return len(self.sizes)

    @property
    def attacked(self) -> int:
        """Return the number of images on which the goal was not met before the attack."""
        return self.images - self.already


@dataclass
class AttackDataset:
    """Run attacks on one model and data set.

    Args:
        loaded: the model, with its name and class names.
        data: the images; without labels the model's own predictions stand in.
        targeted: a class that every image is to be given, or (N,) int64, one for each; None: any wrong one counts.
        batch_size: images per pass.
        seed: of all random draws.
        out: a folder for examples and pictures; None: nothing is written.
        budget: passes per image.
        start_model: the attacker's own model; attacks begin where PGD on it ends.
        mask: bool, like one image or like all of them: true where a value may move; None: everywhere.
        gradients_of: what attacks with gradients are run on, where that is another view of the model.
    """

    loaded: LoadedModel
    data: Data
    targeted: int | Tensor | None
    batch_size: int
    seed: int
    out: Path | None
    budget: Budget = field(default_factory=Budget)
    start_model: Target[Any] | None = None
    mask: Tensor | None = None
    gradients_of: Target[Any] | None = None

    def target_of(self, attack: Attack[Any, Any]) -> Target[Any]:
        """Return what the attack is run on."""
        seen = self.gradients_of
        return seen if seen is not None and issubclass(attack.access, Gradients) else self.loaded.target

    def run(self, attacks: list[Attack[Any, Any]], observer: ExperimentObserver | None = None) -> list[AttackTotals]:
        """Run every attack on every chunk, write examples and tables, and return the totals of each attack.

        Raises: RunError where `out` holds something, or the disk does not take the examples; ThreatError, before any
            attack, for one that knows no mask.
        """
        self.check_folder()
        first = next(iter(self.data.chunks(1)))
        limits = RegionLimits.make(self.mask, None, tuple(first.images.shape[1:]))
        for attack in attacks if self.mask is not None else ():
            attack.check(region_of(attack, self.target_of(attack), first.images, limits.rows(0, 1).mask, None))
        observer = observer or ExperimentObserver()
        totals, labels_of = [AttackTotals() for _ in attacks], attack_labels(attacks)
        try:
            self.run_chunks(attacks, labels_of, totals, limits, observer)
        finally:
            if self.out is not None and totals[0].images:
                self.write_tables(attacks, labels_of, totals)
        return totals

    def run_chunks(
        self,
        attacks: list[Attack[Any, Any]],
        names: list[str],
        totals: list[AttackTotals],
        limits: RegionLimits,
        observer: ExperimentObserver,
    ) -> None:
        """Run every attack on every chunk."""
        for chunk in self.data.chunks(self.batch_size):
            labels, goal = self.goal(chunk)
            mask = limits.rows(chunk.first, len(chunk.images)).mask
            for index, attack in enumerate(attacks):
                before = (chunk.first + len(chunk.images) * index / len(attacks)) / len(self.data)
                share = len(chunk.images) / len(attacks) / len(self.data)
                engine = Engine(self.batch_size, self.seed, progress=observer.steps(f"{attack.ball}: ", before, share))
                outcome = self.attack_chunk(chunk, labels, goal, mask, index, attack, totals[index], engine)
                self.append_images(names[index], chunk, labels, goal, outcome)

    def check_folder(self) -> None:
        """Raise RunError where the folder for examples holds something already."""
        if self.out is not None:
            refuse_used_folder(self.out)

    def write_curves(self, attacks: list[Attack[Any, Any]], totals: list[AttackTotals]) -> None:
        """Write success against queries as a picture, `queries.png`, into `out`."""
        assert self.out is not None
        named = dict(zip(attack_labels(attacks), totals, strict=True))
        fell = {name: total.queries for name, total in named.items()}
        attacked = {name: total.attacked for name, total in named.items()}
        sizes: dict[str, dict[str, list[float]]] = {}
        for name, attack, total in zip(named, attacks, totals, strict=True):
            if attack.keep is Keep.SMALLEST:
                sizes.setdefault(type(attack.ball).__name__, {})[name] = total.sizes
        title = f"{self.loaded.name} on {self.data.name}"
        pictures = {"queries.png": query_curves(fell, attacked, title)}
        pictures |= {f"sizes-{norm.lower()}.png": size_curves(norm, of, attacked, title) for norm, of in sizes.items()}
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            for file, picture in pictures.items():
                write_atomically(self.out / file, picture)

    def write_tables(self, attacks: list[Attack[Any, Any]], names: list[str], totals: list[AttackTotals]) -> None:
        """Write the sums of each attack, `attacks.csv` and `attacks.json`, into `out`."""
        assert self.out is not None
        records = [total.record(name, attack.ball) for name, attack, total in zip(names, attacks, totals, strict=True)]
        flat = [{key: value for key, value in one.items() if key not in ("reasons", "notes")} for one in records]
        goal = "untargeted" if self.targeted is None else "targeted"
        about = {"model": self.loaded.name, "data": self.data.name, "labels": self.data.label_note, "goal": goal}
        whole = {**about, "seed": self.seed, "budget": self.budget.forwards, "attacks": records}
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomically(self.out / "attacks.json", json.dumps(whole, indent=1, allow_nan=False).encode())
            write_atomically(self.out / "attacks.csv", csv_text(flat, header=True).encode())

    def append_images(self, name: str, chunk: Chunk, labels: Tensor, goal: Goal, outcome: Outcome) -> None:
        """Append a row for each image of a chunk to `images.csv` in `out`."""
        if self.out is None:
            return
        aims = goal.classes.tolist() if isinstance(goal, ClassifyAs) else [""] * len(labels)
        found = (outcome.success & ~outcome.already).tolist()
        columns = (labels, outcome.already, outcome.distance, outcome.queries_to_success, outcome.passes.forwards)
        rows = [
            {
                "attack": name, "image": chunk.first + row, "name": chunk.names[row], "label": label,
                "target": aims[row], "already": int(already), "success": int(found[row]),
                "distance": distance if found[row] else "", "queries": queries if found[row] else "",
                "forwards": forwards, "reason": reason.name,
            }
            for row, (label, already, distance, queries, forwards, reason) in enumerate(
                zip(*(column.tolist() for column in columns), outcome.reasons, strict=True)
            )
        ]  # fmt: skip
        path = self.out / "images.csv"
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            text = csv_text(rows, header=not path.exists())
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(text)

    def goal(self, chunk: Chunk) -> tuple[Tensor, Goal]:
        """Return the chunk's labels (B,), the model's own where there are none, and the attacker's goal."""
        labels = chunk.labels
        if labels is None:
            labels = predict(self.loaded.target, chunk.images, self.batch_size).predicted
        if self.targeted is None:
            return labels, Misclassify(labels)
        if not isinstance(self.targeted, Tensor):
            return labels, ClassifyAs(torch.full_like(labels, self.targeted))
        aims = self.targeted[chunk.first : chunk.first + len(labels)]
        if len(aims) < len(labels) or self.data.skipped:
            lost = f"{self.data.skipped[0].name} cannot be read" if self.data.skipped else f"there are {len(aims)}"
            raise InputError(f"targeted: {lost}, so that the classes do not belong to the images; give one for each")
        return labels, ClassifyAs(aims.to(labels.device))

    def attack_chunk(
        self,
        chunk: Chunk,
        labels: Tensor,
        goal: Goal,
        mask: Tensor | None,
        index: int,
        attack: Attack[Any, Any],
        totals: AttackTotals,
        engine: Engine,
    ) -> Outcome:
        """Run one attack on one chunk, add to its totals, and write its examples."""
        target, indices = self.target_of(attack), torch.arange(chunk.first, chunk.first + len(chunk.images))
        start = self.start(attack, goal, chunk.images, mask, indices, engine)
        outcome = run(
            attack,
            target,
            goal,
            chunk.images,
            indices=indices,
            mask=mask,
            start=start,
            budget=self.budget,
            engine=engine,
        )
        found = outcome.success & ~outcome.already
        totals.images += len(outcome)
        totals.already += int(outcome.already.sum())
        totals.sizes += outcome.distance[found].tolist()
        totals.queries += outcome.queries_to_success[found].tolist()
        totals.notes |= set(outcome.notes)
        totals.forwards += int(outcome.passes.forwards.sum())
        totals.backwards += int(outcome.passes.backwards.sum())
        totals.seconds += outcome.seconds
        totals.reasons.update(Reason(code).name for code in outcome.reason.tolist())
        if bool(found.any()):
            with suppress(LockedOut):
                rounded = predict(target, round_to_uint8(outcome.examples[found]), self.batch_size)
                totals.survive_uint8 += int((take(goal, found)(rounded.outputs).margin > 0).sum())
        if self.out is not None:
            self.save(chunk, labels, f"{index}-{attack.name}".replace(" ", "-").lower(), outcome.examples, found)
        return outcome

    def start(
        self,
        attack: Attack[Any, Any],
        goal: Goal,
        images: Tensor,
        mask: Tensor | None,
        indices: Tensor,
        engine: Engine,
    ) -> Tensor | None:
        """Return images (B, C, H, W) to begin at, where PGD on the attacker's own model ends; None without one."""
        if self.start_model is None:
            return None
        if not math.isfinite(attack.ball.eps):
            raise ThreatError("--start-on needs a radius for the attack on that model; add --threat linf:8/255")
        found = run(
            PGD(attack.ball),
            self.start_model,
            goal,
            images,
            indices=indices,
            mask=mask,
            keep=Keep.HIGHEST_LOSS,
            engine=engine,
        )
        return found.examples

    def save(self, chunk: Chunk, labels: Tensor, stem: str, examples: Tensor, found: Tensor) -> None:
        """Write the chunk's examples, and pictures of the first that were found."""
        assert self.out is not None
        tensors = {"examples": examples, "originals": chunk.images, "labels": labels, "success": found}
        with report_write_errors(self.out):
            write_examples(self.out / f"{stem}-{chunk.first:06d}.safetensors", tensors)
            for row in found.nonzero().squeeze(1).tolist():
                if chunk.first + row < PREVIEWS:
                    name = f"{stem}-{chunk.first + row:06d}"
                    write_atomically(self.out / f"{name}-original.png", png_bytes(chunk.images[row]))
                    write_atomically(self.out / f"{name}-adversarial.png", png_bytes(examples[row]))


def attack_labels(attacks: Sequence[Attack[Any, Any]]) -> list[str]:
    """Return a label for each attack, its name and ball; where several would have the same, with its parameters."""
    short = [f"{attack.name} {attack.ball}" for attack in attacks]
    long = [f"{describe(attack)} {attack.ball}" for attack in attacks]
    labels = [full if short.count(name) > 1 else name for name, full in zip(short, long, strict=True)]
    return [
        f"{label} ({labels[:place].count(label) + 1})" if labels.count(label) > 1 else label
        for place, label in enumerate(labels)
    ]


def csv_text(rows: Sequence[Mapping[str, Any]], header: bool) -> str:
    """Return rows of one set of columns as CSV; text that a spreadsheet would compute is quoted."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        safe = {
            key: f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
            for key, value in row.items()
        }
        writer.writerow(safe)
    return buffer.getvalue()
