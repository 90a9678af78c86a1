"""What `sparring apply` does: an artifact on a data set, chunk by chunk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ..attacks import Applied, Artifact, opened
from ..audit.evaluation.batches import fitting
from ..audit.evaluation.predictions import look
from ..audit.records.example_files import write_atomically
from ..audit.records.statistics import share
from ..audit.report.gallery import png
from ..engine import Engine, run
from ..errors import ConfigError, InputError
from ..goals import ClassifyAs, Goal, Misclassify
from ..zoo import Chunk, Data, InputSpec, LoadedModel, load_data
from ..zoo import pictures as files
from .artifacts import captions, described, interval, made_for, picture, target_class
from .console import plain, say, table
from .folders import unused, written
from .loading import Described, load_described, pictures
from .several import resized

CONTACT, SHOWN = "contact.png", 4
COLUMNS = ["goal", "measured on", "images", "took part", "fell", "share", "95 %"]
EXACT, COARSE = "float images", "PNG files, 8 bits"


@dataclass
class Apply:
    """An artifact, the data it moves, where they go, and the model that looks at them."""

    path: Path
    spec: str
    out: Path
    model: str | None
    limit: int | None
    batch_size: int | None
    device: str
    described: Described

    def run(self) -> None:
        """Move, write, count, and print."""
        unused(self.out)
        artifact, made = opened(self.path)
        for line in described(artifact, made):
            say(line)
        data, loaded = self.load(artifact, made_for(made))
        rows = self.batch_size or fitting(data)
        counts: Counter[tuple[str, str]] = Counter()
        taken, shown = {CONTACT}, Shown()
        for chunk in data.chunks(rows):
            moved = artifact.apply(chunk.images)
            names = [free_name(name, taken) for name in chunk.names]
            with written(self.out):
                for name, image in zip(names, moved, strict=True):
                    write_atomically(self.out / name, png(checked(image)))
            if loaded is not None:
                self.count(counts, chunk, names, artifact, loaded, made, rows)
            shown.add(chunk, moved, loaded, data.class_names, rows)
        with written(self.out):
            seen = "" if loaded is None else f", as {loaded.name} sees it"
            title = f"{artifact.kind} within {artifact.ball} on {data.name}{seen}"
            write_atomically(self.out / CONTACT, picture(artifact, *shown.first(), title))
        self.tell(counts, data, loaded, len(taken) - 1)
        if loaded is not None and made.get("data") == data.name:
            say("it was made on images of this very data: these are no rates on held-out images", "yellow")
        say(f"{len(taken) - 1} pictures: {self.out}   at a glance: {self.out / CONTACT}", "bold")

    def load(self, artifact: Artifact, usual: InputSpec | None) -> tuple[Data, LoadedModel | None]:
        """The data in the artifact's size, and the model as one that takes that size."""
        if self.model is None:
            if replace(self.described, size=None, channels=None) != Described():
                raise ConfigError("--mean, --std and --classes describe a model; add --model MODEL")
            spec = sized(pictures(None, self.described) or usual, artifact)
            return load_data(self.spec, input=spec, limit=self.limit), None
        loaded = load_described(self.model, self.described, self.device)
        spec = sized(loaded.input or usual, artifact)
        loaded = replace(loaded, input=spec, target=resized(loaded, replace(loaded, input=spec)))
        classes = getattr(loaded.target, "classes", None)
        data = load_data(self.spec, input=spec, class_names=loaded.class_names, classes=classes, limit=self.limit)
        return data, loaded

    def count(
        self,
        counts: Counter[tuple[str, str]],
        chunk: Chunk,
        names: list[PurePosixPath],
        artifact: Artifact,
        loaded: LoadedModel,
        made: dict[str, Any],
        rows: int,
    ) -> None:
        """How many fall as they are, and how many when they are read from their files."""
        clean = look(loaded.target, chunk.images, rows)
        form = InputSpec(*chunk.images.shape[1:])
        coarse = look(loaded.target, torch.stack([files.read(self.out / name, form) for name in names]), rows)
        goals: dict[str, Goal] = {"another class": Misclassify(clean.predicted)}
        wanted = target_class(made, clean.outputs.shape[1])
        if wanted is not None:
            goals[f"class {wanted}"] = ClassifyAs(torch.full_like(clean.predicted, wanted))
        ids = torch.arange(chunk.first, chunk.first + len(names))
        for word, goal in goals.items():
            outcome = run(Applied(artifact), loaded.target, goal, chunk.images, ids=ids, engine=Engine(rows))
            stood = ~outcome.already
            counts[word, ""] += int(stood.sum())
            counts[word, EXACT] += int((outcome.success & stood).sum())
            counts[word, COARSE] += int(((goal(coarse.outputs).margin > 0) & coarse.finite & stood).sum())

    def tell(self, counts: Counter[tuple[str, str]], data: Data, loaded: LoadedModel | None, images: int) -> None:
        if loaded is not None:
            table(f"{loaded.name} on {data.name}", COLUMNS, lines(counts, images), left=2)
            say("another class: than on the clean image, whatever the label")
        if data.skipped:
            say(f"{len(data.skipped)} images could not be read: {data.skipped[0].name}: {data.skipped[0].reason}")


