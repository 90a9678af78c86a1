"""The tables of detection as Markdown, from the record and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.provenance import ROOT

THREATS = ROOT / "records" / "training" / "threats.json"
Found = dict[str, Any]
BESIDE = ("Linf 0.1", "Linf 0.2", "Linf 0.3", "L2 1", "L2 2")
NAMED = {"Linf(25.5/255)": "Linf(0.1)", "Linf(51/255)": "Linf(0.2)", "Linf(76.5/255)": "Linf(0.3)"}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]) + "\n"


def plainly(attack: str) -> str:
    """ "PGD Linf(51/255)" -> "PGD Linf(0.2)"."""
    for written, meant in NAMED.items():
        attack = attack.replace(written, meant)
    return attack


def percent(cell: Found | None) -> str:
    if cell is None or cell["of"] == 0:
        return ""
    return f"{100 * cell['value']:.1f} ({100 * cell['low']:.0f} to {100 * cell['high']:.0f})"


def brief(cell: Found | None) -> str:
    """The value alone, in percent."""
    return "" if cell is None or cell["of"] == 0 else f"{100 * cell['value']:.0f}"


def area(cell: Found | None) -> str:
    return "" if cell is None or cell["of"] == 0 else f"{cell['value']:.3f}"


def matrix(found: Found) -> str:
    attacks = [plainly(name) for name in found["attacks"]]
    head = ["detector", "fitted on", *attacks]

    def rows(show: Callable[[Found], str]) -> list[list[str]]:
        return [
            [row["detector"], plainly(row["fitted_on"] or "clean images"), *(show(cell) for cell in row["cells"])]
            for row in found["rows"]
        ]

    fooling = [str(cell["fooling"]) for cell in found["rows"][0]["cells"]]
    parts = [
        f"### AUROC, and in parentheses its lower end\n\nExamples that fool the model: {', '.join(fooling)}.\n",
        table(head, rows(lambda cell: f"{area(cell['auroc'])} ({cell['auroc']['low']:.2f})")),
        f"### TPR in percent at a stated FPR of {100 * found['fpr']:.0f} %; in parentheses the FPR on test digits\n",
        table(head, rows(lambda cell: f"{brief(cell['tpr'])} ({brief(cell['fpr'])})")),
        "### Noisy clean digits rejected, in percent; in parentheses AUROC against the noisy ones\n",
        table(head, rows(lambda cell: f"{brief(cell['noisy'])} ({area(cell['auroc_noisy'])})")),
        "### Handled: digits on which the attacker does not get an undetected error, in percent\n",
        table(head, rows(lambda cell: f"{100 - 100 * cell['undetected']['value']:.0f}")),
    ]
    return "\n".join([*parts, beside()])


def beside() -> str:
    """What adversarial training withstands, in the same terms."""
    if not THREATS.exists():
        return "records/training/threats.json is missing.\n"
    found = json.loads(THREATS.read_text())
    chosen = ("plain", *BESIDE)
    rows = [
        [row["net"], *(f"{100 * each['share']:.0f}" for each in (row["clean"], *(row["robust"][b] for b in BESIDE)))]
        for row in found["rows"]
        if row["net"] in chosen
    ]
    head = "### Adversarial training beside it: accuracy under `Auto`, in percent (records/training/threats.json)\n\n"
    return head + table(["trained at", "clean", *BESIDE], rows)


def adaptive(found: Found) -> str:
    names = [name for name in found["rows"][0]["attacks"] if name != "naive"]
    rows = [
        [row["detector"], *(brief(row["attacks"][name]) for name in ("naive", *names)),
         *(percent(row["union"][eps]) for eps in row["union"])]
        for row in found["rows"]
    ]  # fmt: skip
    head = ["detector", "naive", *names, *(f"union, eps {eps}" for eps in found["rows"][0]["union"])]
    return (
        f"### Undetected and misclassified, percent of {found['digits']} digits, Linf {found['eps']}, FPR "
        f"{100 * found['fpr']:.0f} %, {found['steps']} steps\n\n" + table(head, rows)
    )


def squeezing(found: Found) -> str:
    radii = list(found["rows"][0]["radii"])
    rows = [[row["slope"], *(percent(row["radii"][eps]) for eps in radii)] for row in found["rows"]]
    head = ["slope of bit depth", *(f"Linf {eps}" for eps in radii)]
    return (
        f"### Feature squeezing, one bit and a median: undetected and misclassified, percent of {found['digits']} "
        "digits, union of the adaptive attacks\n\n" + table(head, rows)
    )


def photographs(found: Found) -> str:
    parts = []
    for row in found["rows"]:
        rows = [
            [cell["attack"], f"{area(cell['auroc'])} ({cell['auroc']['low']:.2f})",
             *(percent(cell[name]) for name in ("tpr", "fpr", "noisy", "undetected"))]
            for cell in row["cells"]
        ]  # fmt: skip
        head = ["attack", "AUROC", "TPR", "FPR measured", "noisy rejected", "undetected and misclassified"]
        under = [[name, percent(cell)] for name, cell in row["adaptive"].items()]
        parts += [f"### {row['detector']}, EfficientNet-Lite0\n", table(head, rows)]
        parts += [table([f"attacker at Linf 4/255, {found['steps']} steps", "undetected and misclassified"], under)]
    return "\n".join(parts)


def art(found: Found) -> str:
    rows = [
        [row["detector"], plainly(row["attack"]),
         *(f"{area(row[who]['auroc'])} ({row[who]['auroc']['low']:.2f})" for who in ("art", "ours")),
         *(f"{brief(row[who]['tpr'])} ({brief(row[who]['fpr'])})" for who in ("art", "ours")),
         *(f"{row['seconds'][who]:.1f}" for who in ("art", "ours"))]
        for row in found["rows"]
    ]  # fmt: skip
    head = ["detector", "attack", "AUROC, ART", "ours", "TPR (FPR), ART", "ours", "seconds to fit, ART", "ours"]
    return f"### Fitted on {plainly(found['fitted_on'])}\n\n" + table(head, rows)


TABLES: dict[str, Callable[[Found], str]] = {
    "matrix": matrix, "noise": matrix, "adaptive": adaptive, "squeezing": squeezing, "photographs": photographs,
    "art": art,
}  # fmt: skip
