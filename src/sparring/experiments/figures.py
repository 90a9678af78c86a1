"""Figures of the commands: matrices of models, success against queries, images before and after."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from ..text import printable
from ..transfer import TransferCounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DARK = 0.55  # share from which a cell's number is white
LONGEST, WRAP = 24, 80  # characters of a line of a name on an axis, and of a line of the title
LINES = 3  # of a name on an axis
DPI = 140
SMALLEST, LARGEST = 190, 280  # dots across an image; between them it is shown dot by dot
GAP, LINE, HEAD_LINE, LETTER, HEAD_LETTER = 10, 18, 22, 9.5, 10.5  # dots: between images, of a line, of a letter


def heatmap(counts: TransferCounts, title: str) -> bytes:
    """Return a PNG: a cell for each model made on (rows) and tried on (columns), shaded and labelled by its success."""
    shares = counts.fell.double() / max(counts.images, 1)
    rows, columns = shares.shape
    figure, axes = _blank(4.0 + 1.25 * columns, 2.2 + 0.6 * rows)
    drawn = _cells(axes, shares)
    axes.set_xticks(range(columns), [_name(name) for name in counts.columns], rotation=20, ha="right", parse_math=False)
    axes.set_yticks(range(rows), [_name(name) for name in counts.rows], parse_math=False)
    axes.set_xlabel("tried on")
    axes.set_ylabel("made on")
    figure.suptitle(fill(printable(title), WRAP), fontsize=9, parse_math=False)
    figure.colorbar(drawn, ax=axes, label="success")
    return _png(figure)


@dataclass(frozen=True)
class ColumnBlock:
    """Columns that stand together: a title above them, a name below each, and in each cell (R, C) a share and its ends.

    `low` and `high` bound the share: its 95 % interval.
    """

    title: str
    columns: tuple[str, ...]
    share: Tensor
    low: Tensor
    high: Tensor


def accuracy_map(names: Sequence[str], blocks: Sequence[ColumnBlock], title: str) -> dict[str, bytes]:
    """Return a PNG and a PDF: a row for each model, and blocks of columns with accuracies and their 95 % intervals."""
    widths = [len(block.columns) for block in blocks]
    below = max(column.count("\n") for block in blocks for column in block.columns)
    figure = _figure(2.9 + 0.62 * sum(widths) + 0.12 * len(blocks), 1.5 + 0.16 * below + 0.5 * len(names))
    every = figure.subplots(1, len(blocks), sharey=True, squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    for axes, block in zip(every, blocks, strict=True):
        drawn = _cells(axes, block.share, (block.low, block.high))
        axes.set_xticks(range(len(block.columns)), block.columns, fontsize=8, parse_math=False)
        axes.set_title(block.title, fontsize=9, parse_math=False)
        axes.tick_params(length=0)
    every[0].set_yticks(range(len(names)), [_name(name) for name in names], fontsize=8, parse_math=False)
    figure.suptitle(fill(printable(title), int(16 * figure.get_figwidth())), fontsize=9, parse_math=False)
    figure.colorbar(drawn, ax=list(every), pad=0.01).set_label("accuracy", fontsize=8)
    figure.axes[-1].tick_params(labelsize=8)
    return {"png": _saved(figure, "png"), "pdf": _saved(figure, "pdf")}


def _cells(axes: Axes, shares: Tensor, ends: tuple[Tensor, Tensor] | None = None) -> AxesImage:
    """Shares (R, C) as shaded cells with their numbers; with `ends` (R, C) each, in percent with their intervals."""
    drawn = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, line in enumerate(shares.tolist()):
        for j, share in enumerate(line):
            color = "white" if share > DARK else "black"
            if ends is None:
                axes.text(j, i, f"{share:.0%}", ha="center", va="center", color=color)
                continue
            low, high = (100 * float(end[i, j]) for end in ends)
            for words, up, size in ((f"{share:.1%}", 4, 8), (f"{low:.0f}–{high:.0f}", -7, 6)):
                at: dict[str, Any] = {"xytext": (0, up), "textcoords": "offset points", "fontsize": size}
                axes.annotate(words, (j, i), color=color, ha="center", va="center", **at)
    return drawn


def success_curves(
    fell: Mapping[str, Sequence[float]], stood: Mapping[str, int], title: str, axis: Literal["queries", "distance"]
) -> bytes:
    """Return a PNG: the share of images that had fallen after so many queries or within a distance, attack by attack.

    Args:
        fell: for each attack, the queries after which each image that fell did so, or the distances of its example.
        stood: for each attack, the number of images on which the goal was not met before.
        axis: which of the two `fell` holds.
    """
    first = 1.0 if axis == "queries" else 0.0
    figure, axes = _blank(6.4, 4.0)
    most = max((max(counts) for counts in fell.values() if counts), default=1)
    for name, counts in fell.items():
        ordered, total = sorted(counts), max(stood[name], 1)
        height = [i / total for i in range(len(ordered) + 1)]
        axes.step([first, *ordered, most], [*height, height[-1]], where="post", label=printable(name))
    if axis == "queries":
        axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel(axis)
    axes.set_ylabel("share of images that fell")
    figure.suptitle(fill(printable(title), WRAP), fontsize=9, parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _png(figure)


@dataclass(frozen=True)
class ImagePanel:
    """An image (C, H, W) in [0, 1], and the words above it; `loud` where it fools the model."""

    image: Tensor
    words: str
    loud: bool = False


def before_and_after(
    before: Tensor, after: Tensor, caption_pairs: tuple[Sequence[str], Sequence[str]], title: str, delta: Tensor | None
) -> bytes:
    """Return a PNG: images (N, C, H, W) above what became of them, each with what is said of it.

    With `delta` (C, H, W), the one perturbation of all of them, it stands in front, at true scale (gray is 0) and
    magnified to the full range; without, each image's change is shown between the two, all magnified alike.
    """
    first = [ImagePanel(image, words) for image, words in zip(before, caption_pairs[0], strict=True)]
    last = [
        ImagePanel(image, words, loud=caption_label(words) != caption_label(old))
        for image, words, old in zip(after, caption_pairs[1], caption_pairs[0], strict=True)
    ]
    if delta is not None:
        scale = 0.5 / max(float(delta.abs().max()), 1e-6)
        true = ImagePanel(0.5 + delta, "true scale\n(gray: 0)")
        return _grid([[true, *first], [ImagePanel(0.5 + scale * delta, f"magnified\n{scale:.3g} times"), *last]], title)
    changes = after - before
    scale = 0.5 / max(float(changes.abs().max()), 1e-6)
    between = [ImagePanel(0.5 + scale * change, f"change, {scale:.3g} times") for change in changes]
    return _grid([first, between, last], title)


def caption_label(words: str) -> str:
    """Return a caption without its last word, which says how sure the model is."""
    return words.rpartition(", ")[0]


def _grid(rows: list[list[ImagePanel]], title: str) -> bytes:
    """Return images of one size in rows, each dot of a small one as a square of dots; every place is set by hand."""
    height, width = rows[0][0].image.shape[1:]
    scale = max(1, round(SMALLEST / width)) if width <= LARGEST else LARGEST / width
    wide, high = round(width * scale), round(height * scale)
    across = GAP + (wide + GAP) * len(rows[0])
    heading = fill(printable(title), int(across / HEAD_LETTER))
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
    """Return the words in at most two lines for each of theirs."""
    lines = [fill(printable(line), letters, max_lines=2, placeholder=" …") for line in words.split("\n")]
    return "\n".join(lines)


def _name(name: str) -> str:
    """Return the name in a few lines; of a longer one the end: of a path, the file."""
    shown, most = printable(name), LONGEST * LINES
    return fill(shown if len(shown) <= most else "…" + shown[1 - most :], LONGEST)


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure with one pair of axes."""
    figure = _figure(width, height)
    return figure, figure.subplots()


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return a figure that needs no display; matplotlib is imported only where a picture is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    return _saved(figure, "png")


def _saved(figure: Figure, kind: Literal["png", "pdf"]) -> bytes:
    """Return the file's bytes, the same for the same figure; a letter that the font lacks is drawn as a box."""
    from matplotlib import rc_context

    options: dict[str, dict[str, Any]] = {
        "png": {"pil_kwargs": {"optimize": True}},
        "pdf": {"metadata": {"CreationDate": None}},
    }
    file = BytesIO()
    with warnings.catch_warnings(), rc_context({"pdf.fonttype": 42}):  # 42: fonts that publishers take
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format=kind, dpi=DPI, **options[kind])
    return file.getvalue()
