"""`zoo:NAME` as data: photographs, labelled ImageNet pictures and digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, InputError, nearest
from . import arrays, assets, catalog, imagenet_classes, pictures
from .dataset import OWN_PREDICTION, Data, DataRequest, Row
from .digits import Digits, is_held_out, read_digits_csv, read_digits_idx
from .pinned import GROUP_PHOTOS, IMAGENET_20, ORL_FACES, PHOTOS

PHOTO_LABELS = {"camera.png": 872, "coffee.png": 967}
PHOTO_NOTE = (
    "labels: {labelled} of {count} photographs by what they plainly show (tripod, espresso); for the others "
    "the model's own prediction on the clean picture stands in"
)
DIGIT_NAMES = tuple("0123456789")
IMAGENET, ORL_PERSONS = 1000, 40


def zoo_data(name: str, wanted: DataRequest) -> Data:
    """Return the zoo's data set of that name."""
    if name not in catalog.DATA:
        known = ", ".join(catalog.DATA)
        raise ConfigError(f"the zoo has no data set {name!r} (it has {known}).{nearest(name, catalog.DATA)}")
    if wanted.label_file is not None:
        raise ConfigError(f"zoo:{name} brings its own labels; a table of labels is for folder:DIR and flat:DIR")
    classes = wanted.classes or (len(wanted.class_names) if wanted.class_names else None)
    if name == "photos":
        return photos_data(wanted, classes)
    if name == "group-photos":
        return _pictures(name, [(file, None) for file in GROUP_PHOTOS][: wanted.limit], OWN_PREDICTION, wanted, None)
    if name == "imagenet-20":
        return imagenet_20_data(wanted, classes)
    return orl_faces_data(wanted, classes) if name == "orl-faces" else digits_data(name, wanted, classes)


def photos_data(wanted: DataRequest, classes: int | None) -> Data:
    """Return eleven photographs, with labels only where one of ImageNet's classes is plainly shown."""
    known = PHOTO_LABELS if classes == IMAGENET else {}
    files = [(file, known.get(file)) for file in PHOTOS][: wanted.limit]
    labelled = sum(label is not None for _, label in files)
    note = PHOTO_NOTE.format(labelled=labelled, count=len(files)) if labelled else OWN_PREDICTION
    names = imagenet_classes.class_names() if classes == IMAGENET else None
    return _pictures("photos", files, note, wanted, names)


def imagenet_20_data(wanted: DataRequest, classes: int | None) -> Data:
    """Return twenty of ImageNet's pictures; the label is in the file's name."""
    if classes not in (None, IMAGENET):
        cure = "use zoo:photos or folder:DIR"
        raise InputError(f"zoo:imagenet-20 is labelled with 1,000 classes, and the model has {classes}; {cure}")
    files = [(file, int(Path(file).stem.rsplit("_", 1)[1])) for file in IMAGENET_20][: wanted.limit]
    return _pictures("imagenet-20", files, "labels: ImageNet's own", wanted, imagenet_classes.class_names())


def orl_faces_data(wanted: DataRequest, classes: int | None) -> Data:
    """Return the ORL faces, ten of one person after the other; the label is the person, from 0 on."""
    if classes not in (None, ORL_PERSONS):
        cure = "they are for verifiers, or for a model of these forty"
        raise InputError(f"zoo:orl-faces shows {ORL_PERSONS} persons, and the model has {classes} classes; {cure}")
    files = [(file, int(file.split("/")[0].removeprefix("s")) - 1) for file in ORL_FACES][: wanted.limit]
    names = tuple(f"s{person + 1}" for person in range(ORL_PERSONS))
    return _pictures("orl-faces", files, "labels: the person", wanted, names, formats=("PPM",))


def _pictures(
    name: str,
    files: Sequence[tuple[str, int | None]],
    note: str,
    wanted: DataRequest,
    class_names: tuple[str, ...] | None,
    formats: tuple[str, ...] = pictures.FORMATS,
) -> Data:
    folder = assets.locate_asset(name)

    def rows() -> Iterator[Row]:
        read = partial(pictures.read_picture, spec=wanted.input, formats=formats)
        return (Row(read(folder / file), label, file) for file, label in files)

    labelled = all(label is not None for _, label in files)
    return Data(f"zoo:{name}", labelled, note, wanted.class_names or class_names, len(files), rows)


def digits_data(name: str, wanted: DataRequest, classes: int | None) -> Data:
    """Return handwritten digits, with the ten classes in turn where the source has them sorted."""
    if classes not in (None, len(DIGIT_NAMES)):
        raise InputError(f"zoo:{name} has ten classes, and the model has {classes}; use zoo:photos or folder:DIR")
    pixels, labels = read_digits(name)
    pixels, labels = pixels[: wanted.limit], labels[: wanted.limit]
    order = arrays.array_layout(f"zoo:{name}", pixels.shape, wanted.input)

    def rows() -> Iterator[Row]:
        return arrays.array_rows(f"zoo:{name}", iter(pixels), labels, order, None)

    note = "labels: the digit that was written"
    return Data(f"zoo:{name}", True, note, wanted.class_names or DIGIT_NAMES, len(labels), rows)


def read_digits(name: str) -> Digits:
    """Read images (N, 28, 28) uint8 and labels (N,) of one of the zoo's sets of digits."""
    if name in ("mnist", "mnist-train"):
        folder = assets.locate_asset("mnist")
        part = "t10k" if name == "mnist" else "train"
        return read_digits_idx(folder / f"{part}-images-idx3-ubyte", folder / f"{part}-labels-idx1-ubyte")
    pixels, labels = read_digits_csv(assets.locate_asset("mnist-5k") / "mnist_5k.csv.gz")
    if name in ("mnist-4k", "mnist-heldout"):
        kept = is_held_out(labels) == (name == "mnist-heldout")
        pixels, labels = pixels[kept], labels[kept]
    order = interleave_classes(labels)
    return pixels[order], labels[order]


def interleave_classes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return positions that visit the classes one after the other, so that every beginning is balanced."""
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        here = labels == label
        rank[here] = np.arange(int(here.sum()))
    return np.lexsort((labels, rank)).astype(np.int64)
