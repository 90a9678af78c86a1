"""Findings about how the attacks went, from the records."""

from __future__ import annotations

from collections.abc import Iterator

from ...access import Gradients
from ..plan import ACCESS
from ..records.database import Records
from ..report.model import Caution, EpsilonPart, Report
from .kinds import KINDS, Severity

DYING = 0.1  # a share of examples lost to rounding that deserves a word
SHARE = 0.1  # of the images attacked: more than this without a gradient is severe
FEW, FEW_SHARE = 3, 0.02  # images that fall to who knows less, and their share of those right: more is severe
ENDINGS = {
    "NO_GRADIENT": ("zero-gradients", "had a gradient of exactly zero throughout an attack"),
    "NON_FINITE": ("non-finite", "made the model answer NaN or infinity, or gave such a gradient"),
    "UNCONFIRMED": ("unconfirmed", "fell in the search and not when looked at again, and count as standing"),
    "NO_START": ("few-starts", "were not attacked by a search on labels, which found nowhere to start"),
    "LOCKED_OUT": ("locked-out", "were not attacked to the end: the service answered no more"),
}


def of_attacks(records: Records, report: Report) -> Iterator[Caution]:
    """All that hold."""
    yield from endings(records)
    broken = records.one("SELECT COUNT(*) FROM sample WHERE clean_confidence = 0")  # no softmax has a maximum of 0
    if broken:
        yield KINDS["non-finite"].raised(f"{broken} clean images make the model answer NaN or infinity.")
    yield from blind(records, report)
    yield from nothing_left(report)
    yield from rounding(report)
    facts, plan = records.facts, records.plan
    if facts.probabilities:
        yield KINDS["probabilities"].raised("The model gives probabilities; attacks follow their logarithm.")
    if facts.defended and len(facts.views) < 2:
        yield KINDS["no-adaptive-view"].raised(f"The defended model was audited with {facts.access} only.")
    if plan.suite == "quick":
        yield KINDS["quick-suite"].raised("The quick suite ran.")
    elif isinstance(plan.suite, str) and plan.surrogate is None:
        yield KINDS["no-transfer"].raised("No transfer attack was run: no surrogate is given.")


def endings(records: Records) -> Iterator[Caution]:
    """Rows that ended in an odd way."""
    attacked = records.one("SELECT COUNT(DISTINCT sample) FROM result")
    for reason, (code, words) in ENDINGS.items():
        if code == "unconfirmed" and records.facts.stochastic:
            continue  # a lucky answer is told from a success by the looks that follow
        count = records.one("SELECT COUNT(DISTINCT sample) FROM result WHERE reason = ?", reason)
        if not count:
            continue
        lower: Severity | None = "warning" if code == "zero-gradients" and count < SHARE * attacked else None
        yield KINDS[code].raised(f"{count} of the {attacked} images attacked {words}.", lower)


def blind(records: Records, report: Report) -> Iterator[Caution]:
    """Images that withstood whoever sees gradients, and fell to who sees less."""
    right = records.one("SELECT COUNT(*) FROM sample WHERE clean_correct")
    for code, carried in (("black-box-beats-white-box", False), ("transfer-beats-white-box", True)):
        fell, words = 0, ""
        for threat in report.threats:
            for part in threat.epsilons if threat.smallest is None else ():
                count = fallen_blind(part, carried)
                if count > fell:
                    fell, words = count, f"{threat.norm} {part.eps_text}"
        if fell >= FEW and fell > FEW_SHARE * right:
            who = "the transfer" if carried else "queries"
            yield KINDS[code].raised(f"{fell} images withstood every gradient at {words} and fell to {who}.")


def fallen_blind(part: EpsilonPart, carried: bool) -> int:
    """How many fell to attacks without gradients, after attacks with gradients from the same view."""
    fell, seeing = 0, ""
    for attack in part.attacks:
        if issubclass(ACCESS[attack.access.lower()], Gradients):
            seeing = attack.view + "!"
        elif seeing == attack.view + "!" and carried == attack.attack.startswith("transfer from "):
            fell += attack.fell
    return fell


def nothing_left(report: Report) -> Iterator[Caution]:
    for threat in report.threats:
        smallest = threat.epsilons[0]
        if threat.smallest is None and smallest.robust_accuracy.count == 0:
            yield KINDS["nothing-left"].raised(f"No image survived {threat.norm} {smallest.eps_text}.")
            return


def rounding(report: Report) -> Iterator[Caution]:
    given = [threat for threat in report.threats if threat.smallest is None]
    attacks = [attack for threat in given for part in threat.epsilons for attack in part.attacks]
    found, alive = sum(one.fell for one in attacks), sum(one.survives_uint8 for one in attacks)
    if found and (found - alive) / found >= DYING:
        yield KINDS["rounding"].raised(f"{found - alive} of {found} examples no longer work once rounded to 8 bits.")
