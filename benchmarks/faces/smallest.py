"""The smallest L2 perturbation that takes a pair of faces across the threshold, by two attacks (C2).

    python -m benchmarks.faces.smallest face-dlib face-faceres

Persons, thresholds and score maps are those of `benchmarks.faces.setting`; gray pictures of 112 x 92, landmarks of the
clean picture. Each person keeps the smaller of the two attacks' examples, in float32 and on the threshold: rounding
to 8 bits may take one back. Beside it Gaussian noise of the same length, ten draws for each person.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.faces.page import page
from benchmarks.faces.setting import NAMES, PAGE, RECORDS, Setting, kept, setting, share
from benchmarks.provenance import provenance
from sparring.attacks import ALMA, DDN
from sparring.goals import VerificationGoal

RECORD = RECORDS / "smallest.json"
STEPS, NOISES = 100, 10
ATTACKS = {"DDN": DDN(steps=STEPS), "ALMA": ALMA(steps=STEPS)}


def smallest(given: Setting, goal: VerificationGoal) -> dict[str, Any]:
    """The smallest example of each person, the median of each attack, and noise of the same length."""
    x, found, entry = given.images, [], {}
    for word, attack in ATTACKS.items():
        began = time.perf_counter()
        outcome = sp.run(attack, given.target, goal, x, context=given.scene)
        found.append(outcome.distance)
        entry[word] = {
            "attack": repr(attack),
            "success": share(outcome.success),
            "median": float(outcome.distance.median()),
            "backward": float(outcome.passes.backwards.float().mean()),
            "seconds": time.perf_counter() - began,
        }
    least = torch.stack(found).amin(0)
    return {"attacks": entry, "smallest": sorted(least.tolist()), "noise": noise(given, goal, least)}


def noise(given: Setting, goal: VerificationGoal, length: Tensor) -> dict[str, Any]:
    """The success of Gaussian noise of these lengths (P,), over persons and draws, and its mean score."""
    answers = []
    for draw in range(NOISES):
        drawn = torch.randn(given.images.shape, generator=torch.Generator().manual_seed(draw))
        drawn *= (length / drawn.flatten(1).norm(dim=1))[:, None, None, None]
        answers.append(given.target.predict((given.images + drawn).clamp(0, 1), context=given.scene))
    won = torch.stack([goal.margin(one) > 0 for one in answers])
    scores = torch.stack([given.scores(goal.similarity(one)) for one in answers])
    return {"draws": NOISES, "success": share(won.flatten()), "score": float(scores.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = kept(RECORD)
    for name in () if options.show else options.names:
        given = setting(name)
        goals = {word: smallest(given, goal) for word, goal in given.goals.items()}
        record[name] = {"goals": goals} | provenance(f"python -m benchmarks.faces.smallest {name}", "cpu")
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        print(name, record[name]["goals"], flush=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
