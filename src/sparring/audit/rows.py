"""From tensors to table rows, and which originals are kept for the gallery."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..access import Reason
from .cascade import Attempt, Clean, Stretched
from .provenance import image_hash
from .shards import shard_name

KEPT = 3  # originals kept per (norm, eps, attack)
Kept = Counter[tuple[str, float, str]]


@dataclass(frozen=True)
class ChunkRows:
    """What a chunk adds to the records, and the tensors of its shard."""

    chunk: dict[str, Any]
    samples: list[dict[str, Any]]
    results: list[dict[str, Any]]
    stretched: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def chunk_rows(
    number: int, clean: Clean, events: list[Attempt | Stretched], seconds: float, seed: int, kept: Kept
) -> ChunkRows:
    """Rows of one chunk; `kept` counts the originals of earlier chunks and is not changed."""
    hashes = [image_hash(image) for image in clean.images]
    results: list[dict[str, Any]] = []
    examples: list[Tensor] = []
    stored = 0
    for attempt in (event for event in events if isinstance(event, Attempt)):
        results.extend(result_rows(number, clean, attempt, seed, stored))
        examples.append(attempt.fallen.examples)
        stored += len(attempt.fallen.examples)
    wanted = originals(results, kept)
    samples = sample_rows(number, clean, hashes, wanted)
    tensors: dict[str, Tensor] = {}
    if stored:
        tensors["examples"] = torch.cat(examples)
        tensors["originals"] = clean.images[[one - clean.first for one in wanted]].float()
    chunk = {
        "id": number,
        "first": clean.first,
        "count": len(clean),
        "sha256": chunk_hash(hashes),
        "seconds": seconds,
    }
    return ChunkRows(chunk, samples, results, stretched_rows(clean, events), tensors)


def stretched_rows(clean: Clean, events: list[Attempt | Stretched]) -> list[dict[str, Any]]:
    return [
        {"sample": clean.first + place, "norm": event.norm, "eps": event.eps}
        for event in events
        if isinstance(event, Stretched)
        for place in event.rows.tolist()
    ]


def chunk_hash(hashes: list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def originals(results: list[dict[str, Any]], kept: Kept) -> list[int]:
    """The samples whose originals the gallery may show: the first that fell to each attack at each radius."""
    counts, wanted = Counter(kept), set()
    for row in results:
        group = (row["norm"], row["eps"], row["attack"])
        if row["success"] and counts[group] < KEPT:
            counts[group] += 1
            wanted.add(row["sample"])
    return sorted(wanted)


def sample_rows(number: int, clean: Clean, hashes: list[str], wanted: list[int]) -> list[dict[str, Any]]:
    places = {sample: row for row, sample in enumerate(wanted)}
    rows = []
    for i, name in enumerate(clean.names):
        sample = clean.first + i
        rows.append(
            {
                "id": sample,
                "chunk": number,
                "name": name,
                "label": int(clean.labels[i]),
                "label_source": "data" if clean.from_data else "model",
                "clean_prediction": int(clean.predicted[i]),
                "clean_confidence": float(clean.confidence[i]),
                "clean_correct": int(clean.correct[i]),
                "sha256": hashes[i],
                "original_file": shard_name(number) if sample in places else None,
                "original_row": places.get(sample),
            }
        )
    return rows


def result_rows(number: int, clean: Clean, attempt: Attempt, seed: int, offset: int) -> list[dict[str, Any]]:
    """One row per image asked; `offset` is where the attempt's examples begin in the shard."""
    columns = {
        name: getattr(attempt, name).tolist()
        for name in ("rows", "fell", "forwards", "backwards", "checks", "first", "reason")
    }
    seconds = attempt.seconds / len(attempt.rows)
    rows, found = [], 0
    for i, place in enumerate(columns["rows"]):
        fell = columns["fell"][i]
        rows.append(
            {
                "sample": clean.first + place,
                "norm": attempt.norm,
                "eps": attempt.eps,
                "attack": attempt.attack,
                "access": attempt.access,
                "success": int(fell),
                "forwards": columns["forwards"][i],
                "backwards": columns["backwards"][i],
                "checks": columns["checks"][i],
                "first": columns["first"][i],
                "reason": Reason(columns["reason"][i]).name,
                "seed": seed,
                "seconds": seconds,
                **example_columns(attempt, found if fell else None),
                "example_file": shard_name(number) if fell else None,
                "example_row": offset + found if fell else None,
            }
        )
        found += fell
    return rows


def example_columns(attempt: Attempt, i: int | None) -> dict[str, Any]:
    """Sizes and predictions of the attempt's i-th example; nothing where there is none."""
    fallen = attempt.fallen
    columns: dict[str, Tensor] = {
        **fallen.sizes,
        "predicted": fallen.predicted,
        "confidence": fallen.confidence,
        "survives_uint8": fallen.survives_uint8.long(),
        "uint8_size": fallen.uint8_size,
    }
    return {name: None if i is None else values[i].item() for name, values in columns.items()}
