"""The report's section on verification: error rates, attack success at each threshold, scores, ROC and DET curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..error_rates import Comparisons, ErrorCurve, ScoreMap
from ..intervals import clopper_pearson
from .report import Axis, Cell, Column, Line, Picture, Plot, Results, Section, Strip, Table, ThreatResults

POINTS = 160  # of a curve
BINS = 20  # of a histogram of scores
STRIPS = 8
SHARES = Axis("", 0.0, 1.0, percent=True)
LEAST = 1e-4  # a rate at which a logarithmic axis begins, or a DET curve
SCORE = "score, 0 to 100"


@dataclass(frozen=True)
class Trial:
    """What the section is made of: the similarities of N trials before, and at each threat after; NaN: no face."""

    results: Results
    sign: float  # -1: a similarity below the threshold is what the attacker wants, +1: one above it
    before: Tensor
    after: tuple[Tensor, ...]
    thresholds: tuple[Mapping[str, Any], ...]
    scores: ScoreMap | None

    def met(self, similarities: Tensor, threshold: float) -> Tensor:
        """Return (N,) bool: the attacker has won at a threshold; never without a face."""
        return similarities < threshold if self.sign < 0 else similarities >= threshold

    def comparisons(self, similarities: Tensor) -> Comparisons | None:
        """Return the attacked comparisons beside those of the other kind, which nobody attacked; None without any."""
        known = similarities[similarities.isfinite()]
        other = self.results.reference.get("impostor" if self.sign < 0 else "genuine")
        if other is None or not len(other) or not len(known):
            return None
        return Comparisons(known, other.double()) if self.sign < 0 else Comparisons(other.double(), known)

    def score(self, similarity: float) -> float | None:
        """Return the score of a similarity, with one decimal; the similarity itself where there is no map."""
        if not math.isfinite(similarity):
            return None
        if self.scores is None:
            return round(similarity, 4)
        return round(float(self.scores(torch.tensor(similarity, dtype=torch.float64))), 1)

    @property
    def measure(self) -> str:
        """What `score` returns."""
        return "similarity" if self.scores is None else "score"


def trial_of(results: Results, sign: float) -> Trial:
    """Return what was recorded as similarities; thresholds are those of the reference, or the goal's own."""
    given = results.reference.get("thresholds") or [{"rate": None, "value": results.goal_values["threshold"]}]
    scores = results.reference.get("scores")
    return Trial(
        results=results,
        sign=sign,
        before=similarities(results.before),
        after=tuple(similarities(threat.after) for threat in results.threats),
        thresholds=tuple(given),
        scores=None if scores is None else ScoreMap(**scores),
    )


