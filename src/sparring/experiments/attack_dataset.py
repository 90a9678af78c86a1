"""Run attacks over a data set, chunk by chunk: what `sparring attack` does.

Each attack runs on all images, whatever the others found. The folder `out` gets the examples of each chunk while the
attacks run, and at the end, also where the run is interrupted,

    images.csv     a row for each attack and image: whether it fell, distance, queries to success, reason
    attacks.csv    a row for each attack: its sums; attacks.json: the same with the reasons and notes
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Budget, Gradients, Keep, Reason
from ..attacks import PGD
from ..attacks.spec import describe
from ..audit.evaluation.predictions import goal_met, predict, round_to_uint8
from ..audit.evaluation.region_limits import RegionLimits
from ..audit.records.export import escape_formula
from ..audit.report.gallery import png_bytes
from ..engine import Engine, OutcomeCounts, fingerprint, region_of, run
from ..engine.answers import FEW
from ..errors import InputError, LockedOut, ThreatError
from ..files import write_atomically
from ..geometry import Ball
from ..goals import ClassifyAs, Goal, Misclassify
from ..intervals import wilson
from ..rows import take
from ..storage import read_checkpoint, write_tensors
from ..targets import Target
from ..zoo import Chunk, Data, LoadedModel
from ..zoo.label_file import image_key
from .figures import success_curves
from .observer import ExperimentObserver
from .output import refuse_used_folder, report_write_errors
from .resumable import resumable_folder

CALL = "attack.checkpoint"  # what the folder belongs to, as safetensors
RESULTS = ("already", "distance", "queries_to_success", "reason", "zero_gradient")  # of an outcome, in its file
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
    counts: OutcomeCounts = field(default_factory=OutcomeCounts)

    def add(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Add one chunk, as its file holds it."""
        found = tensors["success"]
        self.images += len(found)
        self.already += int(tensors["already"].sum())
        self.sizes += tensors["distance"][found].tolist()
        self.queries += tensors["queries_to_success"][found].tolist()
        self.forwards += int(tensors["forwards"].sum())
        self.backwards += int(tensors["backwards"].sum())
        reasons = Counter(Reason(code) for code in tensors["reason"].tolist())
        self.counts.add(OutcomeCounts(len(found), int(tensors["zero_gradient"].sum()), reasons))
        self.notes |= set(values["notes"])
        self.seconds += values["seconds"]
        self.survive_uint8 += values["survive_uint8"]

    @property
    def fell(self) -> int:
        """Return the number of successes of the attack."""
        return len(self.sizes)

    @property
    def attacked(self) -> int:
        """Return the number of images that were answered and on which the goal was not met before the attack."""
        return self.images - self.already - self.unanswered

    @property
    def unanswered(self) -> int:
        """Return the number of images for which the model answered NaN or infinity."""
        return self.counts.reasons[Reason.NON_FINITE]

    def record(self, label: str, ball: Ball) -> dict[str, Any]:
        """Return the sums as plain values; None where nothing was found or attacked."""
        low, high = wilson(self.fell, self.attacked)
        return {
            "attack": label,
            "norm": type(ball).__name__,
            "eps": ball.eps if math.isfinite(ball.eps) else None,
            "images": self.images,
            "already": self.already,
            "unanswered": self.unanswered,
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
            "reasons": {reason.name: count for reason, count in sorted(self.counts.reasons.items())},
            "notes": sorted(self.notes),
        }

    def accuracy_at(self, eps: float) -> float:
        """Return the share of all images that are neither unanswered nor lost at a distance up to `eps`."""
        lost = self.images - self.attacked + sum(size <= eps for size in self.sizes)
        return 1 - lost / self.images if self.images else math.nan


