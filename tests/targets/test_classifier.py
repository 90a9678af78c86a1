"""What a classifier reads, refuses, and puts back."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.errors import InputError, TargetError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture
def case():
    return testing.small_net(5)


def attacked(target, case, attack=None):
    return sp.run(attack or sp.attacks.FGSM(sp.Linf(0.05)), target, case.goal, case.images)


def test_mean_and_std_are_the_targets_own(case):
    target = sp.Classifier(case.module, mean=MEAN, std=STD)
    column = [torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD)]
    assert torch.equal(target(case.images), case.module((case.images - column[0]) / column[1]))
    one = sp.Classifier(case.module, mean=0.5, std=0.25)
    assert torch.equal(one(case.images), case.module((case.images - 0.5) / 0.25))


def test_mean_keeps_its_precision_when_the_model_changes_type(case):
    target = sp.Classifier(case.module.float(), mean=0.1, std=1 / 3)
    target(case.images)
    case.module.double()
    assert torch.equal(target(case.images), case.module((case.images - 0.1) / (1 / 3)))


def test_nhwc(case):
    class Last(nn.Module):
        def forward(self, x):
            assert x.shape[-1] == 3
            return case.module(x.permute(0, 3, 1, 2))

    answer = sp.Classifier(Last(), layout="NHWC")(case.images)
    assert torch.allclose(answer, case.module(case.images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_binary_model_has_two_classes(case, shape):
    class Single(nn.Module):
        def forward(self, x):
            z = case.module(x)
            return (z[:, 0] - z[:, 1] - middle).view(shape)

    with torch.no_grad():
        z = case.module(case.images)
        middle = (z[:, 0] - z[:, 1]).median() + 0.01
    target = sp.Classifier(Single(), binary=True)
    outputs = target(case.images)
    single = Single()(case.images).flatten()
    assert torch.equal(outputs, torch.stack((torch.zeros_like(single), single), dim=1))
    labels = (single > 0).long()
    for attack in (sp.attacks.PGD(sp.Linf(0.5)), sp.attacks.DeepFool(), sp.attacks.Square(sp.Linf(0.5), n_queries=200)):
        outcome = sp.run(attack, target, sp.Misclassify(labels), case.images)
        assert outcome.success.all(), attack.name
        assert torch.equal((Single()(outcome.examples).flatten() > 0).long(), 1 - labels)


def test_a_binary_model_with_two_logits_or_three_classes(case):
    with pytest.raises(TargetError, match="binary=True wants one logit per image, and the model gives 4"):
        attacked(sp.Classifier(case.module, binary=True), case)
    with pytest.raises(TargetError, match="a binary model has 2 classes, not 3"):
        sp.Classifier(case.module, binary=True, classes=3)


def test_a_binary_model_of_probabilities(case):
    """One probability p of class 1 reads as the logits (log(1 - p), log p)."""
    p = torch.tensor([0.1, 0.9, 0.5, 0.3], dtype=torch.float64)
    target = sp.Classifier(lambda x: p, binary=True, probabilities=True)
    outputs = target(case.images[:4])
    assert torch.allclose(outputs.softmax(1)[:, 1], p)
    assert (outputs[:, 1] > outputs[:, 0]).tolist() == [False, True, False, False]


@pytest.mark.parametrize("wrap", [lambda z: SimpleNamespace(logits=z), lambda z: {"logits": z, "loss": None}])
def test_hugging_face_outputs(case, wrap):
    target = sp.Classifier(lambda x: wrap(case.module(x)))
    assert torch.equal(target(case.images), case.module(case.images))


def test_outputs_that_are_no_logits(case):
    with pytest.raises(TargetError, match="the model returned a tuple; a classifier returns a tensor of logits"):
        attacked(sp.Classifier(lambda x: (case.module(x),)), case)
    with pytest.raises(TargetError, match=r"the model returned a dict; .*mapping with 'logits'"):
        attacked(sp.Classifier(lambda x: {"scores": case.module(x)}), case)
    with pytest.raises(TargetError, match=r"shape \(5,\) for 5 images; .*for a single-logit model pass binary=True"):
        attacked(sp.Classifier(lambda x: case.module(x)[:, 0]), case)
    with pytest.raises(TargetError, match=r"shape \(4, 4\) for 5 images; logits are \(images, classes\)"):
        attacked(sp.Classifier(lambda x: case.module(x)[1:]), case)
    with pytest.raises(TargetError, match="no finite logit for the first images; check its weights"):
        attacked(sp.Classifier(lambda x: case.module(x) * torch.nan), case)
    with pytest.raises(TargetError, match="classes=10 was promised, and the model gives 4 logits"):
        attacked(sp.Classifier(case.module, classes=10), case)


def test_a_wrong_number_of_channels(case):
    grey = case.images[:, :1]
    with pytest.raises(InputError, match="the images have 1 channels and the model's mean has 3"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), sp.Classifier(case.module, mean=MEAN), case.goal, grey)
    with pytest.raises(TargetError, match=r"Sequential cannot take images of shape \(1, 8, 8\)"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), sp.Classifier(case.module), case.goal, grey)


@pytest.mark.parametrize("probabilities", [False, True])
def test_percent_is_told_to_be_percent(case, probabilities):
    def percent(x):
        return 100 * case.module(x).softmax(1)

    target = sp.Classifier(percent, probabilities=probabilities)
    with pytest.raises(TargetError, match=r"returns percent .*sums to 100.*divide by 100"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), target, case.goal, case.images)


def test_probabilities_are_refused_or_read_as_logarithms(case):
    def soft(x):
        return case.module(x).softmax(1)

    with pytest.raises(TargetError, match=r"returns probabilities.*pass Classifier\(\.\.\., probabilities=True\)"):
        attacked(sp.Classifier(soft), case)
    target = sp.Classifier(soft, probabilities=True)
    assert torch.allclose(target(case.images).softmax(1), soft(case.images))
    pgd = sp.attacks.PGD(sp.Linf(0.1), steps=5)
    plain, read = attacked(case.target, case, pgd), attacked(target, case, pgd)
    assert torch.equal(plain.success, read.success)
    assert float((plain.examples - read.examples).abs().max()) < 1e-9


def test_promised_probabilities_that_are_none(case):
    with pytest.raises(TargetError, match=r"probabilities=True was promised, and a row sums to .*leave it out"):
        attacked(sp.Classifier(case.module, probabilities=True), case)


def test_a_probability_of_zero_has_a_finite_logit(case):
    target = sp.Classifier(lambda x: torch.eye(2)[[0, 1]], probabilities=True)
    assert target(case.images[:2]).isfinite().all()


@pytest.mark.parametrize(("options", "words"), [
    ({"layout": "CHWN"}, r"layout 'CHWN' is unknown; pass 'NCHW' or 'NHWC'"),
    ({"std": (1.0, 0.0, 1.0)}, r"std \(1\.0, 0\.0, 1\.0\) is not positive"),
    ({"mean": float("nan")}, r"mean nan is not finite"),
])  # fmt: skip
def test_options_that_make_no_sense(case, options, words):
    with pytest.raises(TargetError, match=words):
        sp.Classifier(case.module, **options)


@pytest.mark.wrong_types
def test_what_is_no_model():
    with pytest.raises(TargetError, match=r"a dict is not a model; pass a torch\.nn\.Module or a function"):
        sp.Classifier({"weights": 1})


def test_float64_images_on_a_float32_model(case):
    """The images keep their precision; only the model's own look at them is rounded."""
    module = case.module.float()
    assert case.images.dtype == torch.float64
    for attack in (
        sp.attacks.PGD(sp.L2(1.0), steps=5), sp.attacks.CarliniWagner(binary_search_steps=2, steps=5),
        sp.attacks.DeepFool(), sp.attacks.Square(sp.L2(1.0), n_queries=20), sp.attacks.HopSkipJump(steps=2),
    ):  # fmt: skip
        outcome = attacked(sp.Classifier(module), case, attack)
        assert outcome.examples.dtype == torch.float64
        single = sp.run(attack, sp.Classifier(module), case.goal, case.images.float())
        assert single.examples.dtype == torch.float32


