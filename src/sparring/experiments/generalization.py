"""Robustness of several models under threats they were not trained for: what `sparring generalize` does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from ..access import Gradients
from ..audit.evaluation.batches import fitting_batch_size
from ..audit.evaluation.weights import weights_hash
from ..audit.records.facts import device_name, utc_timestamp, versions
from ..audit.records.statistics import share
from ..engine import Engine
from ..errors import AccessError, InputError
from ..files import write_atomically
from ..geometry import Ball
from ..goals import Misclassify
from ..transfer import Generalization, attacks_within, goal_margins, measure_generalization
from .figures import ColumnBlock, accuracy_map
from .model_set import ModelSet
from .observer import ExperimentObserver
from .output import report_write_errors

BATCHES_TOGETHER = 8  # batches whose images are attacked together, so that those not broken yet fill batches
STEM = "generalization"
LISTED = 4  # threats of a union that are named


@dataclass(frozen=True)
class ThreatColumn:
    """A threat of one radius, and how it was written."""

    norm: str
    text: str
    ball: Ball

    def __str__(self) -> str:
        return f"{self.norm} {self.text}"


@dataclass(frozen=True)
class ThreatColumns:
    """The threats, each norm's from small to large, and unions of them; the first union is of all."""

    threats: tuple[ThreatColumn, ...]
    unions: tuple[tuple[ThreatColumn, ...], ...]

    def by_norm(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return each norm with its radii as they were written."""
        groups = groupby(self.threats, lambda column: column.norm)
        return [(norm, tuple(column.text for column in group)) for norm, group in groups]

    def union_names(self) -> tuple[str, ...]:
        """Return the name of each union; one threat a line."""
        return ("all", *map(union_name, self.unions[1:]))


def union_name(union: tuple[ThreatColumn, ...]) -> str:
    """Return the names of the threats of a union, one a line."""
    more = [f"and {len(union) - LISTED} more"] if len(union) > LISTED else []
    return "\n".join([*map(str, union[:LISTED]), *more])


@dataclass
class GeneralizationMatrix:
    """Attack every model under every threat, and write each model down before the next one.

    Args:
        models: the rows, with their data. columns: the threats and unions of them.
        out: a folder for generalization.json, .png and .pdf.
        engine: batch size and seed.
        device: of the models. command: what the record says made it.
    """

    models: ModelSet
    columns: ThreatColumns
    out: Path
    engine: Engine
    device: str
    command: str
    whole: Generalization | None = None  # of the models that are written
    record: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def make_engine(models: ModelSet, batch_size: int | None, seed: int) -> Engine:
        """Return an engine with a batch size by the size of the images where none is given."""
        return Engine(batch_size or fitting_batch_size(models.data), seed)

    def check(self) -> None:
        """Raise before the first attack for what no attack could be run on."""
        data = self.models.data
        if not data.labelled:
            raise InputError(f"{data.name} has images without a label, and accuracy is of labels; label them all")
        for name, target in self.models.targets.items():
            if not issubclass(target.access, Gradients):
                raise AccessError(
                    f"{name} grants {target.access.__name__} only, and these attacks climb gradients; "
                    "use `sparring audit` for a black box"
                )
        for chunk in data.chunks(self.engine.batch_size):
            assert chunk.labels is not None
            for column in self.columns.threats:
                column.ball.check(chunk.images)
            for target in self.models.targets.values():
                goal_margins(target, Misclassify(chunk.labels), chunk.images, self.engine.batch_size)

    def run(self, observer: ExperimentObserver | None = None) -> Generalization:
        """Attack all models and write each down; return the whole matrix."""
        self.begin()
        for name in self.models.targets:
            self.run_model(name, observer or ExperimentObserver())
        assert self.whole is not None
        return self.whole

    def begin(self) -> None:
        """Make the folder and the record. RunError where the disk does not take it."""
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self.record = self.new_record()

    def run_model(self, name: str, observer: ExperimentObserver) -> tuple[Generalization, float]:
        """Attack one model, write it down below those before it, and return its row and its seconds."""
        started = time.perf_counter()
        row = self.attack_model(name, observer)
        self.whole = row if self.whole is None else self.whole.append_rows(row)
        self.record["models"].append(self.entry(row, time.perf_counter() - started))
        self.record["notes"] = list(self.whole.notes)
        self.write(".json", json.dumps(self.record, indent=1).encode() + b"\n")
        return row, time.perf_counter() - started

    def attack_model(self, name: str, observer: ExperimentObserver) -> Generalization:
        """Attack one model on all images."""
        balls, target = [column.ball for column in self.columns.threats], {name: self.models.targets[name]}
        parts: list[Generalization] = []
        for chunk in self.models.data.chunks(BATCHES_TOGETHER * self.engine.batch_size):
            assert chunk.labels is not None
            indices = torch.arange(chunk.first, chunk.first + len(chunk.images))
            engine = Engine(self.engine.batch_size, self.engine.seed, progress=observer.steps(f"{name}: "))
            parts.append(
                measure_generalization(target, balls, chunk.images, chunk.labels, indices=indices, engine=engine)
            )
        row = parts[0]
        for part in parts[1:]:
            row = row + part
        return row

    def new_record(self) -> dict[str, Any]:
        """Make the record before the first model."""
        threats, data = self.columns.threats, self.models.data
        attacks = attacks_within([column.ball for column in threats])
        return {
            "what": "images that stand, by model and threat; `stood` has a 1 for each image that does, in their order",
            "command": self.command,
            "data": data.name,
            "labels": data.label_note,
            "models asked for": list(self.models.targets),
            "seed": self.engine.seed,
            "threats": [
                {"norm": column.norm, "eps": column.ball.eps, "text": column.text, "attack": repr(attack)}
                for column, attack in zip(threats, attacks, strict=True)
            ],
            "unions": [[str(column) for column in union] for union in self.columns.unions],
            "versions": versions(),
            "device": device_name(torch.device(self.device)),
            "started": utc_timestamp(),
            "notes": [],
            "models": [],
        }

    def entry(self, row: Generalization, seconds: float) -> dict[str, Any]:
        """Make what the record says of one model."""
        (name,), loaded = row.models, self.models.loaded[row.models[0]]
        stood, total = ~row.fell[0], row.images
        return {
            "name": name,
            "model": loaded.name,
            "sha256": loaded.sha256,
            "weights": weights_hash(loaded.target),
            "images": total,
            "clean": share(int(row.clean), total).model_dump(),
            "robust": [share(count, total).model_dump() for count in row.robust[0].tolist()],
            "union": [share(count, total).model_dump() for count in self.unions(row)[:, 0].tolist()],
            "stood": ["".join(map(str, line.int().tolist())) for line in stood],
            "forwards": row.forwards[0].tolist(),
            "backwards": row.backwards[0].tolist(),
            "seconds": round(seconds, 1),
        }

    def unions(self, whole: Generalization) -> torch.Tensor:
        """Return (U, M) how many images are not broken in each union."""
        return torch.stack([whole.union(column.ball for column in union) for union in self.columns.unions])

    def path(self, suffix: str) -> Path:
        """Return the file with that suffix."""
        return self.out / f"{STEM}{suffix}"

    def write(self, suffix: str, content: bytes) -> None:
        """Write one file of the result."""
        with report_write_errors(self.out):
            write_atomically(self.path(suffix), content)

    def blocks(self, whole: Generalization) -> list[ColumnBlock]:
        """Return clean, the threats by norm, and the unions as columns of shares with their intervals."""
        counts = torch.cat((whole.clean[:, None], whole.robust, self.unions(whole).T), 1)
        shares = [[share(count, whole.images) for count in line] for line in counts.tolist()]
        middle, low, high = (
            torch.tensor([[getattr(one, end) for one in line] for line in shares], dtype=torch.float64)
            for end in ("share", "low", "high")
        )
        blocks, first = [], 0
        for title, columns in (("", ("clean",)), *self.columns.by_norm(), ("union", self.columns.union_names())):
            part = (slice(None), slice(first, first + len(columns)))
            blocks.append(ColumnBlock(title, columns, middle[part], low[part], high[part]))
            first += len(columns)
        return blocks

    def title(self, whole: Generalization) -> str:
        """Return name the data and the number of images."""
        return f"Accuracy on {self.models.data.name}, {whole.images} images, with 95 % intervals (Wilson)"

    def draw(self, whole: Generalization) -> None:
        """Write the matrix as PNG and PDF."""
        for kind, content in accuracy_map(whole.models, self.blocks(whole), self.title(whole)).items():
            self.write(f".{kind}", content)
