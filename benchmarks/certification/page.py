"""Writes docs/certification-results.md, and the table in docs/audit.md, from records/certification.

python -m benchmarks.certification.page
"""

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


BRACKET = "proven <= not broken <= clean"


def bracket(row: dict[str, Any]) -> str:
    """How many images of a verdict's row are proven, how many no example breaks, and how many are right."""
    found, images = row["verify"], row["images"]
    return f"{found['proven']} <= {images - found['broken']} <= {images - found['methods'].get('clean', 0)}"


def digits() -> str:
    """The section on verdicts and on widths."""
    record = read("digits")
    methods = ["ibp", "crown-ibp", "wong-kolter", "crown", "alpha-crown"]
    verdicts = [
        [
            f"{row['model']}, {row['eps']:g}",
            *[f"{row['methods'][one]['proven']}, {row['methods'][one]['seconds']:g} s" for one in methods],
            f"{row['verify']['proven']} / {row['verify']['broken']} / {row['verify']['open']}",
            bracket(row),
            f"{row['verify']['seconds']:g}, {row['verify']['most_seconds']:g}, {row['timeout']:g}",
        ]
        for row in sorted(record["verdicts"], key=lambda row: (row["model"], row["eps"]))
    ]
    bounds = [
        f"{row['model']} at {row['eps']:g}: {', '.join(f'{one:g}' for one in row['verify']['open_bounds'])}"
        for row in record["verdicts"]
        if row["verify"]["open"]
    ]
    widths = [
        [row["model"], *[f"{row['over_reached'][one]:.3g}" for one in methods]]
        for row in sorted(record["widths"], key=lambda row: row["model"])
    ]
    head = ["net, Linf", *methods, "verify: proven / broken / open", BRACKET, "seconds of verify: mean, most, limit"]
    left = f"What stays open, by its best lower bound of the margin: {'; '.join(bounds)}." if bounds else ""
    return f"""## Linf balls proven: the first {record["verdicts"][0]["images"]} test digits of MNIST

`python -m benchmarks.certification.digits`: images proven by each method of bounds, and processor seconds per image,
one thread in float64 beside other work; then the verdicts of `verify`, with a limit in processor seconds for each image
(the attack comes before it). "Broken" includes misclassified digits. Neither net was trained for certificates:
mnist-plain in the ordinary way, mnist-robust-linf against PGD at 0.3.

{table(head, verdicts)}

{left}

Widths of the logits' bounds in Linf 0.05, over what 1,000 random inputs and PGD on each logit reach (5 digits):

{table(["net", *methods], widths)}
"""


def violations() -> str:
    """The section on attacks at certified radii."""
    record = read("violations")
    nets = list(dict.fromkeys(row["net"] for row in record["rows"]))
    norms = dict.fromkeys(("Linf", "L2", "L1"), 0)
    for row in record["rows"]:
        norms[row["norm"]] += row["pairs"]
    rows = [
        [row["net"], row["norm"], row["method"], str(row["pairs"]), str(row["violations"]), f"{row['mean_radius']:.4f}",
         "" if row["nearest"] is None else f"{row['nearest']:.2f}"]
        for row in sorted(record["rows"], key=lambda row: (nets.index(row["net"]), [*norms].index(row["norm"])))
    ]  # fmt: skip
    parts = ", ".join(f"{count:,} in {norm}" for norm, count in norms.items())
    pairs, broken = (sum(row[name] for row in record["rows"]) for name in ("pairs", "violations"))
    head = ["net", "norm", "method", "pairs", "violations", "mean radius", "nearest success / radius"]
    return f"""## Attacks at certified radii

`python -m benchmarks.certification.violations`: for each net, digit, norm and method the largest radius that is
certified, found by bisection, and then Auto and PGD with restarts at exactly that radius. {pairs:,} pairs of a digit
and a certificate ({parts}), {broken} violations. Nets learned for 200 steps from digits
pooled to 7 x 7 or 14 x 14; of the first 100, 200 or 500 held-out digits (`--images`, by the time that a net takes)
those count that they get right. The last column is the smallest radius at which PGD of 20 steps succeeded (in steps of
1, 5, 20, 50 and 100 % beyond the largest certified one), over the certified radius.

{table(head, rows)}
"""


