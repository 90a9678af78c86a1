"""`--labels FILE.csv` and `--targeted FILE.csv`: file names with their labels, and the classes they are to be given."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError, nearest
from ..text import storable
from .labels import class_labels

FILE, LABEL, TARGET = "file", "label", "target"
HEADERS = {
    FILE: {"file", "files", "filename", "file name", "file_name", "name", "path", "image", "images", "image_id", "img"},
    LABEL: {"label", "labels", "class", "class_id", "category"},
    TARGET: {"target", "targets", "target_class", "targeted"},
}
SIZE_LIMIT = 2**30


@dataclass(frozen=True)
class LabelledFile:
    """A line of the table."""

    line: int
    file: str
    label: str | None
    target: str | None


def read_label_file(path: Path) -> list[LabelledFile]:
    """Read a table of `file name,label[,target]`, separated by commas, semicolons or tabs; a header may be there.

    With a header the columns may come in any order, and others beside them are not read.

    Raises: InputError for a file that is none, for a line that is not whole, and for a file that is named twice.
    """
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path} holds no labels; write a line for each picture: file name,label")
    columns = _header(rows[0][1])
    if columns is None:
        columns = {name: place for place, name in enumerate((FILE, LABEL, TARGET)[: len(rows[0][1])])}
    else:
        rows = rows[1:]
    if len(columns) < 2 or FILE not in columns:
        raise InputError(f"{path} has no column of labels beside that of files; write file,label or file,label,target")
    seen: dict[str, int] = {}
    found = []
    for line, cells in rows:
        if len(cells) <= max(columns.values()):
            raise InputError(f"{path}, line {line}: {','.join(cells)[:80]!r} lacks a column; write file name,label")
        one = {name: cells[place].strip() for name, place in columns.items()}
        empty = next((name for name, cell in one.items() if not cell), None)
        if empty is not None:
            raise InputError(f"{path}, line {line}: the {empty} is empty; fill it in, or take the line out")
        key = image_key(one[FILE])
        if key in seen:
            raise InputError(f"{path} names {one[FILE]} twice, in lines {seen[key]} and {line}; keep one")
        seen[key] = line
        found.append(LabelledFile(line, one[FILE], one.get(LABEL), one.get(TARGET)))
    return found


def labels_of_files(
    path: Path, root: Path, files: Sequence[str], classes: int | None, class_names: tuple[str, ...] | None
) -> dict[str, int]:
    """Return the label of each of the `files` (paths below `root`) that the table names, in the table's order.

    Raises: InputError for a file that is not there, and for a label that is no class.
    """
    rows = read_label_file(path)
    there = {image_key(storable(file)): file for file in files}
    for row in rows:
        if image_key(row.file) not in there:
            near = nearest(image_key(row.file), there)
            raise InputError(
                f"{path}, line {row.line}: {row.file!r:.200} is no picture in {root}; paths are relative to it, and a "
                f"header is file,label.{near}"
            )
    labels = _classes(path, rows, LABEL, lambda row: row.label, classes, class_names)
    return {there[image_key(row.file)]: label for row, label in zip(rows, labels, strict=True)}


def targets_of_files(path: Path, classes: int | None, class_names: tuple[str, ...] | None) -> dict[str, int]:
    """Return the class that each image is to be given, by its name; InputError where the table has none of them."""
    rows = read_label_file(path)
    targets = _classes(path, rows, TARGET, lambda row: row.target, classes, class_names)
    if all(row.label is not None for row in rows):
        labels = _classes(path, rows, LABEL, lambda row: row.label, classes, class_names)
        for row, label, target in zip(rows, labels, targets, strict=True):
            if label == target:
                raise InputError(
                    f"{path}, line {row.line}: {row.file} is to be given class {target}, which is its label; name "
                    "another class"
                )
    return {image_key(row.file): target for row, target in zip(rows, targets, strict=True)}


def _classes(
    path: Path,
    rows: list[LabelledFile],
    column: str,
    cell: Callable[[LabelledFile], str | None],
    classes: int | None,
    class_names: tuple[str, ...] | None,
) -> list[int]:
    words = [cell(row) for row in rows]
    if any(word is None for word in words):
        raise InputError(
            f"{path} has no column {column!r}; write a header with file and {column}, or file,label,target"
        )
    found = class_labels(f"{path} ({column})", words, len(rows), classes, class_names, lambda i: f"line {rows[i].line}")
    return [] if found is None else [int(label) for label in found]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of the table that are not empty, with their numbers."""
    try:
        if not path.is_file():
            raise InputError(f"{path} is no file; name a table of file names and labels, as labels.csv")
        if path.stat().st_size > SIZE_LIMIT:
            raise InputError(f"{path} is larger than {SIZE_LIMIT} bytes; name a table of file names and labels")
        text = path.read_text(encoding="utf-8-sig")
        first = next((line for line in text.splitlines() if line.strip()), "")
        separator = max(",;\t", key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); save it as CSV in UTF-8") from error


def _header(cells: list[str]) -> dict[str, int] | None:
    """The places of the columns that a header names; None where the line is no header."""
    plain = [cell.strip().casefold() for cell in cells]
    found = {name: place for name, words in HEADERS.items() for place, cell in enumerate(plain) if cell in words}
    return found if FILE in found and len(found) > 1 else None


def image_key(file: str) -> str:
    """Return the name of an image as names are compared: with slashes, without `./`, in Unicode's composed form."""
    return unicodedata.normalize("NFC", PurePosixPath(file.replace("\\", "/")).as_posix())
