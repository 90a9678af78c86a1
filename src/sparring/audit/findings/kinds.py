"""The list of findings that an audit may raise: when, why it matters, what to do.

Most are on the list of Carlini et al. 2019 (arXiv:1902.06705, sections 3 to 5) or among the six indicators of Pintor et
al. 2022 (arXiv:2106.09947). Of those, *silent success* cannot happen here (what comes back is an image that the ledger
saw win); *unavailable gradients* are `zero-gradients`, `saturated-softmax` and `non-finite`; *unstable predictions*
`random-model` and `batch-dependent`; *incomplete optimization* `not-converged`; *transfer failure*
`surrogate-unbroken`; *unconstrained attack failure* `unbounded-not-zero`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..report.model import Finding

Severity = Literal["note", "warning", "severe"]


@dataclass(frozen=True)
class FindingKind:
    """One kind of finding."""

    code: str
    severity: Severity  # unless what was measured says otherwise
    when: str
    why: str
    advice: str

    def finding(self, message: str, severity: Severity | None = None, advice: str | None = None) -> Finding:
        """Make a finding of this kind, with what was measured as its message."""
        return Finding(
            code=self.code,
            severity=severity or self.severity,
            message=message,
            advice=self.advice if advice is None else advice,
            when=self.when,
            why=self.why,
        )


LISTED = (
    FindingKind(
        "unfinished",
        "severe",
        "some of the images are not recorded yet",
        "the shares are of a part of the data",
        "Repeat the command with --resume.",
    ),
    FindingKind(
        "label-free",
        "warning",
        "images have no label",
        "robust accuracy is then agreement with the model's own clean predictions, right or wrong",
        "To measure accuracy, put the images into sub-folders named by class, or give labels.",
    ),
    FindingKind(
        "low-clean-accuracy",
        "severe",
        "less than half of the labelled images are classified right",
        "the model is fed otherwise than it was trained: attacks on it say nothing of the model in use",
        "Check mean, std, channel order, image size and the numbering of the labels.",
    ),
    FindingKind(
        "expected-accuracy",
        "severe",
        "the clean accuracy differs from --expected-accuracy by more than its 99 % interval allows",
        "another model, other data or other preprocessing is audited than was expected",
        "Check the weights, the preprocessing and the data set; or correct the expected value.",
    ),
    FindingKind(
        "probabilities",
        "warning",
        "the model gives probabilities, not logits",
        "attacks follow their logarithm, which rounding flattens where the model is sure",
        "Audit the logits where they can be had.",
    ),
    FindingKind(
        "saturated-softmax",
        "severe",
        "a tenth of the sample has a gradient of the cross-entropy that is zero in float32, though the logits have one",
        "every attack that climbs the cross-entropy stands still there, and the model looks robust",
        "Use the standard suite, whose climbs follow the margin; a lower temperature heals the model itself.",
    ),
    FindingKind(
        "zero-gradients",
        "severe",
        "a tenth of the sample, or of the images attacked, has a gradient of exactly zero",
        "gradients are masked: white-box attacks fail without the model being robust",
        "Declare the part without a gradient as a Stage, so that BPDA is used; trust queries more than gradients.",
    ),
    FindingKind(
        "non-finite",
        "severe",
        "an output or a gradient is NaN or infinite",
        "no attack can follow it, and a NaN is no answer",
        "Look for the layer that overflows, divides by zero or takes the root of zero.",
    ),
    FindingKind(
        "failure-to-acquire",
        "note",
        "the target finds nothing to answer for in some images, as no face",
        "they are no success of the attacker and no answer either, and the section of the task counts them apart",
        "Judge the detector by itself where hiding from it is the threat.",
    ),
    FindingKind(
        "random-model",
        "severe",
        "two answers to the same images differ, and the model does not declare that it is random",
        "an example that wins once may lose the next time, and a gradient of one draw points nowhere",
        "Declare it: Classifier(..., stochastic=True), `Keyed` layers, or a stochastic Stage of Defended.",
    ),
    FindingKind(
        "batch-dependent",
        "severe",
        "the answer to an image changes with the other images of the batch",
        "the number depends on how images were put together, and no single image has one",
        "Look for statistics taken over the batch; a deployed model answers each image by itself.",
    ),
    FindingKind(
        "train-mode-batch-norm",
        "severe",
        "a batch-norm layer uses the statistics of the batch while it is attacked",
        "answers depend on the batch, and gradients flow through its statistics",
        "Keep running statistics, and leave the layer in eval mode.",
    ),
    FindingKind(
        "loss-not-falling",
        "severe",
        "for a quarter of the sample, ten small steps along the gradient bring the model no closer to an error",
        "gradients do not point toward errors, so attacks that follow them fail whatever the model is worth",
        "Look for a custom backward pass, detached tensors or noise; trust queries and transfers more.",
    ),
    FindingKind(
        "single-step-beats-iterated",
        "severe",
        "for a quarter of the sample one step comes closer to an error than twenty",
        "the landscape is bent around the images, as after single-step training: PGD gets lost where FGSM does not",
        "Attack with more restarts, other step sizes and queries: the thorough suite.",
    ),
    FindingKind(
        "noise-as-good-as-gradient",
        "severe",
        "for a quarter of the sample random noise comes as close to an error as PGD with as many passes",
        "gradients carry no information there: they are masked or shattered",
        "Find the part that destroys gradients and declare an approximation of it (BPDA).",
    ),
    FindingKind(
        "black-box-beats-white-box",
        "severe",
        "queries break images that withstood every gradient, or come closer to an error for a quarter of the sample",
        "who knows more cannot do worse: the gradients mislead",
        "Find the part that hides gradients; until then the number is only what queries could do.",
    ),
    FindingKind(
        "transfer-beats-white-box",
        "severe",
        "examples of the surrogate break images that withstood every gradient of the model",
        "who knows more cannot do worse: the gradients mislead",
        "Find the part that hides gradients; until then the number is only what a transfer could do.",
    ),
    FindingKind(
        "surrogate-unbroken",
        "warning",
        "the attack on the surrogate does not break the surrogate itself",
        "what does not fool its own model says nothing of another",
        "Name a surrogate without a defence.",
    ),
    FindingKind(
        "unbounded-not-zero",
        "severe",
        "images stand although every pixel may change at will",
        "any image can be turned into one of another class, so the attack fails and not the model's weakness",
        "Repair what stops the attack before any number of it is believed.",
    ),
    FindingKind(
        "not-converged",
        "severe",
        "of the sample's images tried, a tenth withstands the suite's strongest attack and falls to four times as many "
        "steps",
        "the number would be lower with more effort",
        "Raise --steps, or choose a stronger --suite.",
    ),
    FindingKind(
        "no-adaptive-view",
        "severe",
        "a defended model is audited as a black box only",
        "an attacker who knows the defence can do more, and a defence is worth what it withstands then",
        "Leave out --access.",
    ),
    FindingKind(
        "rejected",
        "warning",
        "the detector rejects more than a tenth of the clean images",
        "a model that rejects everything withstands everything",
        "Raise the threshold; a rejected clean image counts as wrong here.",
    ),
    FindingKind(
        "unconfirmed",
        "warning",
        "images fell in the search and not when they were looked at again, and the model is not declared random",
        "they count as standing, though the model may be random or depend on its batch",
        "Declare the randomness, or look for statistics taken over the batch.",
    ),
    FindingKind(
        "few-starts",
        "warning",
        "an attack found no starting point for some images",
        "these images were not attacked by it at all",
        "Raise --queries.",
    ),
    FindingKind(
        "locked-out",
        "severe",
        "the service answered no more",
        "what was not attacked counts as standing",
        "Ask for a larger allowance.",
    ),
    FindingKind(
        "certificate-contradicted",
        "severe",
        "an image is recorded as proven, and an example within the same radius breaks it",
        "one proof is wrong, and so no proof of this run is worth anything; what attacks broke stays broken",
        "Rely on no certificate of this run, and report it: a fault of the bounds, or records that were changed.",
    ),
    FindingKind(
        "search-beats-attacks",
        "warning",
        "branch and bound breaks images that withstood every attack",
        "the attacks leave images standing that can be broken: of images that are open the same may hold",
        "Attack with more effort: the thorough suite, more --steps; the number counts what branch and bound broke.",
    ),
    FindingKind(
        "no-transfer",
        "note",
        "the suite is standard or thorough, and no surrogate is given",
        "no transfer attack was run, which finds masked gradients at no query",
        "Name a model that was trained independently: --surrogate MODEL.",
    ),
    FindingKind(
        "quick-suite",
        "note",
        "the suite is quick",
        "it is a first look: other attacks are known to leave fewer images standing",
        "Audit with --suite standard before the number is used.",
    ),
    FindingKind(
        "nothing-left",
        "note",
        "no image withstands the smallest radius of a norm",
        "a number of 0 % tells no two models apart",
        "A smaller epsilon would tell models apart.",
    ),
    FindingKind(
        "skipped",
        "warning",
        "files could not be used and were left out",
        "shares are over the images that could be read",
        "Repair or remove them; the shares are over the images that could be read.",
    ),
    FindingKind(
        "data-changes",
        "warning",
        "images differ from one reading of the data to the next",
        "a shuffled loader or a random transform cannot be repeated: another run looks at other images, and probes did",
        "Audit the data without shuffling and without random transforms.",
    ),
    FindingKind(
        "rounding",
        "note",
        "a tenth of the examples no longer works once rounded to 8 bits",
        "such an example cannot be sent as an ordinary image file",
        "The 8-bit column counts only examples that do, stretched where the radius allows it.",
    ),
    FindingKind(
        "few-images",
        "note",
        "a 95 % interval is wider than 10 points",
        "another sample of as many images would give another number",
        "Audit more images.",
    ),
)
KINDS = {kind.code: kind for kind in LISTED}


def page() -> str:
    """Return the table of docs/findings.md."""
    lines = ["| code | severity | raised when | why it matters | what to do |", "|---|---|---|---|---|"]
    lines += [f"| `{k.code}` | {k.severity} | {k.when} | {k.why} | {k.advice} |" for k in LISTED]
    return "\n".join(lines)
