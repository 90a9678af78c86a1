"""Findings about the data, the labels and how far the run has come."""

from __future__ import annotations

from collections.abc import Iterator

from ...intervals import Z_99, images_for_width, wilson
from ..records.database import Records
from ..report.model import Finding, Report
from .kinds import KINDS

LOW_ACCURACY = 0.5
WIDE = 0.1  # an interval wider than this deserves a word
NARROW = 0.06
MANY = 0.1  # a share of clean images rejected that deserves a word


def of_data(records: Records, report: Report) -> Iterator[Finding]:
    """Yield the findings that hold."""
    data = report.data
    if not records.finished:
        total = records.plan.limit or records.facts.candidates
        of = f" of {total}" if total else ""
        missing = ", and certificates are missing" if records.plan.certify else ""
        yield KINDS["unfinished"].finding(f"The run is not finished: {data.count}{of} images are recorded{missing}.")
    changed = records.probe_results().get("data")
    if changed is not None:
        yield KINDS["data-changes"].finding(
            f"Read again, the data gave other images at {changed['first']}: the run cannot be repeated or resumed."
        )
    yield from label_findings(report)
    yield from accuracy_findings(records, report)
    if data.skipped:
        first = f"{data.skipped[0].name}: {data.skipped[0].reason}"
        yield KINDS["skipped"].finding(
            f"{len(data.skipped)} of the files could not be used and were left out; the first is {first}."
        )
    if data.rejected is not None and data.rejected.share > MANY:
        yield KINDS["rejected"].finding(f"{data.rejected.share:.1%} of the clean images are rejected.")
    yield from sample_size_findings(report)


def label_findings(report: Report) -> Iterator[Finding]:
    """Yield a finding where some or all images have no label from the data."""
    data = report.data
    without = data.count - data.labelled_count
    if without:
        every = without == data.count
        which = "No image has a label:" if every else f"{without} of {data.count} images have no label: there,"
        yield KINDS["label-free"].finding(
            f"{which} robust accuracy is agreement with the model's own clean predictions."
        )


def accuracy_findings(records: Records, report: Report) -> Iterator[Finding]:
    """Yield findings where the clean accuracy is below one half, or too far from the plan's expected accuracy.

    Too far: outside the 99 % interval of what was measured. Nothing is found where no image has a label.
    """
    clean, expected = report.data.clean_accuracy, records.plan.expected_accuracy
    if clean is None:
        return
    if clean.share < LOW_ACCURACY:
        yield KINDS["low-clean-accuracy"].finding(
            f"The clean accuracy is {clean.share:.1%} ({clean.count} of {clean.total})."
        )
    if expected is not None:
        low, high = wilson(clean.share * clean.total, clean.total, Z_99)
        if not low <= expected <= high:
            yield KINDS["expected-accuracy"].finding(
                f"The clean accuracy is {clean.share:.1%} (99 %: {low:.1%} to {high:.1%}), and {expected:.1%} was "
                "expected."
            )


def sample_size_findings(report: Report) -> Iterator[Finding]:
    """Yield a finding where a robust accuracy at a given radius has a 95 % interval wider than 10 points."""
    given = [threat for threat in report.threats if threat.smallest is None]
    shares = [part.robust_accuracy for threat in given for part in threat.epsilons]
    width = max((one.high - one.low for one in shares), default=0.0)
    if width > WIDE:
        yield KINDS["few-images"].finding(
            f"{report.data.count} images: an interval is up to {100 * width:.0f} points wide.",
            advice=f"With {images_for_width(NARROW)} images none is wider than {100 * NARROW:.0f} points.",
        )
