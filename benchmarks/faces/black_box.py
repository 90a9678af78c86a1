"""Face verifiers behind a service, asked 5,000 times: Square on whole numbers, HopSkipJump on yes and no (C2).

    python -m benchmarks.faces.black_box face-dlib:10 face-faceres:5 square hopskipjump_linf

NAME:PERSONS says how many of the attacked persons; other words are jobs of `ATTACKS`, all where none is given. The
service answers whole numbers from 0 to 100 (Square, Linf 8/255), or yes and no (HopSkipJump, the smallest Linf or L2).
It is given the landmarks of the clean picture, so that a query costs one pass of the embedding net and none of the
detector; examples are then judged as deployed, rounded to 8 bits and with the face looked for anew. HopSkipJump starts
at a picture that the attacker has: of another person for dodging, another picture of the target for impersonation.

A job that is done stays in records/faces/black_box.json, one that was interrupted goes on from its checkpoint in runs/:
give the same command again. `--again` measures anew.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

import sparring as sp
from benchmarks.faces.page import page
from benchmarks.faces.setting import PAGE, RECORDS, RUNS, Setting, judged, kept, setting, share
from benchmarks.provenance import provenance
from sparring.attacks import HopSkipJump, Square
from sparring.targets import PublishedScores

RECORD = RECORDS / "black_box.json"
QUERIES, EPS = 5000, 8 / 255
ATTACKS = {
    "square": Square(sp.Linf(EPS), n_queries=QUERIES),
    "hopskipjump_linf": HopSkipJump(sp.Linf()),
    "hopskipjump_l2": HopSkipJump(sp.L2()),
}


def attacked(given: Setting, word: str, goal_word: str) -> dict[str, Any]:
    """One attack with one goal on all persons: as the service itself has it, and as deployed."""
    attack, goal, x = ATTACKS[word], given.goals[goal_word], given.images
    scored = word == "square"
    service = PublishedScores(given.target, given.scores) if scored else sp.Restricted(given.target, sp.Decisions)
    begin = given.enrolled.roll(-1, 0) if goal_word == "dodge" else given.spare.roll(-1, 0)
    began = time.perf_counter()
    outcome = sp.run(
        attack, service, goal, x, context=given.scene, start=None if scored else begin,
        budget=sp.Budget(forwards=QUERIES),
        engine=sp.Engine(checkpoint=RUNS / f"{given.target.name}-{word}-{goal_word}-{len(x)}"),
    )  # fmt: skip
    moved = (outcome.examples - x).flatten(1)
    largest, length = moved.abs().amax(1), moved.norm(dim=1)
    within = outcome.success & (largest <= EPS + 1e-6)
    queries = outcome.queries_to_success[outcome.success]
    return {
        "attack": repr(attack),
        "service": "whole numbers" if scored else "yes or no",
        "persons": len(x),
        "queries": QUERIES,
        "success": share(within),
        "found": share(outcome.success),
        "median_queries": float(queries.float().median()) if scored and len(queries) else None,
        "l2": sorted(length[outcome.success].tolist()),
        "linf": sorted(largest[outcome.success].tolist()),
        "deployed": judged(given.target, goal, given.scores, outcome.examples),
        "clean": judged(given.target, goal, given.scores, x),
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=["face-dlib:10", "face-faceres:5"], metavar="NAME:PERSONS|JOB")
    parser.add_argument("--again", action="store_true", help="also jobs that are done")
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    nets = [word.partition(":") for word in given.words if ":" in word]
    jobs = [word for word in given.words if ":" not in word] or list(ATTACKS)
    record = kept(RECORD)
    for name, _, count in () if given.show else nets:
        entry = record.setdefault(name, {})
        where: Setting | None = None
        for word in jobs:
            for goal in ("dodge", "impersonate"):
                if f"{word}/{goal}" in entry and not given.again:
                    continue
                where = where or setting(name, int(count))
                said = f"python -m benchmarks.faces.black_box {name}:{count} {word}"
                entry[f"{word}/{goal}"] = attacked(where, word, goal) | provenance(said, "cpu")
                RECORD.write_text(json.dumps(record, indent=1) + "\n")
                print(name, word, goal, entry[f"{word}/{goal}"], flush=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
