"""Writes docs/certification-results.md from records/certification: `python -m benchmarks.certification.page`."""

from __future__ import annotations

import json
import sys
from typing import Any

from scipy.special import ndtri

from benchmarks.provenance import ROOT


def percent(share: float) -> str:
    """A share as it is printed."""
    return f"{100 * share:.0f} %"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(name: str) -> dict[str, Any]:
    """A record."""
    found: dict[str, Any] = json.loads((ROOT / "records" / "certification" / f"{name}.json").read_text())
    return found


def smoothing() -> str:
    """The section on certified radii."""
    record = read("smoothing")
    head = ["sigma", "net", "n", "ACR", *[f"R {radius:g}" for radius in record["radii"]], "joint, R 0.5", "training, s"]
    half = record["radii"].index(0.5)
    rows = [
        [
            f"{row['sigma']:g}",
            row["net"],
            f"{row['n']:,}",
            f"{row['acr']:.3f}",
            *[percent(share) for share in row["certified"]],
            percent(row["joint"][half]),
            f"{row['training_seconds']:g}" if "training_seconds" in row else "",
        ]
        for row in record["rows"]
    ]
    caps = {row["n"]: float(ndtri(record["alpha"] ** (1 / row["n"]))) for row in record["rows"]}
    told = ", ".join(f"{cap:.2f} sigma for n = {n:,}" for n, cap in caps.items())
    return f"""## Certified accuracy at L2 radius R: the first {record["digits"]} test digits of MNIST

`python -m benchmarks.certification.smoothing`; n0 = {record["n0"]}, alpha = {record["alpha"]} for each digit, and
for all of them together in the column "joint". Nets of 166,406 weights that learned for twelve epochs from 5,000
digits, by the zoo's plans with this sigma; "plain" is zoo:mnist-plain, which saw no noise, and its denoiser learned
from its 4,000 digits. The draws are few, and cap the radius: {told}.

{table(head, rows)}
"""


def photographs() -> str:
    """The section on EfficientNet-Lite0."""
    record = read("photographs")
    head = ["sigma", "before the net", "ACR", *[f"R {radius:g}" for radius in record["radii"]], "seconds per picture"]
    rows = [
        [
            f"{row['sigma']:g}",
            "nothing" if row["denoiser_seconds"] is None else "a denoiser",
            f"{row['acr']:.3f}",
            *[percent(share) for share in row["certified"]],
            f"{row['seconds'] / record['pictures']:.0f}",
        ]
        for row in record["rows"]
    ]
    cap = float(ndtri(record["alpha"] ** (1 / record["n"])))
    return f"""## Certified accuracy at L2 radius R: {record["pictures"]} of ImageNet's pictures

`python -m benchmarks.certification.photographs`; {record["model"]}, which saw no noise, and the same behind a small
residual denoiser that learned from crops of the zoo's photographs. n0 = {record["n0"]}, n = {record["n"]}, alpha =
{record["alpha"]} for each picture; the draws cap the radius at {cap:.2f} sigma.

{table(head, rows)}
"""


def patches() -> str:
    """The section on patches."""
    record = read("patches")
    rows = [
        [f"{row['patch']} x {row['patch']}", row["defence"], percent(row["clean"]), percent(row["certified"]),
         f"{row['seconds_per_digit']:g}"]
        for row in record["rows"]
    ]  # fmt: skip
    head = ["patch", "defence", "clean", "certified", "CPU seconds per digit"]
    return f"""## Patches: the first {record["digits"]} test digits of MNIST

`python -m benchmarks.certification.patches`; {record["masks_per_axis"]} masks along each side, nets of 166,406 weights
that learned for twenty epochs from 10,000 digits. Clean is the accuracy of the defence without a patch.

{table(head, rows)}
"""


def speed() -> str:
    """The section on time."""
    record = read("speed")
    rows = [
        [row["model"], f"{row['ms_per_draw']:g}", f"{row['ms_per_pass_alone']:g}",
         f"{row['seconds_for_100000_draws']:,.0f}"]
        for row in record["rows"]
    ]  # fmt: skip
    head = ["model", "ms per draw", "ms per pass alone", "seconds for 100,000 draws"]
    return f"""## Time of a smoothing certificate: one CPU core

`python -m benchmarks.certification.speed`; measured on 1,000 draws (10,000 of the digit net), CPU time, the last column
extrapolated.

{table(head, rows)}
"""


def main() -> int:
    head = """# Certificates measured

Made by `python -m benchmarks.certification.page` from `records/certification`. What the certificates mean:
[certification-smoothing.md](certification-smoothing.md).
"""
    text = "\n".join((head, smoothing(), photographs(), patches(), speed()))
    (ROOT / "docs" / "certification-results.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
