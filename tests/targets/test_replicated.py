"""One model on several devices gives what it gives on one."""

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.attacks import PGD, GradientUniversal, Square
from sparring.errors import ConfigError, TargetError
from sparring.targets import Replicated


@pytest.fixture
def case():
    return testing.small_net(11)


@pytest.mark.parametrize("attack", [PGD(sp.Linf(0.05), steps=5), Square(sp.Linf(0.1), n_queries=20)])
def test_a_run_on_three_devices_is_a_run_on_one(case, attack):
    one = sp.run(attack, case.target, case.goal, case.images)
    three = sp.run(attack, Replicated(case.target, ["cpu"] * 3), case.goal, case.images)
    assert torch.equal(three.success, one.success)
    assert torch.allclose(three.examples, one.examples, atol=1e-12)
    assert torch.equal(three.passes.forwards, one.passes.forwards)


def test_a_fit_on_three_devices_is_a_fit_on_one(case):
    attack = GradientUniversal(sp.Linf(0.1), epochs=3, batch_size=4)
    one = sp.fit(attack, case.target, case.goal, case.images)
    three = sp.fit(attack, Replicated(case.target, ["cpu"] * 3), case.goal, case.images)
    assert torch.allclose(three.artifact.delta, one.artifact.delta, atol=1e-12)
    assert three.fooled == one.fooled


def test_every_device_takes_its_part(case):
    counting = testing.Counting(case.module)
    target = Replicated(sp.Classifier(counting), ["cpu", "cpu"])
    with torch.no_grad():
        assert torch.allclose(target(case.images), case.module(case.images))
        target(case.images[:1])  # fewer images than devices
    assert [twin.model.forwards for twin in target.copies] == [6 + 1, 5]
    assert counting.forwards == 0  # the original is not asked


def test_the_copies_are_held_still_and_let_go(case):
    target = Replicated(case.target, ["cpu", "cpu"])
    for twin in target.copies:
        twin.model.train()
    with target.frozen():
        assert not any(twin.model.training for twin in target.copies)
    assert all(twin.model.training for twin in target.copies)
    assert case.target.identity()[1:] != ()
    assert [str(part) for part in target.identity()] == [str(part) for part in case.target.identity()]


def test_bad_input(case):
    with pytest.raises(ConfigError, match="devices is empty; pass at least one"):
        Replicated(case.target, [])
    with pytest.raises(TargetError, match="is a function, and only modules are copied"):
        Replicated(sp.Classifier(lambda x: case.module(x)), ["cpu"])
