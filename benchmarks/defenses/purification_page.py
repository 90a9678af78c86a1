"""The tables of what cleans an image, from the record and from nothing else."""

from __future__ import annotations

from typing import Any

from benchmarks.defenses.cost_page import percent

HEAD = "| on | defence | Linf | ms per image | clean | unaware attacker | adaptive attacker |\n|---|---|" + "---:|" * 5
BESIDE = """
ART's preprocessors on the same 100 digits, milliseconds of the processor per image, and how far apart the results are:

| defence | ours, ms | ART, ms | largest difference |
|---|---:|---:|---:|
"""


def photographs(record: dict[str, Any]) -> int:
    return max((row["clean"]["of"] for row in record["rows"] if row["on"] == "photographs"), default=0)


def text(record: dict[str, Any]) -> str:
    """Both tables as Markdown."""
    lines, beside = [HEAD], []
    for row in record["rows"]:
        if row["on"] == "ART":
            apart = row["largest_difference"]
            ours, theirs = row["milliseconds"], row["art_milliseconds"]
            how = "both draw" if apart is None else f"{apart:.2g}"
            beside.append(f"| {row['defense']} | {ours:.3f} | {theirs:.3f} | {how} |")
            continue
        eps = f"{round(255 * row['eps'])}/255" if row["on"] == "photographs" else f"{row['eps']:g}"
        shares = [percent(row[word]) for word in ("clean", "unaware", "adaptive")]
        cells = [row["on"], row["defense"], eps, f"{row['milliseconds']:.3f}", *shares]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + (BESIDE + "\n".join(beside) + "\n" if beside else "")
