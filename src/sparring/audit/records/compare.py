"""Two runs on the same images, sample by sample.

Of an image each run knows what it is lost by at a radius, in [0, 1]; unless answers are random that is 0 or 1, and the
test on the images where the runs differ is McNemar's. Where smallest examples were searched, their sizes are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import RunError
from . import queries
from .certificates import verdicts
from .database import Records
from .queries import LOSSES, ResultScope
from .statistics import Share, mcnemar, share

SIZES = """
SELECT sample.id, CASE WHEN clean_correct THEN COALESCE(MIN({column}), 9e999) ELSE 0 END AS value
FROM sample LEFT JOIN result ON result.sample = sample.id AND norm = ? AND eps = 9e999 AND success
GROUP BY sample.id ORDER BY sample.id
"""


@dataclass(frozen=True)
class RunComparison:
    """One threat under which both runs were made; `better` and `worse` are said of the second run."""

    threat: str
    before: Share | float | None  # robust accuracy, or the median size of the smallest examples
    after: Share | float | None
    better: int  # images that the second model holds and the first does not
    worse: int
    p: float

    @property
    def difference(self) -> float | None:
        """Of the second to the first."""
        if isinstance(self.before, Share) and isinstance(self.after, Share):
            return self.after.share - self.before.share
        both = isinstance(self.before, float) and isinstance(self.after, float)
        return self.after - self.before if both else None  # type: ignore[operator]


def compare(first: Path, second: Path) -> list[RunComparison]:
    """Return the clean accuracy and every threat that the runs have in common.

    Raises: RunError where a folder holds no run, a run is not finished, or the runs are of other images or labels.
    """
    before, after = Records.open(first, read_only=True), None
    try:
        after = Records.open(second, read_only=True)
        check_comparable(before, after)
        return list(compare_threats(before, after))
    finally:
        before.close()
        if after is not None:
            after.close()


def check_comparable(before: Records, after: Records) -> None:
    """Raise RunError unless the runs can be compared image by image."""
    for records in (before, after):
        if not records.finished:
            raise RunError(f"{records.folder} is not finished; go on with --resume before it is compared")
    if before.data_hash() != after.data_hash():
        counts = queries.sample_count(before), queries.sample_count(after)
        raise RunError(
            f"{before.folder} and {after.folder} are of other images: {counts[0]} of {before.facts.data} "
            f"and {counts[1]} of {after.facts.data}, as their models saw them; audit both on the same data"
        )
    if before.facts.task != after.facts.task or before.plan.goal != after.plan.goal:
        words = [f"{one.facts.task}, {one.plan.goal}" for one in (before, after)]
        raise RunError(
            f"{before.folder} and {after.folder} are of other goals ({words[0]}; {words[1]}); audit both under the same"
        )
    question = "SELECT label, goal_sha256 FROM sample ORDER BY id"
    for one, other in zip(before.select(question), after.select(question), strict=True):
        if one["goal_sha256"] != other["goal_sha256"]:
            raise RunError(
                f"{before.folder} and {after.folder} have other goals for the same inputs (templates, boxes, labels of "
                "pixels, or what lies beside them); audit both on the same data"
            )
        if one["label"] != other["label"]:
            raise RunError(
                f"{before.folder} and {after.folder} have other labels for the same images; where the model's own "
                "predictions stand in for labels, two models cannot be compared"
            )


def compare_threats(before: Records, after: Records) -> Iterator[RunComparison]:
    """Yield one row for each threat in common."""
    losses = ("SELECT id, clean_rate AS value FROM sample ORDER BY id", None)
    yield compare_samples(
        "no attack", (queries.clean_accuracy(before), queries.clean_accuracy(after)), (before, after), *losses
    )
    theirs = {(threat.norm, radius.eps) for threat in after.plan.threats for radius in threat.radii}
    question = f"SELECT id, lost AS value FROM ({LOSSES}) ORDER BY id"  # noqa: S608
    for threat in before.plan.threats:
        for radius in threat.radii:
            if (threat.norm, radius.eps) in theirs:
                reach = ResultScope(threat.norm, radius.eps)
                shares = (queries.robust_accuracy(before, reach), queries.robust_accuracy(after, reach))
                yield compare_samples(f"{threat.norm} {radius.text}", shares, (before, after), question, reach.values)
                if all(threat.norm in {one.norm for one in run.plan.certified_threats} for run in (before, after)):
                    yield compare_proven(f"{threat.norm} {radius.text}, proven", before, after, threat.norm, radius.eps)
    for norm in before.plan.smallest:
        if norm in after.plan.smallest:
            sizes = SIZES.format(column=norm.lower())
            medians = (median_size(before, sizes, norm), median_size(after, sizes, norm))
            yield compare_samples(f"{norm}, smallest", medians, (before, after), sizes, norm, larger_is_better=True)


def compare_proven(threat: str, before: Records, after: Records, norm: str, eps: float) -> RunComparison:
    """Return the images that are proven in one run and not in the other; proofs that an example breaks are counted."""
    found = [[one.word for one in verdicts(run, norm, eps)] for run in (before, after)]
    wrong = sum(words.count("contradicted") for words in found)
    shares = [share(words.count("proven"), len(words)) for words in found]
    pairs = [(one == "proven", other == "proven") for one, other in zip(*found, strict=True)]
    better, worse = pairs.count((False, True)), pairs.count((True, False))
    note = f" ({wrong} contradicted)" if wrong else ""
    return RunComparison(threat + note, shares[0], shares[1], better, worse, mcnemar(better, worse))


def median_size(records: Records, question: str, norm: str) -> float | None:
    """Return the median size; None where more than half of the images have no example."""
    values = sorted(row["value"] for row in records.select(question, norm))
    size = float(values[(len(values) - 1) // 2])
    return size if math.isfinite(size) else None


def compare_samples(
    threat: str,
    figures: tuple[Share | float | None, Share | float | None],
    runs: tuple[Records, Records],
    question: str,
    value: object,
    larger_is_better: bool = False,
) -> RunComparison:
    """Return the images on which the runs differ, and what that says."""
    given = () if value is None else (value,)
    better = worse = 0
    for one, other in zip(runs[0].select(question, *given), runs[1].select(question, *given), strict=True):
        gain = other["value"] - one["value"] if one["value"] != other["value"] else 0.0
        gain = gain if larger_is_better else -gain
        better, worse = better + (gain > 0), worse + (gain < 0)
    return RunComparison(threat, *figures, better, worse, mcnemar(better, worse))