def similarities(predictions: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return the recorded similarities (N,); NaN where the answer was no number."""
    found = [one.get("similarity") for one in predictions]
    return torch.tensor([math.nan if value is None else value for value in found], dtype=torch.float64)


def verification_sections(results: Results) -> tuple[Section, ...]:
    """Return the section of an audit whose goal is `Dodge` or `Impersonate`; none for another goal."""
    signs = {"Dodge": -1.0, "Impersonate": 1.0}
    if results.goal not in signs or not results.names:
        return ()
    trial = trial_of(results, signs[results.goal])
    tables = [success_table(trial), *error_tables(results), score_table(trial)]
    section = Section("Verification", text_of(trial), tables, plots(trial), strips(trial))
    return (section,)


def text_of(trial: Trial) -> str:
    """Return what the numbers mean, in a paragraph."""
    dodging = trial.sign < 0
    persons = trial.results.reference.get("attacked", {}).get("persons")
    who = "" if persons is None else f" of {persons} persons"
    kind = "of a person against the template of the same person (genuine comparisons)"
    kind = kind if dodging else "of a person against the template of another (impostor comparisons)"
    rate = "false reject rate" if dodging else "false accept rate"
    won = "not accepted" if dodging else "accepted"
    aimed = (
        ""
        if len(trial.thresholds) < 2
        else (
            "Each attack aims at the threshold that is hardest for it, runs to its end, and its strongest example "
            "is judged at all. "
        )
    )
    map_ = trial.scores
    scores = (
        ""
        if map_ is None
        else (
            f" Scores are ours: 0 at a similarity of {map_.zero:.3g}, {map_.score:g} at {map_.threshold:.3g} (the "
            "first threshold), "
            f"100 at {map_.hundred:.3g}; scores of two verifiers cannot be compared."
        )
    )
    return (
        f"{len(trial.before)} pictures{who} are attacked, each {kind}. The attacker wins where the comparison is "
        f"{won}: the "
        f"share is the {rate} under attack. {aimed}A picture in which no face is found is no success, and is "
        "counted apart."
        f"{scores} Brackets hold Clopper-Pearson intervals of 95 %; comparisons that share a picture are not "
        "independent, and "
        "those intervals are narrower than the truth."
    )


def at(threshold: Mapping[str, Any]) -> str:
    """Return a threshold as its column is called."""
    rate = threshold.get("rate")
    return f"threshold {threshold['value']:.4g}" if rate is None else f"FAR {rate:g}"


def rate_cell(rows: Tensor) -> Cell:
    """Return the share of rows with its interval; None where there are no rows."""
    if not len(rows):
        return None
    found = clopper_pearson(int(rows.sum()), len(rows))
    return found.value, found.low, found.high


def success_table(trial: Trial) -> Table:
    """Return attack success at each threshold, with mean scores and what no face was found in."""
    columns = [Column("Threat", "text"), *(Column(f"Success at {at(one)}", "rate") for one in trial.thresholds)]
    columns += [
        Column(f"Mean {trial.measure}"),
        Column("Equal error rate", "percent"),
        Column("No face found", "count"),
    ]
    rows: list[Sequence[Cell]] = [success_row(trial, "No attack", trial.before, None)]
    for threat, after in zip(trial.results.threats, trial.after, strict=True):
        rows.append(success_row(trial, threat.text, after, threat))
    return Table(
        "Attack success",
        columns,
        rows,
        "The row without an attack has what the verifier gets wrong by itself. No face found: pictures for which some "
        "question of an attack had no answer, and no example was found.",
    )


def success_row(trial: Trial, text: str, after: Tensor, threat: ThreatResults | None) -> Sequence[Cell]:
    """Return the row of one threat; None: of the pictures as they are."""
    known = [score for score in (trial.score(value) for value in after.tolist()) if score is not None]
    pairs = trial.comparisons(after)
    return (
        text,
        *(rate_cell(trial.met(after, one["value"])) for one in trial.thresholds),
        sum(known) / len(known) if known else None,
        None if pairs is None else pairs.equal_error_rate().rate,
        int((~after.isfinite()).sum()) if threat is None else sum(threat.unanswered),
    )


def error_tables(results: Results) -> list[Table]:
    """Return the error rates that nobody attacked, and who could not be acquired; none without a calibration."""
    given = results.reference.get("thresholds")
    if given is None:
        return []
    columns = [
        Column("At", "text"), Column("Threshold"),
        Column("FAR, calibrating", "rate"), Column("FRR, calibrating", "rate"),
        Column("FAR, attacked persons", "rate"), Column("FRR, attacked persons", "rate"),
    ]  # fmt: skip
    rows = []
    for one in [*given, *results.reference.get("equal_error_rate", [])]:
        cells = [one[who][error] for who in ("calibration", "attacked") for error in ("false_accept", "false_reject")]
        name = at(one) if "name" not in one else one["name"]
        rows.append((name, one["value"], *(None if cell is None else tuple(cell) for cell in cells)))
    note = "Thresholds are calibrated on all impostor pairs of persons who are not attacked, and then left alone."
    people = [
        Column("Persons", "text"), Column("How many", "count"), Column("Pictures", "count"),
        Column("Failure to acquire", "rate"), Column("Genuine pairs", "count"), Column("Impostor pairs", "count"),
    ]  # fmt: skip
    listed = []
    for name, who in (("Calibrating", "calibration"), ("Attacked", "attacked")):
        one = results.reference[who]
        missed = clopper_pearson(one["no_face"], one["pictures"]) if one["pictures"] else None
        share = None if missed is None else (missed.value, missed.low, missed.high)
        listed.append((name, one["persons"], one["pictures"], share, one["genuine"], one["impostor"]))
    return [
        Table("Error rates, nobody attacked", columns, rows, note),
        Table(
            "Persons and pictures",
            people,
            listed,
            "Failure to acquire: the share of pictures in which no face is found; they take no part in any other "
            "number.",
        ),
    ]


def score_table(trial: Trial) -> Table:
    """Return the score of every trial before the attacks and after each."""
    results = trial.results
    templates = results.reference.get("templates")
    columns = [
        Column("Picture", "text"),
        *([] if templates is None else [Column("Template of", "text")]),
        Column("Before"),
    ]
    columns += [Column(threat.text) for threat in results.threats]
    rows: list[Sequence[Cell]] = []
    for place, name in enumerate(results.names):
        beside = () if templates is None else (templates[place],)
        after = (trial.score(float(one[place])) for one in trial.after)
        rows.append((name, *beside, trial.score(float(trial.before[place])), *after))
    word = trial.measure.capitalize()
    return Table(f"{word}s before and after", columns, rows)


def plots(trial: Trial) -> list[Plot]:
    """Return ROC and DET curves and the histogram of scores, before and after."""
    named = [
        ("no attack", trial.before),
        *((t.text, one) for t, one in zip(trial.results.threats, trial.after, strict=True)),
    ]
    pairs = [(name, found) for name, one in named if (found := trial.comparisons(one)) is not None]
    curves = [(name, thinned(found.curve())) for name, found in pairs]
    drawn = []
    if curves:
        kind = (
            "attacked genuine comparisons, impostors as they are"
            if trial.sign < 0
            else "attacked impostor comparisons, genuine ones as they are"
        )
        far = Axis("false accept rate", LEAST, 1.0, "log", percent=True)
        tar = Axis("true accept rate", 0.0, 1.0, percent=True)
        lines = []
        for name, curve in curves:
            x, y = curve.roc()
            lines.append(Line(name, x.clamp_min(LEAST).tolist(), y.tolist(), dashed=name == "no attack"))
        drawn.append(Plot("ROC curve", far, tar, lines, f"Of {kind}."))
        normal = Axis("false accept rate", 0.001, 0.999, "normal", percent=True)
        other = Axis("false reject rate", 0.001, 0.999, "normal", percent=True)
        lines = [
            Line(name, curve.false_accept.tolist(), curve.false_reject.tolist(), dashed=name == "no attack")
            for name, curve in curves
        ]
        drawn.append(Plot("DET curve", normal, other, lines, "Axes of normal deviates; lower is better."))
    if trial.scores is not None:
        lines = [histogram(name, trial.scores(one[one.isfinite()]), name == "no attack") for name, one in named]
        most = max((max(line.y) for line in lines if line.y), default=0.0)
        top = Axis("share of pictures", 0.0, max(most, 0.05), percent=True)
        place = trial.scores.score
        lines.append(Line(f"threshold, {place:g}", [place, place], [0.0, top.high], dashed=True))
        drawn.append(Plot("Scores", Axis(SCORE, 0.0, 100.0), top, lines))
    return drawn


def thinned(curve: ErrorCurve) -> ErrorCurve:
    """Return a curve with fewer points: the corners of the rate that changes less often, between which it is "
    "straight."""
    count = len(curve.thresholds)
    steps = [(rate.diff() != 0).nonzero().squeeze(1) for rate in (curve.false_accept, curve.false_reject)]
    corners = min(steps, key=len)
    if len(corners) > POINTS // 2:
        corners = corners[torch.linspace(0, len(corners) - 1, POINTS // 2).round().long()]
    rows = torch.unique(torch.cat((torch.tensor([0, count - 1]), corners, corners + 1)))
    return ErrorCurve(curve.thresholds[rows], curve.false_accept[rows], curve.false_reject[rows])


def histogram(name: str, scores: Tensor, dashed: bool) -> Line:
    """Return the outline of a histogram of scores."""
    counts = torch.histc(scores.float(), BINS, 0.0, 100.0) / max(1, len(scores))
    edges = torch.linspace(0, 100, BINS + 1).tolist()
    x = [edge for pair in pairwise(edges) for edge in pair]
    return Line(name, [0.0, *x, 100.0], [0.0, *(value for value in counts.tolist() for _ in (0, 1)), 0.0], dashed)


def strips(trial: Trial) -> list[Strip]:
    """Return probe, adversarial example and template of pictures that fell, a few of each threat."""
    return picture_strips(
        trial.results,
        lambda sample, threat: (
            f"{trial.measure} {text(trial.score(float(trial.before[sample])))} → "
            f"{text(trial.score(float(trial.after[threat][sample])))}"
        ),
    )


def text(value: float | None) -> str:
    """Return a score as text."""
    return "–" if value is None else f"{value:.4g}"


def chosen_pictures(shown: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return threat and input of the pictures that are shown: each threat in turn, an input once while others are "
    "left."""
    used: set[int] = set()
    left = [(threat, sample) for threat, samples in enumerate(shown) for sample in samples]
    chosen: list[tuple[int, int]] = []
    for turn in range(min(STRIPS, len(left))):
        here = [pair for pair in left if pair[0] == turn % len(shown)] or left
        pair = next((one for one in here if one[1] not in used), here[0])
        left.remove(pair)
        used.add(pair[1])
        chosen.append(pair)
    return sorted(chosen)


def picture_strips(results: Results, said: Any) -> list[Strip]:
    """Return strips of probe, example and template; `said(sample, threat)` is written under them."""
    if results.original is None or results.example is None:
        return []
    pictures, places = results.reference.get("template_pictures"), results.reference.get("template_of")
    names = results.reference.get("templates")
    found = []
    for threat, sample in chosen_pictures(results.shown):
        shown = [
            Picture("probe", results.original(sample)),
            Picture("adversarial", results.example(threat, sample)),
        ]
        place = None if places is None else int(places[sample])
        if pictures is not None and place is not None and place < len(pictures):
            shown.append(
                Picture(f"template of {names[sample]}" if names else "template", pictures[place].float() / 255)
            )
        found.append(Strip(f"{results.names[sample]}, {results.threats[threat].text}", shown, said(sample, threat)))
    return found
