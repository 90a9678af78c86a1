"""Conversion of tensors to table rows, and the choice of originals that are kept for the gallery."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...access import Reason
from ...goals import Goal
from ...text import storable
from ..evaluation.cascade import Event, RescaledExample
from ..evaluation.clean_chunk import CleanChunk
from ..evaluation.confirmation import AttackResult
from ..evaluation.data_goal import row_digests
from ..evaluation.prediction_columns import detail_texts, prediction_texts
from ..evaluation.weights import image_hash
from .example_files import example_file

KEPT = 3  # originals kept per (norm, eps, attack)
KeptOriginals = Counter[tuple[str, float, str]]


@dataclass(frozen=True)
class ChunkRows:
    """What a chunk adds to the records, and the tensors of its shard."""

    chunk: dict[str, Any]
    samples: list[dict[str, Any]]
    results: list[dict[str, Any]]
    stretched: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def chunk_rows(number: int, clean: CleanChunk, events: list[Event], seconds: float, kept: KeptOriginals) -> ChunkRows:
    """Return rows of one chunk; `kept` counts the originals of earlier chunks and is not changed."""
    hashes, goals = (
        [image_hash(image) for image in clean.images],
        goal_hashes(data_goal(clean), clean.context, len(clean)),
    )
    results: list[dict[str, Any]] = []
    examples: list[Tensor] = []
    stored = 0
    for result in (event for event in events if isinstance(event, AttackResult)):
        results.extend(result_rows(example_file(number), clean, result, stored))
        examples.append(result.examples.images)
        stored += len(result.examples.images)
    wanted = originals(results, kept)
    samples = sample_rows(number, clean, hashes, goals, wanted)
    tensors: dict[str, Tensor] = {}
    if stored:
        tensors["examples"] = torch.cat(examples)
        tensors["originals"] = clean.images[[one - clean.first for one in wanted]].float()
    return ChunkRows(
        {"id": number, "seconds": seconds}, samples, results, rescaled_example_rows(clean, events), tensors
    )


def rescaled_example_rows(clean: CleanChunk, events: list[Event]) -> list[dict[str, Any]]:
    """Return a row for each sample whose example fools the model in 8 bits only once rescaled to a radius."""
    return [
        {"sample": clean.first + place, "norm": event.norm, "eps": event.eps, "rate": rate}
        for event in events
        if isinstance(event, RescaledExample)
        for place, rate in zip(event.rows.tolist(), event.rate.tolist(), strict=True)
    ]


def data_goal(clean: CleanChunk) -> Goal | None:
    """Return the goal that came with the data; None of a classifier, whose labels have a column."""
    return clean.truth if clean.labels is None else None


def goal_hashes(goal: Goal | None, context: Any, count: int) -> list[str]:
    """SHA-256 of goal and context of each input; empty where there is neither."""
    if goal is None and context is None:
        return [""] * count
    pairs = zip(row_digests(goal, count), row_digests(context, count), strict=True)
    return [hashlib.sha256(f"{one} {other}".encode()).hexdigest() for one, other in pairs]


def originals(results: list[dict[str, Any]], kept: KeptOriginals) -> list[int]:
    """Return the samples whose originals the gallery may show: the first that fell to each attack at each radius."""
    counts, wanted = Counter(kept), set()
    for row in results:
        group = (row["norm"], row["eps"], row["attack"])
        if row["success"] and counts[group] < KEPT:
            counts[group] += 1
            wanted.add(row["sample"])
    return sorted(wanted)


def sample_rows(
    number: int, clean: CleanChunk, hashes: list[str], goals: list[str], wanted: list[int]
) -> list[dict[str, Any]]:
    """Return one row per image of a chunk: label, clean prediction, hashes, and where its original is stored.

    `wanted` lists the samples whose originals are kept, in the order in which the chunk's file has them.
    """
    places = {sample: row for row, sample in enumerate(wanted)}
    rows, predictions = [], prediction_texts(clean.prediction, clean.finite)
    details = detail_texts(clean.details, clean.finite)
    labels, aims = clean.labels, clean.aims
    for i, name in enumerate(clean.names):
        sample = clean.first + i
        rows.append(
            {
                "id": sample,
                "chunk": number,
                "name": storable(name),
                "label": None if labels is None else int(labels[i]),
                "label_source": "data" if clean.from_data else "model",
                "clean_prediction": predictions[i],
                "clean_details": details[i],
                "clean_finite": int(clean.finite[i]),
                "clean_correct": int(clean.correct[i]),
                "clean_claimed": float(clean.claimed[i]),
                "clean_rate": float(clean.rate[i]),
                "clean_rejected": float(clean.rejected[i]),
                "aim": None if aims is None else int(aims[i]),
                "sha256": hashes[i],
                "goal_sha256": goals[i] or None,
                "original_file": example_file(number) if sample in places else None,
                "original_row": places.get(sample),
            }
        )
    return rows


def result_rows(file: str, clean: CleanChunk, result: AttackResult, offset: int) -> list[dict[str, Any]]:
    """Return one row per image asked; the attempt's examples are in `file`, from row `offset` on."""
    names = ("rows", "fell", "claimed", "rate", "forwards", "backwards", "checks", "first", "reason", "kept")
    columns = {name: getattr(result, name).tolist() for name in names}
    kept = example_columns(result)
    slot, seconds = result.slot, result.seconds / len(result.rows)
    rows, found = [], 0
    for i, sample in enumerate(columns["rows"]):
        held = columns["kept"][i]
        rows.append(
            {
                "sample": clean.first + sample,
                "norm": slot.norm,
                "eps": slot.eps,
                "view": slot.view,
                "attack": result.attack,
                "seed": slot.seed,
                "turn": slot.attack_index,
                "access": result.access,
                "success": int(columns["fell"][i]),
                "claimed": columns["claimed"][i],
                "rate": columns["rate"][i],
                "forwards": columns["forwards"][i],
                "backwards": columns["backwards"][i],
                "checks": columns["checks"][i],
                "first": columns["first"][i],
                "reason": Reason(columns["reason"][i]).name,
                "seconds": seconds,
                **{name: values[found] if held else None for name, values in kept.items()},
                "example_file": file if held else None,
                "example_row": offset + found if held else None,
            }
        )
        found += held
    return rows


def example_columns(result: AttackResult) -> dict[str, list[Any]]:
    """Return sizes and predictions of the attempt's examples, in their order."""
    examples = result.examples
    survives = examples.survives_uint8
    columns: dict[str, Tensor | None] = {
        **examples.sizes,
        "survives_uint8": None if survives is None else survives.long(),
        "margin": examples.margin,
        "rate_uint8": examples.rate_uint8,
        "uint8_size": examples.uint8_size,
        "survives_jpeg90": None if examples.survives_jpeg90 is None else examples.survives_jpeg90.long(),
    }
    nothing: list[Any] = [None] * len(examples.images)
    found: dict[str, list[Any]] = {name: nothing if each is None else each.tolist() for name, each in columns.items()}
    return found | {
        "prediction": prediction_texts(examples.prediction, examples.finite),
        "details": detail_texts(examples.details, examples.finite),
    }
