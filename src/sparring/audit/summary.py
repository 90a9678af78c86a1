"""From records to the report: every number of it is a question to the tables."""

from __future__ import annotations

from typing import Literal

from ..geometry import Ball
from ..threats import Radius, Threat
from .cautions import cautions
from .gallery import gallery
from .plan import ACCESS, Plan
from .records import FILE, Records
from .report_model import (
    AttackPart,
    CurvePoint,
    DataPart,
    EpsilonPart,
    ModelPart,
    Provenance,
    Report,
    Share,
    SkippedFile,
    ThreatPart,
)
from .statistics import share
from .suite import suite

FELL = "SELECT COUNT(DISTINCT sample) FROM result WHERE norm = ?1 AND eps <= ?2 AND success"
FELL_BEFORE = "SELECT COUNT(DISTINCT sample) FROM result WHERE norm = ?1 AND eps < ?2 AND success"
FELL_IN_8_BITS = """
SELECT COUNT(*) FROM (
    SELECT sample FROM result WHERE norm = ?1 AND eps <= ?2 AND survives_uint8
    UNION SELECT sample FROM stretched WHERE norm = ?1 AND eps <= ?2)
"""
MEDIAN = """
SELECT AVG(size) FROM (
    SELECT {column} AS size FROM result WHERE norm = ?1 AND eps = ?2 AND attack = ?3 AND success
    ORDER BY size LIMIT 2 - (?4 % 2) OFFSET (?4 - 1) / 2)
"""


def summarize(records: Records) -> Report:
    """The whole report; writes the gallery's pictures into the run folder."""
    plan, facts = records.plan, records.facts
    data = data_part(records)
    threats = [threat_part(records, threat, plan) for threat in plan.threats]
    report = Report(
        title=f"{facts.model} on {facts.data}",
        model=ModelPart(
            name=facts.model,
            source=facts.source,
            sha256=facts.sha256,
            classes=facts.classes,
            access=facts.access,
            input_shape=list(facts.input_shape),
        ),
        data=data,
        threats=threats,
        gallery=gallery(records),
        warnings=[],
        provenance=provenance(records),
    )
    return report.model_copy(update={"warnings": cautions(records, report)})


def data_part(records: Records) -> DataPart:
    count = records.one("SELECT COUNT(*) FROM sample")
    labelled = records.one("SELECT COUNT(*) FROM sample WHERE label_source = 'data'")
    correct = records.one("SELECT COUNT(*) FROM sample WHERE label_source = 'data' AND clean_correct")
    labels: Literal["data", "model", "mixed"] = "data" if labelled == count else "mixed" if labelled else "model"
    skipped = records.select("SELECT name, reason FROM skipped ORDER BY name")
    return DataPart(
        name=records.facts.data,
        count=count,
        labels=labels,
        label_note=records.facts.label_note,
        labelled_count=labelled,
        clean_accuracy=share(correct, labelled) if labelled else None,
        mean_confidence=records.one("SELECT AVG(clean_confidence) FROM sample"),
        skipped=[SkippedFile(name=row["name"], reason=row["reason"]) for row in skipped],
        sha256=records.data_hash(),
    )


def threat_part(records: Records, threat: Threat, plan: Plan) -> ThreatPart:
    epsilons = [
        epsilon_part(records, threat, radius, ball, plan)
        for radius, ball in zip(threat.radii, threat.balls(), strict=True)
    ]
    count = records.one("SELECT COUNT(*) FROM sample")
    clean = share(records.one("SELECT COUNT(*) FROM sample WHERE clean_correct"), count)
    curve = [CurvePoint(eps=0.0, robust_accuracy=clean)]
    curve += [CurvePoint(eps=part.eps, robust_accuracy=part.robust_accuracy) for part in epsilons]
    return ThreatPart(norm=threat.norm, epsilons=epsilons, curve=curve)


def fallen(records: Records, question: str, norm: str, eps: float) -> int:
    """How many images have an example within the radius."""
    return int(records.one(question, norm, eps))


def epsilon_part(records: Records, threat: Threat, radius: Radius, ball: Ball, plan: Plan) -> EpsilonPart:
    count = records.one("SELECT COUNT(*) FROM sample")
    wrong = records.one("SELECT COUNT(*) FROM sample WHERE NOT clean_correct")
    before = fallen(records, FELL_BEFORE, threat.norm, radius.eps)
    attacks, lost = [], wrong + before
    for attack in suite(ACCESS[records.facts.access.lower()], ball, plan):
        part = attack_part(records, threat, radius, (attack.name, attack.access.__name__), (lost, count))
        attacks.append(part)
        lost = part.fallen_so_far
    return EpsilonPart(
        eps=radius.eps,
        eps_text=radius.text,
        robust_accuracy=robust(records, threat, radius, FELL),
        robust_accuracy_uint8=robust(records, threat, radius, FELL_IN_8_BITS),
        wrong_before=wrong,
        fallen_at_smaller_eps=before,
        attacks=attacks,
    )


def robust(records: Records, threat: Threat, radius: Radius, question: str) -> Share:
    """Images that were right at first and have no example within the radius."""
    right = records.one("SELECT COUNT(*) FROM sample WHERE clean_correct")
    lost = fallen(records, question, threat.norm, radius.eps)
    return share(right - lost, records.one("SELECT COUNT(*) FROM sample"))


def attack_part(
    records: Records, threat: Threat, radius: Radius, attack: tuple[str, str], so_far: tuple[int, int]
) -> AttackPart:
    name, access = attack
    lost, count = so_far
    place = (threat.norm, radius.eps, name)
    sums = next(
        records.select(
            "SELECT COUNT(*) AS asked, TOTAL(success) AS fell, TOTAL(survives_uint8) AS uint8, TOTAL(forwards) AS f, "
            "TOTAL(backwards) AS b, TOTAL(checks) AS c, TOTAL(seconds) AS s FROM result "
            "WHERE norm = ? AND eps = ? AND attack = ?",
            *place,
        )
    )
    reasons = records.select(
        "SELECT reason, COUNT(*) AS n FROM result WHERE norm = ? AND eps = ? AND attack = ? GROUP BY reason", *place
    )
    asked, fell = sums["asked"], int(sums["fell"])
    column = threat.norm.lower()
    return AttackPart(
        attack=name,
        access=access,
        asked=asked,
        fell=fell,
        success_rate=fell / asked if asked else None,
        fallen_so_far=lost + fell,
        robust_accuracy_after=1 - (lost + fell) / count if count else 0.0,
        median_size=records.one(MEDIAN.format(column=column), *place, fell) if fell else None,
        survives_uint8=int(sums["uint8"]),
        forwards=int(sums["f"]),
        backwards=int(sums["b"]),
        checks=int(sums["c"]),
        seconds=sums["s"],
        reasons={row["reason"]: row["n"] for row in reasons},
    )


def provenance(records: Records) -> Provenance:
    facts = records.facts
    return Provenance(
        command=facts.command,
        plan=records.plan.model_dump(mode="json"),
        versions=facts.versions,
        device=facts.device,
        precision=facts.precision,
        started=facts.started,
        seconds=records.one("SELECT TOTAL(seconds) FROM chunk"),
        seed=records.plan.seed,
        resumed=records.resumed,
        records=FILE,
    )
