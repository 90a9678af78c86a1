"""The report's numbers, each computed from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...tasks import Task
from ..evaluation.prediction_columns import read_prediction
from ..records import queries
from ..records.database import Records
from ..records.schema import FILE
from ..records.statistics import share
from .certificates import certification_part
from .classes import per_class
from .gallery import gallery, mask_part, mean_text
from .model import DataPart, ModelPart, PredictedValue, Provenance, RadiiPart, Report, SkippedFile
from .sections import task_sections
from .threats import fixed_radius_part, minimum_norm_part


def summarize(records: Records, out: Path, task: type[Task] | None = None) -> Report:
    """Make the report without its findings, and write its pictures into the folder `out`.

    `task`: of the target, whose sections the report has; None: the class of that name, where one is loaded.
    """
    plan, facts = records.plan, records.facts
    threats = [fixed_radius_part(records, threat) for threat in plan.threats]
    threats += [minimum_norm_part(records, norm) for norm in plan.smallest]
    report = Report(
        title=f"{facts.model} on {facts.data}",
        goal=plan.goal,
        words=facts.words,
        mask=mask_part(records, out),
        radii=None if facts.radii is None else RadiiPart(low=facts.radii[0], high=facts.radii[1]),
        certification=certification_part(records),
        model=model_part(records),
        data=data_part(records),
        threats=threats,
        gallery=gallery(records, out),
        sections=task_sections(records, out, task),
        warnings=[],
        provenance=provenance_part(records),
        probes={name: found for name, found in records.probe_results().items() if name != "seconds"},
    )
    if facts.classes is None:
        return report
    return report.model_copy(update={"per_class": per_class(records, threats, report.worst())})


def model_part(records: Records) -> ModelPart:
    """Return what the report says of the target; its access is that of the last view, the strongest attacker's."""
    facts = records.facts
    return ModelPart(
        name=facts.model,
        source=facts.source,
        sha256=facts.sha256,
        task=facts.task,
        inputs=facts.inputs,
        classes=facts.classes,
        access=facts.views[-1][1],
        input_shape=list(facts.input_shape),
        views=[name for name, _ in facts.views if name],
        stochastic=facts.stochastic,
        rejects=facts.rejects,
        draws=facts.draws,
    )


def data_part(records: Records) -> DataPart:
    """Return what the report says of the data: counts, labels, clean accuracy, skipped files and the hash.

    Clean accuracy is over the images with labels of their own; None where there are none.
    """
    count = queries.sample_count(records)
    labelled = records.scalar("SELECT COUNT(*) FROM sample WHERE label_source = 'data'")
    missed = records.scalar("SELECT TOTAL(clean_rate) FROM sample WHERE label_source = 'data'")
    labels: Literal["data", "model", "mixed"] = "data" if labelled == count else "mixed" if labelled else "model"
    skipped = records.select("SELECT name, reason FROM skipped ORDER BY name")
    rejected = share(records.scalar("SELECT TOTAL(clean_rejected) FROM sample"), count)
    return DataPart(
        name=records.facts.data,
        count=count,
        labels=labels,
        label_note=records.facts.label_note,
        labelled_count=labelled,
        clean_accuracy=share(labelled - missed, labelled) if labelled else None,
        prediction=mean_prediction(records),
        rejected=rejected if records.facts.rejects else None,
        skipped=[SkippedFile(name=row["name"], reason=row["reason"]) for row in skipped],
        sha256=records.data_hash(),
    )


def mean_prediction(records: Records) -> dict[str, PredictedValue]:
    """Return what the task says of the clean inputs in the mean, of all that is no class; without what is no number."""
    kinds = {column.name: column.kind for column in records.facts.columns if column.kind != "class"}
    sums, counts = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0)
    for row in records.select("SELECT clean_prediction FROM sample ORDER BY id"):
        found = read_prediction(row["clean_prediction"])
        for name in kinds:
            if found[name] is not None:
                sums[name] += found[name]
                counts[name] += 1
    means = {name: sums[name] / counts[name] for name in kinds if counts[name]}
    return {
        name: PredictedValue(kind=kinds[name], value=mean, text=mean_text(name, kinds[name], mean))
        for name, mean in means.items()
    }


def provenance_part(records: Records) -> Provenance:
    """Return how the run was made: command, plan, versions, device and time; seconds are of chunks and probes."""
    facts = records.facts
    return Provenance(
        command=facts.command,
        plan=records.plan.model_dump(mode="json"),
        versions=facts.versions,
        device=facts.device,
        precision=facts.precision,
        started=facts.started,
        seconds=records.scalar(
            "SELECT TOTAL(seconds) FROM (SELECT seconds FROM chunk UNION ALL SELECT seconds FROM certificate)"
        )
        + records.probe_results().get("seconds", 0.0),
        seed=records.plan.seed,
        resumed=records.resumed,
        records=FILE,
    )
