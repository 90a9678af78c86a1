"""Render docs/training-results.md and its pictures from records/training, and from nothing else.

python -m benchmarks.training.page
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from benchmarks.provenance import ROOT
from sparring.experiments.figures import ColumnBlock, accuracy_map

RECORDS, PAGE = ROOT / "records" / "training", ROOT / "docs" / "training-results.md"
MATRIX, CURVES = ROOT / "docs" / "training-threats.png", ROOT / "docs" / "training-samples.png"
HEAD = """# What adversarial training is worth

Made by `python -m benchmarks.training.page` from `records/training`; `make train-mnist` makes the records again, in
about two hours of two CPU cores. All on MNIST: trained on its training digits, measured on its test digits; best
weights by robust accuracy on held-out training digits. `Auto` is `attacks.Auto`. Shares are of all digits, with Wilson
intervals of 95 %. Weights are named by the SHA-256 of their tensors in the records.
"""


def record(name: str) -> dict[str, Any] | None:
    path = RECORDS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def percent(share: dict[str, Any]) -> str:
    low, high = 100 * share["low"], 100 * share["high"]
    return f"{100 * share['share']:.1f} % ({low:.1f} to {high:.1f} of {share['of']:,})"


def brief(share: dict[str, Any]) -> str:
    return f"{100 * share['share']:.1f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]) + "\n"


def remain_open(found: dict[str, Any]) -> str:
    rows = [
        [row["net"], percent(row["clean"]), percent(row["fgsm"]), percent(row["pgd40"]), percent(row["auto"])]
        for row in found["rows"]
    ]
    said = ", ".join(f"{name} {100 * value:.1f} %" for name, value in found["published"].items())
    text = "## PGD training, Linf 0.3 (C10)\n\n" + table(["net", "clean", "FGSM", "PGD-40", "`Auto`"], rows)
    text += f"\nMadry et al. 2018, on a larger net: {said}.\n\n"
    text += f"### And other norms (C14), {found['count']} digits\n\n"
    far = [name for name in found["rows"][0] if name in ("C&W L2", "EAD L1")]
    rows = [
        [
            row["net"], name, f"{100 * row[name]['success']:.0f} %", f"{row[name]['median']:.2f}",
            ", ".join(f"{100 * share:.0f} % at {radius}" for radius, share in row[name]["accuracy_at"].items()),
        ]
        for row in found["rows"] for name in far
    ]  # fmt: skip
    text += table(["net", "attack", "success", "median distance", "accuracy left within"], rows)
    return text + "\nThe table of threats below has stronger attacks in L2 and L1 on nets trained in Linf.\n"


def fgsm(found: dict[str, Any]) -> str:
    def error(share: dict[str, Any]) -> str:
        return f"{100 * (1 - share['share']):.1f} %"

    rows = [
        [
            row["net"], error(row["clean"]), error(row["fgsm"]), error(row["pgd40"]),
            f"{100 * (1 - row['carlini_wagner']['share']):.0f} %, median {row['carlini_wagner_median_l2']:.2f}",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    said = found["published"]
    return (
        f"## FGSM training, eps {found['eps']} (C9): error\n\n"
        + table(["net", "clean", "FGSM", "PGD-40", "C&W L2, any distance"], rows)
        + f"\nThe survey: FGSM {100 * said['FGSM error before']:.1f} % before, "
        f"{100 * said['FGSM error after']:.1f} % after. The FGSM-trained net is that of the last epoch: by the "
        "validation, which sees the\niterated attack win, its first would be the best.\n"
    )


def equal_time(found: dict[str, Any]) -> str:
    rows = [
        [
            row["method"], row["epochs"], f"{row['seconds']:.0f}", f"{1000 * row['seconds_per_update']:.0f}",
            percent(row["clean"]), percent(row["pgd40"]), percent(row["auto"]), "; ".join(row["notes"]),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    head = ["method", "epochs", "seconds", "ms per update", "clean", "PGD-40", "`Auto`", "validation"]
    return (
        f"## At equal time, Linf {found['eps']}: {found['seconds']:.0f} seconds of one core, "
        "the validation not counted\n\n"
        + table(head, rows)
        + "\nThe seconds count the validation. A training that the validation stops has used less, and one that goes "
        "on with PGD more.\n"
    )


def samples(found: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['images']:,}", brief(row["plain"]["clean"]), brief(row["robust"]["clean"]),
            brief(row["robust"]["pgd40"]), percent(row["robust"]["auto"]),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    draw_samples(found)
    head = ["training images", "plain: clean", "robust: clean", "robust: PGD-40", "robust: `Auto`"]
    return (
        f"## Accuracy and the number of training images (C21), {found['updates']:,} updates each\n\n"
        f"![Two curves]({CURVES.name})\n\n" + table(head, rows)
    )


def draw_samples(found: dict[str, Any]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    sizes = [row["images"] for row in found["rows"]]
    for words, kind, measure, line in (
        ("plain training: without an attack", "plain", "clean", "--"),
        ("PGD training: without an attack", "robust", "clean", "-."),
        (f"PGD training: under attack, Linf {found['eps']}", "robust", "auto", "-"),
    ):
        shares = [row[kind][measure] for row in found["rows"]]
        axes.plot(sizes, [one["share"] for one in shares], f"o{line}", label=words)
        axes.fill_between(sizes, [one["low"] for one in shares], [one["high"] for one in shares], alpha=0.2)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.set_xlabel("training images")
    axes.set_ylabel("accuracy on test digits")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(CURVES, dpi=120)


def threats(found: dict[str, Any]) -> str:
    rows, balls = found["rows"], list(found["rows"][0]["robust"])
    columns = [("", ["clean"], [[row["clean"]] for row in rows])]
    for norm in dict.fromkeys(ball.split()[0] for ball in balls):
        mine = [ball for ball in balls if ball.startswith(f"{norm} ")]
        cells = [[row["robust"][ball] for ball in mine] for row in rows]
        columns.append((norm, [ball.split()[1] for ball in mine], cells))
    columns.append(("union", ["the 3 largest"], [[row["union"]] for row in rows]))
    blocks = [
        ColumnBlock(title, tuple(names), *(
            torch.tensor([[cell[end] for cell in line] for line in cells], dtype=torch.float64)
            for end in ("share", "low", "high")
        ))
        for title, names, cells in columns
    ]  # fmt: skip
    named = [f"trained: {row['net']}" for row in rows]
    title = "Accuracy on MNIST test digits: trained at (rows), attacked at (columns)"
    MATRIX.write_bytes(accuracy_map(named, blocks, title)["png"])
    said = ", ".join(f"{name} {value} %" for name, value in found["published"].items())
    shares = [(row["clean"], *(row["robust"][ball] for ball in balls), row["union"]) for row in rows]
    lines = [[row["net"], *map(brief, line)] for row, line in zip(rows, shares, strict=True)]
    return (
        "## One threat and another (C11, C12)\n\n"
        f"![Models in rows, threats in columns]({MATRIX.name})\n\n"
        + table(["trained at", "clean", *balls, "union"], lines)
        + f"\nUnion of {', '.join(found['together'])}, digit by digit. Maini et al. 2020, same radii: {said}.\n"
    )  # fmt: skip


def distillation(found: dict[str, Any]) -> str:
    attacks = [name for name, value in found["rows"][0].items() if isinstance(value, dict) and "success" in value]
    rows = [
        [
            row["net"], row["asked"], brief(row["clean"]),
            f"{100 * row['zero_gradients']:.1f} %" if "zero_gradients" in row else "",
            *(f"{100 * row[name]['success']:.0f} %" for name in attacks),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    return (
        f"## Defensive distillation, temperature {found['temperature']:.0f} (C7): success of attacks, "
        f"{found['count']} digits\n\n" + table(["net", "asked for", "clean", "zero gradients", *attacks], rows)
        + "\nZero gradients: the share of 1,000 digits at which the cross-entropy of the softmax has no slope at\n"
        "all in float32.\n"
    )  # fmt: skip


def time(found: dict[str, Any]) -> str:
    rows = []
    for row in found["rows"]:
        for name, ratio in row["over_bare"].items():
            spent = sorted(row["seconds_per_update"][name])
            rows.append([f"{row['width']} channels", name, f"{1000 * spent[len(spent) // 2]:.1f}", f"{ratio:.3f}"])
    settings = found["settings"]
    return (
        f"## The cost of an update: PGD-{settings['steps']}, batch {settings['batch']}, one CPU thread\n\n"
        + table(["net", "loop", "ms, median", "over the bare passes"], rows)
        + f"\nBare passes: {settings['steps']} forward and backward to the images, one to the weights, nothing else; "
        "`python -m benchmarks.training.time`.\n"
    )


PARTS = {
    "remain_open": remain_open, "fgsm": fgsm, "equal_time": equal_time, "threats": threats, "samples": samples,
    "distillation": distillation, "time": time,
}  # fmt: skip


def text() -> str:
    """The page, of the records that there are."""
    found = {name: record(name) for name in PARTS}
    return "\n".join([HEAD, *(PARTS[name](one) for name, one in found.items() if one is not None)])


def main() -> int:
    """Write the page; 1 where a record is missing."""
    missing = [name for name in PARTS if record(name) is None]
    PAGE.write_text(text())
    for name in missing:
        print(f"{RECORDS / name}.json is missing: python -m benchmarks.training {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
