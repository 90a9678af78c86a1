"""Randomised smoothing: exact bounds, their coverage, closed forms, draws, checkpoints and targets."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import sparring as sp
from sparring.attacks import PGD
from sparring.defenses.certification import ABSTAIN, SmoothedClassifier, SmoothingCertificates
from sparring.defenses.certification.smoothing import (
    binomial_test,
    most_false_certificates,
)
from sparring.defenses.purification import Denoiser
from sparring.defenses.randomization import InputNoise
from sparring.engine import Engine, Progress
from sparring.errors import ConfigError, InputError, RunError, TargetError
from sparring.goals import CrossEntropy, Misclassify
from sparring.random import Key
from sparring.targets import Defended, Pipeline
from sparring.testing.cases import small_net
from sparring.transforms import Detector, Stage


class Linear(nn.Module):
    """Logits (0, w x + b) in float64: its smoothed probability and radius are known."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.weight + self.bias
        return torch.stack((torch.zeros_like(score), score), 1)


class Sure(nn.Module):
    """Class 1 whatever it sees, or NaN."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0, 0.5]).expand(len(x), 3) * self.value


def linear_case(count: int = 40) -> tuple[SmoothedClassifier, Tensor, Tensor]:
    """A smoothed linear classifier, images, and the exact signed distance of each image to its boundary."""
    weight = Key(torch.tensor([0]), 5).normal("weight", (48,), dtype=torch.float64)[0]
    images = Key(torch.arange(count), 6).uniform("images", (3, 4, 4), dtype=torch.float64)
    module = Linear(weight, -0.5 * float(weight.sum()))
    distance = (module(images)[:, 1] / weight.norm()).detach()
    return SmoothedClassifier(sp.Classifier(module), 0.3), images, distance


def certificates_of(p: float, n: int, alpha: float, times: int, seed: int = 0) -> SmoothingCertificates:
    """The certificates of `times` planted binomials with two classes."""
    counts = np.random.default_rng(seed).binomial(n, p, times)
    pair = torch.from_numpy(np.stack((counts, n - counts), 1))
    return SmoothingCertificates(torch.zeros(times, dtype=torch.int64), pair, n, 1.0, 1, alpha)


# Coverage of the test, and of certificates: how often a claim is false, over many thousands of planted draws


def test_binomial_test_is_scipys() -> None:
    for k, n in ((0, 0), (5, 10), (8, 10), (10, 10), (530, 1000)):
        theirs = 1.0 if n == 0 else stats.binomtest(k, n).pvalue
        assert float(binomial_test(k, n)) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.6, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize(("n", "alpha"), [(50, 0.05), (1000, 0.01)])
def test_share_of_false_certificates_is_at_most_alpha(p: float, n: int, alpha: float) -> None:
    times = 200_000
    found = certificates_of(p, n, alpha, times)
    true = stats.norm.ppf(p)
    false = int((found.radius > true).sum())
    assert false <= stats.binom.ppf(1 - 1e-6, times, alpha)  # what alpha allows, and its own spread


def test_bounds_are_not_looser_than_the_binomial_makes_them() -> None:
    found = certificates_of(0.9, 1000, 0.01, 100_000)
    assert float((found.p_lower > 0.9).double().mean()) > 0.005


def test_all_class_bound_covers_all_classes_at_once() -> None:
    p, n, alpha, times = np.array([0.45, 0.35, 0.1, 0.1]), 400, 0.05, 100_000
    counts = torch.from_numpy(np.random.default_rng(1).multinomial(n, p, times))
    found = SmoothingCertificates(torch.zeros(times, dtype=torch.int64), counts, n, 1.0, 1, alpha, "all-class")
    true = 0.5 * (stats.norm.ppf(0.45) - stats.norm.ppf(0.35))
    false = (found.radius > true).double().mean()
    assert 0 < false <= alpha


def test_all_class_bound_certifies_where_the_two_class_bound_cannot() -> None:
    counts, selected = torch.tensor([[4500, 2800, 2700]]), torch.tensor([0])
    two, every = (
        SmoothingCertificates(selected, counts, 10_000, 0.5, 4, 0.001, bound) for bound in ("two-class", "all-class")
    )
    assert two.predicted.tolist() == [ABSTAIN]
    assert two.radius.tolist() == [0]
    low = stats.beta.ppf(0.001 / 3, 4500, 5501)
    high = stats.beta.ppf(1 - 0.001 / 3, 2801, 7200)
    assert every.radius.tolist() == pytest.approx([0.25 * (stats.norm.ppf(low) - stats.norm.ppf(high))])


def test_joint_claims_hold_for_all_images_at_once() -> None:
    images, alpha, p = 50, 0.05, 0.8
    trials = 4000
    found = certificates_of(p, 200, alpha / images, images * trials)
    false = (found.radius > stats.norm.ppf(p)).view(trials, images)
    assert float(false.any(1).double().mean()) <= alpha
    single = certificates_of(p, 200, alpha, images * trials)
    most = most_false_certificates(images, alpha, 0.01)
    false = (single.radius > stats.norm.ppf(p)).view(trials, images).sum(1)
    assert float((false > most).double().mean()) <= 0.01
    assert float((false > 0).double().mean()) > alpha  # so that single certificates make no joint claim


def test_joint_certificates_are_those_of_a_smaller_alpha() -> None:
    found = certificates_of(0.95, 1000, 0.01, 20)
    assert found.joint().alpha == 0.01 / 20
    assert bool((found.joint().radius < found.radius).all())


# Closed form


def test_certified_radius_of_a_linear_classifier_is_below_its_distance_and_close_to_it() -> None:
    smoothed, images, distance = linear_case()
    found = smoothed.certify(images, n0=50, n=4000, alpha=0.001, engine=Engine(batch_size=8000))
    labels = (distance > 0).long()
    sure = found.predicted != ABSTAIN
    assert float(sure.double().mean()) > 0.7
    assert bool((found.predicted[sure] == labels[sure]).all())
    assert bool((found.radius <= distance.abs()).all())  # 40 claims at 0.001
    p = stats.norm.cdf(distance.abs().numpy() / 0.3)
    eight_sigma_lower = 0.3 * stats.norm.ppf(p - 8 * np.sqrt(p * (1 - p) / 4000))
    assert bool((found.radius >= torch.from_numpy(eight_sigma_lower))[sure & torch.from_numpy(p < 0.98)].all())


def test_radii_in_other_norms_lie_within_the_l2_ball() -> None:
    found = SmoothingCertificates(torch.tensor([0]), torch.tensor([[999, 1]]), 1000, 0.25, 784, 0.001)
    radius = float(found.radius)
    assert float(found.radius_in(2)) == radius
    assert float(found.radius_in(1)) == radius  # |d|_2 <= |d|_1
    assert float(found.radius_in(math.inf)) == pytest.approx(radius / 28)
    corner = torch.full((784,), float(found.radius_in(math.inf)))
    assert float(corner.norm()) == pytest.approx(radius)
    assert float(found.radius_in(4)) == pytest.approx(radius * 784**-0.25)
    with pytest.raises(ConfigError, match="p from 1"):
        found.radius_in(0)


def test_accuracy_and_average_radius_count_abstentions_as_errors() -> None:
    counts = torch.tensor([[1000, 0], [1000, 0], [510, 490], [0, 1000]])
    found = SmoothingCertificates(torch.tensor([0, 0, 0, 1]), counts, 1000, 0.5, 4, 0.001)
    most = 0.5 * float(stats.norm.ppf(0.001 ** (1 / 1000)))
    labels = torch.tensor([0, 1, 0, 1])
    assert found.predicted.tolist() == [0, 0, ABSTAIN, 1]
    assert found.radius.tolist() == pytest.approx([most, most, 0, most])
    assert found.certified_accuracy(labels, torch.tensor([0.0, 1.0, most + 0.01])).tolist() == [0.5, 0.5, 0]
    assert found.average_radius(labels) == pytest.approx(most / 2)
    with pytest.raises(InputError, match="labels"):
        found.average_radius(labels[:2])


# Draws


def test_counts_do_not_depend_on_batches_and_neighbours() -> None:
    smoothed, images, _ = linear_case(5)
    whole = smoothed.certify(images, 7, 40, 0.1, engine=Engine(batch_size=13))
    again = smoothed.certify(images, 7, 40, 0.1, engine=Engine(batch_size=1000))
    assert torch.equal(whole.counts, again.counts)
    alone = smoothed.certify(images[3:4], 7, 40, 0.1, indices=torch.tensor([3]))
    assert torch.equal(alone.counts[0], whole.counts[3])
    other = smoothed.certify(images, 7, 40, 0.1, engine=Engine(seed=1))
    assert not torch.equal(other.counts, whole.counts)


def test_noise_is_gaussian_unclipped_and_new_for_each_draw() -> None:
    seen: list[Tensor] = []

    def watch(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return torch.zeros(len(x), 2).to(x)

    smoothed = SmoothedClassifier(sp.Classifier(watch), 0.5)
    images = torch.full((2, 1, 8, 8), 0.9)
    smoothed.predict(images, 200, 0.001)
    draws = (torch.cat(seen[1:]) - 0.9) / 0.5
    assert len(draws) == 400
    assert stats.kstest(draws.flatten().double().numpy(), "norm").pvalue > 0.001
    assert len(draws.flatten(1).unique(dim=0)) == 400
    assert float(torch.cat(seen).max()) > 1.5


def test_what_is_certain_has_the_largest_radius_and_nan_abstains() -> None:
    images = torch.full((3, 1, 2, 2), 0.5)
    sure = SmoothedClassifier(sp.Classifier(Sure(1.0)), 0.25).certify(images, 10, 1000, 0.001)
    assert sure.predicted.tolist() == [1, 1, 1]
    assert sure.radius.tolist() == pytest.approx([0.25 * float(stats.norm.ppf(0.001**0.001))] * 3)
    with pytest.raises(TargetError, match="finite"):
        SmoothedClassifier(sp.Classifier(Sure(math.nan)), 0.25).certify(images, 10, 100, 0.001)


class NaNUnderNoise(nn.Module):
    """NaN for most noisy images, and class 0 for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.tensor([1.0, 0.0]).repeat(len(x), 1)
        return torch.where((x[:, :1, 0, 0] - 0.5).abs() > 0.02, torch.nan, logits)


