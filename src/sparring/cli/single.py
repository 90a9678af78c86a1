"""One attack over a data set, chunk by chunk: what `sparring attack` does."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from .. import attacks as room
from ..access import Attack, Budget, Keep, Reason, Scores
from ..audit.evaluation.predictions import look, rounded
from ..audit.records.example_files import write_atomically, write_shard
from ..audit.report.gallery import png
from ..engine import Engine, run
from ..errors import AccessError, LockedOut, ThreatError
from ..goals import ClassifyAs, Goal, Misclassify
from ..targets import Surrogate, Target
from ..zoo import Chunk, Data, LoadedModel, load_model
from .console import say, table
from .figures import query_curves
from .folders import unused, written
from .progress import Bars

PREVIEWS = 16
COLUMNS = [
    "attack", "images", "already", "fell", "success", "median size", "queries", "8-bit too", "forwards",
    "backwards", "s",
]  # fmt: skip


def borrowed(loaded: LoadedModel, surrogate: str, device: str) -> LoadedModel:
    """The model with the gradients of another."""
    if not issubclass(loaded.target.access, Scores):
        raise AccessError(f"a surrogate climbs beside scores, and {loaded.name} gives {loaded.target.access.__name__}")
    own = load_model(surrogate, device=device)
    name = f"{loaded.name} with gradients of {own.name}"
    return replace(loaded, name=name, target=Surrogate(loaded.target, own.target))


@dataclass
class Totals:
    """Sums over the chunks."""

    images: int = 0
    already: int = 0
    sizes: list[float] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)  # forward passes after which each fell
    notes: set[str] = field(default_factory=set)
    survives: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    def row(self, attack: Attack[Any, Any]) -> list[object]:
        stood = self.images - self.already
        fell = len(self.sizes)
        ball = f" {attack.ball}" if math.isfinite(attack.ball.eps) else f" {type(attack.ball).__name__}"
        return [
            attack.name + ball,
            self.images,
            self.already,
            fell,
            f"{fell / stood:.1%}" if stood else "-",
            f"{median(self.sizes):.4g}" if fell else "-",
            f"{median(self.firsts):.0f}" if fell else "-",
            self.survives,
            f"{self.forwards:,}",
            f"{self.backwards:,}",
            f"{self.seconds:.1f}",
        ]


@dataclass
class Single:
    """Attacks on one model and data set."""

    loaded: LoadedModel
    data: Data
    targeted: int | None
    batch_size: int
    seed: int
    out: Path | None
    budget: Budget = field(default_factory=Budget)
    own: Target[Any] | None = None  # the attacker's model, on which examples to begin at are made

    def run(self, attacks: list[Attack[Any, Any]]) -> None:
        """Every attack in turn, then the table."""
        if self.out is not None:
            unused(self.out)
        totals = [Totals() for _ in attacks]
        with Bars() as bars:
            for chunk in self.data.chunks(self.batch_size):
                labels, goal = self.goal(chunk)
                for place, attack in enumerate(attacks):
                    before = (chunk.first + len(chunk.images) * place / len(attacks)) / len(self.data)
                    share = len(chunk.images) / len(attacks) / len(self.data)
                    engine = Engine(self.batch_size, self.seed, progress=bars.steps("", before, share))
                    self.attack(chunk, labels, goal, place, attack, totals[place], engine)
        rows = [total.row(attack) for attack, total in zip(attacks, totals, strict=True)]
        table(f"{self.loaded.name} on {self.data.name}", COLUMNS, rows)
        say(self.data.label_note)
        for attack, total in zip(attacks, totals, strict=True):
            say(f"{attack.name}: " + ", ".join(f"{name} {count}" for name, count in sorted(total.reasons.items())))
            for note in sorted(total.notes):
                say(f"{attack.name}: {note}")
        if self.out is not None:
            self.draw(attacks, totals)
            say(f"examples: {self.out}", "bold")

    def draw(self, attacks: list[Attack[Any, Any]], totals: list[Totals]) -> None:
        """Success against queries, as a picture."""
        assert self.out is not None
        named = {f"{attack.name} {attack.ball}": total for attack, total in zip(attacks, totals, strict=True)}
        fell = {name: total.firsts for name, total in named.items()}
        stood = {name: total.images - total.already for name, total in named.items()}
        with written(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            title = f"{self.loaded.name} on {self.data.name}"
            write_atomically(self.out / "queries.png", query_curves(fell, stood, title))

    def goal(self, chunk: Chunk) -> tuple[Tensor, Goal]:
        """The labels of the chunk, the model's own where there are none; and what the attacker wants."""
        labels = chunk.labels
        if labels is None:
            labels = look(self.loaded.target, chunk.images, self.batch_size).predicted
        goal = Misclassify(labels) if self.targeted is None else ClassifyAs(torch.full_like(labels, self.targeted))
        return labels, goal

    def attack(
        self,
        chunk: Chunk,
        labels: Tensor,
        goal: Goal,
        place: int,
        attack: Attack[Any, Any],
        totals: Totals,
        engine: Engine,
    ) -> None:
        ids = torch.arange(chunk.first, chunk.first + len(chunk.images))
        start = self.start(attack, goal, chunk.images, ids, engine)
        outcome = run(
            attack, self.loaded.target, goal, chunk.images, ids=ids, start=start, budget=self.budget, engine=engine
        )
        found = outcome.success & ~outcome.already
        totals.images += len(outcome)
        totals.already += int(outcome.already.sum())
        totals.sizes += outcome.size[found].tolist()
        totals.firsts += outcome.first[found].tolist()
        totals.notes |= set(outcome.notes)
        totals.forwards += int(outcome.spent.forwards.sum())
        totals.backwards += int(outcome.spent.backwards.sum())
        totals.seconds += outcome.seconds
        totals.reasons.update(Reason(code).name for code in outcome.reason.tolist())
        if bool(found.any()):
            with suppress(LockedOut):
                coarse = look(self.loaded.target, rounded(outcome.examples[found]), self.batch_size)
                totals.survives += int((goal.take(found)(coarse.outputs).margin > 0).sum())
        if self.out is not None:
            self.save(chunk, labels, f"{place}-{attack.name}".replace(" ", "-").lower(), outcome.examples, found)

    def start(
        self, attack: Attack[Any, Any], goal: Goal, images: Tensor, ids: Tensor, engine: Engine
    ) -> Tensor | None:
        """Images to begin at: where PGD on the attacker's own model ends."""
        if self.own is None:
            return None
        if not math.isfinite(attack.ball.eps):
            raise ThreatError("--start-on needs a radius for the attack on that model; add --threat linf:8/255")
        return run(room.PGD(attack.ball), self.own, goal, images, ids=ids, keep=Keep.WORST, engine=engine).examples

    def save(self, chunk: Chunk, labels: Tensor, stem: str, examples: Tensor, found: Tensor) -> None:
        """The chunk's examples, and pictures of the first that were found."""
        assert self.out is not None
        tensors = {"examples": examples, "originals": chunk.images, "labels": labels, "success": found}
        with written(self.out):
            write_shard(self.out / f"{stem}-{chunk.first:06d}.safetensors", tensors)
            for row in found.nonzero().squeeze(1).tolist():
                if chunk.first + row < PREVIEWS:
                    name = f"{stem}-{chunk.first + row:06d}"
                    write_atomically(self.out / f"{name}-original.png", png(chunk.images[row]))
                    write_atomically(self.out / f"{name}-adversarial.png", png(examples[row]))
