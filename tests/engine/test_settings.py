"""Every entry point works apart from what the caller has set, and puts it back."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks import PGD, AdvGAN, DeepFool, GradientUniversal, Universal
from sparring.defenses.training import Adversary, Madry, TrainingConfig, Validation
from sparring.engine import Engine, craft, fit
from sparring.errors import TargetError, UserCodeError
from sparring.isolation import isolated, user_settings
from sparring.rows import flatten
from sparring.testing.setting_laws import ANSWERS, SETTINGS

CASE = testing.small_net(8)
IMAGES, LABELS = CASE.images.float(), CASE.labels
GOAL = sp.Misclassify(LABELS)
ATTACK = PGD(sp.L2(0.5), steps=3)
ARTIFACT = sp.attacks.Perturbation(torch.full((3, 8, 8), 0.05), sp.Linf(0.1))


def network(dtype=torch.float32):
    return copy.deepcopy(CASE.module).to(dtype)


def by_run(target, images):
    return [sp.run(ATTACK, target, GOAL, images).examples]


def by_craft(target, images):
    return [craft(ATTACK, target, GOAL, images)]


def by_fit(attack):
    def fitted(target, images):
        return list(flatten(fit(attack, target, GOAL, images).artifact)[0].values())

    return fitted


def by_judge(target, images):
    judged = sp.judge_artifact(ARTIFACT, target, GOAL, images)
    return [judged.success_rate, judged.clean_rate]


def by_train(target, images):
    with isolated():
        target = sp.Classifier(copy.deepcopy(target.model))
    config = TrainingConfig(epochs=1, batch_size=4)
    validation = Validation(val_size=2, steps=2)
    sp.train(target, (images, LABELS), Madry(), Adversary((ATTACK,)), config=config, validation=validation)
    return list(target.model.parameters())


def by_audit(tmp_path):
    def audited(target, images):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        report = sp.audit(target, [(images, LABELS)], threats=[sp.L2(0.5)], out=out, suite=["pgd"], steps=3)
        return [torch.tensor(report.threats[0].epsilons[0].robust_accuracy.share, device="cpu", dtype=torch.float32)]

    return audited


WAYS = {
    "run": by_run,
    "craft": by_craft,
    "fit universal": by_fit(Universal(sp.Linf(0.1), epochs=1)),
    "fit universal-gradient": by_fit(GradientUniversal(sp.Linf(0.1), epochs=1)),
    "fit advgan": by_fit(AdvGAN(sp.Linf(0.1), epochs=1)),
    "judge": by_judge,
    "train": by_train,
    "audit": None,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_caller_has_set_changes_no_number(way, tmp_path):
    work = WAYS[way] or by_audit(tmp_path)
    target = sp.Classifier(network())
    wanted = work(target, IMAGES)
    for name, setting in SETTINGS.items():
        with setting():
            before = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
                      torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))  # fmt: skip
            found = work(target, IMAGES)
            after = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
                     torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))  # fmt: skip
        assert before == after
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one, other), name


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "train"])
def test_every_entry_point_works_with_every_dtype(way, name, tmp_path):
    weights, pixels = ANSWERS[name]
    for tensor in (WAYS[way] or by_audit(tmp_path))(sp.Classifier(network(weights)), IMAGES.to(pixels)):
        assert tensor.isfinite().all()


def test_a_model_is_called_under_the_callers_defaults():
    """A network that makes constants in its forward pass was written under them."""
    seen = []

    class Makes(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(torch.float64)

        def forward(self, x):
            seen.append(torch.zeros(1).dtype)
            return self.net(x) @ torch.eye(4)  # a product of two dtypes is refused by torch

    torch.set_default_dtype(torch.float64)
    try:
        found = sp.run(DeepFool(), sp.Classifier(Makes()), GOAL, IMAGES)
    finally:
        torch.set_default_dtype(torch.float32)
    assert set(seen) == {torch.float64}
    assert found.examples.dtype is torch.float32
    assert found.success.all()


def test_settings_nest_and_are_put_back_after_an_error():
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ZeroDivisionError), torch.no_grad(), isolated():
            assert torch.get_default_dtype() is torch.float32
            assert torch.is_grad_enabled()
            with user_settings():
                assert torch.get_default_dtype() is torch.float64
                with isolated():
                    assert torch.get_default_dtype() is torch.float32
                assert torch.get_default_dtype() is torch.float64
            assert torch.get_default_dtype() is torch.float32
            raise ZeroDivisionError
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("goal", [testing.verifier, testing.detector, testing.segmenter])
def test_other_tasks_work_in_the_dtype_of_the_images(goal):
    """Outputs, templates and boxes in float64, images in float32."""
    case = goal(3)
    found = sp.run(PGD(sp.Linf(0.5), steps=5), case.target, case.goal, case.images.float())
    assert found.examples.dtype is torch.float32
    again = sp.run(PGD(sp.Linf(0.5), steps=5), case.target, case.goal, case.images)
    assert torch.equal(found.success, again.success)
    assert found.success.any()


def test_models_compiled_for_one_backward_pass_give_several_gradients():
    compiled = torch.compile(network(), backend="aot_eager", dynamic=True)
    plain, fast = sp.Classifier(network()), sp.Classifier(compiled)
    for attack in (DeepFool(), sp.attacks.SuperDeepFool(), sp.attacks.FAB(sp.L2(), steps=4)):
        wanted, found = (sp.run(attack, target, GOAL, IMAGES, engine=Engine()) for target in (plain, fast))
        assert torch.equal(wanted.success, found.success)
        assert float((wanted.examples - found.examples).abs().max()) < 1e-4, attack.name
    made = [fit(Universal(sp.Linf(0.2), epochs=1), target, GOAL, IMAGES).artifact for target in (plain, fast)]
    assert float((made[0].delta - made[1].delta).abs().max()) < 1e-4


def test_a_model_that_compiles_itself_in_its_first_pass_gives_several_gradients():
    """torch's compiler is imported while an attack runs, here in a process that has not done so."""
    program = (
        "import torch, sys, sparring as sp\n"
        "from sparring import testing\n"
        "case = testing.small_net(3)\n"
        "class Late(torch.nn.Module):\n"
        "    made = []\n"
        "    def forward(self, x):\n"
        "        if not self.made:\n"
        "            self.made.append(torch.compile(case.module, backend='aot_eager', dynamic=True))\n"
        "        return self.made[0](x)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "print(bool(sp.run(sp.attacks.DeepFool(), sp.Classifier(Late()), case.goal, case.images).success.all()))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert said.stdout == "True\n", said.stderr


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ValueError("no gradient today")


def test_an_error_in_the_backward_pass_is_the_models():
    net = network()
    with pytest.raises(UserCodeError, match="the backward pass of the model raised ValueError: no gradient today"):
        sp.run(ATTACK, sp.Classifier(lambda x: Fails.apply(net(x))), GOAL, IMAGES)


class Leaves(nn.Module):
    """A network whose forward pass leaves settings of the process changed."""

    def __init__(self, change):
        super().__init__()
        self.net, self.change = network(), change

    def forward(self, x):
        logits = self.net(x)
        self.change()
        return logits


LEFT = {
    "a default device without values": lambda: torch.set_default_device("meta"),
    "a default device that this machine may lack": lambda: torch.set_default_device("cuda"),
    "the default device": lambda: torch.set_default_device("cpu"),
    "a default dtype": lambda: torch.set_default_dtype(torch.float64),
    "no gradients": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "a precision": lambda: torch.set_float32_matmul_precision("medium"),
    "a number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
}


def settings_now():
    """What the pass of a model may leave changed, and whether torch's own restoring of devices still works."""
    with torch.device("meta"):
        inside = torch.zeros(1).device.type
    return (torch.zeros(1).device.type, inside, torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(), torch.get_num_threads())  # fmt: skip


@pytest.mark.parametrize("around", [None, "cpu", "meta"])
@pytest.mark.parametrize("left", LEFT)
def test_what_a_forward_pass_leaves_changed_changes_nothing(left, around):
    """Neither a number of the attack nor a setting of the caller, who may have set a default device as well."""
    wanted = sp.run(ATTACK, sp.Classifier(network()), GOAL, IMAGES)
    target = sp.Classifier(Leaves(LEFT[left]))
    torch.set_default_device(around)
    try:
        before = settings_now()
        found = sp.run(ATTACK, target, GOAL, IMAGES)
        predicted = target.predict(IMAGES)
        assert settings_now() == before
    finally:
        torch.set_default_device(None)
    assert torch.equal(found.examples, wanted.examples)
    assert torch.equal(found.success, wanted.success)
    assert torch.equal(predicted, sp.Classifier(network()).predict(IMAGES))


def refusing(method):
    """Return a network of which one method does not work."""

    def refuse(*args, **options):
        raise RuntimeError("the weights are elsewhere")

    net = network()
    setattr(net, method, refuse)
    return net


@pytest.mark.parametrize(
    "method", ["parameters", "buffers", "modules", "named_parameters", "named_buffers", "named_modules"]
)
def test_a_model_that_does_not_tell_its_weights_is_refused(method):
    with pytest.raises(UserCodeError, match="Sequential, asked for its layers and weights, raised RuntimeError: the"):
        sp.Classifier(refusing(method))


def test_a_model_whose_weights_are_no_tensors_is_refused():
    net = network()
    net.parameters = net.named_parameters
    with pytest.raises(TargetError, match=r"net, asked for its layers and weights, gives \('0.weight', Parameter"):
        sp.Classifier(net, name="net")


def test_a_model_without_a_state_is_attacked_and_has_no_checkpoint(tmp_path):
    target = sp.Classifier(refusing("state_dict"), name="net")
    wanted = sp.run(ATTACK, sp.Classifier(network()), GOAL, IMAGES)
    assert torch.equal(sp.run(ATTACK, target, GOAL, IMAGES).examples, wanted.examples)
    told = r"(net|Sequential)\.state_dict\(\) raised RuntimeError: the weights are elsewhere"
    with pytest.raises(UserCodeError, match=told):
        sp.run(ATTACK, target, GOAL, IMAGES, engine=Engine(checkpoint=tmp_path / "run"))
    with pytest.raises(UserCodeError, match=told):
        by_train(target, IMAGES)
    with pytest.raises(UserCodeError, match=told):
        by_audit(tmp_path)(target, IMAGES)
