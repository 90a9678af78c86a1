"""What a task adds to the report of an audit: words, and sections with tables, plots and pictures.

    Words      the goal's words for what is measured, as "True accept rate under attack" in place of "Robust accuracy"
    Results    what was recorded: for each input what the task said of it before the attacks, and at each threat after
    Section    what `Task.sections(results)` returns; the audit shows it in report.json, report.html, console and JUnit

All of it is plain data, and is made again from the records whenever the report is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Cell = str | int | float | None | tuple[float, float, float]
Kind = Literal["text", "count", "number", "percent", "rate"]
Scale = Literal["linear", "log", "normal"]


@dataclass(frozen=True)
class Words:
    """The words of a goal for what an audit measures: of the inputs on which the goal is not met.

    Args:
        measure: their share under attack.
        clean: their share without an attack.
        right, wrong: what an input is on which the goal is not met, and on which it is.
    """

    measure: str = "Robust accuracy"
    clean: str = "Clean accuracy"
    right: str = "right"
    wrong: str = "wrong"


@dataclass(frozen=True)
class Column:
    """A column of a table, and how its cells are written.

    "text", "count" (a whole number), "number", "percent" (a share in [0, 1]) or "rate" (a share, and the two ends of
    its interval). A cell that is None is not known.
    """

    name: str
    kind: Kind = "number"


@dataclass(frozen=True)
class Table:
    """A table: each row has a cell for each column, the first of which names the row."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis of a plot: linear from `low` to `high`, logarithmic, or of normal deviates as DET curves have them.

    `percent`: the values are shares, and ticks are written in percent. `whole`: ticks are whole numbers.
    """

    name: str
    low: float
    high: float
    scale: Scale = "linear"
    percent: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Line:
    """A line through points; values beyond the axes are drawn at their ends. `dashed`: for what it is compared with."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines in one frame."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    note: str = ""


@dataclass(frozen=True)
class Box:
    """A box on a picture, in its pixels; `dashed`: of the truth."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Picture:
    """One picture (C, H, W) in [0, 1] with what is written under it."""

    label: str
    image: Tensor
    boxes: Sequence[Box] = ()


@dataclass(frozen=True)
class Strip:
    """Pictures that belong together, side by side: an input, its example, what it is compared with."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report. `text` is one paragraph of plain prose."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    strips: Sequence[Strip] = ()


@dataclass(frozen=True)
class ThreatResults:
    """What was recorded at one radius of a threat, row by row of the N inputs.

    Attributes:
        text: the threat as a reader knows it, as "Linf 4/255".
        after: N predictions by column: of the example on which the goal's margin is largest, or of the input itself
            where no attack came further. A goal that is not `graded` has examples only where it is met.
        details: N values of `Task.details` of the same.
        met: N bool: the goal is met, confirmed.
        unanswered: N bool: an attack made the target give no answer, and no example was found.
        attacked: N bool: an attack was run on it.
    """

    text: str
    norm: str
    eps: float
    after: Sequence[Mapping[str, Any]]
    details: Sequence[Any]
    met: Sequence[bool]
    unanswered: Sequence[bool]
    attacked: Sequence[bool]


@dataclass(frozen=True)
class Results:
    """What an audit recorded of N inputs, as far as it has come.

    Attributes:
        goal: the name of the goal's class, as "Dodge"; `goal_values` its plain values by name.
        names: of the inputs.
        before: N predictions of the clean inputs by column, a value None where the answer is no number.
        details: N values of `Task.details` of the clean inputs; None where the task gives none.
        met: N bool: the goal is met without an attack.
        threats: the radii of all threats.
        reference: what came with the data beside its rows (`data.reference`): plain values and tensors by name.
        shown: the inputs of which pictures are kept, by threat: those that fell first.
        original, example: picture (C, H, W) of an input, and of its example at a threat; both by position.
    """

    goal: str
    goal_values: Mapping[str, Any]
    names: Sequence[str]
    before: Sequence[Mapping[str, Any]]
    details: Sequence[Any]
    met: Sequence[bool]
    threats: Sequence[ThreatResults]
    reference: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[Sequence[int]] = ()
    original: Callable[[int], Tensor] | None = None
    example: Callable[[int, int], Tensor] | None = None
