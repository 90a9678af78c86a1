"""Defended targets: two views side by side, random answers as shares, detectors that reject."""

from collections import defaultdict

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import Auto, Sweep
from sparring.audit.evaluation.attacker_views import ADAPTIVE, NAIVE, attacker_views, with_alarm_weight
from sparring.audit.records.database import Records
from sparring.defenses.purification import BitDepth
from sparring.errors import ConfigError, RunError, ThreatError
from sparring.targets import Defended, Restricted
from sparring.transforms import Detector, Stage


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


class Bright(Detector):
    """Rejects images brighter than 0.53 on average."""

    def alarm(self, images, key):
        return (images.flatten(1).mean(1) - 0.53) * 20


def told(report):
    (part,) = report.threats[0].epsilons
    return part, {view.name: view.robust_accuracy for view in part.views}


def test_views_of_targets(target, images, labels):
    goal = sp.Misclassify(labels)
    assert attacker_views(target, goal, images) == [("", target)]
    black = Restricted(target, sp.Scores)
    assert attacker_views(black, goal, images) == [("", black)]
    shaken = dict(attacker_views(sp.Pipeline(target, Noise()), goal, images, draws=3))
    assert list(shaken) == [NAIVE, ADAPTIVE]  # a random pipeline is a defence, whoever has put it there
    assert torch.equal(shaken[NAIVE].own(images), target(images))
    assert shaken[ADAPTIVE].draws == 3
    found = dict(attacker_views(Defended(target, Noise()), goal, images))
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
    alone = quick(target=defended.naive_view(), threats=threats, out=tmp_path / "alone").threats[0].epsilons
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
        assert entry.after["predicted"].value != entry.label


class Watched(Detector):
    """Rejects an image that has moved by 0.01 or more from grey in any of the directions `watched`."""

    def __init__(self, watched):
        self.watched = watched

    def alarm(self, images, key):
        return ((images.flatten(1) - 0.5) @ self.watched.T).norm(dim=1) - 0.01


@pytest.fixture
def guarded():
    """A linear model that leans on what a detector watches: a joint loss pulls it there and back; and 4 images."""
    generator = torch.Generator().manual_seed(0)
    watched = torch.linalg.qr(torch.randn((64, 8), generator=generator))[0].T
    free = torch.randn(64, generator=generator)
    free -= watched.T @ (watched @ free)
    free /= free.norm()
    lean = free + 2 * watched.sum(0) / 8**0.5
    bar = 0.075 * free.abs().sum()  # three quarters of what Linf 0.1 allows across the watched directions

    class Net(nn.Module):
        def forward(self, x):
            led = 5 * ((x.flatten(1) - 0.5) @ lean - bar)
            return torch.stack((-led, led), 1)

    images = 0.5 + 5e-4 * torch.randn((4, 1, 8, 8), generator=generator)
    return Defended(sp.Classifier(Net(), classes=2), Watched(watched)), [(images, torch.zeros(4, dtype=torch.long))]


class OneBlockAuto(Auto):
    """`Auto` with a fifth of its rounds."""

    name = "Auto"

    @property
    def parts(self):
        return (Sweep(self.ball, blocks=1),)


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr("sparring.audit.suites.fixed_radius.Auto", OneBlockAuto)


@pytest.mark.usefixtures("brief")
def test_a_detector_is_attacked_with_other_weights_and_across_it(quick, guarded, monkeypatch, tmp_path):
    defended, data = guarded
    effort = {"threats": [sp.Linf(0.1)], "suite": "standard", "steps": 10, "restarts": 1, "data": data}
    part, shares = told(quick(target=defended, **effort))
    fell = {one.attack: one.fell for one in part.attacks if one.view == ADAPTIVE}
    assert [name for name in fell if name.startswith("joint PGD")] == [
        "joint PGD, weight 0.3", "joint PGD, weight 1", "joint PGD, weight 3",
    ]  # fmt: skip
    assert (fell["PGD"], fell["OrthogonalPGD"]) == (0, 4)
    assert not any("weight" in one.attack or "Orthogonal" in one.attack for one in part.attacks if one.view == NAIVE)
    monkeypatch.setattr("sparring.audit.suites.fixed_radius.DETECTOR_SUITES", ())
    before, _ = told(quick(target=defended, out=tmp_path / "before", **effort))
    assert before.robust_accuracy.count == 4 > part.robust_accuracy.count == shares[ADAPTIVE].count == 0


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("norm", [sp.Linf(0.04), sp.L2(0.3)], ids=str)
def test_more_attacks_past_a_detector_never_raise_the_number(norm, quick, single, monkeypatch, tmp_path):
    effort = {"target": Defended(single, Bright()), "threats": [norm], "suite": "standard", "limit": 8}
    now, _ = told(quick(**effort))
    monkeypatch.setattr("sparring.audit.suites.fixed_radius.DETECTOR_SUITES", ())
    before, _ = told(quick(**effort, out=tmp_path / "fewer"))
    assert now.robust_accuracy.count <= before.robust_accuracy.count
    mine, theirs = ([(one.view, one.attack, one.asked, one.fell) for one in part.attacks] for part in (now, before))
    assert mine[: len(theirs)] == theirs
    assert len(mine) == len(theirs) + 6


