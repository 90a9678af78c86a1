"""Two real face verifiers on the ORL faces: error rates, dodging, impersonation (P1, C2).

    python -m benchmarks.faces.verification face-dlib face-faceres

Pictures are gray, and so are perturbations. Persons 1 to 30 calibrate the thresholds, persons 31 to 40 are attacked:
the first picture of each is enrolled, the second asks. One attack is given the landmarks of the clean picture, the
other goes through the detector, which looks for the face in each query; of each the example of the highest margin is
rounded to 8 bits and judged as deployed, with the face looked for anew. Random signs of the same size are the
control. Each verifier has its entry in records/faces/verification.json; docs/faces.md is made of the record (`--show`
measures nothing). Embeddings and landmarks lie in runs/. Five to ten minutes a verifier on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.faces.page import page
from benchmarks.faces.setting import (
    CALIBRATING,
    ENDS,
    NAMES,
    PAGE,
    PICTURES,
    RECORDS,
    goals,
    judged,
    kept,
    landmarks_of,
    pictures,
    prepared,
    share,
)
from benchmarks.provenance import provenance
from sparring.attacks import PGD
from sparring.error_rates import Comparisons, ScoreMap, compare_all
from sparring.goals import VerificationGoal

RECORD = RECORDS / "verification.json"
RADII, STEPS = (2, 4, 8), 10


def error_rates(pairs: Comparisons, threshold: float) -> dict[str, Any]:
    return {word: asdict(one) if word != "threshold" else one for word, one in vars(pairs.rates(threshold)).items()}


def attacked(
    target: sp.Verifier, others: dict[str, tuple[sp.Verifier, VerificationGoal]], goal: VerificationGoal,
    scores: ScoreMap, images: Tensor, scene: sp.Scene,
) -> list[dict[str, Any]]:  # fmt: skip
    """PGD at each radius, with its control and its transfer to the other verifiers."""
    rows = [{"eps": 0, **judged(target, goal, scores, images)}]
    for levels in RADII:
        row: dict[str, Any] = {"eps": levels}
        for word, context in (("fixed", scene), ("searched", None)):
            attack = PGD(sp.Linf(levels / 255), steps=STEPS)
            start = time.perf_counter()
            outcome = sp.run(attack, target, goal, images, context=context, keep=sp.Keep.HIGHEST_MARGIN)
            seconds = time.perf_counter() - start
            deployed = judged(target, goal, scores, outcome.examples)
            row[word] = {"as_attacked": share(outcome.success), "seconds": seconds, **deployed}
        row["transfer"] = {
            other: share(theirs.margin(them.predict(outcome.examples)) > 0) for other, (them, theirs) in others.items()
        }
        noise = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        control = (images + noise * levels / 255).clamp(0, 1)
        rows.append(row | {"control": judged(target, goal, scores, control)})
        print(target.name, type(goal).__name__, rows[-1], flush=True)
    return rows


def measure(name: str) -> dict[str, Any]:
    """Everything about one verifier."""
    images, persons = pictures()
    target, embeddings, alike, thresholds, found = prepared(name, images, persons)
    pairs = compare_all(alike, persons)
    equal, threshold = pairs.equal_error_rate(), thresholds[0].value
    low, high = ENDS[target.metric]
    scores = ScoreMap(low, threshold, high)
    first = CALIBRATING * PICTURES
    asking = torch.arange(first + 1, len(images), PICTURES)
    landmarks, _ = landmarks_of(target, images)
    scene, probes = sp.Scene(landmarks=landmarks[asking]), images[asking]
    wanted = goals(target, embeddings, persons[asking], threshold)
    others = {}
    for other in NAMES:
        if other != name:
            theirs, their_embeddings, _, their_thresholds, _ = prepared(other, images, persons)
            others[other] = (theirs, goals(theirs, their_embeddings, persons[asking], their_thresholds[0].value))
    entry = {
        "metric": target.metric,
        "found": found,
        "pictures": len(images),
        "genuine": len(pairs.genuine),
        "impostor": len(pairs.impostor),
        "equal_error_rate": asdict(equal),
        "published": error_rates(pairs, -0.6) if name == "face-dlib" else None,
        "thresholds": [
            asdict(one) | {"unseen": error_rates(compare_all(alike[first:, first:], persons[first:]), one.value)}
            for one in thresholds
        ],
        "scores": asdict(scores),
        "probes": len(probes),
        "steps": STEPS,
        "goals": {
            word: attacked(target, {o: (t, g[word]) for o, (t, g) in others.items()}, goal, scores, probes, scene)
            for word, goal in wanted.items()
        },
    }
    return entry | provenance(f"python -m benchmarks.faces.verification {name}", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = kept(RECORD)
    for name in () if given.show else given.names:
        record[name] = measure(name)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
