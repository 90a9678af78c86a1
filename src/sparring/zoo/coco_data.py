"""`CocoData`: annotations as COCO has them (one JSON file) and a folder of pictures, as the data of an audit.

    {"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id", "category_id", "bbox"}],
     "categories": [{"id", "name"}]}

Boxes are x, y, width, height in pixels of the picture. Pictures are brought to one size with their proportions kept,
and filled up with gray; boxes move along. The file is not trusted: it is bounded, paths that leave the folder are
refused, and pictures of another size than it says are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ConfigError, InputError, nearest
from ..goals import Goal, Mislabel, Vanish
from ..text import storable
from .dataset import Chunk, Skipped
from .pictures import Unreadable, read_picture

JSON_BYTES = 512 * 2**20
MOST_OBJECTS = 1000  # in one picture
GOALS = ("vanish", "mislabel")
GRAY = 114 / 255
SIZE = 640


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture with its objects: boxes (n, 4) as x1, y1, x2, y2 and classes (n,) of the detector."""

    name: str
    width: int
    height: int
    boxes: Tensor
    classes: Tensor


@dataclass
class CocoData:
    """Pictures with annotated objects as the data of `audit`, with the goal that they vanish or are mislabelled.

        audit(detector, CocoData("instances.json", "pictures", detector_classes), threats=..., out="run")

    Args:
        file: the JSON file.
        folder: of the pictures; None: `images` beside the file, or the file's own folder.
        class_names: the detector's classes in its order; a category is matched by its name.
        goal: "vanish": all annotated objects of a picture vanish, each as its class. "mislabel": the largest is found
            as something else.
        attacked: names of classes; objects of others are left out. None: all.
        size: side of the pictures as they are attacked.
        limit: the first pictures only.
        score_threshold: at which the detector decides, for the goal.
        iou: of an anchor that lies on an object, for the goal.

    Crowds and boxes without area take no part. Pictures without an attacked object, and those that cannot be read, are
    skipped, with the reason.

    Raises: InputError for a file that is none, ConfigError for names and numbers.
    """

    file: Path | str
    folder: Path | str | None
    class_names: Sequence[str]
    goal: str = "vanish"
    attacked: Sequence[str] | None = None
    size: int = SIZE
    limit: int | None = None
    score_threshold: float = 0.5
    iou: float = 0.3
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = Path(self.file).expanduser()
        if self.folder is None:
            beside = self.file.parent / "images"
            self.folder = beside if beside.is_dir() else self.file.parent
        self.folder = Path(self.folder).expanduser()
        if self.goal not in GOALS:
            raise ConfigError(f"goal={self.goal!r:.80} is unknown ({', '.join(GOALS)}).{nearest(self.goal, GOALS)}")
        if not isinstance(self.size, int) or self.size < 1:
            raise ConfigError(f"size={self.size!r:.40}; pass the side of the pictures in pixels, an int >= 1")
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; name the one that holds the pictures of {self.file}")
        for name in self.attacked or ():
            if name not in self.class_names:
                raise ConfigError(f"the detector has no class {name!r:.80}.{nearest(name, self.class_names)}")
        held = read_annotations(self.file)
        self.pictures, self._left_out = self._matched(held)
        if not self.pictures:
            raise InputError(f"{self.file} has no picture with an object of the detector's classes; {self._left_out}")
        self._most = max(len(one.boxes) for one in self.pictures)
        self.name = storable(f"{self.file.name} ({self.goal})")
        self.label_note = f"objects: those annotated in {storable(self.file.name)}; {self._left_out}"
        self.reference = {"class_names": "\n".join(self.class_names), "goal": self.goal, "size": self.size}

    @property
    def candidates(self) -> int:
        """How many pictures have an object that is attacked."""
        return len(self.pictures)

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        """Yield at most `batch_size` pictures (B, 3, size, size) with the goal of their objects.

        Raises: InputError where no picture can be read.
        """
        self.skipped.clear()
        waiting: list[tuple[AnnotatedPicture, Tensor, Tensor]] = []
        first = 0
        for picture in self.pictures:
            try:
                waiting.append((picture, *self._read(picture)))
            except Unreadable as error:
                self.skipped.append(Skipped(storable(picture.name), storable(str(error))))
                continue
            if len(waiting) == batch_size:
                yield self._chunk(waiting, first)
                first, waiting = first + len(waiting), []
        if waiting:
            yield self._chunk(waiting, first)
        elif first == 0:
            shown = "; ".join(f"{one.name}: {one.reason}" for one in self.skipped[:3])
            raise InputError(f"{self.name}: none of {len(self.pictures)} pictures can be used ({shown})")

    def _chunk(self, rows: list[tuple[AnnotatedPicture, Tensor, Tensor]], first: int) -> Chunk:
        images = torch.stack([image for _, image, _ in rows])
        boxes = torch.full((len(rows), self._most, 4), torch.nan)
        classes = torch.zeros(len(rows), self._most, dtype=torch.long)
        for row, (picture, _, placed) in enumerate(rows):
            boxes[row, : len(placed)], classes[row, : len(placed)] = placed, picture.classes
        goal: Goal
        if self.goal == "vanish":
            goal = Vanish(boxes, classes, iou=self.iou, score_threshold=self.score_threshold)
        else:
            sides = boxes[..., 2:] - boxes[..., :2]
            largest = (sides[..., 0] * sides[..., 1]).nan_to_num(-1.0).argmax(1)
            at = torch.arange(len(rows))
            goal = Mislabel(
                boxes[at, largest], classes[at, largest], iou=self.iou, score_threshold=self.score_threshold
            )
        return Chunk(images, None, [storable(picture.name) for picture, _, _ in rows], first, goal)

    def _read(self, picture: AnnotatedPicture) -> tuple[Tensor, Tensor]:
        """Return the picture (3, size, size) and its boxes there; Unreadable, with the reason."""
        assert isinstance(self.folder, Path)
        root = self.folder.resolve()
        path = (root / picture.name).resolve()
        if not path.is_relative_to(root):
            raise Unreadable("its path leaves the folder of the pictures")
        image = read_picture(path, None)[None]
        height, width = image.shape[2:]
        if (width, height) != (picture.width, picture.height):
            raise Unreadable(
                f"it has {width} x {height} pixels, and the annotations are those of {picture.width} x {picture.height}"
            )
        ratio = self.size / max(height, width)
        inner = (max(round(height * ratio), 1), max(round(width * ratio), 1))
        if inner != (height, width):
            image = F.interpolate(image, inner, mode="bilinear", antialias=True).clamp(0, 1)
        top, left = (self.size - inner[0]) // 2, (self.size - inner[1]) // 2
        image = F.pad(image, (left, self.size - inner[1] - left, top, self.size - inner[0] - top), value=GRAY)
        zoom = torch.tensor([inner[1] / width, inner[0] / height] * 2)
        return image.expand(1, 3, -1, -1)[0], picture.boxes * zoom + torch.tensor([left, top] * 2)

    def _matched(self, held: dict[str, Any]) -> tuple[list[AnnotatedPicture], str]:
        """Return the pictures with objects of the detector's classes, and what was left out, in words."""
        classes = {name: place for place, name in enumerate(self.class_names)}
        wanted = set(self.class_names if self.attacked is None else self.attacked)
        names = {one["id"]: one["name"] for one in held["categories"]}
        objects: dict[int, list[tuple[list[float], int]]] = {one["id"]: [] for one in held["images"]}
        crowds = empty = others = 0
        for one in held["annotations"]:
            x, y, width, height = one["bbox"]
            name = names.get(one["category_id"])
            if one["image_id"] not in objects:
                raise InputError(f"{self.file}: an annotation is of image {one['image_id']}, which the file lacks")
            if name is None:
                raise InputError(f"{self.file}: an annotation has category {one['category_id']}, which the file lacks")
            if one.get("iscrowd"):
                crowds += 1
            elif width <= 0 or height <= 0:
                empty += 1
            elif name not in wanted:
                others += 1
            else:
                objects[one["image_id"]].append(([x, y, x + width, y + height], classes[name]))
        pictures = []
        for image in held["images"]:
            rows = objects[image["id"]]
            if len(rows) > MOST_OBJECTS:
                raise InputError(
                    f"{self.file}: {image['file_name']!r:.80} has {len(rows)} objects; {MOST_OBJECTS} are read"
                )
            if rows:
                boxes = torch.tensor([box for box, _ in rows], dtype=torch.float32)
                kinds = torch.tensor([kind for _, kind in rows])
                made = AnnotatedPicture(image["file_name"], image["width"], image["height"], boxes, kinds)
                pictures.append(made)
        without = len(held["images"]) - len(pictures)
        told = (
            f"left out: {without} pictures without an attacked object, {others} objects of other classes, {crowds} "
            f"crowds, {empty} boxes without area"
        )
        return pictures[: self.limit], told


