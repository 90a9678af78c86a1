"""Figures for a paper, from a run's report.json: the curve of each norm, and a strip of the gallery.

Each is written as PDF (fonts embedded as TrueType, which publishers take) and as PNG, with the same bytes for the same
report. Sizes are those of a two-column page: a curve is one column wide, the strip both.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ...errors import RunError
from ...files import write_atomically
from .escaping import visible
from .format import symbol
from .model import Report, ThreatPart
from .paper_strip import LETTERS, blank, strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
COLUMN = 3.3  # inches
DPI = 300
TEXT = 8.0  # points
INK, GREY, PROOF = "#a53a12", "#5b5f66", "#1b6a63"
TICKS = 6  # radii that are written out below the axis; of more, even numbers are
STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "font.size": TEXT,
    "font.family": "DejaVu Sans",
    "axes.linewidth": 0.6,
    "text.usetex": False,  # names are not ours: no TeX may read them
}


def paper_figures(folder: Path | str, examples: int = 6) -> list[Path]:
    """Write the figures of the run in `folder` into its folder `figures`; their paths.

    `curve-linf.pdf` and `.png`, one pair for each norm: robust accuracy against eps with its 95 % interval, and dashed
    what an attacker leaves who does not know of the defense. `gallery.pdf` and `.png`: at most `examples` images that
    fell, each with its perturbation (magnified) and what the model says before and after.

    Raises: RunError where there is no report, a picture cannot be used, or the disk does not take the files.
    """
    from matplotlib import rc_context

    run = Path(folder)
    report = _report_of(run)
    measure = "Robust agreement" if report.data.labels == "model" else "Robust accuracy"
    with warnings.catch_warnings(), rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box
        made = {f"curve-{threat.norm.lower()}": _curve(threat, measure) for threat in report.threats if threat.curve}
        shown = [part for part in report.gallery if part.original is not None]
        if shown and examples > 0:
            made["gallery"] = strip(run, shown[:: -(-len(shown) // examples)])
        files = {f"{name}.{kind}": _bytes(figure, kind) for name, figure in made.items() for kind in ("pdf", "png")}
    return _write(run / FOLDER, files)


def _report_of(run: Path) -> Report:
    file = run / "report.json"
    try:
        return Report.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RunError(
            f"{file} cannot be read ({error.strerror}); make it with 'sparring report {run}', or name a run's folder"
        ) from error
    except ValidationError as error:
        raise RunError(f"{file} is no report of this version; make it again with 'sparring report {run}'") from error


def _curve(threat: ThreatPart, measure: str) -> Figure:
    """Return shares in percent over eps, from 0 to the largest radius."""
    figure = blank(COLUMN, 2.3)
    axes = figure.subplots()
    points = sorted(threat.curve, key=lambda point: point.eps)
    eps = [point.eps for point in points]
    shares = [point.robust_accuracy for point in points]
    low, high = ([100 * end for end in ends] for ends in ([one.low for one in shares], [one.high for one in shares]))
    axes.fill_between(eps, low, high, color=INK, alpha=0.15, linewidth=0)
    known = threat.epsilons[0].views[-1:] if threat.epsilons else []
    label = _attacker(known[0].name) if known else measure
    marker = "o" if len(points) <= 2 * TICKS else ""
    drawn = {"color": INK, "marker": marker, "markersize": 3, "linewidth": 1.2, "clip_on": False, "label": label}
    axes.plot(eps, [100 * one.share for one in shares], zorder=3, **drawn)  # type: ignore[arg-type]
    for view, name in enumerate([one.name for part in threat.epsilons[:1] for one in part.views[:-1]]):
        line = [(part.eps, 100 * part.views[view].robust_accuracy.share) for part in threat.epsilons]
        begun = [(point.eps, 100 * point.robust_accuracy.share) for point in points if point.eps == 0] + line
        axes.plot(*zip(*begun, strict=True), color=GREY, linestyle="--", linewidth=1, label=_attacker(name))
    certified = [(part.eps, part.certificates.proven) for part in threat.epsilons if part.certificates]
    if certified:
        certified = [(point.eps, point.robust_accuracy) for point in points if point.eps == 0] + certified
        at, proven = [one for one, _ in certified], [100 * one.share for _, one in certified]
        axes.fill_between(at, proven, [100 * one.share for one in shares], color=GREY, alpha=0.15, linewidth=0)
        axes.plot(at, proven, color=PROOF, marker="s", markersize=3, linewidth=1.2, clip_on=False, label="Proven")
    if known or certified:
        axes.legend(fontsize=TEXT - 1, frameon=False)
        for text in axes.get_legend().get_texts():  # type: ignore[union-attr]
            text.set_parse_math(False)
    _frame(axes, threat, eps, measure)
    return figure


def _attacker(view: str) -> str:
    return f"{visible(view, LETTERS)} attacker"


def _frame(axes: Axes, threat: ThreatPart, eps: list[float], measure: str) -> None:
    """Axes, ticks and their words."""
    axes.set_ylim(0, 100)
    axes.set_xlim(0, max(eps) or 1.0)
    axes.set_ylabel(f"{measure} (%)", parse_math=False)
    axes.set_xlabel(f"ε ({symbol(threat.norm)})", parse_math=False)
    if threat.smallest is None and len(eps) <= TICKS:
        texts = {part.eps: visible(part.eps_text, 10) for part in threat.epsilons}
        axes.set_xticks(eps, [texts.get(one, f"{one:g}") for one in eps], parse_math=False)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _bytes(figure: Figure, kind: str) -> bytes:
    """Return the file; without the time, so that it is the same for the same figure."""
    options: dict[str, Any] = {"metadata": {"CreationDate": None}} if kind == "pdf" else {}
    file = BytesIO()
    figure.savefig(file, format=kind, dpi=DPI, **options)
    return file.getvalue()


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise RunError(f"figures cannot be written to {folder} ({error.strerror}); make room there") from error
    return [folder / name for name in files]
