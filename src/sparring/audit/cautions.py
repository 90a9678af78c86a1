"""What the reader of a robust accuracy must know: each caution says when it holds, and what to do."""

from __future__ import annotations

from .records import Records
from .report_model import Caution, Report
from .statistics import samples_for

LOW_ACCURACY = 0.5
WIDE = 0.1  # an interval wider than this deserves a word
NARROW = 0.06
DYING = 0.1  # a share of examples lost to rounding that deserves a word


def cautions(records: Records, report: Report) -> list[Caution]:
    """All that hold, the weightiest first."""
    found = [
        *unfinished(records, report),
        *label_free(report),
        *low_accuracy(report),
        *odd_endings(records),
        *nothing_left(report),
        *unread(report),
        *rounding(report),
        *few(report),
        *probabilities(records),
    ]
    weight = {"severe": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda one: weight[one.severity])


def unfinished(records: Records, report: Report) -> list[Caution]:
    if records.finished:
        return []
    total = records.plan.limit or records.facts.candidates
    of = f" of {total}" if total else ""
    return [
        Caution(
            code="unfinished",
            severity="severe",
            message=f"The run is not finished: {report.data.count}{of} images are recorded.",
            advice="Repeat its command with --resume.",
        )
    ]


def label_free(report: Report) -> list[Caution]:
    data = report.data
    without = data.count - data.labelled_count
    if not without:
        return []
    every = without == data.count
    which = "No image has a label:" if every else f"{without} of {data.count} images have no label: there,"
    return [
        Caution(
            code="label-free",
            severity="warning",
            message=f"{which} robust accuracy is agreement with the model's own clean predictions.",
            advice="To measure accuracy, put the images into sub-folders named by class, or give labels.",
        )
    ]


def low_accuracy(report: Report) -> list[Caution]:
    clean = report.data.clean_accuracy
    if clean is None or clean.share >= LOW_ACCURACY:
        return []
    return [
        Caution(
            code="low-clean-accuracy",
            severity="severe",
            message=f"The clean accuracy is {clean.share:.1%} ({clean.count} of {clean.total}).",
            advice="Check mean, std, channel order, image size and the numbering of the labels.",
        )
    ]


def odd_endings(records: Records) -> list[Caution]:
    meanings = {
        "NO_GRADIENT": (
            "severe",
            "had a gradient of exactly zero throughout: gradients may be masked",
            "Trust the black-box attacks more than the white-box ones, and audit the model without the masking part.",
        ),
        "NON_FINITE": ("severe", "made the model answer NaN or infinity", "Look for the layer that overflows."),
        "UNCONFIRMED": (
            "warning",
            "fell in the search and not when looked at again, and count as standing",
            "The model may be random or depend on the other images of its batch.",
        ),
    }
    found: list[Caution] = []
    for reason, (severity, words, advice) in meanings.items():
        count = records.one("SELECT COUNT(DISTINCT sample) FROM result WHERE reason = ?", reason)
        if count:
            message = f"{count} images {words}."
            code = reason.lower().replace("_", "-")
            fields = {"code": code, "severity": severity, "message": message, "advice": advice}
            found.append(Caution.model_validate(fields))
    return found


def nothing_left(report: Report) -> list[Caution]:
    for threat in report.threats:
        smallest = threat.epsilons[0]
        if smallest.robust_accuracy.count == 0:
            return [
                Caution(
                    code="nothing-left",
                    severity="note",
                    message=f"No image survived {threat.norm} {smallest.eps_text}.",
                    advice="A smaller epsilon would tell models apart.",
                )
            ]
    return []


def unread(report: Report) -> list[Caution]:
    skipped = report.data.skipped
    if not skipped:
        return []
    first = f"{skipped[0].name}: {skipped[0].reason}"
    return [
        Caution(
            code="skipped",
            severity="warning",
            message=f"{len(skipped)} of the files could not be used and were left out; the first is {first}.",
            advice="Repair or remove them; the shares are over the images that could be read.",
        )
    ]


def rounding(report: Report) -> list[Caution]:
    found = sum(attack.fell for threat in report.threats for part in threat.epsilons for attack in part.attacks)
    alive = sum(
        attack.survives_uint8 for threat in report.threats for part in threat.epsilons for attack in part.attacks
    )
    if not found or (found - alive) / found < DYING:
        return []
    return [
        Caution(
            code="rounding",
            severity="note",
            message=f"{found - alive} of {found} examples no longer work once rounded to 8 bits.",
            advice="The 8-bit column counts only examples that do, stretched where the radius allows it.",
        )
    ]


def few(report: Report) -> list[Caution]:
    shares = [part.robust_accuracy for threat in report.threats for part in threat.epsilons]
    width = max((one.high - one.low for one in shares), default=0.0)
    if width <= WIDE:
        return []
    return [
        Caution(
            code="few-images",
            severity="note",
            message=f"{report.data.count} images: an interval is up to {100 * width:.0f} points wide.",
            advice=f"With {samples_for(NARROW)} images none is wider than {100 * NARROW:.0f} points.",
        )
    ]


def probabilities(records: Records) -> list[Caution]:
    if not records.facts.probabilities:
        return []
    return [
        Caution(
            code="probabilities",
            severity="warning",
            message="The model gives probabilities; attacks follow their logarithm, which rounding may flatten.",
            advice="Audit the logits where they can be had.",
        )
    ]
