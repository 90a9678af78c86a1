"""The texts of a gallery card: prediction before the attack and after it."""

from __future__ import annotations

from dataclasses import dataclass

from .model import GalleryPart, PredictedValue, Report

SURE = "confidence"  # what stands beside a class


@dataclass(frozen=True)
class Headline:
    """The first thing that the task says, before and after; `rest`: each other thing with its word."""

    word: str  # empty for a class, which needs none
    before: str
    after: str
    before_confidence: str
    after_confidence: str
    rest: tuple[tuple[str, str, str], ...]


def headline(part: GalleryPart) -> Headline:
    """Return what the task says of the example; a class is followed by its confidence."""
    if not part.before:
        return Headline("", part.name, part.attack, "", "", ())
    first = next(iter(part.before))
    classed = part.before[first].kind == "class"
    beside = {first, SURE} if classed else {first}
    rest = [name for name in part.before if name not in beside]
    return Headline(
        word="" if classed else spaced(first),
        before=part.before[first].text,
        after=text_of(part.after, first),
        before_confidence=text_of(part.before, SURE) if classed else "",
        after_confidence=text_of(part.after, SURE) if classed else "",
        rest=tuple((spaced(name), part.before[name].text, text_of(part.after, name)) for name in rest),
    )


def text_of(values: dict[str, PredictedValue], name: str) -> str:
    """Return the text of one value; nothing where it is not there."""
    return values[name].text if name in values else ""


def spaced(name: str) -> str:
    """Return the name of a column as words."""
    return name.replace("_", " ")


def searched(part: GalleryPart) -> str:
    """Return the words that a search in the gallery goes through: the file's name and classes."""
    classes = [one.text for values in (part.before, part.after) for one in values.values() if one.kind == "class"]
    return " ".join([part.name, *([] if part.label_name is None else [part.label_name]), *classes])


def sort_values(part: GalleryPart) -> list[tuple[str, float]]:
    """Return what the card can be sorted by, with keys that are our own: a task's names may be anything."""
    values = enumerate(part.after.values())
    return [(f"p{place}", float(one.value or 0)) for place, one in values if one.kind in ("number", "count")]


def sortable(report: Report) -> list[tuple[str, str]]:
    """Return key and words of each column by which cards can be sorted."""
    if not report.gallery:
        return []
    named = enumerate(report.gallery[0].after.items())
    return [(f"p{place}", spaced(name)) for place, (name, one) in named if one.kind in ("number", "count")]
