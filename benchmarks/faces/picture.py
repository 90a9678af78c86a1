"""The picture docs/faces.png: one pair of pictures, its score before an attack and after, on two verifiers (C2).

    python -m benchmarks.faces.picture

Two pictures of one person who is attacked, both verifiers being surer of the pair than of most. PGD moves the second
away from the first at Linf 2, 4 and 8/255, through the detector. Scores are those of the deployed verifier: the example
is rounded to 8 bits, as it is shown, and its face looked for anew; the second score is that with its own original.
Perturbations are magnified around gray, all by one factor. Scores lie in records/faces/picture.json.
"""

from __future__ import annotations

import argparse
import json
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor

import sparring as sp
from benchmarks.faces.page import page
from benchmarks.faces.setting import ENDS, NAMES, PAGE, RECORDS, pictures, prepared
from benchmarks.provenance import ROOT, provenance
from sparring.attacks import PGD
from sparring.error_rates import ScoreMap

RECORD, PICTURE = RECORDS / "picture.json", ROOT / "docs" / "faces.png"
ENROLLED, ASKS = 345, 347  # places among the ORL faces
RADII, STEPS, MAGNIFIED = (2, 4, 8), 40, 16


def measured(name: str) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """The picture that asks, clean and at each radius, and its scores on one verifier."""
    images, persons = pictures()
    target, _, _, thresholds, _ = prepared(name, images, persons)
    low, high = ENDS[target.metric]
    scores = ScoreMap(low, thresholds[0].value, high)
    x = images[ASKS : ASKS + 1]
    enrolled = target.enroll(images[ENROLLED : ENROLLED + 1])
    goal = sp.goals.Dodge(enrolled, thresholds[0].value, metric=target.metric)
    original = target.enroll(x)
    shown, rows = [], []
    for levels in (0, *RADII):
        made = x
        if levels:
            attack = PGD(sp.Linf(levels / 255), steps=STEPS)
            made = sp.run(attack, target, goal, x, keep=sp.Keep.HIGHEST_MARGIN).examples
        made = made.mul(255).round().div(255)
        answer = target.predict(made)
        both = {"enrolled": enrolled, "itself": original}
        told = {word: float(scores(target.similarity(answer, one))) for word, one in both.items()}
        shown.append(made[0, 0])
        rows.append({"eps": levels, **told, "largest": float((made - x).abs().max() * 255)})
    return shown, rows


def drawn(first: Tensor, made: dict[str, tuple[list[Tensor], list[dict[str, Any]]]]) -> None:
    """Write the picture: for each verifier a row of pictures, and one of their perturbations."""
    figure, axes = plt.subplots(
        2 * len(made), 2 + len(RADII), figsize=(9.2, 4.9 * len(made)), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for place, (name, (shown, rows)) in enumerate(made.items()):
        above, below = axes[2 * place], axes[2 * place + 1]
        _put(above[0], first, f"{name}\nenrolled")
        for column, (picture, row) in enumerate(zip(shown, rows, strict=True)):
            word = f"Linf {row['eps']}/255" if row["eps"] else "asks"
            _put(above[column + 1], picture, f"{word}\nscore {row['enrolled']:.0f}, with itself {row['itself']:.0f}")
            if column:
                _put(below[column + 1], 0.5 + MAGNIFIED * (picture - shown[0]), f"perturbation x {MAGNIFIED}")
    buffer = BytesIO()
    figure.savefig(buffer, dpi=85)
    Image.open(buffer).convert("L").save(PICTURE, optimize=True)


def _put(axis: Any, picture: Tensor, title: str) -> None:
    axis.imshow(picture.clamp(0, 1), cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=9)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    made = {name: measured(name) for name in NAMES}
    drawn(pictures()[0][ENROLLED, 0], made)
    record = {name: rows for name, (_, rows) in made.items()}
    entry = {"scores": record, "enrolled": ENROLLED, "asks": ASKS, "steps": STEPS}
    RECORD.write_text(json.dumps(entry | provenance("python -m benchmarks.faces.picture", "cpu"), indent=1) + "\n")
    print(record)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