PUBLISHED = (  # as DeepMind's README and the papers have them: eps, method, clean, certified
    (0.1, "IBP, README of its authors", 0.9894, 0.9708),
    (0.1, "AdvIBP", 0.9878, 0.9781),
    (0.3, "IBP, README of its authors", 0.9834, 0.9179),
    (0.3, "CROWN-IBP, README of its authors", None, 0.9332),
    (0.3, "AdvIBP", 0.9810, 0.9340),
)


def certified_training() -> str:
    """The section on certified training."""
    record = read("training")
    costs = record["step_over_plain"]

    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.2f} %"

    rows = []
    for row in record["rows"]:
        verdicts, training = row["verify"], row["training"]
        proven, open_, digits = (verdicts[name] for name in ("proven", "open", "digits"))
        rows.append([
            f"{row['eps']:g}", f"zoo:{row['net']}", share(row["clean"]), share(row["ibp"]), share(proven / digits),
            share(1 - verdicts["broken"] / digits), share(open_ / digits), f"{training['epochs']}",
            f"{training['seconds'] / 60:.0f}",
        ])  # fmt: skip
    rows += [
        [f"{eps:g}", name, share(clean), "", share(certified), "", "", "", ""]
        for eps, name, clean, certified in PUBLISHED
    ]
    rows.sort(key=lambda row: float(row[0]))
    head = [
        "Linf eps",
        "net",
        "clean",
        "certified by intervals",
        "certified",
        "not broken",
        "open",
        "epochs",
        "minutes",
    ]
    first = record["rows"][0]
    return f"""## Certified training: the 10,000 test digits of MNIST

`python -m benchmarks.certification.training`; the zoo's plans of these names: nets of {first["weights"]:,} weights on
55,000 digits, one thread of a CPU that others shared (minutes are of the clock). Hyper-parameters were chosen by 5,000
held-out training digits. "Certified" is the share that `verify` proves, with {first["verify"]["timeout"]:g} seconds of
branch and bound for each digit that intervals leave open; what is neither certified nor open is broken or wrong.
Published figures are of larger nets and of hours on GPUs.

{table(head, rows)}

A step of IBP takes {costs["kappa 0"]:.1f} times a plain step with kappa = 0, and {costs["kappa 0.5"]:.1f} times with
the clean loss beside it (processor time, `MnistNet` of `zoo:mnist-plain`, 256 digits).
"""


def results() -> str:
    """The page docs/certification-results.md."""
    head = """# Certificates measured

Made by `python -m benchmarks.certification.page` from `records/certification`. What the certificates mean:
[certification.md](certification.md), [certification-smoothing.md](certification-smoothing.md).
"""
    return "\n".join(
        (head, digits(), violations(), certified_training(), smoothing(), photographs(), patches(), speed())
    )


def audits() -> str:
    """The part of docs/audit.md that is measured."""
    record = read("audit")
    rows, found = [], 0
    for case in record["cases"]:
        for one in case["radii"]:
            found += one["withstand_attacks"] - one["not_broken"]
            counts = [str(one[name]) for name in ("right", "withstand_attacks", "not_broken", "proven", "open")]
            times = [f"{one[name]:g} s" for name in ("attack_seconds", "certificate_seconds")]
            rows.append([f"{case['model'].removeprefix('zoo:')}, {one['eps']:g}", *counts, *times])
    head = ["net, Linf", "right", "withstand the attacks", "not broken", "proven", "open", "attacks", "certificates"]
    told = f"{found} images that the attacks had left" if found else "nothing that the attacks had left"
    images, timeout = record["cases"][0]["images"], f"{record['timeout']:g}"
    return f"""The first {images} digits of `zoo:mnist-heldout`, the standard suite, {timeout} seconds of search
(`{record["command"]}`,
`records/certification/audit.json`; seconds of the clock, one thread):

{table(head, rows)}

On these nets the search broke {told}. With more time fewer stay open
([certification.md](certification.md#measured)).
"""


BEGIN, END = "<!-- python -m benchmarks.certification.page -->\n", "<!-- /python -m benchmarks.certification.page -->\n"


def with_audits(text: str) -> str:
    """The text of docs/audit.md with the measured part as the record has it."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + audits() + END + rest.partition(END)[2]


def main() -> int:
    docs = ROOT / "docs"
    (docs / "certification-results.md").write_text(results())
    (docs / "audit.md").write_text(with_audits((docs / "audit.md").read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
