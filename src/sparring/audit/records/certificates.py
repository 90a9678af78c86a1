"""Certificates in the records: rows of one job, the verdict on each image at a radius, and what contradicts a proof."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .database import Records
from .example_files import FOLDER
from .queries import LOSSES, ResultScope
from .rows import result_rows

if TYPE_CHECKING:
    from ..evaluation.certificates import CertifiedImages, CertifiedRadius

Word = Literal["proven", "broken", "open", "contradicted"]
VERDICTS = f"""
SELECT one.id AS sample, one.name, one.clean_correct, one.clean_finite, one.lost, first.attack, first.seconds AS spent,
    certificate.verdict, certificate.method, certificate.lower, certificate.slack, certificate.seconds,
    certificate.domains, certificate.searched,
    {{sized}} AND EXISTS (SELECT 1 FROM result WHERE sample = one.id AND success AND {{size}} <= :eps) AS crossed
FROM ({LOSSES}) AS one
LEFT JOIN certificate ON certificate.sample = one.id AND certificate.norm = :norm AND certificate.eps = :eps
LEFT JOIN (
    SELECT sample, attack, seconds, ROW_NUMBER() OVER (PARTITION BY sample ORDER BY eps, turn, seed) AS place
    FROM result WHERE success AND norm = :norm AND eps <= :eps
) AS first ON first.sample = one.id AND first.place = 1
ORDER BY one.id
"""  # noqa: S608
CONTRADICTIONS = """
SELECT sample.id, sample.name, certificate.norm, certificate.eps, COALESCE(result.attack, 'clean') AS attack
FROM certificate JOIN sample ON sample.id = certificate.sample
LEFT JOIN result ON result.sample = sample.id AND result.success AND (
    result.norm = certificate.norm AND result.eps <= certificate.eps
    OR :sized AND CASE certificate.norm WHEN 'Linf' THEN linf WHEN 'L2' THEN l2 ELSE l1 END <= certificate.eps)
WHERE certificate.verdict = 'proven' AND sample.id BETWEEN :first AND :last
    AND (result.sample IS NOT NULL OR NOT sample.clean_correct)
GROUP BY sample.id, certificate.norm, certificate.eps ORDER BY sample.id, certificate.norm, certificate.eps
"""


@dataclass(frozen=True)
class Verdict:
    """What is known of an image at a radius.

    Args:
        method: what decided, "clean" for images that were wrong before, an attack or a kind of bounds; of open images
            what gave the best bound, or "none".
        bound: the lower bound of the margin that an attack has to push below 0; None where there is none.
        gap: of open images, how much of the bound is missing for a proof.
        seconds: that the certificate took, or the attack that broke the image.
        domains: how many branch and bound looked at.
        searched: whether branch and bound has been asked; None: bounds have not been either.
        finite: whether the model answers the clean image with a number.
    """

    sample: int
    name: str
    word: Word
    method: str
    bound: float | None
    gap: float | None
    seconds: float
    domains: int
    searched: bool | None
    finite: bool

    def waits(self, searched: bool) -> bool:
        """Is it still to be asked about, by bounds or (`searched`) by branch and bound?"""
        asked = self.searched is not None and (self.searched or not searched)
        return self.word == "open" and self.finite and not asked


@dataclass(frozen=True)
class Contradiction:
    """An image that is recorded as proven, and that something broke."""

    sample: int
    name: str
    norm: str
    eps: float
    threat: str
    attack: str


@dataclass(frozen=True)
class CertificateRows:
    """What one job adds to the records, and the tensors of its file of examples."""

    results: list[dict[str, Any]]
    certificates: list[dict[str, Any]]
    originals: list[dict[str, Any]]
    file: str
    tensors: dict[str, Tensor]


def certificate_rows(done: CertifiedImages) -> CertificateRows:
    """Return the rows of one job."""
    clean = done.clean
    file = f"{FOLDER}/{'search' if done.searched else 'bounds'}-{clean.first:06d}.safetensors"
    results: list[dict[str, Any]] = []
    examples: list[Tensor] = []
    for one in done.searches:
        results.extend(result_rows(file, clean, one, sum(len(part) for part in examples)))
        examples.append(one.examples.images)
    broken = sorted({row["sample"] for row in results if row["success"]})
    tensors: dict[str, Tensor] = {}
    if broken:
        tensors["examples"] = torch.cat(examples)
        tensors["originals"] = clean.images[[sample - clean.first for sample in broken]].float()
    originals = [{"id": sample, "file": file, "row": row} for row, sample in enumerate(broken)]
    certificates = [row for one in done.radii for row in radius_rows(one, clean.first, done.searched)]
    return CertificateRows(results, certificates, originals, file, tensors)


def radius_rows(one: CertifiedRadius, first: int, searched: bool) -> Iterator[dict[str, Any]]:
    """Yield the certificates of one radius; what is no number is None."""
    found = one.certificates
    columns = {name: getattr(found, name).tolist() for name in ("lower", "slack", "seconds", "domains")}
    for place, row in enumerate(one.rows.tolist()):
        numbers = {name: finite(column[place]) for name, column in columns.items()}
        yield {
            "sample": first + row,
            "norm": one.norm,
            "eps": one.eps,
            "verdict": found.status[place].value,
            "method": found.methods[place],
            "searched": int(searched),
            **numbers,
        }


def finite(value: float) -> float | None:
    """Return the number, or None for what is infinite or NaN."""
    return value if math.isfinite(value) else None


def verdicts(records: Records, norm: str, eps: float) -> Iterator[Verdict]:
    """Yield what is known of each image at a radius of a norm, in their order.

    An image is broken where any confirmed example lies within the radius, by any norm; one that is also recorded as
    proven there is contradicted.
    """
    question = VERDICTS.format(sized=int(records.facts.radii is None), size=norm.lower())
    for row in records.select(question, ResultScope(norm, eps).values):
        lost, proven = row["lost"] > 0.5, row["verdict"] == "proven"
        word: Word = "contradicted" if proven and (lost or row["crossed"]) else "proven" if proven else "open"
        word = "broken" if lost and not proven else word
        bound, slack = row["lower"], row["slack"]
        by = ("clean" if not row["clean_correct"] else row["attack"] or "none") if word == "broken" else row["method"]
        yield Verdict(
            sample=row["sample"],
            name=row["name"],
            word=word,
            method=by or "none",
            bound=None if word == "broken" else bound,
            gap=slack - bound if word == "open" and bound is not None else None,
            seconds=(row["seconds"] or 0.0) + ((row["spent"] or 0.0) if word == "broken" else 0.0),
            domains=row["domains"] or 0,
            searched=None if row["searched"] is None else bool(row["searched"]),
            finite=bool(row["clean_finite"]),
        )


def contradictions(records: Records, first: int = 0, last: int = 1 << 62) -> list[Contradiction]:
    """List the images from `first` to `last` that are recorded as proven, and of which an example is recorded too.

    An example counts in every norm whose radius it lies within; where inputs have radii of their own, in its own norm.
    """
    sized = int(records.facts.radii is None)
    texts = {(one.norm, radius.eps): radius.text for one in records.plan.threats for radius in one.radii}
    return [
        Contradiction(
            row["id"],
            row["name"],
            row["norm"],
            row["eps"],
            f"{row['norm']} {texts.get((row['norm'], row['eps']), row['eps'])}",
            row["attack"],
        )
        for row in records.select(CONTRADICTIONS, {"first": first, "last": last, "sized": sized})
    ]
