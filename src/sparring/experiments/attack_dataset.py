"""Run attacks over a data set, chunk by chunk: what `sparring attack` does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Budget, Keep, Reason
from ..attacks import PGD
from ..audit.evaluation.predictions import predict, round_to_uint8
from ..audit.evaluation.region_limits import RegionLimits
from ..audit.report.gallery import png_bytes
from ..engine import Engine, OutcomeCounts, fingerprint, region_of, run
from ..engine.answers import FEW, answers_agree, sample_answers
from ..engine.checkpoint import OTHER_ANSWERS
from ..errors import LockedOut, RunError, ThreatError
from ..goals import ClassifyAs, Goal, Misclassify
from ..random import Key
from ..rows import take, to
from ..storage import locked, read_checkpoint, write_atomically, write_tensors
from ..targets import Target
from ..zoo import Chunk, Data, LoadedModel
from .figures import success_curves
from .observer import ExperimentObserver
from .output import refuse_used_folder, report_write_errors

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
        targeted: a class that every image is to be given; None: any wrong one counts.
        batch_size: images per pass.
        seed: of all random draws.
        out: a folder for examples and pictures; None: nothing is written.
        budget: passes per image.
        start_model: the attacker's own model; attacks begin where PGD on it ends.
        mask: bool, like one image or like all of them: true where a value may move; None: everywhere.
    """

    loaded: LoadedModel
    data: Data
    targeted: int | None
    batch_size: int
    seed: int
    out: Path | None
    budget: Budget = field(default_factory=Budget)
    start_model: Target[Any] | None = None
    mask: Tensor | None = None

    def run(self, attacks: list[Attack[Any, Any]], observer: ExperimentObserver | None = None) -> list[AttackTotals]:
        """Run every attack on every chunk, write the examples, and return the totals of each attack.

        Called again on a folder `out` that the same call has filled in part, it attacks the chunks that are missing.

        Raises: RunError where `out` holds something else, or the disk does not take the examples; ThreatError, before
            any attack, for one that knows no mask.
        """
        first = next(iter(self.data.chunks(FEW)))
        limits = RegionLimits.make(self.mask, None, tuple(first.images.shape[1:]))
        for attack in attacks if self.mask is not None else ():
            attack.check(region_of(attack, self.loaded.target, first.images[:1], limits.rows(0, 1).mask, None))
        observer = observer or ExperimentObserver()
        totals = [AttackTotals() for _ in attacks]
        with self.folder(attacks, first):
            for chunk in self.data.chunks(self.batch_size):
                mask = limits.rows(chunk.first, len(chunk.images)).mask
                for index, attack in enumerate(attacks):
                    before = (chunk.first + len(chunk.images) * index / len(attacks)) / len(self.data)
                    share = len(chunk.images) / len(attacks) / len(self.data)
                    progress = observer.steps(f"{attack.ball}: ", before, share)
                    engine = Engine(self.batch_size, self.seed, progress=progress)
                    totals[index].add(*self.attack_chunk(chunk, mask, index, attack, engine))
        return totals

    @contextmanager
    def folder(self, attacks: list[Attack[Any, Any]], first: Chunk) -> Iterator[None]:
        """Keep the folder for this call; RunError where it holds something other than a part of what this call writes.

        What the call is, and what the model answers to the first images, is noted there.
        """
        if self.out is None:
            yield
            return
        note = self.out / CALL
        begun = note.is_file()
        if not begun:
            refuse_used_folder(self.out)
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        with locked(self.out, "an attack"):
            target = self.loaded.target
            how = self.targeted, self.batch_size, self.seed, self.budget, self.mask, target.identity()
            start = () if self.start_model is None else self.start_model.identity()
            mark, device = fingerprint(attacks, *how, start), target.device
            asked = first.images.to(device), to(Key(torch.arange(len(first.images)), self.seed), device)
            with target.frozen():
                answers = sample_answers(target, *asked, twice=not begun)
            if begun:
                other = (
                    "belongs to another attack (other model, attack, threat, seed, budget, batch size or options); "
                    "choose another --out"
                )
                before, values = read_checkpoint(note, mark, "choose another --out", other)
                if not answers_agree(before, answers, values["device"] == device.type):
                    raise RunError(f"{self.out} {OTHER_ANSWERS}; choose another --out")
            else:
                write_tensors(note, answers, {"mark": mark, "device": device.type})
            yield

    def check_folder(self) -> None:
        """Raise RunError where the folder for examples holds something that no attack wrote."""
        if self.out is not None and not (self.out / CALL).is_file():
            refuse_used_folder(self.out)

    def write_curves(self, attacks: list[Attack[Any, Any]], totals: list[AttackTotals]) -> None:
        """Write success as pictures into `out`.

        Against queries as `queries.png`; against the distance as `distances.png` where attacks have no radius.
        """
        assert self.out is not None
        title = f"{self.loaded.name} on {self.data.name}"
        pairs = list(zip(attacks, totals, strict=True))
        for has_radius, axis in ((True, "queries"), (False, "distance")):
            here = [(attack, total) for attack, total in pairs if math.isfinite(attack.ball.eps) == has_radius]
            named = {f"{attack.name} {attack.ball}": total for attack, total in here}
            fell = {name: total.queries if has_radius else total.sizes for name, total in named.items()}
            attacked = {name: total.attacked for name, total in named.items()}
            if named:
                with report_write_errors(self.out):
                    self.out.mkdir(parents=True, exist_ok=True)
                    name = "queries.png" if has_radius else "distances.png"
                    write_atomically(self.out / name, success_curves(fell, attacked, title, axis))

    def goal(self, chunk: Chunk) -> tuple[Tensor, Goal]:
        """Return the chunk's labels (B,), the model's own where there are none, and the attacker's goal."""
        labels = chunk.labels
        if labels is None:
            labels = predict(self.loaded.target, chunk.images, self.batch_size).predicted
        goal = Misclassify(labels) if self.targeted is None else ClassifyAs(torch.full_like(labels, self.targeted))
        return labels, goal

    def attack_chunk(
        self, chunk: Chunk, mask: Tensor | None, index: int, attack: Attack[Any, Any], engine: Engine
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Run one attack on one chunk and write its examples, unless they are there; return what the file holds."""
        stem = f"{index}-{attack.name}".replace(" ", "-").lower()
        path = None if self.out is None else self.out / f"{stem}-{chunk.first:06d}.safetensors"
        data = fingerprint(chunk.images, chunk.labels)
        if path is not None and path.is_file():
            other = "is of other images or labels than there are now; restore the data, or choose another --out"
            tensors, values = read_checkpoint(path, data, "delete it to attack its images again", other)
            if not bool((tensors["reason"] == Reason.LOCKED_OUT).any()):
                return tensors, values
        labels, goal = self.goal(chunk)
        indices = torch.arange(chunk.first, chunk.first + len(chunk.images))
        start = self.start(attack, goal, chunk.images, mask, indices, engine)
        outcome = run(
            attack,
            self.loaded.target,
            goal,
            chunk.images,
            indices=indices,
            mask=mask,
            start=start,
            budget=self.budget,
            engine=engine,
        )
        found, survive = outcome.success & ~outcome.already, 0
        if bool(found.any()):
            with suppress(LockedOut):
                rounded = predict(self.loaded.target, round_to_uint8(outcome.examples[found]), self.batch_size)
                survive = int((take(goal, found)(rounded.outputs).margin > 0).sum())
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
