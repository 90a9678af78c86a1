"""What `sparring generalize` does: models under threats that they were not made for, model by model."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..access import Gradients
from ..audit.evaluation.batches import fitting
from ..audit.evaluation.weights import weights_hash
from ..audit.records.example_files import write_atomically
from ..audit.records.facts import device_name, now, versions
from ..audit.records.statistics import share
from ..engine import Engine
from ..errors import AccessError, InputError
from ..goals import Misclassify
from ..transfer import Generalization, attacks_within, generalization, margins
from .console import complain, say, table
from .figures import Block, accuracy_map
from .folders import unused, written
from .progress import Bars
from .several import Several, several
from .threat_columns import Columns
from .verdict import command_line

TOGETHER = 8  # batches whose images are attacked together, so that what stands of them fills batches
ABREAST = 12  # columns of numbers in one table
STEM = "generalization"


@dataclass
class Generalize:
    """Models and data as they were typed, the columns, and where the result goes."""

    specs: list[str]
    data: str
    columns: Columns
    out: Path
    limit: int | None
    batch_size: int | None
    seed: int
    device: str

    def run(self) -> None:
        """Look at everything, attack model by model and write each down, then print and draw."""
        unused(self.out)
        Engine(1 if self.batch_size is None else self.batch_size, self.seed)  # raises before anything is loaded
        found = several(self.specs, self.data, self.device, self.limit)
        engine = Engine(self.batch_size or fitting(found.data), self.seed)
        self.check(found, engine.batch_size)
        say(found.data.label_note)
        if found.data.skipped:
            first = found.data.skipped[0]
            say(f"{len(found.data.skipped)} images could not be read: {first.name}: {first.reason}")
        with written(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        record = self.begun(found)
        whole: Generalization | None = None
        for name in found.targets:
            started = time.perf_counter()
            row = self.row(found, name, engine, whole)
            whole = row if whole is None else whole.below(row)
            record["models"].append(self.entry(found, row, time.perf_counter() - started))
            record["notes"] = list(whole.notes)
            self.write(".json", json.dumps(record, indent=1).encode() + b"\n")
            say(self.told(row, time.perf_counter() - started))
        assert whole is not None
        self.show(whole, found.data.name)

    def check(self, found: Several, batch_size: int) -> None:
        """Raise before the first attack for what no attack could be run on."""
        if not found.data.labelled:
            raise InputError(f"{found.data.name} has images without a label, and accuracy is of labels; label them all")
        for name, target in found.targets.items():
            if not issubclass(target.access, Gradients):
                raise AccessError(
                    f"{name} grants {target.access.__name__} only, and these attacks climb gradients; "
                    "use `sparring audit` for a black box"
                )
        for chunk in found.data.chunks(batch_size):
            assert chunk.labels is not None
            for column in self.columns.threats:
                column.ball.check(chunk.images)
            for target in found.targets.values():
                margins(target, Misclassify(chunk.labels), chunk.images, batch_size)

    def row(self, found: Several, name: str, engine: Engine, whole: Generalization | None) -> Generalization:
        """One model on all images."""
        balls, target = [column.ball for column in self.columns.threats], {name: found.targets[name]}
        parts: list[Generalization] = []
        try:
            with Bars() as bars:
                for chunk in found.data.chunks(TOGETHER * engine.batch_size):
                    assert chunk.labels is not None
                    ids = torch.arange(chunk.first, chunk.first + len(chunk.images))
                    watched = Engine(engine.batch_size, engine.seed, progress=bars.steps(f"{name}: "))
                    part = generalization(target, balls, chunk.images, chunk.labels, ids=ids, engine=watched)
                    parts.append(part)
        except KeyboardInterrupt:
            if whole is None:
                complain(f"interrupted at {name}, the first model; nothing was written")
            else:
                complain(f"interrupted at {name}; the {len(whole.models)} models before it are in {self.path('.json')}")
            raise
        row = parts[0]
        for part in parts[1:]:
            row = row + part
        return row

    def begun(self, found: Several) -> dict[str, Any]:
        """The record before the first model."""
        threats = self.columns.threats
        attacks = attacks_within([column.ball for column in threats])
        return {
            "what": "images that stand, by model and threat; `stood` has a 1 for each image that does, in their order",
            "command": command_line(),
            "data": found.data.name,
            "labels": found.data.label_note,
            "models asked for": list(found.targets),
            "seed": self.seed,
            "threats": [
                {"norm": column.norm, "eps": column.ball.eps, "text": column.text, "attack": repr(attack)}
                for column, attack in zip(threats, attacks, strict=True)
            ],
            "unions": [[str(column) for column in union] for union in self.columns.unions],
            "versions": versions(),
            "device": device_name(torch.device(self.device)),
            "started": now(),
            "notes": [],
            "models": [],
        }

    def entry(self, found: Several, row: Generalization, seconds: float) -> dict[str, Any]:
        """What the record says of one model."""
        (name,), loaded = row.models, found.loaded[row.models[0]]
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
        """(U, M) how many images stand in each union."""
        return torch.stack([whole.union(column.ball for column in union) for union in self.columns.unions])

    def path(self, suffix: str) -> Path:
        return self.out / f"{STEM}{suffix}"

    def write(self, suffix: str, content: bytes) -> None:
        with written(self.out):
            write_atomically(self.path(suffix), content)

    def told(self, row: Generalization, seconds: float) -> str:
        """One model in a line."""
        clean, union = share(int(row.clean), row.images), share(int(row.union()), row.images)
        said = f"clean {clean.share:.1%}, under all threats {union.share:.1%} of {row.images} images"
        return f"{row.models[0]}: {said}, {seconds:.0f} s"

    def blocks(self, whole: Generalization) -> list[Block]:
        """Clean, the threats by norm, the unions: as columns of shares with their intervals."""
        counts = torch.cat((whole.clean[:, None], whole.robust, self.unions(whole).T), 1)
        shares = [[share(count, whole.images) for count in line] for line in counts.tolist()]
        middle, low, high = (
            torch.tensor([[getattr(one, end) for one in line] for line in shares], dtype=torch.float64)
            for end in ("share", "low", "high")
        )
        blocks, first = [], 0
        for title, columns in (("", ("clean",)), *self.columns.by_norm(), ("union", self.columns.union_names())):
            part = (slice(None), slice(first, first + len(columns)))
            blocks.append(Block(title, columns, middle[part], low[part], high[part]))
            first += len(columns)
        return blocks

    def show(self, whole: Generalization, data: str) -> None:
        """The table on the console, and the picture."""
        blocks = self.blocks(whole)
        heads = [f"{block.title}\n{column}".strip() for block in blocks for column in block.columns]
        cells = [torch.cat([getattr(block, end) for block in blocks], 1).tolist() for end in ("share", "low", "high")]
        title = f"Accuracy on {data}, {whole.images} images, with 95 % intervals (Wilson)"
        for first in range(0, len(heads), ABREAST):
            part = slice(first, first + ABREAST)
            rows: list[list[object]] = [
                [name, *[cell(*ends) for ends in zip(*[line[part] for line in lines], strict=True)]]
                for name, *lines in zip(whole.models, *cells, strict=True)
            ]
            table(title, ["model", *heads[part]], rows)
        for note in whole.notes:
            say(note)
        for kind, content in accuracy_map(whole.models, blocks, title).items():
            self.write(f".{kind}", content)
        say(f"picture: {self.path('.png')} and .pdf   data: {self.path('.json')}", "bold")


def cell(middle: float, low: float, high: float) -> str:
    """A share, and under it its interval in percent."""
    return f"{middle:.1%}\n{100 * low:.0f}-{100 * high:.0f}"
