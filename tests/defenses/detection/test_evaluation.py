from dataclasses import replace

import pytest
import torch

import sparring as sp
from sparring.attacks import FGSM, FMN, PGD, DeepFool
from sparring.defenses.detection import (
    FeatureSqueezing,
    Mahalanobis,
    add_sign_noise,
    detector_generalization,
    evaluate_detector,
    make_adversarial_set,
)
from sparring.defenses.detection.evaluation import DetectorEvaluation
from sparring.defenses.detection.image_hashes import count_known, hash_images
from sparring.errors import ConfigError, InputError, ThreatError
from sparring.testing.cases import draw


def test_what_an_attack_leaves(task):
    made = make_adversarial_set(PGD(sp.Linf(0.1), steps=3), task.target, task.clean, task.labels)
    assert made.attack == "PGD Linf(0.1)"
    with torch.no_grad():
        right = task.net(task.clean).argmax(1) == task.labels
        wrong = task.net(made.examples).argmax(1) != task.labels
    assert torch.equal(made.fooling, right & wrong)
    assert float((made.examples - made.originals).abs().max()) <= 0.1 + 1e-9


def test_an_attack_within_a_radius_spends_it_and_a_minimum_norm_attack_does_not(task):
    made = make_adversarial_set(PGD(sp.Linf(0.3), steps=8), task.target, task.clean, task.labels)
    assert float((made.examples - made.originals).flatten(1).abs().amax(1).min()) > 0.2
    near = make_adversarial_set(FMN(sp.L2(), steps=40), task.target, task.clean[:30], task.labels[:30])
    far = make_adversarial_set(PGD(sp.L2(3.0), steps=8), task.target, task.clean[:30], task.labels[:30])
    sizes = [(each.examples - each.originals).flatten(1).norm(dim=1).mean() for each in (near, far)]
    assert bool(near.fooling.all())
    assert sizes[0] < 0.7 * sizes[1]


def test_wrong_images_and_harmless_examples_do_not_count(task):
    labels = task.labels.clone()
    labels[:20] = (labels[:20] + 1) % 3
    made = make_adversarial_set(FGSM(sp.Linf(0.02)), task.target, task.clean, labels)
    assert not bool(made.correct[:20].any())
    assert not bool(made.fooling[:20].any())


@pytest.mark.parametrize("ball", [sp.Linf(), sp.L2(), sp.L1()], ids=str)
def test_noise_has_the_norm_that_was_asked_for_after_the_cut(ball):
    images = (0.5 + 0.4 * draw("images", (6, 1, 8, 8))).clamp(0, 1)
    sizes = ball.norm(0.1 * torch.ones_like(images)) * torch.linspace(0.1, 1, 6, dtype=torch.float64)
    noisy = add_sign_noise(images, ball, sizes)
    torch.testing.assert_close(ball.norm(noisy - images), sizes, rtol=1e-6, atol=1e-6)
    assert 0 <= float(noisy.min()) <= float(noisy.max()) <= 1
    changed = (noisy - images)[(images > 0.1) & (images < 0.9)]
    assert 0.3 < float((changed > 0).double().mean()) < 0.7
    assert torch.equal(add_sign_noise(images[:2], ball, sizes[:2]), noisy[:2])


def test_noise_in_l0_is_refused():
    with pytest.raises(ThreatError, match="noise of a given size is made in Linf, L2 and L1, not in L0"):
        add_sign_noise(torch.rand(2, 1, 4, 4), sp.L0(3), torch.ones(2))


def test_noise_larger_than_any_is_what_comes_nearest():
    images = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    noisy = add_sign_noise(images, sp.Linf(), torch.tensor([0.9], dtype=torch.float64))
    assert float((noisy - images).abs().max()) == pytest.approx(0.5)


def test_an_evaluation_by_hand(task, fitted):
    f, tested = fitted["mahalanobis"], task.tested
    found = evaluate_detector(f, tested)
    scores, clean = f.score(tested.fooling_examples), f.score(tested.originals[tested.correct])
    limit = f.threshold.value
    assert found.tpr.value == pytest.approx(float((scores > limit).double().mean()))
    assert found.fpr.value == pytest.approx(float((clean > limit).double().mean()))
    assert found.undetected.value == pytest.approx(float((scores <= limit).sum()) / int(tested.correct.sum()))
    assert found.fooling == int(tested.fooling.sum())
    assert found.noisy.value == pytest.approx(float((f.score(tested.noisy(0)) > limit).double().mean()))
    assert (found.asked_fpr, found.fitted_on, found.attack) == (0.05, ("PGD Linf(0.15)",), "PGD Linf(51/255)")
    assert found.notes == ()
    assert "Mahalanobis on PGD Linf(51/255): AUROC" in str(found)


