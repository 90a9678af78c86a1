"""Pictures that commands write: a transfer matrix, success against queries, and images before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ..transfer import Tally
from .console import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK = 0.55  # share from which a cell's number is white
LONGEST, WRAP = 24, 80  # characters of a name on an axis, and of a line of the title
DPI = 140
SMALLEST, LARGEST = 190, 280  # dots across an image; between them it is shown dot by dot
GAP, LINE, HEAD_LINE, LETTER, HEAD_LETTER = 10, 18, 22, 9.5, 10.5  # dots: between images, of a line, of a letter


def heatmap(tally: Tally, title: str) -> bytes:
    """A PNG: one cell for each model made on (rows) and tried on (columns), shaded and labelled by its success."""
    shares = tally.fell.double() / max(tally.images, 1)
    rows, columns = shares.shape
    figure, axes = _blank(4.0 + 1.25 * columns, 2.2 + 0.6 * rows)
    drawn = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [_short(name) for name in tally.columns], rotation=20, ha="right")
    axes.set_yticks(range(rows), [_short(name) for name in tally.rows])
    axes.set_xlabel("tried on")
    axes.set_ylabel("made on")
    for i, line in enumerate(shares.tolist()):
        for j, share in enumerate(line):
            axes.text(j, i, f"{share:.0%}", ha="center", va="center", color="white" if share > DARK else "black")
    figure.suptitle(fill(title, WRAP), fontsize=9)
    figure.colorbar(drawn, ax=axes, label="success")
    return _png(figure)


def query_curves(fell: Mapping[str, list[int]], stood: Mapping[str, int], title: str) -> bytes:
    """A PNG: the share of images that had fallen after so many queries, one curve for each attack.

    Args:
        fell: for each attack, the queries after which each image that fell did so.
        stood: for each attack, the images that could have fallen.
    """
    figure, axes = _blank(6.4, 4.0)
    most = max((max(counts) for counts in fell.values() if counts), default=1)
    for name, counts in fell.items():
        ordered, total = sorted(counts), max(stood[name], 1)
        height = [i / total for i in range(len(ordered) + 1)]
        axes.step([1, *ordered, most], [*height, height[-1]], where="post", label=name)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel("queries")
    axes.set_ylabel("share of images that fell")
    figure.suptitle(fill(title, WRAP), fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _png(figure)


@dataclass(frozen=True)
class Panel:
    """An image (C, H, W) in [0, 1], and the words above it; `loud` where they say that it fools the model."""

    image: Tensor
    words: str
    loud: bool = False


def moved_images(
    before: Tensor, after: Tensor, said: tuple[Sequence[str], Sequence[str]], title: str, delta: Tensor | None
) -> bytes:
    """A PNG: images (N, C, H, W) above what became of them, each with what is said of it.

    With `delta` (C, H, W), the one perturbation of all of them, it stands in front, at true scale (gray is 0) and
    magnified to the full range; without, each image's change is shown between the two, all magnified alike.
    """
    first = [Panel(image, words) for image, words in zip(before, said[0], strict=True)]
    last = [
        Panel(image, words, loud=label(words) != label(old))
        for image, words, old in zip(after, said[1], said[0], strict=True)
    ]
    if delta is not None:
        scale = 0.5 / max(float(delta.abs().max()), 1e-6)
        true = Panel(0.5 + delta, "true scale\n(gray: 0)")
        return _grid([[true, *first], [Panel(0.5 + scale * delta, f"magnified\n{scale:.3g} times"), *last]], title)
    changes = after - before
    scale = 0.5 / max(float(changes.abs().max()), 1e-6)
    between = [Panel(0.5 + scale * change, f"change, {scale:.3g} times") for change in changes]
    return _grid([first, between, last], title)


def label(words: str) -> str:
    """What is said without how sure it is: all but the last word."""
    return words.rpartition(", ")[0]


def _grid(rows: list[list[Panel]], title: str) -> bytes:
    """Images of one size in rows, each dot of a small one as a square of dots; every place is set by hand."""
    height, width = rows[0][0].image.shape[1:]
    scale = max(1, round(SMALLEST / width)) if width <= LARGEST else LARGEST / width
    wide, high = round(width * scale), round(height * scale)
    across = GAP + (wide + GAP) * len(rows[0])
    heading = fill(plain(title), int(across / HEAD_LETTER))
    words = [[_wrapped(panel.words, int(wide / LETTER)) for panel in row] for row in rows]
    rooms = [LINE * (1 + max(text.count("\n") for text in line)) + GAP for line in words]
    top = HEAD_LINE * (1 + heading.count("\n")) + GAP
    down = top + sum(rooms) + high * len(rows) + GAP
    figure = _figure(across / DPI, down / DPI, layout=None)
    figure.suptitle(heading, y=1 - GAP / 2 / down, fontsize=9, parse_math=False)
    for row, texts, room in zip(rows, words, rooms, strict=True):
        top += room + high
        for place, (panel, text) in enumerate(zip(row, texts, strict=True)):
            left = GAP + (wide + GAP) * place
            axes = figure.add_axes((left / across, 1 - top / down, wide / across, high / down))
            shown = panel.image[:3] if len(panel.image) >= 3 else panel.image[:1].expand(3, -1, -1)
            smooth = "nearest" if scale >= 1 else "antialiased"
            axes.imshow(shown.clamp(0, 1).permute(1, 2, 0).cpu().numpy(), interpolation=smooth, aspect="auto")
            axes.set_axis_off()
            color = "firebrick" if panel.loud else "black"
            axes.set_title(text, fontsize=7.5, pad=3, color=color, parse_math=False)
    return _png(figure)


def _wrapped(words: str, letters: int) -> str:
    """The words in at most two lines for each of theirs."""
    lines = [fill(plain(line), letters, max_lines=2, placeholder=" …") for line in words.split("\n")]
    return "\n".join(lines)


def _short(name: str) -> str:
    """The end of a long name: of a path, the file."""
    return name if len(name) <= LONGEST else "…" + name[-LONGEST:]


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = _figure(width, height)
    return figure, figure.subplots()


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A figure that needs no display; matplotlib is imported only where a picture is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI, pil_kwargs={"optimize": True})
    return file.getvalue()
