"""The tables of the experiments: attacks on a data set, matrices, artifacts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from ...access import Attack
from ...audit.records.statistics import share
from ...defenses.certification import Status
from ...engine import Fitted, Outcome, remarks, typical_radii
from ...experiments.apply import FLOAT_IMAGES, PNG_FILES, AppliedCounts
from ...experiments.artifacts import fooling_rate, interval_text
from ...experiments.attack_dataset import AttackDataset, AttackTotals, attack_labels
from ...experiments.certify import CertifiedCounts, CertifyDataset
from ...experiments.certify_properties import InstanceResult
from ...experiments.fit import FitArtifact, FitInputs
from ...experiments.generalization import GeneralizationMatrix
from ...experiments.transfer_matrix import matrix_title
from ...intervals import wilson
from ...transfer import Generalization, TransferCounts
from ...zoo import Data, LoadedModel
from .console import print_table, say

ATTACK_COLUMNS = [
    "attack", "images", "already", "fell", "success", "median size", "queries", "8-bit too", "forwards",
    "backwards", "s",
]  # fmt: skip
CERTIFIED_COLUMNS = [
    "radius", "images", "right", *(status.value for status in Status), "certified accuracy (95 %)",
    "robust at most", "s per image",
]  # fmt: skip
APPLY_COLUMNS = ["goal", "measured on", "images", "took part", "fell", "share", "95 %"]
FIT_COLUMNS = ["images", "count", "took part", "fooled", "fooling rate", "95 %"]
COLUMNS_PER_TABLE = 12  # columns of numbers of a generalization matrix


def show_attacks(experiment: AttackDataset, attacks: Sequence[Attack[Any, Any]], totals: list[AttackTotals]) -> None:
    """Print a row for each attack, and why its rows ended."""
    labels = attack_labels(attacks)
    rows = [attack_row(*each) for each in zip(labels, attacks, totals, strict=True)]
    print_table(f"{experiment.loaded.name} on {experiment.data.name}", ATTACK_COLUMNS, rows)
    say(experiment.data.label_note)
    if not experiment.repeatable:
        say(
            "the data gives other images each time that it is read, so this cannot be repeated: turn shuffling off",
            "yellow",
        )
    if 0 < experiment.unlabelled < totals[0].images:
        say(f"{experiment.unlabelled} of the images have no label: the model's own prediction stands in", "yellow")
    for label, attack, total in zip(labels, attacks, totals, strict=True):
        ended = sorted((reason.name, count) for reason, count in total.counts.reasons.items())
        say(f"{label}: " + ", ".join(f"{name} {count}" for name, count in ended))
        if not math.isfinite(attack.ball.eps) and total.fell:
            radii = [0.0, *typical_radii(total.sizes, whole=attack.ball.p == 0)]
            curve = ", ".join(f"{total.accuracy_at(eps):.1%} at {eps:g}" for eps in radii)
            say(f"{label}: accuracy by {type(attack.ball).__name__} distance: {curve}")
        for note in (*sorted(total.notes), *remarks(total.counts, misclassifies=experiment.targeted is None)):
            say(f"{label}: {note}")


def show_certified(experiment: CertifyDataset, counts: Sequence[CertifiedCounts]) -> None:
    """Print a row for each radius, and which method decided how often."""
    title = f"{experiment.loaded.name} on {experiment.data.name}"
    print_table(title, CERTIFIED_COLUMNS, [certified_row(count) for count in counts])
    say(experiment.data.label_note)
    for count in counts:
        decided = ", ".join(f"{method} {number}" for method, number in sorted(count.methods.items()))
        say(f"{experiment.threat.norm} {count.text}: {decided}")


def show_properties(title: str, results: Sequence[InstanceResult]) -> None:
    """Print a row for each property, and how many have which answer."""
    names = ("onnx", "vnnlib", "answer", "method", "seconds", "domains")
    rows = [[one.record["instance"], *(one.record[name] for name in names)] for one in results]
    print_table(title, ["", "network", "property", "answer", "decided by", "s", "domains"], rows, left=5)
    for one in results:
        for text in (one.record["error"], one.record["notes"]):
            if text:
                say(f"{one.record['instance']}: {text}")
    counts = Counter(one.answer for one in results)
    say(", ".join(f"{count} {answer}" for answer, count in sorted(counts.items())) + f" of {len(results)} properties")


def certified_row(count: CertifiedCounts) -> list[object]:
    """Make the cells of one radius."""
    low, high = wilson(count.counts[Status.PROVEN], count.images)
    return [
        count.text,
        count.images,
        count.right,
        *(count.counts[status] for status in Status),
        f"{count.certified_accuracy:.1%} ({low:.1%} to {high:.1%})",
        f"{count.highest_accuracy:.1%}",
        f"{count.seconds / max(count.images, 1):.2f}",
    ]


def attack_row(label: str, attack: Attack[Any, Any], totals: AttackTotals) -> list[object]:
    """Make the cells of one attack."""
    return [
        label,
        totals.images,
        totals.already,
        totals.fell,
        f"{totals.fell / totals.attacked:.1%}" if totals.attacked else "-",
        f"{median(totals.sizes):.4g}" if totals.fell else "-",
        f"{median(totals.queries):.0f}" if totals.fell and math.isfinite(attack.ball.eps) else "-",
        totals.survive_uint8,
        f"{totals.forwards:,}",
        f"{totals.backwards:,}",
        f"{totals.seconds:.1f}",
    ]


def show_transfer(attack: Attack[Any, Any], counts: TransferCounts) -> None:
    """Print who falls to whose examples."""
    rows: list[list[object]] = []
    for name, fell in zip(counts.rows, counts.fell.tolist(), strict=True):
        rows.append([name, *[transfer_cell(count, counts.images) for count in fell]])
    title = matrix_title(attack, counts) + ": success by the model made on (rows) and tried on"
    print_table(title, ["made on", *counts.columns], rows)


def transfer_cell(count: int, total: int) -> str:
    """Return a share with its 95 % interval."""
    if total == 0:
        return "-"
    low, high = wilson(count, total)
    return f"{count / total:.0%} [{low:.0%}, {high:.0%}]"


def show_generalization(matrix: GeneralizationMatrix, whole: Generalization) -> None:
    """Print the matrix, a few columns at a time, and its notes."""
    blocks = matrix.blocks(whole)
    heads = [f"{block.title}\n{column}".strip() for block in blocks for column in block.columns]
    cells = [torch.cat([getattr(block, end) for block in blocks], 1).tolist() for end in ("share", "low", "high")]
    for first in range(0, len(heads), COLUMNS_PER_TABLE):
        part = slice(first, first + COLUMNS_PER_TABLE)
        rows: list[list[object]] = [
            [name, *[accuracy_cell(*ends) for ends in zip(*[line[part] for line in lines], strict=True)]]
            for name, *lines in zip(whole.models, *cells, strict=True)
        ]
        print_table(matrix.title(whole), ["model", *heads[part]], rows)
    for note in whole.notes:
        say(note)


def accuracy_cell(middle: float, low: float, high: float) -> str:
    """Return a share, and under it its interval in percent."""
    return f"{middle:.1%}\n{100 * low:.0f}-{100 * high:.0f}"


def show_applied(counts: AppliedCounts, data: Data, loaded: LoadedModel | None) -> None:
    """Print how many images the model is fooled by, and what could not be read."""
    if loaded is not None:
        print_table(f"{loaded.name} on {data.name}", APPLY_COLUMNS, applied_rows(counts), left=2)
        say("another class: than on the clean image, whatever the label")
    if data.skipped:
        say(f"{len(data.skipped)} images could not be read: {data.skipped[0].name}: {data.skipped[0].reason}")


def applied_rows(counts: AppliedCounts) -> list[list[object]]:
    """Make two rows for each goal: of the float images, and of the files."""
    rows: list[list[object]] = []
    for goal, attacked in counts.attacked.items():
        for measured in (FLOAT_IMAGES, PNG_FILES):
            part = share(counts.fell[goal, measured], attacked)
            cells = [part.total, part.count, f"{part.share:.1%}", interval_text(part)]
            rows.append([goal, measured, counts.pictures, *cells])
    return rows


def show_fit_inputs(job: FitArtifact, inputs: FitInputs) -> None:
    """Say what is about to be fitted, and on what."""
    say(f"{job.attack!r}")
    fitted, held_out = len(inputs.split.fitted), len(inputs.split.held_out)
    say(f"{fitted} images of {job.data.name} to fit on, {held_out} held out")
    if inputs.copies:
        say(f"{inputs.copies} images are copies of others and take no part")
    if job.data.skipped:
        first = job.data.skipped[0]
        say(f"{len(job.data.skipped)} images could not be read: {first.name}: {first.reason}")
    if job.target is None:
        say("fooled: the model predicts another class than on the clean image, whatever the label")
    else:
        say(f"fooled: the model predicts class {job.target}; images of that class before take no part")


def show_fitted(job: FitArtifact, fitted: Fitted[Any], outcomes: dict[str, Outcome]) -> None:
    """Print the fooling rates, and what the fit cost."""
    rows: list[list[object]] = []
    for name, outcome in outcomes.items():
        part = fooling_rate(outcome)
        rows.append([name, len(outcome), part.total, part.count, f"{part.share:.1%}", interval_text(part)])
    print_table(f"{job.attack.name} {job.attack.ball} on {job.loaded.name}", FIT_COLUMNS, rows)
    passes = f"{fitted.forwards:,} images forward, {fitted.backwards:,} backward"
    say(f"{len(fitted.fooled)} of at most {job.attack.epochs} epochs, {passes}, {fitted.seconds:.1f} s")
