"""The table and the picture of what defences cost and are worth, from the record and from nothing else."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

HEAD = "| defence | seconds to fit | ms per image | clean | unaware attacker | adaptive attacker | draws |"
FREE = 0.01  # seconds: where what is not trained stands on a logarithmic axis


def percent(cell: dict[str, Any] | None) -> str:
    return "" if cell is None else f"{100 * cell['share']:.1f} % [{100 * cell['low']:.0f}, {100 * cell['high']:.0f}]"


def text(record: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = []
    for row in record["rows"]:
        fit = row["train_seconds"]
        cells = [row["defense"], f"{fit:.1f}" if fit > 0.05 else "0", f"{row['milliseconds']:.3f}"]
        shares = [percent(cell) for cell in (row["clean"], row.get("unaware"), row["adaptive"])]
        cells += [*shares, str(row.get("draws", 1))]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([HEAD, "|---|" + "---:|" * 6, *rows]) + "\n"


def picture(record: dict[str, Any], path: Path) -> None:
    """Robust accuracy against what it costs to fit; the size of a dot is what it costs in use."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    rows = record["rows"]
    bare = next(row["milliseconds"] for row in rows if row["defense"] == "none")
    near: list[tuple[float, float, list[str]]] = []  # dots that would hide one another's names
    for row in sorted(rows, key=lambda row: -row["adaptive"]["share"]):
        x, y = max(FREE, row["train_seconds"]), 100 * row["adaptive"]["share"]
        axes.scatter(x, y, s=20 * (1 + row["milliseconds"] / bare) ** 0.5, color="tab:blue", alpha=0.6)
        name = f"{row['defense']} ({100 * row['clean']['share']:.0f})"
        for at, level, names in near:
            if abs(y - level) < 3.2 and 0.2 < x / at < 5:
                names.append(name)
                break
        else:
            near.append((x, y, [name]))
    for x, y, names in near:
        words = fill(", ".join(names), 52)
        axes.annotate(words, (x, y), xytext=(8, 0), textcoords="offset points", fontsize=7, va="center")
    axes.set_xscale("log")
    axes.set_xlim(FREE / 2, 40 * max(row["train_seconds"] for row in rows))
    axes.set_ylim(-6, 105)
    axes.set_xlabel(f"seconds to fit on {record['made']['device']} (left edge: nothing is fitted)")
    axes.set_ylabel(f"right under the adaptive attacker, Linf {record['eps']}, %")
    axes.set_title("In brackets: right and accepted without an attack, %. Larger dots: slower in use")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
