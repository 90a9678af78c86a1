"""Code of the user's that calls sys.exit(), or raises what is no Exception, never ends a script as a success."""

from dataclasses import dataclass

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.attacks import PGD, Square
from sparring.engine import Engine, craft
from sparring.errors import UserCodeError


class Stop(BaseException):
    """Passes every `except Exception`."""


EXITS = (SystemExit(0), SystemExit(), Stop("now"))
CASE = testing.small_net(4)


def raising(error):
    def raises(*arguments, **named):
        raise error

    return raises


@dataclass(frozen=True)
class Ends(PGD):
    error: BaseException | None = None

    def step(self, oracle, state, t):
        raise self.error


@dataclass(frozen=True)
class EndsGoal(sp.Misclassify):
    error: BaseException | None = None

    def margin(self, outputs):
        raise self.error


class Loader:
    """Batches of which the second cannot be read."""

    def __init__(self, error):
        self.error = error

    def __iter__(self):
        yield CASE.images, CASE.labels
        raise self.error


@pytest.mark.parametrize("error", EXITS, ids=repr)
@pytest.mark.parametrize("call", [
    lambda error: sp.run(PGD(sp.Linf(0.1)), sp.Classifier(raising(error)), CASE.goal, CASE.images),
    lambda error: craft(PGD(sp.Linf(0.1)), sp.Classifier(raising(error)), CASE.goal, CASE.images),
    lambda error: sp.run(Ends(sp.Linf(0.1), error=error), CASE.target, CASE.goal, CASE.images),
    lambda error: craft(Ends(sp.Linf(0.1), error=error), CASE.target, CASE.goal, CASE.images),
    lambda error: sp.run(Square(sp.Linf(0.1)), CASE.target, EndsGoal(CASE.labels, error=error), CASE.images),
    lambda error: sp.run(
        PGD(sp.Linf(0.1)), CASE.target, CASE.goal, CASE.images, engine=Engine(progress=raising(error))
    ),
], ids=["model", "model crafted", "attack", "attack crafted", "goal", "progress"])  # fmt: skip
def test_what_ends_a_run_is_an_error(call, error):
    with pytest.raises(UserCodeError, match=r"called sys\.exit|raised Stop: now") as raised:
        call(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [*EXITS, KeyError("mine")], ids=repr)
def test_what_ends_the_reading_of_data_is_an_error(error, tmp_path):
    with pytest.raises(UserCodeError, match=r"batch 1 of Loader (called sys\.exit|raised (Stop|KeyError))"):
        sp.audit(CASE.target, Loader(error), threats=[sp.Linf(0.1)], out=tmp_path / "run", suite=["pgd"], batch_size=4)


def test_an_interruption_stays_one():
    with pytest.raises(KeyboardInterrupt):
        sp.run(PGD(sp.Linf(0.1)), sp.Classifier(raising(KeyboardInterrupt())), CASE.goal, CASE.images)
    assert torch.is_grad_enabled()
