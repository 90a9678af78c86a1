"""Training plans: what they become, and what is said of mistakes in them."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import APGD, PGD
from sparring.attacks import table as attacks
from sparring.defenses.training import Adversary, Madry, Objective, Plain, TrainingConfig, Validation
from sparring.defenses.training import plan as plans
from sparring.defenses.training.certified import CertifiedObjective
from sparring.defenses.training.plan import NamedTable, make_training_plan, read_training_plan, writable
from sparring.errors import ConfigError, ThreatError
from sparring.geometry import Ball
from sparring.targets import Target

LEAST = """
model = "zoo:mnist-plain"
[data]
train = "zoo:mnist-train"
[objective]
name = "plain"
"""
FULL = """
model = "mine.py:net"
weights = "given"
[data]
train = "folder:pictures"
limit = 20
[objective]
name = "madry"
label_smoothing = 0.1
[[attack]]
name = "pgd"
threat = "linf:8/255"
steps = 7
step_size = 0.01
[adversary]
batch_norm = "train"
eps_schedule = [[0, 0.0], [5, 1.0]]
steps_schedule = [[0, 5], [5, 10]]
sources = ["zoo:one", "zoo:two"]
[training]
epochs = 3
[training.optimizer]
name = "adam"
lr = 1e-3
[training.averaging]
decay = 0.9
[validation]
val_size = 10
[[validation.attack]]
name = "apgd"
threat = "linf:0.1"
steps = 20
[devices]
count = 2
"""


def made(text, *changes):
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    return make_training_plan(tomllib.loads(text))


def spoken(spec):
    """A target of that name."""
    return sp.Classifier(nn.Flatten(), name=spec)


def test_what_is_not_said_is_the_default():
    plan = made(LEAST)
    assert (plan.weights, plan.data.limit, plan.training) == ("fresh", None, TrainingConfig())
    assert plan.make_objective(spoken) == Plain()
    assert plan.make_adversary(spoken) == Adversary()
    assert plan.make_validation() == (Validation(), None)


def test_words_become_objects():
    plan = made(FULL)
    assert plan.make_objective(spoken) == Madry(label_smoothing=0.1)
    adversary = plan.make_adversary(spoken)
    assert adversary.attacks == (PGD(sp.Linf(8 / 255), steps=7, step_size=0.01),)
    assert (adversary.batch_norm, adversary.eps_schedule, adversary.steps_schedule) == (
        "train",
        ((0, 0), (5, 1)),
        ((0, 5), (5, 10)),
    )
    assert [source.name for source in adversary.sources] == ["zoo:one", "zoo:two"]
    validation, chosen = plan.make_validation()
    assert (validation, chosen) == (Validation(val_size=10), (APGD(sp.Linf(0.1), steps=20),))
    assert (plan.training.optimizer.lr, plan.training.averaging.decay, plan.devices.count) == (1e-3, 0.9, 2)


@pytest.mark.parametrize("text", [LEAST, FULL])
def test_a_plan_written_down_is_the_same_plan(text):
    plan = made(text)
    assert make_training_plan(plan.model_dump(mode="json")) == plan


def test_one_attack_may_be_a_table():
    assert made(FULL, ("[[attack]]", "[attack]")) == made(FULL)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[data]", "[dta]", "plan has no 'dta' .*Did you mean 'data'"),
        ("limit", "limt", "data has no 'limt' .*Did you mean 'limit'"),
        ("lr =", "lrr =", "training.optimizer has no 'lrr' .*Did you mean 'lr'"),
        ("decay", "decya", "training.averaging has no 'decya' .*Did you mean 'decay'"),
        ("steps = 7", "step = 7", "attack pgd has no 'step' .*Did you mean 'steps'"),
        ("label_smoothing", "label_smothing", "madry has no 'label_smothing' .*Did you mean 'label_smoothing'"),
        ('"madry"', '"madri"', "objective.name='madri' is unknown .*Did you mean 'madry'"),
        ('"apgd"', '"apdg"', "validation.attack.name='apdg' is unknown .*Did you mean 'apgd'"),
        ("steps = 7", "steps = 7.5", "attack.steps=7.5: Input should be a valid integer"),
        ("steps = 7", "steps = true", "attack.steps=True: Input should be a valid integer"),
        ("steps = 7", "steps = 0", "attack: PGD steps=0"),
        ("smoothing = 0.1", "smoothing = 2", "objective: Madry label_smoothing=2"),
        ("smoothing = 0.1", "smoothing = 2020-01-01", "objective.label_smoothing=.*: Input should be a valid number"),
        ("epochs = 3", "epochs = -3", "training.epochs=-3: Input should be greater than or equal to 1"),
        ("epochs = 3", f"epochs = {10**30}", "training.epochs=1000.*: Input should be less than 2147483648"),
        ("lr = 1e-3", "lr = inf", "optimizer.lr=inf: Input should be a finite number"),
        ("lr = 1e-3", "lr = 0", "optimizer.lr=0: Input should be greater than 0"),
        ("val_size = 10", "val_size = 'x'", "validation.val_size='x'"),
        ('"train"', '"training"', "adversary.batch_norm='training': Input should be 'eval' or 'train'"),
        ("[0, 0.0]", "[7, 0.0]", "rising epochs"),
        ("limit = 20", "limit = 0", "data.limit=0: Input should be greater than or equal to 1"),
        ('train = "folder:pictures"', "", "the plan has no data.train; it needs one"),
        ('model = "mine.py:net"', "", "the plan has no model; it needs one"),
        ('weights = "given"', 'weights = "old"', "weights='old': Input should be 'fresh', 'ibp' or 'given'"),
        ('"pgd"', '"bim"\nball = 3', "attack bim has no 'ball'"),
        ('"linf:8/255"', '"linf:8/255"\nloss = 3', "attack pgd has no 'loss'"),
        ('name = "pgd"\nthreat = "linf:8/255"\nsteps = 7\nstep_size = 0.01', 'name = "ddn"', "DDN searches"),
    ],
)  # fmt: skip
def test_mistakes_are_named(before, after, said):
    with pytest.raises(ConfigError, match=said):
        made(FULL, (before, after))


@pytest.mark.parametrize(
    ("threat", "said"),
    [
        ('threat = "linf:8"', "attack.threat 'linf:8': .*for 8 of 255 levels write linf:8/255"),
        ('threat = "lnf:0.1"', "Did you mean 'linf'"),
        ('threat = "linf:0.1,0.2"', "has 2 radii; train on one"),
        ('threat = ["linf:0.1", "l2:1"]', r"pgd keeps to one radius; write one \[\[attack\]\] for each"),
        ("", "attack has no threat, and pgd needs a radius"),
    ],
)
def test_threats(threat, said):
    with pytest.raises(ThreatError, match=said):
        made(FULL, ('threat = "linf:8/255"', threat))


def test_the_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        read_training_plan(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_training_plan(tmp_path)
    path = tmp_path / "plan.toml"
    path.write_text("model =")
    with pytest.raises(ConfigError, match=r"plan\.toml is no TOML"):
        read_training_plan(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"plan\.toml is no TOML"):
        read_training_plan(path)
    path.write_text(LEAST.replace("plain", "plan"))
    with pytest.raises(ConfigError, match=r"plan\.toml: objective\.name='plan' is unknown"):
        read_training_plan(path)


@dataclass(frozen=True)
class Around(Objective):
    """Something of another objective, a model and several."""

    inner: Objective
    teacher: Target | None = None
    others: tuple[Target, ...] = ()
    how: Callable[[int], int] | None = None
    share: float = 0.5

    def losses(self, net, batch, examples):
        return self.inner.losses(net, batch, examples)


@dataclass(frozen=True)
class Several:
    """An attack on several balls."""

    balls: tuple[Ball, ...]
    steps: tuple[int, ...] = (3, 3)
    keep = None
    name = "Several"


@pytest.fixture
def around(monkeypatch):
    monkeypatch.setitem(plans.objectives, "around", Around)
    monkeypatch.setitem(plans.attacks, "several", Several)


def test_models_and_objectives_inside_an_objective(around):
    text = LEAST.replace('name = "plain"', 'name = "around"\nteacher = "trained:t"\nothers = ["zoo:a", "zoo:b"]')
    text += '[objective.inner]\nname = "madry"\nlabel_smoothing = 0.2'
    asked = []
    objective = made(text).make_objective(lambda spec: asked.append(spec) or spoken(spec))
    assert objective.inner == Madry(0.2)
    assert asked == ["trained:t", "zoo:a", "zoo:b"]
    assert objective.teacher.name == "trained:t"
    assert [other.name for other in objective.others] == ["zoo:a", "zoo:b"]
    assert list(writable(Around)) == ["inner", "teacher", "others", "share"]
    for before, after, said in (
        ('"trained:t"', "3", "objective.teacher=3: name a model, as trained:DIR"),
        ('["zoo:a", "zoo:b"]', '"zoo:a"', "objective.others='zoo:a': name models"),
        ('name = "madry"', "", r"write a table \[objective.inner\] with a name"),
        ('"madry"', '"mdry"', "objective.inner.name='mdry' is unknown .*Did you mean 'madry'"),
        ("smoothing = 0.2", "smoothing = 2", "Madry label_smoothing=2"),
    ):
        with pytest.raises(ConfigError, match=said):
            made(text, (before, after)).make_objective(spoken)
    with pytest.raises(ConfigError, match="objective around needs inner; add inner = "):
        made(LEAST, ('name = "plain"', 'name = "around"'))


def test_an_attack_on_several_balls(around):
    named = plans.NamedAttack(name="several", threat=("linf:0.3", "l2:2", "l1:10"), steps=[1, 2])
    assert plans.make_plan_attack(named, "attack") == Several((sp.Linf(0.3), sp.L2(2), sp.L1(10)), (1, 2))
    with pytest.raises(ThreatError, match="several wants a list"):
        plans.make_plan_attack(plans.NamedAttack(name="several", threat="linf:0.3"), "attack")


@pytest.mark.parametrize("name", sorted(attacks))
def test_every_attack_can_be_named(name):
    """In one of the norms at least, and with its own numbers given."""
    kind = attacks[name]
    for threat in (None, "linf:0.1", "l2:1", "l1:5", "l0:5", ("linf:0.1", "l2:1")):
        try:
            attack = plans.make_plan_attack(plans.NamedAttack(name=name, threat=threat), "attack")
        except (ThreatError, ConfigError):
            continue
        plain = {key: getattr(attack, key) for key in writable(kind) if isinstance(getattr(attack, key), int | float)}
        again = plans.make_plan_attack(plans.NamedAttack(name=name, threat=threat, **plain), "attack")
        assert again == attack
        return
    pytest.fail(f"{name} takes no threat")


@pytest.mark.parametrize("name", sorted(plans.objectives))
def test_every_objective_can_be_written(name):
    """Without models it is made as it is; what must be given is what its class has no default for."""
    kind = plans.objectives[name]
    needed = [key for key, field in writable(kind).items() if plans.is_required(field)]
    if issubclass(kind, CertifiedObjective):
        needed = ["threat"]
    if needed:
        with pytest.raises(ConfigError, match=f"objective {name} needs {needed[0]}"):
            plans.make_objective(NamedTable(name=name), spoken, "objective")
    else:
        assert isinstance(plans.make_objective(NamedTable(name=name), spoken, "objective"), kind)
    assert torch.is_grad_enabled()


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted(ROOT.glob("src/sparring/zoo/plans/*.toml")), ids=lambda path: path.stem)
def test_the_plans_of_the_repository(path):
    assert read_training_plan(path).data.train.startswith("zoo:")


def test_the_plan_of_the_docs():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    plan = make_training_plan(tomllib.loads(text))
    assert plan.make_adversary(spoken).attacks == (PGD(sp.Linf(0.3), steps=7, step_size=0.1),)
