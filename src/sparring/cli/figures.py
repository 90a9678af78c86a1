"""Pictures that commands write: a transfer matrix, and success against queries."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING

from ..transfer import Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK = 0.55  # share from which a cell's number is white
LONGEST, WRAP = 24, 80  # characters of a name on an axis, and of a line of the title


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


def _short(name: str) -> str:
    """The end of a long name: of a path, the file."""
    return name if len(name) <= LONGEST else "…" + name[-LONGEST:]


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure that needs no display; matplotlib is imported only where a picture is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=140)
    return file.getvalue()
