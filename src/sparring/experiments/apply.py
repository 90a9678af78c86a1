"""Apply an artifact to a data set, chunk by chunk: what `sparring apply` does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ..attacks import Artifact, ArtifactAttack
from ..audit.evaluation.predictions import predict
from ..audit.report.gallery import png_bytes
from ..engine import Engine, run
from ..errors import InputError
from ..files import write_atomically
from ..goals import ClassifyAs, Goal, Misclassify
from ..random import Key
from ..text import printable
from ..zoo import Chunk, Data, InputSpec, LoadedModel
from ..zoo import pictures as files
from .artifacts import artifact_picture, prediction_captions, target_class
from .output import report_write_errors

CONTACT_SHEET, SHOWN = "contact.png", 4
FLOAT_IMAGES, PNG_FILES = "float images", "PNG files, 8 bits"


@dataclass
class AppliedCounts:
    """Counts of successes, by goal and by what was evaluated: the float images, or the PNG files read again."""

    attacked: Counter[str] = field(default_factory=Counter)  # by goal: images on which it was not met before
    fell: Counter[tuple[str, str]] = field(default_factory=Counter)  # by goal, and FLOAT_IMAGES or PNG_FILES
    pictures: int = 0  # files written, the contact sheet apart


@dataclass
class ApplyArtifact:
    """Apply an artifact to images and write them as PNG files; count how many a model is fooled by.

    Args:
        artifact: what is applied; `made` is what its file says of its making.
        data: the images, in the artifact's size. out: the folder for the files.
        loaded: the model that predicts them, in the artifact's size; None: nothing is counted.
        batch_size: images per pass.
    """

    artifact: Artifact
    made: dict[str, Any]
    data: Data
    out: Path
    loaded: LoadedModel | None
    batch_size: int

    def run(self) -> AppliedCounts:
        """Apply the artifact, write the pictures and count what falls; RunError where the disk does not take them."""
        counts, taken, sheet = AppliedCounts(), {CONTACT_SHEET}, ContactSheet(self.loaded, self.data, self.batch_size)
        for chunk in self.data.chunks(self.batch_size):
            key = Key(chunk.first + torch.arange(len(chunk.images)), 0)
            moved = self.artifact.apply(chunk.images, key)
            names = [free_name(name, taken) for name in chunk.names]
            with report_write_errors(self.out):
                for name, image in zip(names, moved, strict=True):
                    write_atomically(self.out / name, png_bytes(check_channels(image)))
            if self.loaded is not None:
                self.count(counts, chunk, names, self.loaded)
            sheet.add(chunk, moved)
        with report_write_errors(self.out):
            seen = "" if self.loaded is None else f", as {self.loaded.name} sees it"
            title = f"{self.artifact.kind} within {self.artifact.ball} on {self.data.name}{seen}"
            picture = artifact_picture(self.artifact, torch.cat(sheet.images), sheet.captions, title)
            write_atomically(self.out / CONTACT_SHEET, picture)
        counts.pictures = len(taken) - 1
        return counts

    def count(self, counts: AppliedCounts, chunk: Chunk, names: list[PurePosixPath], loaded: LoadedModel) -> None:
        """Count how many images of a chunk fall as they are, and how many when they are read from their files."""
        clean = predict(loaded.target, chunk.images, self.batch_size)
        form = InputSpec(*chunk.images.shape[1:])
        written = torch.stack([files.read_picture(self.out / name, form) for name in names])
        rounded = predict(loaded.target, written, self.batch_size)
        goals: dict[str, Goal] = {"another class": Misclassify(clean.predicted)}
        wanted = target_class(self.made, clean.outputs.shape[1])
        if wanted is not None:
            goals[f"class {wanted}"] = ClassifyAs(torch.full_like(clean.predicted, wanted))
        indices, engine = torch.arange(chunk.first, chunk.first + len(names)), Engine(self.batch_size)
        for word, goal in goals.items():
            outcome = run(
                ArtifactAttack(self.artifact), loaded.target, goal, chunk.images, indices=indices, engine=engine
            )
            stood = ~outcome.already
            counts.attacked[word] += int(stood.sum())
            counts.fell[word, FLOAT_IMAGES] += int((outcome.success & stood).sum())
            won = (goal(rounded.outputs).margin > 0) & rounded.finite
            counts.fell[word, PNG_FILES] += int((won & stood).sum())


class ContactSheet:
    """A sheet of the first images, captioned with the model's predictions before and after."""

    def __init__(self, loaded: LoadedModel | None, data: Data, batch_size: int) -> None:
        self.loaded, self.batch_size = loaded, batch_size
        self.class_names = data.class_names if loaded is None else loaded.class_names or data.class_names
        self.images: list[Tensor] = []
        self.captions: tuple[list[str], list[str]] = ([], [])

    def add(self, chunk: Chunk, moved: Tensor) -> None:
        """Add the images of a chunk, until there are SHOWN."""
        part = slice(0, SHOWN - sum(map(len, self.images)))
        if part.stop == 0:
            return
        self.images.append(chunk.images[part])
        if self.loaded is None:
            self.captions[0].extend(printable(name) for name in chunk.names[part])
            self.captions[1].extend("" for _ in chunk.names[part])
            return
        for captions, images in zip(self.captions, (chunk.images[part], moved[part]), strict=True):
            seen = predict(self.loaded.target, images, self.batch_size)
            captions.extend(prediction_captions(seen, self.class_names))


def input_of_artifact(known: InputSpec | None, artifact: Artifact) -> InputSpec | None:
    """Return how pictures must look for the artifact, prepared as the model wants them (`known`)."""
    channels, height, width = artifact.shape
    if known is not None:
        return replace(
            known, channels=channels or known.channels, height=height or known.height, width=width or known.width
        )
    return None if channels is None or height is None or width is None else InputSpec(channels, height, width)


def check_channels(image: Tensor) -> Tensor:
    """Return the image (C, H, W); InputError where a PNG cannot hold its channels."""
    if len(image) not in (1, 3):
        raise InputError(f"the images have {len(image)} channels, and a PNG holds 1 or 3; apply it from Python")
    return image


def free_name(name: str, taken: set[str]) -> PurePosixPath:
    """Return where the picture of that name goes: below the folder, whatever the name says, and on no other."""
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