@dataclass
class AttackDataset:
    """Run attacks on one model and data set.

    Args:
        loaded: the model, with its name and class names.
        data: the images; without labels the model's own predictions stand in.
        targeted: a class that every image is to be given, or that of each image by its name; None: any wrong one.
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
    targeted: int | Mapping[str, int] | None
    batch_size: int
    seed: int
    out: Path | None
    budget: Budget = field(default_factory=Budget)
    start_model: Target[Any] | None = None
    mask: Tensor | None = None
    gradients_of: Target[Any] | None = None
    repeatable: bool = field(default=True, init=False)  # the first image was the same when it was read again
    unlabelled: int = field(default=0, init=False)  # images for which the model's own prediction stood in

    def target_of(self, attack: Attack[Any, Any]) -> Target[Any]:
        """Return what the attack is run on."""
        seen = self.gradients_of
        return seen if seen is not None and issubclass(attack.access, Gradients) else self.loaded.target

    def run(self, attacks: list[Attack[Any, Any]], observer: ExperimentObserver | None = None) -> list[AttackTotals]:
        """Run every attack on every chunk, write examples and tables, and return the totals of each attack.

        Called again on a folder `out` that the same call has filled in part, it attacks the chunks that are missing.

        Raises: RunError where `out` holds something else, or the disk does not take the examples; ThreatError, before
            any attack, for one that knows no mask.
        """
        first = next(iter(self.data.chunks(FEW)))
        if isinstance(self.targeted, Mapping):
            for chunk in self.data.chunks(self.batch_size):  # before the first attack
                self.aims(chunk)
        limits = RegionLimits.make(self.mask, None, tuple(first.images.shape[1:]))
        for attack in attacks if self.mask is not None else ():
            attack.check(region_of(attack, self.target_of(attack), first.images[:1], limits.rows(0, 1).mask, None))
        observer = observer or ExperimentObserver()
        totals, names = [AttackTotals() for _ in attacks], attack_labels(attacks)
        with self.folder(attacks, first), self.tables(attacks, names, totals) as images:
            for chunk in self.data.chunks(self.batch_size):
                self.repeatable &= chunk.first > 0 or torch.equal(chunk.images[:1], first.images[:1])
                self.unlabelled += len(chunk.images) * (chunk.labels is None and chunk.goal is None)
                mask = limits.rows(chunk.first, len(chunk.images)).mask
                for index, attack in enumerate(attacks):
                    before = (chunk.first + len(chunk.images) * index / len(attacks)) / len(self.data)
                    share = len(chunk.images) / len(attacks) / len(self.data)
                    progress = observer.steps(f"{attack.ball}: ", before, share)
                    engine = Engine(self.batch_size, self.seed, progress=progress)
                    tensors, values = self.attack_chunk(chunk, mask, index, attack, engine)
                    totals[index].add(tensors, values)
                    if self.out is not None:
                        images += image_rows(names[index], chunk, tensors, self.aims(chunk))
        return totals

    @contextmanager
    def folder(self, attacks: list[Attack[Any, Any]], first: Chunk) -> Iterator[None]:
        """Keep the folder for this call; RunError where it holds something other than a part of what this call writes.

        What the call is, and what the model answers to the first images, is noted there.
        """
        if self.out is None:
            yield
            return
        target = self.loaded.target
        how = self.targeted, self.batch_size, self.seed, self.budget, self.mask, target.identity()
        seen = () if self.gradients_of is None else self.gradients_of.identity()
        start = () if self.start_model is None else self.start_model.identity()
        mark = fingerprint(attacks, *how, start, seen)
        other = "other model, attack, threat, seed, budget, batch size or options"
        with resumable_folder(self.out / CALL, mark, "an attack", other, target, first.images, self.seed):
            yield

    @contextmanager
    def tables(
        self, attacks: list[Attack[Any, Any]], names: list[str], totals: list[AttackTotals]
    ) -> Iterator[list[dict[str, Any]]]:
        """Give a list for the rows of images.csv; at the end, whatever ends it, write that and the sums of attacks."""
        images: list[dict[str, Any]] = []
        try:
            yield images
        finally:
            if self.out is not None and images:
                records = [
                    total.record(name, attack.ball) for name, attack, total in zip(names, attacks, totals, strict=True)
                ]
                sums = [{key: one[key] for key in one if key not in ("reasons", "notes")} for one in records]
                about = {"model": self.loaded.name, "data": self.data.name, "labels": self.data.label_note}
                about["goal"] = self.goal_word
                whole = {**about, "seed": self.seed, "queries": self.budget.forwards, "attacks": records}
                with report_write_errors(self.out):
                    write_atomically(self.out / "images.csv", csv_text(images).encode())
                    write_atomically(self.out / "attacks.csv", csv_text(sums).encode())
                    write_atomically(self.out / "attacks.json", json.dumps(whole, indent=1, allow_nan=False).encode())

    def check_folder(self) -> None:
        """Raise RunError where the folder for examples holds something that no attack wrote."""
        if self.out is not None and not (self.out / CALL).is_file():
            refuse_used_folder(self.out)

    def write_curves(self, attacks: list[Attack[Any, Any]], totals: list[AttackTotals]) -> None:
        """Write success as pictures into `out`.

        Against queries as `queries.png`; where attacks have no radius against the distance, as `distances.png`, or
        `distances-l2.png` and so on where they search in several norms.
        """
        assert self.out is not None
        title = f"{self.loaded.name} on {self.data.name}"
        labelled = dict(zip(attack_labels(attacks), zip(attacks, totals, strict=True), strict=True))
        free = {name: total for name, (attack, total) in labelled.items() if not math.isfinite(attack.ball.eps)}
        norms = {name: type(labelled[name][0].ball).__name__ for name in free}
        parts: dict[str, dict[str, AttackTotals]] = {}
        if len(free) < len(labelled):
            parts["queries"] = {name: total for name, (_, total) in labelled.items() if name not in free}
        for norm in dict.fromkeys(norms.values()):
            file = "distances" if len(set(norms.values())) == 1 else f"distances-{norm.lower()}"
            parts[file] = {name: total for name, total in free.items() if norms[name] == norm}
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            for file, named in parts.items():
                by_queries = file == "queries"
                fell = {name: total.queries if by_queries else total.sizes for name, total in named.items()}
                attacked = {name: total.attacked for name, total in named.items()}
                picture = success_curves(fell, attacked, title, "queries" if by_queries else "distance")
                write_atomically(self.out / f"{file}.png", picture)

    @property
    def goal_word(self) -> str:
        """What the attacker wants, as a table says it."""
        given: str | None = getattr(self.data, "goal_word", None)
        return given or ("misclassify" if self.targeted is None else "classify-as")

    def goal(self, chunk: Chunk) -> tuple[Tensor, Goal]:
        """Return the chunk's labels (B,), the model's own where there are none, and the attacker's goal.

        A goal that comes with the data stands as it is; its labels are -1.
        """
        if chunk.goal is not None:
            return torch.full((len(chunk.images),), -1), chunk.goal
        labels = chunk.labels
        if labels is None:
            labels = predict(self.loaded.target, chunk.images, self.batch_size).predicted
        aims = self.aims(chunk)
        return labels, Misclassify(labels) if aims is None else ClassifyAs(aims.to(labels.device))

    def aims(self, chunk: Chunk) -> Tensor | None:
        """Return the class (B,) that each image of the chunk is to be given; None where any wrong one counts.

        Raises: InputError where a table lacks one of them.
        """
        if not isinstance(self.targeted, Mapping):
            return None if self.targeted is None else torch.full((len(chunk.images),), self.targeted)
        missing = next((name for name in chunk.names if image_key(name) not in self.targeted), None)
        if missing is not None:
            raise InputError(f"--targeted names no target for {missing!r} of {self.data.name}; add a line for it")
        return torch.tensor([self.targeted[image_key(name)] for name in chunk.names])

    def attack_chunk(
        self, chunk: Chunk, mask: Tensor | None, index: int, attack: Attack[Any, Any], engine: Engine
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Run one attack on one chunk and write its examples, unless they are there; return what the file holds."""
        stem = f"{index}-{attack.name}".replace(" ", "-").lower()
        path = None if self.out is None else self.out / f"{stem}-{chunk.first:06d}.safetensors"
        given = () if chunk.goal is None and chunk.context is None else (chunk.goal, chunk.context)
        data = fingerprint(chunk.images, chunk.labels, *given)
        if path is not None and path.is_file():
            other = "is of other images or labels than there are now; restore the data, or choose another --out"
            tensors, values = read_checkpoint(path, data, "delete it to attack its images again", other)
            if not bool((tensors["reason"] == Reason.LOCKED_OUT).any()):
                return tensors, values
        labels, goal = self.goal(chunk)
        indices = torch.arange(chunk.first, chunk.first + len(chunk.images))
        start = self.start(attack, goal, chunk.images, mask, indices, engine)
        target = self.target_of(attack)
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
            context=chunk.context,
        )
        found, survive = outcome.success & ~outcome.already, 0
        if bool(found.any()):
            with suppress(LockedOut):
                beside = None if chunk.context is None else take(chunk.context, found)
                rounded = predict(target, round_to_uint8(outcome.examples[found]), self.batch_size, context=beside)
                survive = int(goal_met(target, rounded, take(goal, found)).sum())
        tensors = {"examples": outcome.examples, "originals": chunk.images, "labels": labels, "success": found}
        tensors |= {name: getattr(outcome, name) for name in RESULTS}
        tensors |= {"forwards": outcome.passes.forwards, "backwards": outcome.passes.backwards}
        notes = outcome.notes[: len(outcome.notes) - len(outcome.remarks)]  # remarks are made of the whole
        values = {"mark": data, "notes": notes, "seconds": outcome.seconds, "survive_uint8": survive}
        if path is not None:
            self.save_previews(stem, chunk, outcome.examples, found)
            write_tensors(path, tensors, values)
        return tensors, values

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

    def save_previews(self, stem: str, chunk: Chunk, examples: Tensor, found: Tensor) -> None:
        """Write pictures of the chunk's first examples that were found."""
        assert self.out is not None
        with report_write_errors(self.out):
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


def image_rows(
    name: str, chunk: Chunk, tensors: Mapping[str, Tensor], aims: Tensor | None
) -> Iterator[dict[str, object]]:
    """Yield a row of images.csv for each image of a chunk, from the results of an attack."""
    columns = ("labels", "already", "success", "distance", "queries_to_success", "forwards", "backwards", "reason")
    values = zip(*(tensors[column].tolist() for column in columns), strict=True)
    for row, (label, already, found, distance, queries, forwards, backwards, reason) in enumerate(values):
        yield {
            "attack": name,
            "image": chunk.first + row,
            "name": chunk.names[row],
            "label": label,
            "target": "" if aims is None else int(aims[row]),
            "already": int(already),
            "success": int(found),
            "distance": distance if found else "",
            "queries": queries if found else "",
            "forwards": forwards,
            "backwards": backwards,
            "reason": Reason(reason).name,
        }


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the columns of the first as CSV; text that a spreadsheet would compute is quoted."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: escape_formula(value) for key, value in row.items()})
    return buffer.getvalue()