def test_a_model_that_moved_after_it_was_wrapped(case):
    target = sp.Classifier(case.module, mean=0.5)
    case.module.float()
    assert target(case.images).dtype == torch.float32
    case.module.to("meta")
    assert target.device.type == "meta"


class Restless(nn.Module):
    """Updates one buffer in place and puts another in place of the second, in eval mode too."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("absent", None)

    def forward(self, x):
        self.count += 1
        self.seen = self.seen + 1
        return self.module(x)


@pytest.mark.parametrize("fails", [False, True])
def test_frozen_puts_everything_back(case, fails):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), Restless(case.module)).double()
    model.train()
    model[0].eval()  # frozen by the user
    model[2].module[0].weight.requires_grad_(False)
    flags = [part.training for part in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    seen = model[2].seen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with sp.Classifier(model).frozen():
            assert not any(part.training for part in model.modules())
            assert not any(p.requires_grad for p in model.parameters())
            model(case.images)
            assert float(model[2].count) == 1
            assert float(model[2].seen[0]) == 1
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert [part.training for part in model.modules()] == flags
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert model[2].seen is seen
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("change", [lambda x: x.sub_(0.5), lambda x: x.data.sub_(0.5)])
def test_a_model_may_change_its_input_in_place(case, change):
    """It is given a copy: else the ledger would record images that the model has changed, or that `.data` hid."""

    class Changes(nn.Module):
        def forward(self, x):
            change(x)
            return case.module(x)

    def shifted(x):
        return case.module(x - 0.5)

    labels = shifted(case.images).argmax(1)
    for attack in (sp.attacks.PGD(sp.Linf(0.1)), sp.attacks.Square(sp.Linf(0.1), n_queries=5), sp.attacks.DeepFool()):
        found = [
            sp.run(attack, sp.Classifier(net), sp.Misclassify(labels), case.images) for net in (Changes(), shifted)
        ]
        assert torch.equal(found[0].examples, found[1].examples), attack.name
        assert torch.equal(found[0].success, found[1].success), attack.name
    assert torch.equal(case.images, testing.small_net(5).images)


def test_outputs_under_inference_mode(case):
    with torch.inference_mode():
        assert torch.equal(case.target(case.images + 0), case.module(case.images))


def test_granting_answers_alike_and_grants_less(case):
    box = sp.Restricted(case.target, sp.Scores)
    assert box.access is sp.Scores
    assert box.name == "Sequential"
    assert box.device == torch.device("cpu")
    assert torch.equal(box(case.images), case.target(case.images))
    square = sp.attacks.Square(sp.Linf(0.3), n_queries=50)
    assert torch.equal(attacked(box, case, square).examples, attacked(case.target, case, square).examples)
    with pytest.raises(TargetError, match="probabilities"):
        attacked(sp.Restricted(sp.Classifier(lambda x: case.module(x).softmax(1)), sp.Scores), case, square)


def test_granting_freezes_what_it_wraps(case):
    case.module.train()
    with sp.Restricted(case.target, sp.Decisions).frozen():
        assert not case.module.training
    assert case.module.training


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"mean": 123.675}, "mean 123.675 is that of no images in [0, 1]; divide by 255"),
        ({"mean": (0.5, 0.5, 104.0)}, "divide by 255"),
        ({"mean": -0.1}, "mean -0.1 is that of no images"),
        ({"mean": 0.5, "std": 58.0}, "std 58.0 is that of no images in [0, 1]; divide by 255"),
        ({"std": 0.0}, "std 0.0 is not positive"),
        ({"mean": 300.0}, "mean 300.0 is that of no images in [0, 1]"),
    ],
)
def test_statistics_that_images_cannot_have_are_refused(words, told, case):
    with pytest.raises(TargetError) as raised:
        sp.Classifier(case.module, **words)
    assert told in str(raised.value)


@pytest.mark.wrong_types
def test_statistics_that_are_no_numbers_are_refused(case):
    with pytest.raises(TargetError, match="mean 'dark' is no number and no list of one per channel"):
        sp.Classifier(case.module, mean="dark")


def test_statistics_of_other_ranges_are_theirs(case):
    bytes_of = sp.inputs.Images(0.0, 255.0)
    sp.Classifier(case.module, mean=123.675, std=58.4, inputs=bytes_of)
    sp.Classifier(case.module, mean=0.0, std=1 / 255)
    sp.Classifier(case.module, mean=0.0, std=1.0)
    with pytest.raises(TargetError, match=r"mean -1.0 is that of no images in \[0, 255\]"):
        sp.Classifier(case.module, mean=-1.0, inputs=bytes_of)


def test_probabilities_are_told_apart_by_the_rows_that_are_answers(case):
    def half(x):
        return torch.where((torch.arange(len(x)) % 2 == 0)[:, None], torch.nan, case.module(x).softmax(1))

    target = sp.Classifier(half, probabilities=True)
    target.check(target(case.images))
    with pytest.raises(TargetError, match="the model returns probabilities"):
        logits = sp.Classifier(half)
        logits.check(logits(case.images))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_only_a_model_that_changes_its_input_is_given_a_copy(layout):
    seen = []

    class Net(torch.nn.Module):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def forward(self, x):
            seen.append(x.data_ptr())
            if self.change:
                x.data.mul_(0.5)
            return x.flatten(1)[:, :3]

    images = torch.rand(4, 1, 6, 6)
    for change, copies in ((False, [True, False]), (True, [True, True])):
        seen.clear()
        target = sp.Classifier(Net(change), layout=layout)
        before = images.clone()
        answers = [target(images) for _ in range(2)]
        assert torch.equal(images, before)
        assert torch.equal(*answers)
        if layout == "NCHW":
            assert [place != images.data_ptr() for place in seen] == copies