def test_answers_that_are_nan_count_for_no_class() -> None:
    images = torch.full((1, 1, 2, 2), 0.5)
    smoothed = SmoothedClassifier(sp.Classifier(NaNUnderNoise()), 0.1)
    found = smoothed.certify(images, 50, 500, 0.001)
    assert found.predicted.tolist() == [ABSTAIN]
    assert int(found.counts.sum()) < 250
    assert smoothed.predict(images, 500).predicted.tolist() == [ABSTAIN]


def test_prediction_abstains_where_two_classes_are_as_likely() -> None:
    smoothed, images, distance = linear_case()
    found = smoothed.predict(images, 500, 0.01, engine=Engine(batch_size=8000))
    sure = found.predicted != ABSTAIN
    assert torch.equal(found.predicted[sure], (distance > 0).long()[sure])
    assert torch.equal(sure, found.p_value <= 0.01)
    bound = sp.Classifier(Linear(torch.ones(12, dtype=torch.float64), -6.0))
    tie = SmoothedClassifier(bound, 0.2).predict(torch.full((20, 3, 2, 2), 0.5, dtype=torch.float64), 200, 0.01)
    assert int((tie.predicted == ABSTAIN).sum()) >= 18


def test_random_base_classifier_draws_anew_for_each_sample() -> None:
    case = small_net(2)
    noisy = Pipeline(case.target, InputNoise(0.5))
    found = SmoothedClassifier(noisy, 0.01).predict(case.images, 300)
    assert bool((found.counts > 0).sum(1).ge(2).all())


