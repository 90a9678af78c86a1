"""`folder:DIR` and `flat:DIR`: a user's own pictures, with labels from sub-folders or a table, or without labels.

Pictures straight in the folder have no labels; those in sub-folders have the class that the sub-folder's name
means. `flat:` takes all of them, at any depth, without labels. Hidden files are left out, links are followed only to
files inside the folder, never to folders, and what is left out is said. The classes come in turn, so that every
beginning is balanced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import NoReturn

from ..errors import InputError
from ..text import storable
from . import pictures
from .dataset import OWN_PREDICTION, Data, DataRequest, Row, Skipped
from .folder_labels import SORTED, label_folders
from .label_file import labels_of_files
from .loaded import InputSpec

OTHER_PICTURES = frozenset(
    {".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
     ".ico", ".psd", ".exr", ".hdr", ".dcm", ".raw", ".cr2", ".nef", ".arw", ".dng"}
)  # fmt: skip
Labelled = Sequence[tuple[Path, int | None]]


@dataclass
class LeftOut:
    """What of a folder is no picture, by kind: how many, and the first."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, path: Path) -> None:
        """Count one more."""
        self.found.setdefault(kind, []).append(path.name)

    def __str__(self) -> str:
        listed = [f"{len(names)} {kind} ({names[0]})" for kind, names in self.found.items()]
        return f"; left out: {', '.join(listed)}" if listed else ""


def labelled_folder(root: Path, wanted: DataRequest) -> Data:
    """Return the data of `folder:DIR`: pictures with labels from sub-folders; InputError where they cannot be told."""
    if wanted.label_file is not None:
        return listed_folder(f"folder:{root}", root, wanted.label_file, wanted)
    left = LeftOut()
    straight = picture_files(root, left, deep=False)
    names, links = sub_folders(root)
    filled = {name: files for name in names if (files := picture_files(root / name, left, deep=True))}
    if straight and filled:
        raise InputError(
            f"{root} holds pictures ({straight[0].name}) beside sub-folders of them ({next(iter(filled))}); "
            f"move them into sub-folders called by class, or run without labels: flat:{root}"
        )
    if links and not straight:
        raise InputError(
            f"{root}: {links[0]} is a link to a folder, which is not followed; put the folder itself there, with its "
            "pictures or links to files inside"
        )
    if not filled:
        return unlabelled_files(f"folder:{root}", root, straight, wanted, left)
    labels, note = label_folders(root, names, wanted.class_names, wanted.classes)
    turns = zip_longest(*([(file, labels[name]) for file in files] for name, files in filled.items()))
    pairs = [pair for pair in chain.from_iterable(turns) if pair is not None][: wanted.limit]
    if wanted.class_names is None and note.startswith(SORTED):
        wanted = replace(wanted, class_names=tuple(sorted(labels, key=labels.__getitem__)))
    return read_lazily(f"folder:{root}", root, pairs, f"{note}{left}", wanted)


def flat_folder(root: Path, wanted: DataRequest) -> Data:
    """Return the data of `flat:DIR`: pictures at any depth, without labels unless a table has them."""
    if wanted.label_file is not None:
        return listed_folder(f"flat:{root}", root, wanted.label_file, wanted)
    left = LeftOut()
    return unlabelled_files(f"flat:{root}", root, picture_files(root, left, deep=True), wanted, left)


def listed_folder(name: str, root: Path, table: Path, wanted: DataRequest) -> Data:
    """Return the pictures that a table of labels names, in its order; those that it does not name are left out."""
    left = LeftOut()
    files = {file.relative_to(root).as_posix(): file for file in picture_files(root, left, deep=True)}
    labels = labels_of_files(table, root, list(files), wanted.classes, wanted.class_names)
    for file in files.keys() - labels.keys():
        left.add(f"pictures that {table.name} does not name", files[file])
    pairs = [(files[file], label) for file, label in labels.items()][: wanted.limit]
    return read_lazily(name, root, pairs, f"labels: those of {table}{left}", wanted)


