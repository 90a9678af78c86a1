"""`folder:DIR` and `flat:DIR`: a user's own pictures, with labels from sub-folders or without labels.

Pictures straight in the folder have no labels; those in sub-folders have the class that the sub-folder's name
means. `flat:` takes all of them, at any depth, without labels. Hidden files are left out, links are followed
only to files inside the folder, and the classes come in turn, so that every beginning is balanced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import NoReturn

from ..errors import InputError
from . import pictures
from .dataset import OWN_PREDICTION, Data, DataRequest, Row, Skipped
from .folder_labels import SORTED, label_folders
from .loaded import InputSpec

OTHER_PICTURES = frozenset({".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".ppm"})
Labelled = Sequence[tuple[Path, int | None]]


def labelled_folder(root: Path, wanted: DataRequest) -> Data:
    """Return the data of `folder:DIR`: pictures with labels from sub-folders; InputError where they cannot be told."""
    straight = picture_files(root, deep=False)
    names = sub_folders(root)
    filled = {name: files for name in names if (files := picture_files(root / name, deep=True))}
    if straight and filled:
        raise InputError(
            f"{root} holds pictures ({straight[0].name}) beside sub-folders of them ({next(iter(filled))}); "
            f"move them into sub-folders called by class, or run without labels: flat:{root}"
        )
    if not filled:
        return unlabelled_files(f"folder:{root}", root, straight, wanted)
    labels, note = label_folders(root, names, wanted.class_names, wanted.classes)
    turns = zip_longest(*([(file, labels[name]) for file in files] for name, files in filled.items()))
    pairs = [pair for pair in chain.from_iterable(turns) if pair is not None][: wanted.limit]
    if wanted.class_names is None and note.startswith(SORTED):
        wanted = replace(wanted, class_names=tuple(sorted(names)))
    return read_lazily(f"folder:{root}", root, pairs, note, wanted)


def flat_folder(root: Path, wanted: DataRequest) -> Data:
    """Return the data of `flat:DIR`: pictures at any depth, without labels."""
    return unlabelled_files(f"flat:{root}", root, picture_files(root, deep=True), wanted)


def unlabelled_files(name: str, root: Path, files: list[Path], wanted: DataRequest) -> Data:
    """Return the files as Data without labels; InputError where there are none."""
    if not files:
        kinds = ", ".join(sorted(pictures.SUFFIXES))
        raise InputError(f"{root} holds no picture ({kinds}); name a folder of pictures, or of one folder per class")
    pairs: Labelled = [(file, None) for file in files][: wanted.limit]
    return read_lazily(name, root, pairs, OWN_PREDICTION, wanted)


def read_lazily(name: str, root: Path, pairs: Labelled, note: str, wanted: DataRequest) -> Data:
    """Return the pictures as Data, each read when it is needed; with labels unless the first has none."""
    files = FolderPictures(root, root.resolve(), pairs, wanted.input)
    labelled = pairs[0][1] is not None
    return Data(name, labelled, note, wanted.class_names, len(pairs), lambda: map(files, range(len(pairs))), at=files)


def sub_folders(root: Path) -> list[str]:
    """Return the names of the visible folders in `root`, sorted; links to folders are not followed."""
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in folders if not name.startswith("."))


def picture_files(folder: Path, *, deep: bool) -> list[Path]:
    """Return the files that look like pictures, sorted by name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that exists")
    found: list[Path] = []
    for place, inner, names in os.walk(folder, onerror=_unreadable):
        inner[:] = sorted(name for name in inner if deep and not name.startswith("."))
        visible = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        found.extend(file for file in visible if file.suffix.lower() in pictures.SUFFIXES | OTHER_PICTURES)
    return found


@dataclass(frozen=True)
class FolderPictures:
    """The pictures of a folder by position; each is read when it is asked for."""

    root: Path
    inside: Path  # the root without links
    pairs: Labelled
    spec: InputSpec | None

    def __call__(self, place: int) -> Row | Skipped:
        file, label = self.pairs[place]
        name = file.relative_to(self.root).as_posix()
        if file.suffix.lower() in OTHER_PICTURES:
            return Skipped(name, f"{file.suffix} files are not read; save it as PNG")
        if not file.resolve().is_relative_to(self.inside):
            return Skipped(name, "a link that leaves the folder")
        try:
            return Row(pictures.read_picture(file, self.spec), label, name)
        except pictures.Unreadable as error:
            return Skipped(name, str(error))


def _unreadable(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename} cannot be listed ({error.strerror}); let yourself read it") from error
