"""What a task makes its sections of: the records of a run, input by input and radius by radius."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from torch import Tensor

from ...tasks import Results, ThreatResults
from ..evaluation.prediction_columns import read_prediction
from .database import Records
from .example_files import read_row

BEST = """
SELECT * FROM (
    SELECT sample, prediction, details, claimed, success, example_file, example_row, ROW_NUMBER() OVER (
        PARTITION BY sample ORDER BY claimed > 0 DESC, margin DESC, eps, turn, seed) AS place
    FROM result WHERE example_file IS NOT NULL AND norm = :norm AND eps <= :eps
) WHERE place = 1
"""
ASKED = """
SELECT sample, MAX(reason = 'NON_FINITE') AS unanswered FROM result WHERE norm = :norm AND eps <= :eps GROUP BY sample
"""
SHOWN = 6  # inputs of each threat of which a section may show pictures


def task_results(records: Records) -> Results:
    """Return what the records hold, for `Task.sections`."""
    samples = list(records.select("SELECT * FROM sample ORDER BY id"))
    facts = records.facts
    threats, places, shown = [], [], []
    kept = {row["id"] for row in samples if row["original_file"]}
    scopes = [(t.norm, radius.eps, f"{t.norm} {radius.text}") for t in records.plan.threats for radius in t.radii]
    for norm, eps, text in [*scopes, *((norm, float("inf"), norm) for norm in records.plan.smallest)]:
        found, best = threat_results(records, samples, norm, eps, text)
        threats.append(found)
        places.append(best)
        shown.append([sample for sample in sorted(best) if sample in kept and found.met[sample]][:SHOWN])
    return Results(
        goal=facts.goal,
        goal_values=facts.goal_values,
        names=[row["name"] for row in samples],
        before=[read_prediction(row["clean_prediction"]) for row in samples],
        details=[read_details(row["clean_details"]) for row in samples],
        met=[not row["clean_correct"] for row in samples],
        threats=threats,
        reference=records.reference(),
        shown=shown,
        original=partial(read_original, records, {row["id"]: row for row in samples}),
        example=partial(read_example, records, places),
    )


def threat_results(
    records: Records, samples: list[Any], norm: str, eps: float, text: str
) -> tuple[ThreatResults, dict[int, Any]]:
    """Return the results at one radius, and the row of the best example of each sample that has one.

    Where the search was for the smallest example, its first success counts, and its margin is about 0.
    """
    place = {"norm": norm, "eps": eps}
    best = {row["sample"]: row for row in records.select(BEST, place)}
    asked = {row["sample"]: bool(row["unanswered"]) for row in records.select(ASKED, place)}
    rows = [(row, best.get(row["id"])) for row in samples]
    met = [not row["clean_correct"] or (one is not None and bool(one["success"])) for row, one in rows]
    ids = [row["id"] for row in samples]
    found = ThreatResults(
        text=text,
        norm=norm,
        eps=eps,
        after=[read_prediction(row["clean_prediction"] if one is None else one["prediction"]) for row, one in rows],
        details=[read_details(row["clean_details"] if one is None else one["details"]) for row, one in rows],
        met=met,
        unanswered=[asked.get(one, False) and not won for one, won in zip(ids, met, strict=True)],
        attacked=[one in asked for one in ids],
    )
    return found, best


def read_details(text: str | None) -> Any:
    """Return the details of one answer; None where there are none."""
    return None if text is None else json.loads(text)


def read_original(records: Records, samples: dict[int, Any], sample: int) -> Tensor:
    """Return the picture of an input that is shown."""
    row = samples[sample]
    return read_row(records.folder / row["original_file"], "originals", row["original_row"])


def read_example(records: Records, places: list[dict[int, Any]], threat: int, sample: int) -> Tensor:
    """Return the example of an input at a threat."""
    row = places[threat][sample]
    return read_row(records.folder / row["example_file"], "examples", row["example_row"])
