"""Goal and images in the forms that people have them in: labels, arrays, data sets, loaders, names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sparring as sp
from sparring.errors import GoalError, InputError
from sparring.transforms.artifact import PerturbsImages


@pytest.fixture
def target():
    torch.manual_seed(0)
    return sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4)), classes=4)


@pytest.fixture
def images():
    return (torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 255).round() / 255


@pytest.fixture
def labels(target, images):
    return target(images).argmax(1)


def forms(images, labels, folder):
    """(goal, x) as people may write them; all mean the same."""
    bytes_ = (images * 255).round().to(torch.uint8).numpy()
    np.savez(folder / "a.npz", images=bytes_, labels=labels.numpy())
    pairs = TensorDataset(images, labels)
    return {
        "labels": (labels, images),
        "images first": (images, labels),
        "lists of labels": (labels.tolist(), images),
        "one-hot": (torch.eye(4)[labels], images),
        "float labels": (labels.float(), images),
        "numpy": (labels.numpy(), images.numpy()),
        "bytes": (bytes_, labels),
        "channels last": (labels, images.permute(0, 2, 3, 1).numpy()),
        "a goal and a loader": (sp.Misclassify(labels), DataLoader(TensorDataset(images), batch_size=5)),
        "a pair": ((images, labels), None),
        "a data set": (pairs, None),
        "a loader": (DataLoader(pairs, batch_size=5), None),
        "a list of items": (list(zip(images, labels, strict=True)), None),
        "a path": (folder / "a.npz", None),
        "a name": (f"npz:{folder / 'a.npz'}", None),
        "loaded data": (sp.load_data(folder / "a.npz"), None),
        "images with a goal": ((images, sp.Misclassify(labels)), None),
    }


@pytest.mark.wrong_types
def test_all_forms_of_goal_and_images_give_one_outcome(target, images, labels, tmp_path):
    attack = sp.attacks.PGD(sp.Linf(0.2), steps=5)
    expected = sp.run(attack, target, sp.Misclassify(labels), images)
    assert int(expected.success.sum()) > 0
    for name, (goal, x) in forms(images, labels, tmp_path).items():
        outcome = sp.run(attack, target, goal, x)
        assert torch.equal(outcome.success, expected.success), name
        torch.testing.assert_close(outcome.examples, expected.examples, atol=1e-6, rtol=0)


@pytest.mark.wrong_types
def test_craft_fit_and_judge_take_the_same_forms(target, images, labels, tmp_path):
    goal = sp.Misclassify(labels)
    attack, shared = sp.attacks.FGSM(sp.Linf(0.1)), sp.attacks.GradientUniversal(sp.Linf(0.2), epochs=1)
    crafted, fitted = sp.craft(attack, target, goal, images), sp.fit(shared, target, goal, images)
    assert isinstance(fitted.artifact, PerturbsImages)
    judged = sp.judge_artifact(fitted.artifact, target, goal, images)
    for given in ((labels, images), ((images, labels), None), (TensorDataset(images, labels), None)):
        assert torch.equal(sp.craft(attack, target, *given), crafted)
        assert torch.equal(sp.fit(shared, target, *given).artifact.delta, fitted.artifact.delta)
        assert torch.equal(sp.judge_artifact(fitted.artifact, target, *given).success_rate, judged.success_rate)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (lambda x, y: (y + 0.5, x), InputError, r"labels: image 0 has the label \d\.5; a label is a whole number"),
        (lambda x, y: (y + 4, x), InputError, "the model's classes are 0 to 3"),
        (lambda x, y: (y[:3], x), InputError, r"labels of shape \(3,\) beside 12 images"),
        (lambda x, y: (y > 1, x), InputError, "a bool is no class"),
        (lambda x, y: ([None] * 12, x), InputError, "every label is None"),
        (lambda x, y: (x, None), InputError, "has no labels, so that nothing says what an attack succeeds by"),
        (lambda x, y: ("misclassify", x), GoalError, "a str is no goal; pass one, as Misclassify"),
        (lambda x, y: (y, (x * 255).numpy()), InputError, "divide by 255"),
        (lambda x, y: (y, x.numpy().astype(object)), InputError, "an array of object"),
        (lambda x, y: (y, (x * 4095).numpy().astype(np.uint16)), InputError, "which value is white is not known"),
    ],
)
def test_what_means_nothing_is_refused_by_name(given, kind, said, target, images, labels):
    with pytest.raises(kind, match=said):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), target, *given(images, labels))


@pytest.mark.wrong_types
def test_labels_serve_classifiers_of_other_inputs():
    torch.manual_seed(0)
    target = sp.Classifier(nn.Linear(5, 3), inputs=sp.Unbounded())
    x = torch.randn(6, 5)
    labels = target(x).argmax(1)
    attack = sp.attacks.PGD(sp.L2(2.0), steps=5)
    expected = sp.run(attack, target, sp.Misclassify(labels), x)
    for given in ((labels, x), ((x, labels), None), (labels.numpy(), x.numpy())):
        assert torch.equal(sp.run(attack, target, *given).examples, expected.examples)


def test_a_tensor_of_bytes_is_read_as_an_array_of_them_is(target, images, labels):
    whole = (images * 255).round().to(torch.uint8)
    attack = sp.attacks.FGSM(sp.Linf(0.1))
    wanted = sp.run(attack, target, sp.Misclassify(labels), images)
    for given in (whole, whole.numpy()):
        assert torch.equal(sp.run(attack, target, sp.Misclassify(labels), given).examples, wanted.examples)


def test_labels_that_are_no_list_are_refused_by_name(target, images):
    with pytest.raises(InputError, match="a dict is no class"):
        sp.load_data((images, {}), target).tensors()
    assert sp.load_data((images[:1], 3), target).tensors()[1].tolist() == [3]
