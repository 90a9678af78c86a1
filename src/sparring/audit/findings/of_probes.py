"""Findings from what the probes measured on a small sample before the first attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..records.database import Records
from ..report.model import Finding
from .kinds import KINDS

TENTH, QUARTER = 0.1, 0.25
AGAIN, TOGETHER = 1e-5, 1e-3  # relative differences of answers that ought to be equal, rounding apart


def of_probes(records: Records) -> Iterator[Finding]:
    """Yield the findings that hold."""
    measured = records.probe_results()
    if "steady" in measured:
        yield from determinism_findings(measured["steady"])
    if "slopes" in measured:
        yield from gradient_findings(measured["slopes"], records.plan.suite == "quick")
    if "climbs" in measured:
        yield from ranking_findings(measured["climbs"])
    if "limits" in measured:
        yield from convergence_findings(measured["limits"])


def determinism_findings(found: dict[str, Any]) -> Iterator[Finding]:
    """Yield findings where an answer is not a function of the image."""
    if found["again"] > AGAIN:
        yield KINDS["random-model"].finding(
            f"Asked twice about the same images, the model differs by {found['again']:.2g} of its largest output."
        )
    if found["batch_norm"]:
        names = ", ".join(found["batch_norm"][:3])
        more = f" and {len(found['batch_norm']) - 3} more" if len(found["batch_norm"]) > 3 else ""
        yield KINDS["train-mode-batch-norm"].finding(f"Layers that use the batch's statistics: {names}{more}.")
    elif found["together"] > TOGETHER and found["again"] <= AGAIN:
        yield KINDS["batch-dependent"].finding(
            f"In another batch the same image's answer differs by {found['together']:.2g} of the largest output."
        )


def many(count: int, of: int, share: float) -> bool:
    """More than one image, and more than the share of them."""
    return count > 1 and count >= share * of


def gradient_findings(found: dict[str, Any], by_cross_entropy: bool) -> Iterator[Finding]:
    """Yield findings where gradients are zero, not finite, or do not raise the margin."""
    of = found["of"]
    if found["non_finite"]:
        yield KINDS["non-finite"].finding(f"The gradient at {found['non_finite']} of {of} images is not finite.")
    if many(found["zero"], of, TENTH):
        yield KINDS["zero-gradients"].finding(f"The gradient at {found['zero']} of {of} images is exactly zero.")
    if many(found["vanished"], of, TENTH):
        yield KINDS["saturated-softmax"].finding(
            f"The cross-entropy at {found['vanished']} of {of} images has a gradient of exactly zero, and the logits "
            "have one.",
            None if by_cross_entropy else "warning",
        )
    if many(found["unmoved"], of - found["zero"], QUARTER):
        yield KINDS["loss-not-falling"].finding(
            f"Ten small steps along the gradient bring {found['unmoved']} of {of} images no closer to an error."
        )


def ranking_findings(found: dict[str, Any]) -> Iterator[Finding]:
    """Yield findings where another attack comes closer to an error than PGD."""
    of, at = found["of"], found["at"]
    for name, code, who in (
        ("single_step", "single-step-beats-iterated", "a single step comes closer to an error than twenty"),
        ("noise", "noise-as-good-as-gradient", "random noise comes as close to an error as PGD"),
        ("queries", "black-box-beats-white-box", "Square comes closer to an error than PGD"),
        ("transfer", "transfer-beats-white-box", "an example of the surrogate comes closer to an error than PGD"),
    ):
        if found.get(name) is not None and many(found[name], of, QUARTER):
            yield KINDS[code].finding(f"On {found[name]} of {of} images {who}, at {at}.")
    own = found.get("surrogate_fell")
    if own is not None and own < of / 2:
        yield KINDS["surrogate-unbroken"].finding(f"Only {own} of {of} examples fool the surrogate itself, at {at}.")


def convergence_findings(found: dict[str, Any]) -> Iterator[Finding]:
    """Yield findings where an unbounded attack fails, or more steps break more images."""
    if found["unbounded"] is not None and many(found["unbounded"], found["of"], TENTH):
        yield KINDS["unbounded-not-zero"].finding(
            f"{found['unbounded']} of {found['of']} images withstand PGD that may change every pixel at will."
        )
    if found["tried"] and many(found["more"], found["tried"], TENTH):
        yield KINDS["not-converged"].finding(
            f"Of {found['tried']} images tried, {found['more']} withstand {found['attack']} at {found['at']} and fall "
            "when it gets more steps."
        )
