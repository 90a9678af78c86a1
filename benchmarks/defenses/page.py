"""docs/defenses-results.md and its pictures, from the records: `python -m benchmarks.defenses.page`."""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.defenses import cost_page, detection_page, purification_page
from benchmarks.defenses.randomization import page as randomization_page
from benchmarks.provenance import ROOT

RECORDS, DOCS = ROOT / "records" / "defenses", ROOT / "docs"
HEAD = """# What defences are worth, measured

Rendered by `python -m benchmarks.defenses.page` from the records in `records/defenses/`, and from nothing else. How
defences are put around a model and judged is said in [defenses.md](defenses.md). Shares have their Wilson interval of
95 % over the images in brackets. Small sets of images: differences within the intervals mean nothing.
"""
COST = """
## C16, C22: what cleans, draws or detects, beside adversarial training

`python -m benchmarks.defenses.cost`; each defence around `zoo:mnist-plain` (adversarial training in its place), {count}
test digits that the net gets right, Linf {eps}. *Clean* is right and accepted. The unaware attacker runs PGD-40 on the
bare net. The adaptive one knows all but the draws, and takes the worst of what he finds (`defenses/judged.py`).
Seconds and milliseconds are of one core of a machine that did other work beside: they compare by orders of magnitude.
Published, for other nets (Athalye et al. 2018): the input transformations of Guo et al. 0 % under BPDA and EOT on
photographs, Defense-GAN 55 % on MNIST in L2.

What is left of one bit, quilting and feature squeezing is a property of digits: their pixels are black or white, and
what turns a bit or a patch lies further off than {eps}; on photographs the same stages fall. Against quilting, total
variation and Defense-GAN the attacker had fewer draws and steps (`LIMITS`): an upper bound. The small generator of
Defense-GAN loses a third of the digits by itself.

"""
CLEAN = """
## C16: what cleans, at two radii and on photographs

`python -m benchmarks.defenses.purification`; on digits as above, on {photographs} photographs around
`zoo:efficientnet-lite0` with PGD-40 alone (one draw, BPDA where a stage has no slope). Milliseconds of the clock.

"""
RANDOM = """
## C15: randomisation, naive and with expectation over k draws

"""
DETECT = """
## C13: detectors, from one attack to another, and against who knows of them

`python -m benchmarks.defenses.detection`. The survey's claim is that a detector trained on one attack generalises. As
measured here: trained on a strong attack it finds the others of that radius and beyond, while what barely crosses the
boundary (Carlini-Wagner, small L2) is hardly seen by detectors on inputs and features. Most reject clean digits with
noise of the same size just as readily: they learned "not clean", not "attacked". And whoever knows the detector gets
past nearly all of them but feature squeezing (the columns of unions). Adversarial training generalises to smaller
radii, and less to L2.

"""


def record(name: str) -> dict[str, Any] | None:
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def text() -> str:
    """The page, of the records that there are."""
    page = HEAD
    cost, randomization, detection = (record(name) for name in ("cost", "randomization", "detection"))
    if cost is not None:
        count = cost["rows"][0]["clean"]["of"]
        page += COST.format(count=count, eps=cost["eps"]) + cost_page.text(cost) + "\n![](defenses-cost.png)\n"
    if (clean := record("purification")) is not None:
        page += CLEAN.format(photographs=purification_page.photographs(clean)) + purification_page.text(clean)
    if randomization is not None:
        page += RANDOM + randomization_page.text(randomization).replace("\n## ", "\n### ").replace("## ", "### ", 1)
        page += "\n\n![](defenses-draws.png)\n"
    if detection is not None:
        parts = [getattr(detection_page, name)(found) for name, found in detection.items() if name != "noise"]
        page += DETECT + "\n".join(parts)
    return page.rstrip() + "\n"


def main() -> int:
    if (cost := record("cost")) is not None:
        cost_page.picture(cost, DOCS / "defenses-cost.png")
    if (randomization := record("randomization")) is not None:
        randomization_page.draw(randomization, DOCS / "defenses-draws.png")
    (DOCS / "defenses-results.md").write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
