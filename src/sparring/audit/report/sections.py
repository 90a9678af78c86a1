"""The sections that a task adds to the report: what it makes of the records, with its pictures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import TargetError, user_code
from ...files import write_atomically
from ...tasks import Picture, Section, Strip, Task, task_named
from ..records.database import Records
from ..records.run_folder import report_writing
from ..records.task_results import task_results
from .gallery import FOLDER, png_bytes
from .model import SectionPart, ShownPicture, StripPart


def task_sections(records: Records, out: Path, task: type[Task] | None) -> list[SectionPart]:
    """Return the task's sections, and write their pictures into the folder `out`.

    Raises: UserCodeError where a task of the caller's raises, TargetError where it gives something else.
    """
    kind = task or task_named(records.facts.task)
    if kind is None or kind.sections.__func__ is Task.sections.__func__:  # type: ignore[attr-defined]
        return []
    with user_code(f"{kind.__name__}.sections"):
        found = kind.sections(task_results(records))
    try:
        return [section_part(section, number, out) for number, section in enumerate(found)]
    except (AttributeError, TypeError, ValueError) as error:  # pydantic's own error is a ValueError
        raise TargetError(
            f"{kind.__name__}.sections gives what is no sparring.tasks.Section of Table, Plot and Strip: {error}"
        ) from error


def section_part(section: Section, number: int, out: Path) -> SectionPart:
    """Return a section as the report has it."""
    strips = [
        strip_part(strip, f"{FOLDER}/section-{number}-{place:02d}", out) for place, strip in enumerate(section.strips)
    ]
    return SectionPart(
        title=section.title, text=section.text, tables=list(section.tables), plots=list(section.plots), strips=strips
    )


def strip_part(strip: Strip, stem: str, out: Path) -> StripPart:
    """Write the pictures of a strip as PNG files."""
    shown = [picture_part(picture, f"{stem}-{place}.png", out) for place, picture in enumerate(strip.pictures)]
    return StripPart(title=strip.title, pictures=shown, note=strip.note)


def picture_part(picture: Picture, file: str, out: Path) -> ShownPicture:
    """Write one picture, and return where it is."""
    with report_writing(out):
        write_atomically(out / file, png_bytes(picture.image))
    height, width = picture.image.shape[1:]
    boxes: Any = list(picture.boxes)
    return ShownPicture(label=picture.label, file=file, width=width, height=height, boxes=boxes)
