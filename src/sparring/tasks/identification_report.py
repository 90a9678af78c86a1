"""The report's section on 1:N identification: rates by rank and threshold, and the cumulative match curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .report import Axis, Cell, Column, Line, Plot, Results, Section, Strip, Table
from .verification_report import at, error_tables, picture_strips, rate_cell, similarities

RANKS = (1, 5, 20)


def identification_sections(results: Results) -> tuple[Section, ...]:
    """Return the section of an audit whose goal is `EvadeIdentification` or `IdentifyAs`; none for another goal."""
    if results.goal not in ("EvadeIdentification", "IdentifyAs") or not results.names:
        return ()
    evading = results.goal == "EvadeIdentification"
    size = results.reference.get("gallery")
    named = [("No attack", results.before), *((threat.text, threat.after) for threat in results.threats)]
    tables = [rate_table(results, named, size), *search_table(results), *error_tables(results)]
    who = "the person in the picture" if evading else "the person whom the attacker wants to be taken for"
    wins = "is not identified" if evading else "is identified as that person"
    text = (
        f"{len(results.names)} pictures are searched in a gallery{'' if size is None else f' of {size} persons'} "
        "with one "
        f"template each, and the rates are of {who}. The attacker wins where the picture {wins}. Closed set: the "
        "leading "
        "persons count, however unlike. Open set: nobody below the threshold is found (identification rate 1 - FNIR). "
        "Attacks aim at the open set, at the threshold that is hardest for them, and the closed set is judged on "
        "the same "
        "examples. Brackets hold Clopper-Pearson intervals of 95 %."
    )
    plots = [] if size is None else [match_curve(named, size)]
    return (Section("Identification", text, tables, plots, shown(results)),)


def rate_table(results: Results, named: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], size: int | None) -> Table:
    """Return the identification rates in the closed set by rank, and in the open set by threshold."""
    ranks = [rank for rank in RANKS if size is None or rank < size]
    thresholds = results.reference.get("thresholds") or [
        {"rate": None, "value": value} for value in (results.goal_values.get("threshold"),) if value is not None
    ]
    limit = results.reference.get("rank", results.goal_values.get("rank", 1)) or 1
    columns = [Column("Threat", "text"), *(Column(f"Rank {rank}, closed set", "rate") for rank in ranks)]
    columns += [Column(f"Rank {limit}, open set, {at(one)}", "rate") for one in thresholds]
    columns += [Column("Mean rank"), Column("No face found", "count")]
    unanswered = [None, *(sum(threat.unanswered) for threat in results.threats)]
    rows: list[Sequence[Cell]] = []
    for (name, predictions), missed in zip(named, unanswered, strict=True):
        found, alike = ranks_of(predictions), similarities(predictions)
        known = found > 0
        none = int((~known).sum())
        rows.append(
            (
                name,
                *(rate_cell(known & (found <= rank)) for rank in ranks),
                *(rate_cell(known & (found <= limit) & (alike >= one["value"])) for one in thresholds),
                float(found[known].double().mean()) if bool(known.any()) else None,
                none if missed is None else missed,
            )
        )
    title = "Identification rate" if results.goal == "EvadeIdentification" else "Identified as the other person"
    return Table(title, columns, rows)


def search_table(results: Results) -> list[Table]:
    """Return the false positive identification rates of persons who are not in the gallery; none without them."""
    found = results.reference.get("searches")
    if not found:
        return []
    columns = [Column("At", "text"), Column("Threshold"), Column("FPIR", "rate")]
    rows = [(at(one), one["value"], tuple(one["false_positive"])) for one in found]
    note = "FPIR: the share of searches for persons who are not enrolled (those who calibrate) that find somebody."
    return [Table("False positive identification, nobody attacked", columns, rows, note)]


def ranks_of(predictions: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return the recorded ranks (N,) from 1 on; 0 where the answer was no number."""
    return torch.tensor([one.get("rank") or 0 for one in predictions])


def match_curve(named: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], size: int) -> Plot:
    """Return the cumulative match curve: the share of pictures of which the person is within each rank."""
    lines = []
    for name, predictions in named:
        found = ranks_of(predictions)
        shares = [float(((found > 0) & (found <= rank)).double().mean()) for rank in range(1, size + 1)]
        lines.append(Line(name, list(range(1, size + 1)), shares, dashed=name == "No attack"))
    y = Axis("identification rate", 0.0, 1.0, percent=True)
    return Plot("Cumulative match curve, closed set", Axis("rank", 1, max(size, 2), whole=True), y, lines)


def shown(results: Results) -> list[Strip]:
    """Return probe, example and template of pictures that fell."""
    ranks = [ranks_of(one) for one in (results.before, *(threat.after for threat in results.threats))]
    alike = [similarities(one) for one in (results.before, *(threat.after for threat in results.threats))]

    def said(sample: int, threat: int) -> str:
        before, after = (f"{float(alike[place][sample]):.3g}" for place in (0, threat + 1))
        turned = f"rank {int(ranks[0][sample])} → {int(ranks[threat + 1][sample])}"
        return f"{turned}, similarity {before} → {after}"

    return picture_strips(results, said)
