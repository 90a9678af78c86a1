"""Error rates of verification, against scikit-learn, by hand, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparring.error_rates import Comparisons, ScoreMap, calibrate_threshold, compare_all, identify
from sparring.errors import ConfigError, InputError
from sparring.intervals import clopper_pearson


def scores(count: int, mean: float, seed: int) -> torch.Tensor:
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(seed)) + mean
    return (drawn * 20).round() / 20  # with ties


def test_curves_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    genuine, impostor = scores(300, 2, 0), scores(900, 0, 1)
    truth, values = np.r_[np.ones(300), np.zeros(900)], torch.cat((genuine, impostor)).double().numpy()
    curve = Comparisons(genuine, impostor).curve()
    far, tar, thresholds = metrics.roc_curve(truth, values, drop_intermediate=False)
    np.testing.assert_allclose(curve.roc()[0], far, atol=1e-12)
    np.testing.assert_allclose(curve.roc()[1], tar, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds.flip(0)[1:], thresholds[1:])
    frr = 1 - tar
    crossing = np.argmax(far >= frr)
    equal = Comparisons(genuine, impostor).equal_error_rate()
    assert min(frr[crossing], far[crossing - 1]) <= equal.rate <= max(far[crossing], frr[crossing - 1])
    assert abs(equal.rate - 0.16) < 0.03  # two normal distributions two deviations apart: Phi(-1)
    rates = Comparisons(genuine, impostor).rates(equal.threshold)
    assert rates.false_accept.value == (impostor >= equal.threshold).double().mean()
    assert rates.false_reject == clopper_pearson(int((genuine < equal.threshold).sum()), 300)
    deviates = curve.det()[0].exp()
    assert torch.equal(deviates, torch.special.ndtri(curve.false_accept).exp())


def test_equal_error_rates_by_hand() -> None:
    apart = Comparisons(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.3]))
    assert apart.equal_error_rate().rate == 0
    assert 0.3 < apart.equal_error_rate().threshold < 0.81
    turned = Comparisons(torch.tensor([0.1, 0.3]), torch.tensor([0.9, 0.8]))
    assert turned.equal_error_rate().rate == 1
    # at 0.5: one of two genuine rejected, one of two impostors accepted
    assert Comparisons(torch.tensor([0.4, 0.9]), torch.tensor([0.1, 0.5])).equal_error_rate().rate == 0.5
    # between FAR 1, FRR 0 and FAR 0, FRR 1/2 the line FRR = FAR is met at 1/3
    tied = Comparisons(torch.tensor([0.5, 0.9]), torch.tensor([0.5, 0.5]))
    assert tied.equal_error_rate().rate == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_keeps_to_the_rate(dtype: torch.dtype) -> None:
    impostor = scores(5000, 0, 2).to(dtype)
    threshold = calibrate_threshold(impostor, 0.01)
    accepted = int((impostor.double() >= threshold.value).sum())
    assert accepted <= 50
    lower = float(impostor[impostor.double() < threshold.value].max())
    assert int((impostor >= lower).sum()) > 50  # the least threshold: the next one down lets too many in
    assert threshold.false_accept == clopper_pearson(accepted, 5000)
    everyone = calibrate_threshold(torch.zeros(100, dtype=dtype), 0.5)
    assert (everyone.false_accept.value, everyone.value > 0) == (0.0, True)


def test_a_rate_that_few_impostors_decide_is_not_stated() -> None:
    with pytest.raises(InputError, match="decided by 5 of them; compare 30,000 pairs"):
        calibrate_threshold(scores(5000, 0, 3), 0.001)
    for wrong in (0, 1, -0.1, math.nan, True, "1e-3"):
        with pytest.raises(ConfigError, match="false_accept_rate="):
            calibrate_threshold(scores(5000, 0, 3), wrong)  # type: ignore[arg-type]


def test_pairs_are_counted_once() -> None:
    persons = torch.tensor([0, 0, 1, 2])
    alike = torch.arange(16.0).reshape(4, 4)
    pairs = compare_all(alike, persons)
    assert pairs.genuine.tolist() == [1.0]
    assert pairs.impostor.tolist() == [2.0, 3.0, 6.0, 7.0, 11.0]
    across = compare_all(alike[:, :2], persons, torch.tensor([2, 0]))
    assert across.genuine.tolist() == [1.0, 5.0, 12.0]
    with pytest.raises(InputError, match=r"similarities are \(4, 4\)"):
        compare_all(alike[:3], persons)
    with pytest.raises(InputError, match="genuine similarities are real numbers"):
        compare_all(alike, torch.arange(4))
    with pytest.raises(InputError, match="not finite"):
        Comparisons(torch.tensor([torch.nan]), torch.tensor([0.0]))


def test_scores_ascend_through_the_threshold() -> None:
    scale = ScoreMap(-1.5, -0.5, 0.0)
    given = torch.tensor([-9.0, -1.5, -1.0, -0.5, -0.25, 0.0, 3.0])
    assert scale(given).tolist() == [0, 0, 30, 60, 80, 100, 100]
    for wrong in ((0, 0, 1), (0, 1, 0.5), (-math.inf, 0, 1)):
        with pytest.raises(ConfigError, match="does not ascend"):
            ScoreMap(*wrong)


def test_identification_names_the_nearest_or_nobody() -> None:
    alike = torch.tensor([[0.1, 0.9, 0.3], [0.2, 0.3, 0.4]])
    found = identify(alike, torch.tensor([7, 8, 9]), 0.5)
    assert (found.person.tolist(), found.similarity.tolist()) == ([8, -1], pytest.approx([0.9, 0.4]))
    with pytest.raises(InputError, match=r"\(N, 2\)"):
        identify(alike, torch.tensor([7, 8]))