# Checkpoints, progress


def test_interrupted_certificates_go_on_and_end_with_the_same_counts(tmp_path) -> None:
    smoothed, images, _ = linear_case(6)
    whole = smoothed.certify(images, 10, 100, 0.01, engine=Engine(batch_size=16))
    shown: list[Progress] = []

    def stop(progress: Progress) -> None:
        shown.append(progress)
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        smoothed.certify(images, 10, 100, 0.01, engine=Engine(batch_size=16, checkpoint=tmp_path, progress=stop))
    engine = Engine(batch_size=50, checkpoint=tmp_path, progress=shown.append)
    before = len(shown)
    again = smoothed.certify(images, 10, 100, 0.01, engine=engine)
    assert torch.equal(again.counts, whole.counts)
    assert shown[before].done > 3
    assert shown[-1].done == 6
    smoothed.certify(images, 10, 100, 0.05, engine=engine)  # the same draws
    with pytest.raises(RunError, match="belongs to another run"):
        smoothed.certify(images, 10, 101, 0.01, engine=engine)
    with pytest.raises(RunError, match="belongs to another run"):
        SmoothedClassifier(smoothed.target, 0.31).certify(images, 10, 100, 0.01, engine=engine)


# Targets


def digits_net() -> tuple[sp.Classifier, Tensor, Tensor]:
    from sparring.zoo import load_data, load_model

    data = load_data("zoo:mnist-heldout", input=None)
    chunk = next(iter(data.chunks(1000)))
    images, labels = chunk.images[::50], chunk.labels[::50]
    return load_model("zoo:mnist-robust-linf").target, images, labels


