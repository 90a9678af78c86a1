"""Findings about how the attacks went, from the records."""

from __future__ import annotations

from collections.abc import Iterator

from ...access import ACCESS, Gradients
from ..records.certificates import contradictions
from ..records.database import Records
from ..report.model import EpsilonPart, Finding, Report
from ..suites.suite import SEARCH
from .kinds import KINDS, Severity

DYING = 0.1  # a share of examples lost to rounding that deserves a word
SHARE = 0.1  # of the images attacked: more than this without a gradient is severe
FEW, FEW_SHARE = 3, 0.02  # images that fall to who knows less, and their share of those right: more is severe
DECLINED = "failure-to-acquire"
ENDINGS = {
    "NO_GRADIENT": ("zero-gradients", "had a gradient of exactly zero throughout an attack"),
    "NON_FINITE": ("non-finite", "made the model answer NaN or infinity"),
    "NON_FINITE_GRADIENT": ("non-finite", "gave a gradient that is NaN or infinite"),
    "UNCONFIRMED": ("unconfirmed", "fell in the search and not when looked at again, and count as standing"),
    "NO_START": ("few-starts", "were not attacked by a search on labels, which found nowhere to start"),
    "LOCKED_OUT": ("locked-out", "were not attacked to the end: the service answered no more"),
}


def of_attacks(records: Records, report: Report) -> Iterator[Finding]:
    """Yield the findings that hold."""
    yield from ending_findings(records)
    broken = records.scalar("SELECT COUNT(*) FROM sample WHERE NOT clean_finite")
    if broken and records.facts.may_decline:
        yield KINDS[DECLINED].finding(f"{broken} clean images get no answer.")
    elif broken:
        yield KINDS["non-finite"].finding(f"{broken} clean images make the model answer NaN or infinity.")
    yield from fallen_without_gradients(records, report)
    yield from nothing_left_findings(report)
    yield from rounding_findings(report)
    yield from certificate_findings(records)
    facts, plan = records.facts, records.plan
    if facts.probabilities:
        yield KINDS["probabilities"].finding("The model gives probabilities; attacks follow their logarithm.")
    if facts.defended and len(facts.views) < 2:
        yield KINDS["no-adaptive-view"].finding(f"The defended model was audited with {facts.access} only.")
    if plan.suite == "quick":
        yield KINDS["quick-suite"].finding("The quick suite ran.")
    elif isinstance(plan.suite, str) and plan.surrogate is None:
        yield KINDS["no-transfer"].finding("No transfer attack was run: no surrogate is given.")


def ending_findings(records: Records) -> Iterator[Finding]:
    """Yield findings about rows with an unusual `Reason`, as non-finite or unconfirmed ones."""
    attacked = records.scalar("SELECT COUNT(DISTINCT sample) FROM result")
    for reason, (code, words) in ENDINGS.items():
        if code == "unconfirmed" and records.facts.stochastic:
            continue  # confirmation samples tell a lucky answer from a success
        count = records.scalar("SELECT COUNT(DISTINCT sample) FROM result WHERE reason = ?", reason)
        if not count:
            continue
        if reason == "NON_FINITE" and records.facts.may_decline:
            yield KINDS[DECLINED].finding(
                f"{count} of the {attacked} images attacked had a question without an answer."
            )
            continue
        lower: Severity | None = "warning" if code == "zero-gradients" and count < SHARE * attacked else None
        yield KINDS[code].finding(f"{count} of the {attacked} images attacked {words}.", lower)


def fallen_without_gradients(records: Records, report: Report) -> Iterator[Finding]:
    """Yield findings where images were broken by an attack without gradients and by none with gradients."""
    right = records.scalar("SELECT COUNT(*) FROM sample WHERE clean_correct")
    for code, transferred in (("black-box-beats-white-box", False), ("transfer-beats-white-box", True)):
        fell, words = 0, ""
        for threat in report.threats:
            for part in threat.epsilons if threat.smallest is None else ():
                count = count_fallen_without_gradients(part, transferred)
                if count > fell:
                    fell, words = count, f"{threat.norm} {part.eps_text}"
        if fell >= FEW and fell > FEW_SHARE * right:
            who = "the transfer" if transferred else "queries"
            yield KINDS[code].finding(f"{fell} images withstood every gradient at {words} and fell to {who}.")


def count_fallen_without_gradients(part: EpsilonPart, transferred: bool) -> int:
    """Return how many images attacks without gradients broke, after those with gradients from the same view."""
    fell, seeing = 0, ""
    for attack in part.attacks:
        if issubclass(ACCESS[attack.access.lower()], Gradients):
            seeing = attack.view + "!"
        elif seeing == attack.view + "!" and transferred == attack.attack.startswith("transfer from "):
            fell += attack.fell
    return fell


def nothing_left_findings(report: Report) -> Iterator[Finding]:
    """Yield a finding for the first threat with given radii whose smallest radius no image survives."""
    for threat in report.threats:
        smallest = threat.epsilons[0]
        if threat.smallest is None and smallest.robust_accuracy.count == 0:
            yield KINDS["nothing-left"].finding(f"No image survived {threat.norm} {smallest.eps_text}.")
            return


def rounding_findings(report: Report) -> Iterator[Finding]:
    """Yield a finding where a tenth or more of the examples at given radii fail once rounded to 8 bits."""
    given = [threat for threat in report.threats if threat.smallest is None]
    attacks = [attack for threat in given for part in threat.epsilons for attack in part.attacks]
    counted = [(one.fell, one.survives_uint8) for one in attacks if one.survives_uint8 is not None]
    found, alive = sum(fell for fell, _ in counted), sum(alive for _, alive in counted)
    if found and (found - alive) / found >= DYING:
        yield KINDS["rounding"].finding(f"{found - alive} of {found} examples no longer work once rounded to 8 bits.")


def certificate_findings(records: Records) -> Iterator[Finding]:
    """Yield findings where an example contradicts a proof, and where branch and bound broke what attacks left."""
    found = contradictions(records)
    if found:
        first, images = found[0], len({one.sample for one in found})
        yield KINDS["certificate-contradicted"].finding(
            f"{images} of the images are recorded as proven, and broken by an example: the first is "
            f"{first.name} (image {first.sample}), proven at {first.threat} and broken by {first.attack}."
        )
    count = records.scalar("SELECT COUNT(DISTINCT sample) FROM result WHERE success AND attack = ?", SEARCH)
    if count:
        yield KINDS["search-beats-attacks"].finding(
            f"{count} image{' that' if count == 1 else 's that'} withstood every attack fell to branch and bound."
        )
