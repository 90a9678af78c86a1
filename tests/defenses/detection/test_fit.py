"""What every detector is asked to do and to refuse."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.defenses import detection
from sparring.defenses.detection import (
    LID,
    FeatureDetector,
    FeatureSqueezing,
    InputDetector,
    KernelDensity,
    MagNet,
    Mahalanobis,
    Subspace,
    table,
)
from sparring.errors import ConfigError, InputError, TargetError

from .conftest import DETECTORS, SHORT


def learners():
    return [kind for kind in table.values() if kind.needs_adversarial]


@pytest.mark.parametrize("kind", table.values(), ids=table)
def test_a_detector_can_be_made_without_a_word_and_does_nothing_by_itself(kind):
    detector = kind()
    with pytest.raises(FrozenInstanceError):
        detector.anything = 1
    assert kind() == detector


def test_the_table_has_every_detector():
    public = {value for name in detection.__all__ if isinstance(value := getattr(detection, name), type)}
    every = {
        kind
        for kind in public
        if issubclass(kind, detection.DetectorEstimator) and kind is not detection.DetectorEstimator
    }
    assert set(table.values()) == every
    assert all(name == name.lower() and " " not in name for name in table)


@pytest.mark.parametrize("kind", table.values(), ids=table)
def test_every_file_names_its_paper(kind):
    import inspect

    assert "arXiv:" in inspect.getmodule(kind).__doc__


def test_a_fitted_detector_is_frozen(one):
    with pytest.raises(FrozenInstanceError):
        one.threshold = None


def test_it_tells_adversarial_images_from_clean_ones(one, task):
    """A detector of the small task: those that learn from so few images need not be good, none may be upside down."""
    area = detection.auroc(one.score(task.tested.originals), one.score(task.tested.fooling_examples))
    assert area.high > 0.6


@pytest.mark.parametrize("name", DETECTORS)
def test_fitting_again_gives_the_same_and_leaves_no_trace(name, task, fitted):
    generator = torch.get_rng_state()
    again = DETECTORS[name].fit(task.clean, task.made, target=task.target, labels=task.labels)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.testing.assert_close(again.score(task.validation[:9]), fitted[name].score(task.validation[:9]))
    assert all(not module._forward_hooks for module in task.net.modules())


def test_another_seed_is_another_network(task, fitted):
    other = DETECTORS["input"].fit(task.clean, task.made, seed=1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(other.score(task.validation), fitted["input"].score(task.validation))


def test_noisy_images_are_taken_for_clean(task):
    """Shown noise as clean, the distances tell it from attacks; not shown, they reject most of it."""
    noisy = task.made.noisy(1)
    without, shown = (
        Mahalanobis().fit(task.clean, task.made, target=task.target, noisy=each).calibrate(task.validation)
        for each in (None, noisy)
    )
    asked = task.tested.noisy(2)
    rejected = [float((f.score(asked) > f.threshold.value).double().mean()) for f in (without, shown)]
    assert rejected[1] < rejected[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_labels_default_to_what_the_target_says(name, task, fitted):
    f = DETECTORS[name].fit(task.clean, task.made, target=task.target)
    torch.testing.assert_close(f.score(task.validation[:5]), fitted[name].score(task.validation[:5]))


@pytest.mark.parametrize("kind", learners())
def test_those_that_learn_from_adversarial_examples_say_so(kind, task):
    with pytest.raises(InputError, match=f"{kind.__name__} learns from adversarial examples: pass some, as make_adv"):
        kind().fit(task.clean, target=task.target)


def test_those_that_do_not_ignore_them(task):
    f = FeatureSqueezing().fit(task.clean, task.made, target=task.target)
    assert f.metadata.attacks == ()
    assert not FeatureSqueezing.needs_adversarial


def test_examples_of_which_none_fools_are_refused(task):
    harmless = replace(task.made, fooling=torch.zeros(len(task.made), dtype=torch.bool))
    with pytest.raises(InputError, match=r"none of 180 examples of PGD .* fools the model; use a larger radius"):
        InputDetector().fit(task.clean, harmless)


def test_only_examples_that_fool_are_learned_from(task):
    """Images that did not fool are not among the adversarial ones: the fit is the same whatever they are."""
    half = replace(task.made, fooling=torch.arange(180) % 2 == 0)
    spoiled = replace(half, examples=torch.where(half.fooling[:, None, None, None], half.examples, 0.5))
    a, b = (Mahalanobis().fit(task.clean, each, target=task.target) for each in (half, spoiled))
    assert torch.equal(a.weight, b.weight)


def test_a_tensor_of_adversarial_images_will_do(task):
    f = Mahalanobis().fit(task.clean, task.made.fooling_examples, target=task.target)
    assert f.metadata.attacks == ("unknown",)


@pytest.mark.parametrize("kind", [kind for kind in table.values() if kind.needs_target])
def test_those_that_read_a_model_say_so(kind, task):
    with pytest.raises(ConfigError, match=f"{kind.__name__} reads a model: pass target=Classifier"):
        kind().fit(task.clean, task.made)


BAD = {
    "clean images: pass a tensor of images": {"clean": [1, 2]},
    "clean images: images must be a float tensor": {"clean": torch.zeros(3, 8, 8)},
    "clean images: pixels reach from 0 to 2": {"clean": torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 8, 8)},
    "clean images: image 1 holds NaN": {"clean": torch.zeros(3, 1, 8, 8).index_fill(0, torch.tensor(1), float("nan"))},
    "clean images: there are no images": {"clean": torch.zeros(0, 1, 8, 8)},
    r"adversarial images: images of shape \(1, 9, 9\), where \(1, 8, 8\)": {"adversarial": torch.zeros(3, 1, 9, 9)},
    "adversarial images: image 0 holds NaN": {"adversarial": torch.full((3, 1, 8, 8), float("nan"))},
    "adversarial images: pass a tensor": {"adversarial": "pgd"},
    r"noisy images: images of shape \(3, 8, 8\)": {"noisy": torch.zeros(3, 3, 8, 8)},
    r"labels must be integers \(180,\)": {"labels": torch.zeros(3, dtype=torch.long)},
    r"labels must be integers \(180,\), one per clean image; got torch.float32": {"labels": torch.zeros(180)},
    r"labels\[0\] is -1; classes count from 0": {"labels": torch.full((180,), -1)},
    "labels go up to 3, and stripes has 3 classes": {"labels": torch.arange(180) % 4},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_at_the_door(message, task):
    given = {"clean": task.clean, "adversarial": task.made, "labels": task.labels} | BAD[message]
    with pytest.raises(InputError, match=message):
        Mahalanobis().fit(given.pop("clean"), given.pop("adversarial"), target=task.target, **given)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (nn.Linear(1, 1), "is no target; pass Classifier"),
        (sp.Classifier(lambda x: x.flatten(1)[:, :3] * 9 - 3, name="function"), "function: only the layers of a"),
        (
            sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), name="small"),
            r"small cannot take images of shape \(1, 8, 8\)",
        ),
        (sp.Classifier(nn.Flatten(), stochastic=True, name="dice"), "dice answers otherwise each time"),
    ],
)
def test_targets_that_cannot_be_read(target, message, task):
    with pytest.raises(TargetError, match=message):
        Mahalanobis().fit(task.clean, task.made, target=target)


PARAMETERS = {
    r"LID k=1; pass an int >= 2": LID(k=1),
    r"LID k=200 is larger than its reference of minibatch_size=100 images": LID(k=200),
    "LID minibatch_size=0": LID(minibatch_size=0),
    "LID C=0": LID(C=0),
    "Mahalanobis magnitude=-0.1": Mahalanobis(magnitude=-0.1),
    "KernelDensity bandwidth=0": KernelDensity(bandwidth=0),
    "KernelDensity dropout=1": KernelDensity(dropout=1),
    "KernelDensity n_samples=2.5": KernelDensity(n_samples=2.5),
    "MagNet val_fraction=0": MagNet(val_fraction=0),
    "MagNet temperature=0": MagNet(temperatures=(0,)),
    "InputDetector width=0": InputDetector(width=0),
    "FeatureDetector width='8'": FeatureDetector(width="8"),
    "Subspace n_splits=1": Subspace(n_splits=1),
    "Subspace explained_variance=1": Subspace(explained_variance=1),
    "FeatureSqueezing squeezers=\\(\\)": FeatureSqueezing(()),
    "FeatureSqueezing squeezers=\\['median'\\]": FeatureSqueezing(["median"]),
    "stripes has no layer '3x'. Did you mean '3'": Subspace(layers=("3x",)),
    "layers='3'; pass one or more names": Subspace(layers="3"),
    "stripes has no layer 'conv9'": FeatureDetector(layer="conv9"),
}


@pytest.mark.parametrize("message", PARAMETERS)
def test_parameters_out_of_range_are_refused_when_it_is_fitted(message, task):
    with pytest.raises(ConfigError, match=message):
        PARAMETERS[message].fit(task.clean, task.made, target=task.target)


FEW = {
    "LID keeps 100 clean images as neighbours and learns from others, and there are 60": LID(),
    "Subspace needs 200 clean images for 100 folds; got 60": Subspace(n_splits=100),
    "KernelDensity needs four clean images of each of the 3 classes, and there are fewer of 1": KernelDensity(),
    "MagNet holds out 60 of 60 clean images": MagNet(val_fraction=0.999),
}


@pytest.mark.parametrize("message", FEW)
def test_too_few_images_are_refused(message, task):
    with pytest.raises(InputError, match=message):
        FEW[message].fit(task.clean[:60], task.made, target=task.target, labels=task.labels[:60].clamp(max=1))


def test_as_many_images_as_classes_have_no_covariance(task):
    with pytest.raises(InputError, match="3 clean images of 3 classes have no spread"):
        Mahalanobis().fit(task.clean[:3], task.made, target=task.target)


def test_without_a_threshold_there_is_no_alarm(task):
    f = FeatureSqueezing().fit(task.clean, target=task.target)
    with pytest.raises(ConfigError, match="FeatureSqueezing has no threshold yet: call calibrate"):
        f.alarm(task.validation, None)


def test_images_that_it_learned_from_set_no_threshold(one, task):
    mixed = torch.cat((task.validation, task.clean[:7]))
    with pytest.raises(InputError, match=f"7 of 127 validation images were used to fit {one.name}"):
        one.calibrate(mixed)


def test_scores_are_of_images_like_those_that_were_learned_from(one):
    with pytest.raises(InputError, match=r"images to score: images of shape \(1, 9, 9\), where \(1, 8, 8\)"):
        one.score(torch.zeros(2, 1, 9, 9))
    with pytest.raises(InputError, match="images to score: image 0 holds NaN"):
        one.score(torch.full((2, 1, 8, 8), float("nan")))


def test_a_fit_in_inference_mode(task):
    with torch.inference_mode():
        f = InputDetector(width=2, config=SHORT).fit(task.clean, task.made).calibrate(task.validation)
        g = Mahalanobis(magnitude=0.01, layers=("6",)).fit(task.clean, task.made, target=task.target)
        assert bool(g.score(task.validation[:3]).isfinite().all())
    assert f.score(task.validation[:3]).shape == (3,)


def test_extra_class_widens_logits_only(task):
    binary = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double()
    with pytest.raises(TargetError, match="gives no logit per class, and ExtraClass adds one"):
        table["extra-class"]().fit(task.clean, task.made, target=sp.Classifier(binary, binary=True))


def test_no_linear_layer_is_no_last_hidden_layer(task):
    pooling = nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()).double()
    with pytest.raises(TargetError, match="has no linear layer, and so no last hidden layer"):
        KernelDensity().fit(task.clean, task.made, target=sp.Classifier(pooling))
