"""The transfer matrix of several models over a data set, chunk by chunk: what `sparring transfer` does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Gradients
from ..audit.evaluation.predictions import predict
from ..engine import Engine
from ..files import write_atomically
from ..goals import ClassifyAs, Goal, Misclassify
from ..targets import Ensemble, Target
from ..transfer import TransferCounts, leave_one_out, transfer_matrix
from ..zoo import Chunk, Data
from .figures import heatmap
from .observer import ExperimentObserver
from .output import report_write_errors


@dataclass
class TransferMatrix:
    """Make examples on each model, and try them on all of them.

    Args:
        models: targets by name, for images of one size.
        data: the images; without labels the first model's predictions stand in.
        targeted: a class that every image is to be given; None: any wrong one counts.
        ensemble: one row more, in which each model is attacked through all the others together.
        batch_size: images per pass. seed: of all random draws.
    """

    models: dict[str, Target[Any]]
    data: Data
    targeted: int | None
    ensemble: bool
    batch_size: int
    seed: int

    def run(
        self, attacks: list[Attack[Gradients, Any]], observer: ExperimentObserver | None = None
    ) -> list[TransferCounts]:
        """Run every attack, and return the counts of each: images that fell, by model made on and tried on."""
        observer = observer or ExperimentObserver()
        totals: list[TransferCounts | None] = [None] * len(attacks)
        for chunk in self.data.chunks(self.batch_size):
            engine = Engine(self.batch_size, self.seed, progress=observer.steps(f"images from {chunk.first} on: "))
            goal, indices = self.goal(chunk), torch.arange(chunk.first, chunk.first + len(chunk.images))
            for index, attack in enumerate(attacks):
                part = self.count(attack, goal, chunk.images, indices, engine)
                before = totals[index]
                totals[index] = part if before is None else before + part
        return [total for total in totals if total is not None]

    def goal(self, chunk: Chunk) -> Goal:
        """Return the goal by the labels; where there are none, by the first model's clean predictions."""
        labels = chunk.labels
        if labels is None:
            labels = predict(next(iter(self.models.values())), chunk.images, self.batch_size).predicted
        return Misclassify(labels) if self.targeted is None else ClassifyAs(torch.full_like(labels, self.targeted))

    def count(
        self, attack: Attack[Gradients, Any], goal: Goal, images: Tensor, indices: Tensor, engine: Engine
    ) -> TransferCounts:
        """Return the counts of one chunk, with the ensemble's row below where it is asked for."""
        models: dict[str, Any] = self.models
        whole = transfer_matrix(models, models, attack, goal, images, indices=indices, engine=engine)
        if not self.ensemble:
            return whole
        return whole.append_rows(leave_one_out(models, Ensemble, attack, goal, images, indices=indices, engine=engine))

    def write(self, attack: Attack[Gradients, Any], counts: TransferCounts, out: Path) -> Path:
        """Write the counts as JSON and as a picture into the folder `out`; return the picture's path."""
        stem = f"transfer-{attack.name}-{attack.ball}".lower().replace(" ", "-").replace("/", "of")
        stem = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in stem).strip("-")
        record = {
            "attack": repr(attack),
            "goal": "untargeted" if self.targeted is None else f"class {self.targeted}",
            "images": counts.images,
            "made on": counts.rows,
            "tried on": counts.columns,
            "fell": counts.fell.tolist(),
        }
        picture = out / f"{stem}.png"
        with report_write_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / f"{stem}.json", (json.dumps(record, indent=1) + "\n").encode())
            write_atomically(picture, heatmap(counts, matrix_title(attack, counts)))
        return picture


def matrix_title(attack: Attack[Gradients, Any], counts: TransferCounts) -> str:
    """Return a title: the attack, and the images that took part."""
    return f"{attack.name} {attack.ball}, {counts.images} images that no model errs on before"
