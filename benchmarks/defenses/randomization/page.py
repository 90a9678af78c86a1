"""The tables and the picture, from the record and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

PUBLISHED = (
    "Published: Xie et al. 2017, their score in the NIPS 2017 contest 0.924 with resize-pad against 0.773 without; "
    "under EOT 0 %\nat 0.031 (Athalye et al. 2018). Stochastic activation pruning: 0 % under EOT (Athalye et al. 2018)."
)
TITLES = {
    "resize-pad": "resize-pad, 24 to 27 in 28 pixels",
    "resize-pad-31": "resize-pad, 29 or 30 in 31 pixels",
    "input-noise": "input noise 0.2",
    "self-ensemble": "random self-ensemble, 10 votes",
    "pruning": "activation pruning",
    "photographs": "resize-pad, EfficientNet-Lite0",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]) + "\n"


def percent(cell: dict[str, Any]) -> str:
    """A share, its interval over images, and that over fresh answers."""
    low, high = 100 * cell["low"], 100 * cell["high"]
    return f"{100 * cell['share']:.1f} % [{low:.0f}, {high:.0f}] ± {100 * cell['fresh']:.1f}"


def text(record: dict[str, Any]) -> str:
    """Everything that the record has, as Markdown."""
    found = record["experiments"]
    parts = [contest(name, found[name]) for name in TITLES if name in found]
    if "peers" in found:
        parts.append(peers(found["peers"]))
    return "\n".join([*parts, PUBLISHED])


def contest(name: str, found: dict[str, Any]) -> str:
    clean, radii = found["clean"], found["radii"]
    of = clean["bare"]["of"]
    said = f"## {TITLES[name]}\n\n{found['defence']} around {found['net']}; {of} images, PGD of {found['steps']} "
    said += f"steps, {found['looks']} fresh answers of {found['votes']} vote{'s' * (found['votes'] > 1)} each.\n"
    said += f"Clean: {percent(clean['defended'])}; bare model {100 * clean['bare']['share']:.1f} %.\n\n"
    words = dict.fromkeys(row["attack"] for at in radii.values() for row in at["rows"])
    cells = {word: {row["attack"]: row for row in at["rows"]} for word, at in radii.items()}
    rows = []
    for word in words:
        here = [cells[radius].get(word) for radius in radii]
        passes = next(row["draws"] * row["steps"] for row in here if row is not None)
        rows.append([word, passes, *("" if row is None else percent(row) for row in here)])
    said += table(["attack", "passes", *(f"Linf {radius}" for radius in radii)], rows)
    return said + "\n" + "\n".join(flat(radius, at) for radius, at in radii.items()) + "\n"


def flat(radius: str, at: dict[str, Any]) -> str:
    gains = ", ".join(
        f"{each['from']} to {each['to']}: {100 * each['lower']:+.1f} points [{100 * each['least']:+.1f}, "
        f"{100 * each['most']:+.1f}]"
        for each in at["gains"]
    )
    return (
        f"- Linf {radius}: `adaptive_view(goal=, images=)` takes {at['chosen']} draws. More draws lower it by: {gains}."
    )


def peers(found: dict[str, Any]) -> str:
    rows = [
        [row["defence"], row["library"], row["draws"], percent(row), f"{row['seconds']:.0f}"] for row in found["rows"]
    ]
    head = ["defence", "attack of", "draws", f"left at Linf {found['eps']}", "seconds"]
    return f"## Peers, PGD of {found['steps']} steps\n\n" + table(head, rows)


def draw(record: dict[str, Any], path: Path) -> None:
    """Accuracy against draws: digits in two panels, photographs in two."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    found = {name: each for name, each in record["experiments"].items() if name in TITLES}
    panels = list(dict.fromkeys(radius for name in TITLES if name in found for radius in found[name]["radii"]))
    if not panels:
        return
    figure = Figure(figsize=(3.1 * len(panels) + 0.4, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colors = {name: f"C{place}" for place, name in enumerate(TITLES)}
    lines = {}
    for axes, radius in zip(every, panels, strict=True):
        for name in TITLES:
            if radius in found.get(name, {}).get("radii", {}):
                lines[TITLES[name]] = curve(axes, found[name]["radii"][radius]["rows"], colors[name])
        ticks = [1, 5, 20, 50]
        axes.set_xscale("log")
        axes.set_xticks([0.4, *ticks], ["unaware", *map(str, ticks)], fontsize=8)
        axes.minorticks_off()
        axes.set_xlim(0.28, 70)
        axes.set_ylim(-0.02, 1.02)
        axes.axvline(0.63, color="0.7", linewidth=0.8)
        axes.set_title(f"{'photographs' if '/' in radius else 'digits'}, Linf {radius}", fontsize=9)
        axes.grid(alpha=0.3)
    every[0].set_ylabel("accuracy on fresh answers")
    figure.supxlabel("draws per gradient of an attacker who knows the defence", fontsize=9)
    lines["the bare model, attacked"] = Line2D([], [], color="0.4", linestyle="--", linewidth=0.9)
    lines["the same with the margin as loss"] = Line2D([], [], color="0.4", linestyle="", marker="x")
    figure.legend(list(lines.values()), list(lines), loc="outside upper center", ncols=len(panels), fontsize=8)
    figure.savefig(path, dpi=130)


def curve(axes: Any, rows: list[dict[str, Any]], color: str) -> Any:
    """The unaware attack on the left, then each number of draws, a cross for the margin; dashed, the bare model."""
    unaware = next(row for row in rows if row["attack"] == "unaware")
    bare = next(row for row in rows if row["attack"] == "PGD on the bare model")
    known = sorted((row for row in rows if row["attack"].endswith(("draw", "draws"))), key=lambda row: row["draws"])
    known = [row for row in known if row["attack"].startswith("EOT")]
    draws = [row["draws"] for row in known]
    (line,) = axes.plot(draws, [row["share"] for row in known], "o-", color=color, markersize=4)
    axes.fill_between(draws, [row["low"] for row in known], [row["high"] for row in known], color=color, alpha=0.1)
    for row in rows:
        if row["attack"].endswith("margin"):
            axes.plot([row["draws"]], [row["share"]], "x", color=color, markersize=6)
    ends = [[unaware["share"] - unaware["low"]], [unaware["high"] - unaware["share"]]]
    axes.errorbar([0.4], [unaware["share"]], yerr=ends, fmt="s", color=color, markersize=4, capsize=2)
    axes.axhline(bare["share"], color=color, linestyle="--", linewidth=0.9)
    return line