def test_a_weight_is_a_view_and_leaves_the_draws():
    defended = Defended(sp.Classifier(nn.Flatten(), classes=4), Bright(), Noise())
    view = with_alarm_weight(defended.adaptive_view(7), 0.3)
    assert (view.weight, view.draws) == (0.3, 7)
    assert with_alarm_weight(defended.naive_view(), 0.3).name == defended.naive_view().name
    plain = Defended(sp.Classifier(nn.Flatten(), classes=4), Coarse()).adaptive_view()
    assert with_alarm_weight(plain, 3.0) is plain


def test_draws_are_as_many_as_were_asked_for(quick, target):
    report = quick(target=Defended(target, Noise()), draws=3, **(FEW | {"limit": 2}))
    assert report.model.draws == 3
    assert report.provenance.plan["draws"] == 3


@pytest.mark.parametrize(
    ("parts", "options", "said"),
    [
        ((Coarse(),), {}, "is not random: 3 draws are one; leave draws out"),
        ((Noise(),), {"access": "scores"}, "draws=3 averages gradients of a random defence, and .* is asked for none"),
        ((), {}, "draws=3 averages gradients of a random defence, and small is asked for none; leave it out"),
        ((Noise(),), {"draws": 0}, "draws=0"),
    ],
)
def test_draws_without_gradients_of_something_random(parts, options, said, quick, target, tmp_path):
    with pytest.raises(ConfigError, match=said):
        quick(**({"target": Defended(target, *parts) if parts else target, "draws": 3} | options))
    assert not (tmp_path / "run").exists()


class Above(Detector):
    """A stranger's detector, told from others by a number, a tensor and nothing else."""

    def __init__(self, bar, weight=1.0):
        self.bar, self.weight = bar, torch.tensor(weight)

    def alarm(self, images, key):
        return self.weight * images.flatten(1).mean(1) - self.bar


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda t: Defended(t, Above(0.9)), lambda t: Defended(t, Above(0.8))),
        (lambda t: Defended(t, Above(0.9)), lambda t: Defended(t, Above(0.9, 0.5))),
        (lambda t: Defended(t, BitDepth(3)), lambda t: Defended(t, BitDepth(4))),
        (lambda t: Defended(t, Noise(), votes=2), lambda t: Defended(t, Noise(), votes=3)),
        (lambda t: Defended(t, Noise(), votes=2), lambda t: Defended(t, Noise(), votes=2, fuse="logits")),
    ],
    ids=["number", "tensor", "bits", "votes", "fuse"],
)
def test_a_run_behind_one_defence_is_not_resumed_behind_another(one, other, quick, target):
    few = {"threats": [sp.Linf(0.03)], "suite": "fgsm", "limit": 3, "draws": 1 if one(target).stochastic else None}
    quick(target=one(target), **few)
    with pytest.raises(RunError, match="holds a run of other weights, or of another defence, than"):
        quick(target=other(target), resume=True, **few)
    quick(target=one(target), resume=True, **few)


def test_other_draws_are_another_run(quick, target):
    quick(target=Defended(target, Noise()), draws=2, **(FEW | {"limit": 2}))
    with pytest.raises(RunError, match=r"holds a run with another draws \(2, not 3\)"):
        quick(target=Defended(target, Noise()), draws=3, resume=True, **(FEW | {"limit": 2}))


def test_orthogonal_steps_by_name_are_for_who_knows_of_a_detector(quick, target):
    part, _ = told(quick(target=Defended(target, Bright()), suite="fgsm,orthogonal-pgd", threats=[sp.Linf(0.05)]))
    assert [(one.view, one.attack) for one in part.attacks] == [
        (NAIVE, "FGSM"), (ADAPTIVE, "FGSM"), (ADAPTIVE, "OrthogonalPGD"),
    ]  # fmt: skip
    with pytest.raises(ThreatError, match="orthogonal-pgd is for an attacker who knows of a detector, and all that"):
        quick(suite="orthogonal-pgd")


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
        quick(surrogate=Restricted(target, sp.Scores))
