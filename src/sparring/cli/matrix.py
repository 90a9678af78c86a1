"""What `sparring transfer` does: the transfer matrix of several models over a data set, chunk by chunk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Gradients
from ..attacks import InputDiversity, ScaleInvariance, Transferred, TranslationInvariance, VarianceTuning
from ..audit.evaluation.batches import fitting
from ..audit.evaluation.predictions import look
from ..audit.records.example_files import write_atomically
from ..audit.records.statistics import wilson
from ..engine import Engine
from ..errors import ConfigError, nearest
from ..goals import ClassifyAs, Goal, Misclassify
from ..targets import Ensemble
from ..transfer import Tally, held_out, transfer
from ..zoo import Chunk
from .console import say, table
from .figures import heatmap
from .folders import unused, written
from .named import attack_called, balls, kind_called
from .progress import Bars
from .several import several

TRICKS: dict[str, Any] = {
    "vmi": VarianceTuning,
    "ti": TranslationInvariance,
    "si": ScaleInvariance,
    "di": InputDiversity,
}  # outermost first


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    attack: str
    threats: list[str]
    steps: int | None
    tricks: list[str]
    targeted: int | None
    ensemble: bool
    seed: int

    def attacks(self) -> list[Attack[Gradients, Any]]:
        """The attack at each radius."""
        unknown = [name for name in self.tricks if name not in TRICKS]
        if unknown:
            raise ConfigError(f"there is no trick {unknown[0]!r} ({', '.join(TRICKS)}).{nearest(unknown[0], TRICKS)}")
        if not issubclass(kind_called(self.attack)._access, Gradients):
            raise ConfigError(f"{self.attack} asks for no gradient; transfer needs a gradient attack, as mi-fgsm")
        tricks = [make() for name, make in TRICKS.items() if name in self.tricks]
        made = [attack_called(self.attack, ball, self.steps) for ball in balls(self.attack, self.threats)]
        return [Transferred(attack, *tricks) if tricks else attack for attack in made]


@dataclass
class Matrix:
    """The models and the data as they were typed, and what to do with them."""

    models_and_data: list[str]
    request: Request
    out: Path | None
    limit: int | None
    batch_size: int | None
    device: str

    def run(self) -> None:
        """Load, attack, print; with `out` also write the counts and a picture for each radius."""
        *specs, data_spec = self.models_and_data
        if len(specs) < 2:
            raise ConfigError(f"transfer needs two models and data; got {' '.join(self.models_and_data)}")
        if self.out is not None:
            unused(self.out)
        attacks = self.request.attacks()
        found = several(specs, data_spec, self.device, self.limit)
        models, data = found.targets, found.data
        size = self.batch_size or fitting(data)
        totals: list[Tally | None] = [None] * len(attacks)
        with Bars() as bars:
            for chunk in data.chunks(size):
                engine = Engine(size, self.request.seed, progress=bars.steps(f"images from {chunk.first} on: "))
                goal, ids = self.goal(models, chunk, size), torch.arange(chunk.first, chunk.first + len(chunk.images))
                for place, attack in enumerate(attacks):
                    part = self.tally(models, attack, goal, chunk.images, ids, engine)
                    before = totals[place]
                    totals[place] = part if before is None else before + part
        say(data.label_note)
        for attack, total in zip(attacks, totals, strict=True):
            assert total is not None
            self.show(attack, total)

    def goal(self, models: dict[str, Any], chunk: Chunk, size: int) -> Goal:
        """By the labels; where there are none, what the first model says of the clean pictures."""
        labels = chunk.labels
        if labels is None:
            labels = look(next(iter(models.values())), chunk.images, size).predicted
        if self.request.targeted is None:
            return Misclassify(labels)
        return ClassifyAs(torch.full_like(labels, self.request.targeted))

    def tally(
        self,
        models: dict[str, Any],
        attack: Attack[Gradients, Any],
        goal: Goal,
        images: Tensor,
        ids: Tensor,
        engine: Engine,
    ) -> Tally:
        whole = transfer(models, models, attack, goal, images, ids=ids, engine=engine)
        if not self.request.ensemble:
            return whole
        return whole.below(held_out(models, Ensemble, attack, goal, images, ids=ids, engine=engine))

    def show(self, attack: Attack[Gradients, Any], tally: Tally) -> None:
        title = f"{attack.name} {attack.ball}, {tally.images} images that no model errs on before"
        rows: list[list[object]] = []
        for name, counts in zip(tally.rows, tally.fell.tolist(), strict=True):
            rows.append([name, *[cell(count, tally.images) for count in counts]])
        table(title + ": success by the model made on (rows) and tried on", ["made on", *tally.columns], rows)
        if self.out is None:
            return
        stem = f"transfer-{attack.name}-{attack.ball}".lower().replace(" ", "-").replace("/", "of")
        stem = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in stem).strip("-")
        record = {
            "attack": repr(attack),
            "goal": "untargeted" if self.request.targeted is None else f"class {self.request.targeted}",
            "images": tally.images,
            "made on": tally.rows,
            "tried on": tally.columns,
            "fell": tally.fell.tolist(),
        }
        with written(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomically(self.out / f"{stem}.json", (json.dumps(record, indent=1) + "\n").encode())
            write_atomically(self.out / f"{stem}.png", heatmap(tally, title))
        say(f"picture: {self.out / stem}.png", "bold")


def cell(count: int, total: int) -> str:
    """A share with its 95 % interval."""
    if total == 0:
        return "-"
    low, high = wilson(count, total)
    return f"{count / total:.0%} [{low:.0%}, {high:.0%}]"
