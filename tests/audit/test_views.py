"""Defended targets: two views side by side, random answers as shares, detectors that reject."""

from collections import defaultdict

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.audit.records import Records
from sparring.audit.views import ADAPTIVE, NAIVE, views
from sparring.errors import ConfigError
from sparring.targets import Defended, Granting, Screen, Stage


class Coarse(Stage):
    """Four levels: no slope anywhere, and an honest stand-in."""

    @property
    def differentiable(self):
        return False

    def __call__(self, images, key):
        return (images * 3).round() / 3


class Noise(Stage):
    """Normal noise of 0.15."""

    @property
    def stochastic(self):
        return True

    def __call__(self, images, key):
        return images + 0.15 * key.normal("noise", images.shape[1:], dtype=images.dtype)


class Bright(Screen):
    """Rejects images brighter than 0.53 on average."""

    def alarm(self, images, key):
        return (images.flatten(1).mean(1) - 0.53) * 20


def told(report):
    (part,) = report.threats[0].epsilons
    return part, {view.name: view.robust_accuracy for view in part.views}


def test_views_of_targets(target, images, labels):
    goal = sp.Misclassify(labels)
    assert views(target, goal, images) == [("", target)]
    black = Granting(target, sp.Scores)
    assert views(black, goal, images) == [("", black)]
    found = dict(views(Defended(target, Noise()), goal, images))
    assert list(found) == [NAIVE, ADAPTIVE]
    assert found[NAIVE].own is target
    assert found[ADAPTIVE].draws > 1


def test_both_numbers_stand_side_by_side_and_the_union_counts(quick, target, tmp_path):
    report = quick(target=Defended(target, Coarse()), threats=[sp.Linf(0.1)])
    part, shares = told(report)
    assert list(shares) == [NAIVE, ADAPTIVE] == report.model.views
    assert shares[NAIVE].count > shares[ADAPTIVE].count
    assert part.robust_accuracy == shares[ADAPTIVE]
    assert [(one.view, one.attack) for one in part.attacks] == [
        (view, name) for view in (NAIVE, ADAPTIVE) for name in ("FGSM", "PGD x 2", "Square")
    ]
    assert part.attacks[3].asked == shares[NAIVE].count
    assert part.attacks[2].fallen_so_far == 50 - shares[NAIVE].count
    assert report.model.access == "Jacobians"
    assert not any(one.code == "zero-gradients" for one in report.warnings)


def test_naive_numbers_at_a_larger_radius_owe_nothing_to_the_adaptive_attacks(quick, target, tmp_path):
    defended, threats = Defended(target, Coarse()), [sp.Linf(0.05), sp.Linf(0.1)]
    both = quick(target=defended, threats=threats).threats[0].epsilons
    alone = quick(target=defended.unaware(), threats=threats, out=tmp_path / "alone").threats[0].epsilons
    assert [part.views[0].robust_accuracy for part in both] == [part.robust_accuracy for part in alone]


FEW = {"threats": [sp.Linf(0.03), sp.Linf(0.08)], "suite": "fgsm,pgd", "steps": 2, "limit": 9}


@pytest.fixture
def random_report(quick, target):
    return quick(target=Defended(target, Noise()), **FEW)


def test_random_answers_count_as_shares(random_report, quick, target, tmp_path):
    """Robust accuracy from the tables, by hand: one minus the mean share won by each sample's worst example."""
    records = Records.open(tmp_path / "run")
    for part in random_report.threats[0].epsilons:
        worst = defaultdict(lambda: (0.0, 0.0))
        for row in records.select("SELECT * FROM result WHERE eps <= ? ORDER BY eps, turn", part.eps):
            if row["claimed"] > worst[row["sample"]][0]:
                worst[row["sample"]] = row["claimed"], row["rate"]
        lost = [
            worst[row["id"]][1] if worst[row["id"]][0] > row["clean_claimed"] else row["clean_rate"]
            for row in records.select("SELECT * FROM sample")
        ]
        assert part.robust_accuracy.share == pytest.approx(1 - sum(lost) / 9)
        assert part.robust_accuracy.low < part.robust_accuracy.share < part.robust_accuracy.high
        assert part.attacks[-1].robust_accuracy_after == pytest.approx(part.robust_accuracy.share)
    rates = [row["rate"] for row in records.select("SELECT rate FROM result")]
    assert any(0 < rate < 1 for rate in rates)
    assert all(20 * rate == pytest.approx(round(20 * rate), abs=1e-4) for rate in rates)
    records.close()
    assert random_report.model.stochastic
    assert random_report.model.draws > 1
    again = quick(target=Defended(target, Noise()), batch_size=5, out=tmp_path / "again", **FEW)
    assert again.threats[0].epsilons[-1].robust_accuracy == random_report.threats[0].epsilons[-1].robust_accuracy


def test_whoever_is_rejected_has_not_won_and_a_clean_image_that_is_rejected_is_lost(quick, target, images, labels):
    defended = Defended(target, Bright())
    report = quick(target=defended, threats=[sp.Linf(0.1)])
    part, _ = told(report)
    bright = images.flatten(1).mean(1) > 0.53
    assert report.data.rejected.count == int(bright.sum()) > 5
    right = (target(images).argmax(1) == labels) & ~bright
    assert report.data.clean_accuracy.count == int(right.sum())
    assert part.wrong_before == 50 - int(right.sum())
    assert "rejected" in [one.code for one in report.warnings]
    for entry in report.gallery:
        assert entry.after.label != entry.label


def test_a_random_classifier_is_a_defence(quick, target):
    class Shaken(nn.Module):
        def forward(self, x):
            return target.model(x.double() + 0.05 * torch.randn_like(x))

    report = quick(target=sp.Classifier(Shaken(), stochastic=True, classes=4), threats=[sp.Linf(0.05)], limit=16)
    assert report.model.views == [NAIVE, ADAPTIVE]
    assert "random-model" not in [one.code for one in report.warnings]


def test_a_defence_as_a_black_box_only_is_a_severe_finding(quick, target):
    report = quick(target=Defended(target, Coarse()), access="scores", threats=[sp.Linf(0.1)], limit=8)
    (severe,) = [one for one in report.warnings if one.severity == "severe"]
    assert severe.code == "no-adaptive-view"
    assert report.model.views == []


def test_a_surrogate_must_be_another_model(quick, target):
    with pytest.raises(ConfigError, match="is the audited model itself"):
        quick(target=Defended(target, Coarse()), surrogate=target)
    with pytest.raises(ConfigError, match="gives no gradients"):
        quick(surrogate=Granting(target, sp.Scores))