def unlabelled_files(name: str, root: Path, files: list[Path], wanted: DataRequest, left: LeftOut) -> Data:
    """Return the files as Data without labels; InputError where there are none."""
    if not files:
        kinds = ", ".join(sorted(pictures.SUFFIXES))
        raise InputError(
            f"{root} holds no picture ({kinds}); name a folder of pictures, or of one folder per class{left}"
        )
    pairs: Labelled = [(file, None) for file in files][: wanted.limit]
    return read_lazily(name, root, pairs, f"{OWN_PREDICTION}{left}", wanted)


def read_lazily(name: str, root: Path, pairs: Labelled, note: str, wanted: DataRequest) -> Data:
    """Return the pictures as Data, each read when it is needed; with labels unless the first has none."""
    inside = root.resolve()
    maxima = partial(sixteen_bit_maxima, inside, [file for file, _ in pairs])
    files = FolderPictures(root, inside, pairs, wanted.input, pictures.WhiteLevel(wanted.scale, maxima))
    labelled = pairs[0][1] is not None
    return Data(name, labelled, note, wanted.class_names, len(pairs), lambda: map(files, range(len(pairs))), at=files)


def sub_folders(root: Path) -> tuple[list[str], list[str]]:
    """Return the names of the visible folders in `root`, and of the links to folders, which are not followed."""
    with os.scandir(root) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".") and os.path.isdir(entry.path)]
        names = sorted(entry.name for entry in visible if not entry.is_symlink())
        return names, sorted(entry.name for entry in visible if entry.is_symlink())


def picture_files(folder: Path, left: LeftOut, *, deep: bool) -> list[Path]:
    """Return the files that look like pictures, sorted by name; what else is there is counted in `left`."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that exists")
    found: list[Path] = []
    for place, inner, names in os.walk(folder, onerror=_unreadable):
        visible = sorted(name for name in inner if not name.startswith("."))
        for name in visible:
            if Path(place, name).is_symlink():
                left.add("links to folders", Path(place, name))
        inner[:] = visible if deep else []
        for file in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            if file.suffix.lower() in pictures.SUFFIXES | OTHER_PICTURES:
                found.append(file)
            else:
                left.add("files that are no pictures", file)
    return found


def unusable(file: Path, inside: Path) -> str | None:
    """Return why a file is not opened: its kind, or where it leads; None for one that may be."""
    if file.suffix.lower() in OTHER_PICTURES:
        return f"{file.suffix} files are not read; save it as PNG"
    try:
        resolved = file.resolve(strict=True)
        if not resolved.is_relative_to(inside):
            return "a link that leaves the folder"
        return None if resolved.is_file() else "no regular file"
    except (OSError, RuntimeError):
        return "a link that leads nowhere, or a file that is gone"


def sixteen_bit_maxima(inside: Path, files: list[Path]) -> Iterator[int]:
    """Yield the largest value of every 16-bit picture among the files."""
    for file in files:
        highest = None if unusable(file, inside) else pictures.sixteen_bit_maximum(file)
        if highest is not None:
            yield highest


@dataclass(frozen=True)
class FolderPictures:
    """The pictures of a folder by position; each is read when it is asked for."""

    root: Path
    inside: Path  # the root without links
    pairs: Labelled
    spec: InputSpec | None
    white: pictures.WhiteLevel

    def __call__(self, place: int) -> Row | Skipped:
        file, label = self.pairs[place]
        name = file.relative_to(self.root).as_posix()
        reason = unusable(file, self.inside)
        if reason is not None:
            return Skipped(name, reason)
        try:
            return Row(pictures.read_picture(file, self.spec, self.white), label, name)
        except pictures.Unreadable as error:
            return Skipped(name, str(error))
        except InputError as error:
            raise InputError(f"{self.root}: {storable(name)}: {error}") from error


def _unreadable(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename} cannot be listed ({error.strerror}); let yourself read it") from error