class Shown:
    """The first images, as they are and with what is said of them before and after."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.said: tuple[list[str], list[str]] = ([], [])

    def add(
        self, chunk: Chunk, moved: Tensor, loaded: LoadedModel | None, known: tuple[str, ...] | None, rows: int
    ) -> None:
        part = slice(0, SHOWN - sum(map(len, self.images)))
        if part.stop == 0:
            return
        self.images.append(chunk.images[part])
        if loaded is None:
            self.said[0].extend(plain(name) for name in chunk.names[part])
            self.said[1].extend("" for _ in chunk.names[part])
            return
        for said, images in zip(self.said, (chunk.images[part], moved[part]), strict=True):
            said.extend(captions(look(loaded.target, images, rows), loaded.class_names or known))

    def first(self) -> tuple[Tensor, tuple[list[str], list[str]]]:
        return torch.cat(self.images), self.said


def lines(counts: Counter[tuple[str, str]], images: int) -> list[list[object]]:
    """Two rows for each goal: of the float images, and of the files."""
    rows: list[list[object]] = []
    for word in dict.fromkeys(word for word, _ in counts):
        for measured in (EXACT, COARSE):
            part = share(counts[word, measured], counts[word, ""])
            rows.append([word, measured, images, part.total, part.count, f"{part.share:.1%}", interval(part)])
    return rows


def sized(known: InputSpec | None, artifact: Artifact) -> InputSpec | None:
    """How pictures must look for the artifact, prepared as the model wants them."""
    channels, height, width = artifact.shape
    if known is not None:
        return replace(
            known, channels=channels or known.channels, height=height or known.height, width=width or known.width
        )
    return None if channels is None or height is None or width is None else InputSpec(channels, height, width)


def checked(image: Tensor) -> Tensor:
    """The image, if a PNG can hold it."""
    if len(image) not in (1, 3):
        raise InputError(f"the images have {len(image)} channels, and a PNG holds 1 or 3; apply it from Python")
    return image


def free_name(name: str, taken: set[str]) -> PurePosixPath:
    """Where the picture of that name goes: below the folder, whatever the name says, and on no other."""
    letters = "".join(letter if letter.isprintable() else "_" for letter in name.replace("\\", "/"))
    *above, last = [part for part in letters.split("/") if part not in ("", ".", "..")] or ["image"]
    bare = PurePosixPath(last)
    stem = bare.stem if bare.suffix.lower() in files.SUFFIXES else last
    number = 0
    for tried in (f"{stem}.png", f"{last}.png"):
        if (place := PurePosixPath(*above, tried)).as_posix().lower() not in taken:
            break
    while place.as_posix().lower() in taken:
        number += 1
        place = PurePosixPath(*above, f"{last}.{number}.png")
    taken.add(place.as_posix().lower())
    return place
