import pytest
import torch

from sparring.defenses.detection import conformal_threshold
from sparring.errors import ConfigError, InputError
from sparring.random import Key

from .conftest import patterns


def normal(count, seed):
    return Key(torch.arange(count), seed).normal("scores", (), dtype=torch.float64)


def test_the_stated_rate_holds_on_fresh_clean_scores():
    """Averaged over 400 draws of 99 validation scores: at most 5 %, and no less than a hundredth below."""
    rates = []
    for seed in range(400):
        limit = conformal_threshold(normal(99, seed), 0.05)
        rates.append(float((normal(200, 1000 + seed) > limit.value).double().mean()))
    assert 0.043 < sum(rates) / len(rates) < 0.053


def test_it_is_the_conformal_quantile():
    scores = torch.arange(1.0, 100.0)
    limit = conformal_threshold(scores, 0.05)
    assert (limit.value, limit.fpr, limit.images) == (95.0, 0.05, 99)
    assert int((scores > limit.value).sum()) == 4
    assert limit.std == pytest.approx(float(scores.std(correction=0)))
    assert conformal_threshold(scores, 0.01).value == 99.0


def test_too_few_images_for_the_rate_are_refused_with_the_number_that_it_takes():
    with pytest.raises(InputError, match=r"18 clean images cannot set a threshold at a false positive rate of 0.05"):
        conformal_threshold(normal(18, 0), 0.05)
    with pytest.raises(InputError, match=r"takes 99 at least; pass more, or ask for a rate of 0.013 or above"):
        conformal_threshold(normal(78, 0), 0.01)
    assert conformal_threshold(normal(19, 0), 0.05).value == float(normal(19, 0).max())


@pytest.mark.parametrize("fpr", [0, 1, -0.1, float("nan"), "5 %"])
def test_a_rate_is_between_0_and_1(fpr):
    with pytest.raises(ConfigError, match="is no false positive rate; pass a number between 0 and 1"):
        conformal_threshold(normal(50, 0), fpr)


def test_scores_that_are_all_the_same_are_refused():
    with pytest.raises(InputError, match="gives all 30 clean images the score 2"):
        conformal_threshold(torch.full((30,), 2.0), 0.05)


@pytest.mark.parametrize("name", ["input", "feature-squeezing", "mahalanobis", "subspace"])
def test_the_rate_of_a_detector_on_fresh_clean_images(name, fitted):
    """One threshold from 999 images has a rate of 5 % with a deviation of 0.7 %; 2,000 fresh images add 0.5 %."""
    f = fitted[name].calibrate(patterns(999, 11)[0], 0.05)
    fresh = patterns(2000, 12)[0]
    assert 0.02 < float((f.score(fresh) > f.threshold.value).double().mean()) < 0.08
