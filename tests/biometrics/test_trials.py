"""Trials of verification: who calibrates, which thresholds, what is attacked, and what the report says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.audit import render
from sparring.biometrics import Acquisition, acquire, make_trials, person_pictures
from sparring.error_rates import Comparisons
from sparring.errors import ConfigError, InputError, TargetError
from sparring.goals import Dodge, EvadeIdentification, IdentifyAs, Impersonate
from sparring.intervals import clopper_pearson
from sparring.targets import Identifier
from sparring.tasks.verification_report import chosen_pictures, thinned

from .conftest import PERSONS, PICTURES, embedder, patterns, save

RATES = (0.1, 0.05)
ATTACKED, PROBES = 3, 2


class SomeFaces(nn.Module):
    """A detector of faces that finds none in dark pictures."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        points = torch.tensor([[5.0, 6.0], [11.0, 6.0], [8.0, 12.0]]).expand(len(images), 3, 2)
        return points, images.mean((1, 2, 3)) > 0.1


class OneBrightness(SomeFaces):
    """A detector of faces in pictures of one mean brightness."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        points, _ = super().forward(images)
        return points, (images.mean((1, 2, 3)) - 0.2).abs() < 0.002


@pytest.fixture(scope="module")
def verifier() -> sp.Verifier:
    return sp.Verifier(embedder(), name="small")


@pytest.fixture(scope="module")
def acquired(verifier: sp.Verifier, faces: Path) -> Acquisition:
    return acquire(verifier, person_pictures(f"folder:{faces}"))


def similarities(acquired: Acquisition) -> Tensor:
    """All cosines, pair by pair."""
    each = acquired.embeddings.double()
    return torch.stack([torch.cosine_similarity(one[None], each) for one in each])


def test_thresholds_are_calibrated_on_persons_who_are_not_attacked(acquired: Acquisition) -> None:
    trials = make_trials(acquired, "dodge", false_accept_rates=RATES, attacked=ATTACKED, probes=PROBES)
    alike, calibrating = similarities(acquired), (PERSONS - ATTACKED) * PICTURES
    impostor = [
        float(alike[i, j]) for i in range(calibrating) for j in range(i) if acquired.persons[i] != acquired.persons[j]
    ]
    for rate, one in zip(RATES, trials.reference["thresholds"], strict=True):
        accepted = sum(value >= one["value"] for value in impostor)
        assert one["rate"] == rate
        assert accepted == int(rate * len(impostor))
        expected = clopper_pearson(accepted, len(impostor))
        assert one["calibration"]["false_accept"] == [expected.value, expected.low, expected.high]
    first, second = (one["value"] for one in trials.reference["thresholds"])
    assert first < second
    assert isinstance(trials.goal, Dodge)
    assert trials.goal.threshold == first  # the lower one is harder to dodge, the higher one to reach
    assert make_trials(acquired, "impersonate", false_accept_rates=RATES).goal.threshold == second
    assert trials.names[:2] == ("person-09/1.png", "person-09/2.png")
    assert trials.reference["templates"][:2] == ["person-09"] * 2
    enrolled = acquired.embeddings[(PERSONS - ATTACKED) * PICTURES]
    assert torch.equal(trials.goal.template[0], enrolled)
    (chunk,) = trials.chunks(100)
    expected_pictures = patterns()[PERSONS - ATTACKED :, 1 : 1 + PROBES].flatten(0, 1)
    torch.testing.assert_close(chunk.images, expected_pictures, atol=1 / 255, rtol=0)


def test_each_goal_has_its_templates(acquired: Acquisition) -> None:
    options: dict[str, Any] = {"false_accept_rates": RATES, "attacked": ATTACKED, "probes": PROBES}
    other = make_trials(acquired, "impersonate", **options)
    assert isinstance(other.goal, Impersonate)
    assert other.reference["templates"] == ["person-10"] * 2 + ["person-11"] * 2 + ["person-09"] * 2
    evading, aiming = (make_trials(acquired, goal, **options).goal for goal in ("evade", "identify"))
    assert isinstance(evading, EvadeIdentification)
    assert isinstance(aiming, IdentifyAs)
    assert evading.person.tolist() == [0, 0, 1, 1, 2, 2]
    assert aiming.person.tolist() == [1, 1, 2, 2, 0, 0]
    assert evading.gallery.shape[:2] == (ATTACKED * PROBES, ATTACKED)


@pytest.mark.parametrize("goal", ["dodge", "impersonate"])
def test_the_report_has_success_scores_and_curves_before_and_after(
    goal: str, verifier: sp.Verifier, acquired: Acquisition, tmp_path: Path
) -> None:
    trials = make_trials(acquired, goal, false_accept_rates=RATES, attacked=ATTACKED, probes=PROBES)
    balls = [sp.Linf(0.02), sp.Linf(0.1)]
    report = sp.audit(verifier, trials, threats=balls, suite="pgd:steps=5", out=tmp_path / "run")
    (section,) = report.sections
    tables = {table.title: table for table in section.tables}
    success, scores = tables["Attack success"], tables["Scores before and after"]
    # Each threshold is judged on the strongest example of every trial, as a run of the attack by itself finds it.
    sign = -1 if goal == "dodge" else 1
    expected = [trials.goal.similarity(verifier.predict(trials.images))]
    for ball in balls:
        attack = sp.attacks.PGD(ball, steps=5)
        outcome = sp.run(attack, verifier, trials.goal, trials.images, keep=sp.Keep.HIGHEST_MARGIN)
        expected.append(trials.goal.similarity(verifier.predict(outcome.examples)))
    for row, alike in zip(success.rows, expected, strict=True):
        for cell, threshold in zip(row[1:3], trials.reference["thresholds"], strict=True):
            won = int((sign * (alike - threshold["value"]) > 0).sum())
            interval = clopper_pearson(won, len(alike))
            assert cell == pytest.approx((interval.value, interval.low, interval.high))
    last = [row[1][0] for row in success.rows]
    assert last[0] < last[2]
    assert last == sorted(last)
    after = torch.tensor([[row[2], row[3], row[4]] for row in scores.rows])
    assert ((sign * after.diff(dim=1)) >= -0.05).all()  # a stronger attack goes further, up to rounding
    assert [plot.title for plot in section.plots] == ["ROC curve", "DET curve", "Scores"]
    unattacked, strongest = section.plots[0].lines[0], section.plots[0].lines[-1]
    assert max(unattacked.y) == max(strongest.y) == 1
    assert sum(strongest.y) / len(strongest.y) < sum(unattacked.y) / len(unattacked.y)
    assert section.strips
    assert [shown.label.split()[0] for shown in section.strips[0].pictures] == ["probe", "adversarial", "template"]

    text = re.sub(r"<[^>]+>", "", (tmp_path / "run" / "report.html").read_text())
    assert ("True accept rate" if goal == "dodge" else "True reject rate") in text
    assert "Robust accuracy" not in text
    before = (tmp_path / "run" / "report.json").read_bytes()
    render(tmp_path / "run")
    assert (tmp_path / "run" / "report.json").read_bytes() == before


def test_identification_has_ranks_and_false_positives(
    verifier: sp.Verifier, acquired: Acquisition, tmp_path: Path
) -> None:
    trials = make_trials(acquired, "evade", false_accept_rates=RATES, attacked=ATTACKED, probes=PROBES)
    options: dict[str, Any] = {"threats": [sp.Linf(0.15)], "suite": "pgd:steps=5", "out": tmp_path / "run"}
    report = sp.audit(Identifier(verifier), trials, **options)
    (section,) = report.sections
    rates, searches = section.tables[:2]
    assert rates.rows[0][1][0] == 1.0  # rank 1, nobody attacked
    assert rates.rows[1][3][0] < 1.0  # open set, at the higher threshold
    best = acquired.alike(torch.arange(45), torch.tensor([45, 50, 55])).amax(1)
    for row in searches.rows:
        assert row[2][0] == pytest.approx(float((best >= row[1]).double().mean()))
    assert section.plots[0].lines[0].y[-1] == 1.0
    with pytest.raises(ConfigError, match="rank=3"):
        make_trials(acquired, "evade", false_accept_rates=RATES, attacked=ATTACKED, rank=3)


def test_a_picture_without_a_face_takes_no_part_and_is_counted(tmp_path: Path) -> None:
    images = patterns()
    images[0, 1] = images[-1, 0] = images[-1, 3] = 0.0
    finds = sp.Verifier(embedder(), 16, detector=SomeFaces())
    acquired = acquire(finds, person_pictures(f"folder:{save(tmp_path / 'faces', images)}"))
    trials = make_trials(acquired, "dodge", false_accept_rates=RATES, attacked=ATTACKED, probes=PROBES)
    assert trials.names[-2:] == ("person-11/2.png", "person-11/4.png")  # the second is enrolled in place of the first
    assert trials.reference["attacked"]["no_face"] == 2
    assert trials.reference["calibration"]["no_face"] == 1
    report = sp.audit(finds, trials, threats=[sp.Linf(0.05)], suite="fgsm", out=tmp_path / "run")
    persons = next(table for table in report.sections[0].tables if table.title == "Persons and pictures")
    assert persons.rows[1][3][0] == pytest.approx(2 / (ATTACKED * PICTURES))


def test_who_hides_the_face_is_no_success_and_no_fault(tmp_path: Path) -> None:
    """Any step of an attack loses the face here: that counts apart, as a failure to acquire."""
    images = patterns() * 0.5
    images = images * (0.2 / images.mean((2, 3, 4), keepdim=True))
    finds = sp.Verifier(embedder(), 16, detector=OneBrightness())
    acquired = acquire(finds, person_pictures(f"folder:{save(tmp_path / 'faces', images)}"))
    trials = make_trials(acquired, "impersonate", false_accept_rates=RATES, attacked=ATTACKED)
    report = sp.audit(finds, trials, threats=[sp.Linf(0.05)], suite="fgsm", out=tmp_path / "run")
    before, row = report.sections[0].tables[0].rows
    assert row[-1] > 0
    assert row[1:3] == before[1:3]
    assert report.threats[0].epsilons[0].robust_accuracy == report.threats[0].curve[0].robust_accuracy
    codes = {finding.code for finding in report.warnings}
    assert "failure-to-acquire" in codes
    assert not {"non-finite", "unbounded-not-zero"} & codes


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"goal": "dogde"}, ConfigError, "dodge"),
        ({"false_accept_rates": (0.001,)}, InputError, "30,000"),
        ({"false_accept_rates": (0.0,)}, ConfigError, "share"),
        ({"false_accept_rates": ()}, ConfigError, "empty"),
        ({"threshold": 1.2}, InputError, "between -1 and 1"),
        ({"attacked": ["person-01", "nobody"]}, ConfigError, "nobody"),
        ({"attacked": ["person-01"]}, ConfigError, "two persons"),
        ({"attacked": 1}, ConfigError, "two persons"),
        ({"attacked": ["person-01", "person-02"], "calibration": ["person-02"]}, ConfigError, "'person-02' calibrates"),
        ({"calibration": 11, "attacked": 2}, ConfigError, "10 persons"),
        ({"attacked": 2, "probes": PICTURES}, InputError, f"{PICTURES + 1} pictures"),
        ({"attacked": ["person-01", "person-02"], "probes": PICTURES}, InputError, "'person-01'"),
        ({"probes": 0}, ConfigError, "probes"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(
    options: dict[str, Any], error: type[Exception], said: str, acquired: Acquisition
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        make_trials(acquired, **({"goal": "dodge", "false_accept_rates": RATES} | options))


def test_a_threshold_is_given_in_the_metric_of_the_verifier(faces: Path) -> None:
    apart = acquire(sp.Verifier(embedder(), metric="euclidean"), person_pictures(faces))
    with pytest.raises(InputError, match=re.escape("pass -0.6")):
        make_trials(apart, "dodge", threshold=0.6)
    trials = make_trials(apart, "dodge", threshold=-0.6)
    (one,) = trials.reference["thresholds"]
    assert (one["rate"], one["value"]) == (None, -0.6)


def test_persons_and_faces_are_needed(verifier: sp.Verifier, tmp_path: Path) -> None:
    alone = save(tmp_path / "alone", patterns(1))
    with pytest.raises(InputError, match="1 person"):
        acquire(verifier, person_pictures(alone))
    with pytest.raises(InputError, match="sub-folder"):
        acquire(verifier, person_pictures(f"folder:{alone / 'person-00'}"))
    dark = save(tmp_path / "dark", torch.zeros(2, 2, 3, 16, 16))
    with pytest.raises(InputError, match="no face"):
        acquire(sp.Verifier(embedder(), 16, detector=SomeFaces()), person_pictures(dark))
    with pytest.raises(TargetError, match="Verifier"):
        acquire(sp.Classifier(embedder()), person_pictures(alone))
    mixed = save(tmp_path / "mixed", patterns(2))
    save(mixed / "more", patterns(1, side=20))
    with pytest.raises(InputError, match="one size"):
        acquire(verifier, person_pictures(mixed))


def test_a_thinned_curve_lies_on_the_whole_one() -> None:
    draws = torch.Generator().manual_seed(5)
    genuine, impostor = torch.rand(12, generator=draws) + 0.4, torch.rand(3000, generator=draws)
    for pairs in (Comparisons(genuine, impostor), Comparisons(impostor + 0.3, genuine)):
        whole = pairs.curve()
        few = thinned(whole)
        assert len(few.thresholds) < 100 < len(whole.thresholds)
        # At every false accept rate the true accept rates are the same: straight between the corners.
        x, y = (one.numpy() for one in few.roc())
        for at, expected in zip(*(one.tolist() for one in whole.roc()), strict=True):
            near = y[np.isclose(x, at)]
            drawn = float(np.interp(at, x, y))
            assert abs(drawn - expected) < 1e-9 or (len(near) and near.min() <= expected <= near.max())


def test_each_threat_shows_pictures_of_its_own() -> None:
    assert chosen_pictures([[0, 1, 2], [0, 1, 2], []]) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    shown = chosen_pictures([list(range(6))] * 3)
    assert len(shown) == 8
    assert len({sample for _, sample in shown}) == 6
    assert chosen_pictures([]) == []