def test_no_attack_on_digits_succeeds_within_the_certified_radius() -> None:
    target, images, labels = digits_net()
    smoothed = SmoothedClassifier(target, 0.25)
    found = smoothed.certify(images, 20, 1000, 0.001, engine=Engine(batch_size=500))
    right = found.predicted == labels
    assert int(right.sum()) >= 15
    view = smoothed.deployed(votes=50).adaptive_view(draws=4)
    goal, x, radius = Misclassify(labels[right]), images[right], found.radius[right]
    attack = PGD(sp.L2(1.0), steps=10)
    within = sp.run(attack, view, goal, x, eps=radius.float(), engine=Engine(confirmation_samples=3))
    assert not bool(within.success.any())
    beyond = sp.run(PGD(sp.L2(6.0), steps=10), view, goal, x, engine=Engine(confirmation_samples=3))
    assert float(beyond.success.double().mean()) > 0.5
    assert bool((beyond.distance[beyond.success] > radius[beyond.success]).all())


def test_soft_target_has_the_gradient_of_the_mean_softmax() -> None:
    case = small_net(4)
    soft = SmoothedClassifier(case.target, 0.2).soft(draws=5)
    key = Key(torch.arange(4), 3)
    x = case.images.clone().requires_grad_()
    loss = CrossEntropy().of(Misclassify(case.labels).terms(soft(x, key))).sum()
    (grad,) = torch.autograd.grad(loss, x)
    y = case.images.clone().requires_grad_()
    noise = [InputNoise(0.2)(torch.zeros_like(y), key.reseeded(vote).reseeded(0)) for vote in range(5)]
    mean = torch.stack([case.module(y + one).softmax(1) for one in noise]).mean(0)
    (by_hand,) = torch.autograd.grad(-mean.log().gather(1, case.labels[:, None]).sum(), y)
    torch.testing.assert_close(grad, by_hand)