def test_images_that_do_not_fool_are_not_counted(task, fitted):
    half = replace(task.tested, fooling=torch.arange(len(task.tested)) % 2 == 0)
    spoiled = replace(half, examples=torch.where(half.fooling[:, None, None, None], half.examples, half.originals))
    first, second = (evaluate_detector(fitted["mahalanobis"], each) for each in (half, spoiled))
    assert first == second
    assert first.fooling == 45


def test_the_notes_say_what_is_not_disjoint(task, fitted):
    f = fitted["mahalanobis"]
    same = evaluate_detector(f, task.made)
    assert same.notes == (
        "fit and test attack are the same, PGD Linf(0.15)",
        "180 of the test images were used to fit",
    )
    unknown = Mahalanobis().fit(task.clean, task.made.fooling_examples, target=task.target).calibrate(task.validation)
    assert evaluate_detector(unknown, task.tested).notes == ("the attack that it was fitted on is not known",)
    twice = torch.cat((task.validation[:40], task.validation[:3]))
    assert evaluate_detector(f, task.tested, twice).notes == ("some clean test images are the same",)


def test_an_attack_that_fools_nothing_leaves_an_open_figure(task, fitted):
    none = replace(task.tested, fooling=torch.zeros(90, dtype=torch.bool))
    found = evaluate_detector(fitted["mahalanobis"], none)
    assert found.notes == ("no example fools the model",)
    assert (found.tpr.low, found.tpr.high, found.fooling) == (0.0, 1.0, 0)
    assert found.noisy is None


def test_a_model_that_is_right_on_nothing_is_refused(task, fitted):
    wrong = replace(task.tested, correct=torch.zeros(90, dtype=torch.bool))
    with pytest.raises(InputError, match="the model is right on none of the 90 images"):
        evaluate_detector(fitted["mahalanobis"], wrong)


def test_without_a_threshold_there_is_no_evaluation(task):
    with pytest.raises(ConfigError, match="has no threshold yet"):
        evaluate_detector(FeatureSqueezing().fit(task.clean, target=task.target), task.tested)


def test_the_matrix_is_made_of_its_evaluations(task):
    other = make_adversarial_set(FGSM(sp.Linf(0.2)), task.target, task.clean, task.labels)
    fresh, right = task.tested.originals, torch.arange(90) % 3
    tests = [make_adversarial_set(attack, task.target, fresh, right) for attack in (FGSM(sp.Linf(0.2)), DeepFool())]
    detectors = {"distance": Mahalanobis(), "squeezing": FeatureSqueezing()}
    found = detector_generalization(detectors, [task.made, other], tests, task.validation, target=task.target)
    assert [(row.detector, row.fitted_on) for row in found.rows] == [
        ("distance", "PGD Linf(0.15)"), ("distance", "FGSM Linf(51/255)"), ("squeezing", None),
    ]  # fmt: skip
    alone = Mahalanobis().fit(task.clean, other, target=task.target).calibrate(task.validation)
    assert found.rows[1].cells[1] == evaluate_detector(alone, tests[1])
    assert found.rows[1].cells[0].notes == ("fit and test attack are the same, FGSM Linf(51/255)",)
    assert all(isinstance(cell, DetectorEvaluation) for row in found.rows for cell in row.cells)
    assert str(found).splitlines()[0] == "detector | fitted on | FGSM Linf(51/255) | DeepFool L2"
    with pytest.raises(InputError, match="one of them is empty"):
        detector_generalization({}, [task.made], tests, task.validation, target=task.target)


def test_marks_tell_images_apart():
    images = draw("marked", (500, 1, 4, 4)).abs().clamp(0, 1)
    assert hash_images(images).unique().numel() == 500
    nudged = images.clone()
    nudged[3, 0, 1, 1] += 1e-6
    assert int((hash_images(images) != hash_images(nudged)).sum()) == 1
    assert count_known(images[:40], hash_images(images[30:])) == 10
    assert torch.equal(hash_images(images.float()), hash_images(images.float().double()))
