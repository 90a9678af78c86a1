"""The photographs of the experiments with detectors, and the persons in them.

Two of scikit-image (public domain) and six of face-api.js (`sparring zoo get photos group-photos centernet nanodet`;
for tests only: no picture of the six is in the repository). The longer side is brought to 640 pixels. The boxes in
persons.json were drawn by eye.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sparring.targets import ObjectDetector
from sparring.tasks import Objects, objects_of
from sparring.zoo import load_model
from sparring.zoo.assets import locate_asset

ANNOTATIONS = Path(__file__).with_name("persons.json")
SIDE, PERSON = 640, 0
PUBLIC = ("astronaut", "camera")
NAMES = ("centernet", "nanodet")


@dataclass(frozen=True)
class Photograph:
    """A picture (1, 3, H, W) in [0, 1], and the persons in it, whose class is 0."""

    name: str
    image: Tensor
    persons: Objects


def photographs(names: tuple[str, ...] | None = None) -> list[Photograph]:
    """Return the photographs with these names; None: all eight."""
    held = json.loads(ANNOTATIONS.read_text())
    made = []
    for entry in held["images"]:
        name = Path(entry["file_name"]).stem
        if names is not None and name not in names:
            continue
        folder = locate_asset("photos" if name in PUBLIC else "group-photos")
        with Image.open(folder / entry["file_name"]) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        assert picture.size == (entry["width"], entry["height"])
        boxes = torch.tensor([one["bbox"] for one in held["annotations"] if one["image_id"] == entry["id"]]).float()
        boxes[:, 2:] += boxes[:, :2]
        persons = objects_of([boxes], [torch.full((len(boxes),), PERSON)])
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        made.append(Photograph(name, image, persons))
    return made


def detector(name: str) -> ObjectDetector:
    """Return the zoo's detector of that name."""
    target = load_model(f"zoo:{name}").target
    assert isinstance(target, ObjectDetector)
    return target


def rounded(image: Tensor) -> Tensor:
    """Return the image as a file of 8 bits holds it."""
    return (image * 255).round() / 255


def as_picture(image: Tensor) -> Image.Image:
    """Return an image (1, 3, H, W) as a picture of 8 bits."""
    return Image.fromarray((image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def drawn(image: Tensor, found: Objects, names: tuple[str, ...]) -> Image.Image:
    """Return the picture with the detections drawn: red for persons, yellow for others."""
    picture = as_picture(image)
    pen = ImageDraw.Draw(picture)
    assert found.scores is not None
    for box, number, score, there in zip(
        found.boxes[0], found.classes[0], found.scores[0], found.present[0], strict=True
    ):
        if there:
            colour = "red" if int(number) == PERSON else "yellow"
            corners = [float(side) for side in box]
            pen.rectangle(corners, outline=colour, width=3)
            pen.text((max(corners[0], 0) + 6, max(corners[1], 0) + 4), f"{names[int(number)]} {score:.2f}", fill=colour)
    return picture