def read_annotations(file: Path) -> dict[str, Any]:
    """Return `images`, `annotations` and `categories` of a file, each entry checked.

    Raises: InputError where it is not there, too large, or no such file.
    """
    try:
        if file.stat().st_size > JSON_BYTES:
            raise InputError(f"{file} has {file.stat().st_size} bytes; annotations of up to {JSON_BYTES} are read")
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from error
    shapes: dict[str, dict[str, Any]] = {
        "images": {"id": int, "file_name": str, "width": int, "height": int},
        "annotations": {"image_id": int, "category_id": int, "bbox": list},
        "categories": {"id": int, "name": str},
    }
    for part, fields in shapes.items():
        entries = held.get(part) if isinstance(held, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"{file} has no list {part!r}; COCO annotations have {', '.join(shapes)}")
        for number, entry in enumerate(entries):
            for name, kind in fields.items():
                value = entry.get(name) if isinstance(entry, dict) else None
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise InputError(f"{file}: {part}[{number}] has no {name} ({kind.__name__}); got {value!r:.80}")
            if part == "annotations":
                _check_box(file, number, entry["bbox"])
    for part in ("images", "categories"):
        ids = [entry["id"] for entry in held[part]]
        if len(set(ids)) < len(ids):
            raise InputError(f"{file}: two {part} have the same id")
    return {part: held[part] for part in shapes}


def _check_box(file: Path, number: int, box: list[Any]) -> None:
    real = [one for one in box if isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 2**31]
    if len(box) != 4 or len(real) != 4 or not all(math.isfinite(one) for one in real):
        raise InputError(f"{file}: annotations[{number}] has bbox {box!r:.80}; it is [x, y, width, height] in pixels")