def test_deployed_target_votes_and_belongs_to_the_access_of_the_model() -> None:
    case = small_net(3)
    white = SmoothedClassifier(case.target, 0.1).deployed(votes=7)
    assert isinstance(white, Defended)
    black = SmoothedClassifier(sp.Restricted(case.target, sp.Decisions), 0.1).deployed(votes=7)
    key = Key(torch.arange(3), 0)
    assert black.access is sp.Decisions
    assert torch.equal(white(case.images, key), black(case.images, key))
    behind = Defended(case.target, Denoiser(nn.Identity()))
    smoothed = SmoothedClassifier(behind, 0.1).deployed(votes=7)
    assert isinstance(smoothed, Defended)
    assert [part.name for part in smoothed.parts] == ["InputNoise", "Denoiser"]


def test_decisions_are_enough_for_a_certificate() -> None:
    smoothed, images, _ = linear_case(4)
    black = SmoothedClassifier(sp.Restricted(smoothed.target, sp.Decisions), 0.3)
    assert torch.equal(black.certify(images, 5, 50, 0.1).counts, smoothed.certify(images, 5, 50, 0.1).counts)


class AlwaysQuiet(Detector):
    """Rejects nothing."""

    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return -images.flatten(1).mean(1).abs() - 1


class Clip(Stage):
    """Back into [0, 1]."""

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images.clamp(0, 1)


def test_what_follows_the_noise_is_part_of_the_base_classifier() -> None:
    smoothed, images, _ = linear_case(3)
    clipped = SmoothedClassifier(Pipeline(smoothed.target, Clip()), 0.3)
    assert not torch.equal(clipped.certify(images, 5, 500, 0.1).counts, smoothed.certify(images, 5, 500, 0.1).counts)


# What is refused


@pytest.mark.wrong_types
def test_bad_input_is_refused_before_the_first_draw() -> None:
    smoothed, images, _ = linear_case(2)
    with pytest.raises(InputError, match="pixels reach"):
        smoothed.certify(images + 1)
    with pytest.raises(ConfigError, match=r"n=9 draws cannot certify .* pass n >= 10"):
        smoothed.certify(images, n=9)
    with pytest.raises(ConfigError, match=r"n=10 draws cannot certify at alpha=0.001 \(all-class\)"):
        smoothed.certify(images, n=10, bound="all-class")
    with pytest.raises(ConfigError, match=r"n=10 draws abstain .* pass n >= 11"):
        smoothed.predict(images, 10)
    for arguments, words in (
        ({"n0": 0}, "n0=0"),
        ({"n": 2.5}, "n=2.5"),
        ({"alpha": 1}, "alpha=1"),
        ({"alpha": math.nan}, "alpha=nan"),
        ({"bound": "tight"}, "bound='tight'"),
        ({"engine": Engine(autocast=torch.bfloat16)}, "autocast"),
    ):
        with pytest.raises(ConfigError, match=words):
            smoothed.certify(images, **arguments)
    for sigma in (0, -1, math.inf, True, "a"):
        with pytest.raises(ConfigError, match="sigma"):
            SmoothedClassifier(smoothed.target, sigma)
    with pytest.raises(TargetError, match="only a classifier"):
        SmoothedClassifier(sp.Model(nn.Linear(2, 2), sp.tasks.Verification()), 0.1)
    with pytest.raises(TargetError, match="images in"):
        SmoothedClassifier(sp.Classifier(nn.Linear(2, 2), inputs=sp.Unbounded()), 0.1)
    with pytest.raises(TargetError, match="without its detector"):
        SmoothedClassifier(Defended(smoothed.target, AlwaysQuiet()), 0.1).certify(images, 5, 50, 0.1)
    with pytest.raises(ConfigError, match="identity"):
        nameless = SmoothedClassifier(sp.Classifier(lambda x: torch.zeros(len(x), 2)), 0.1)
        nameless.predict(images, 50, engine=Engine(checkpoint="never"))
