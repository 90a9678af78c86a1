"""What attacks of attacks, ensembles and trainings are made of is checked when they are made."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import APGD, FGSM, MIFGSM, PGD, Cascade, InputDiversity, Restarts, Rivals, TransferAttack
from sparring.defenses.training import Adversary, Madry
from sparring.errors import ConfigError, TargetError, ThreatError
from sparring.targets import Ensemble, Surrogate

BALL = sp.Linf(0.1)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    "make",
    [
        lambda: Restarts(PGD, 3),
        lambda: Restarts([PGD(BALL)], 3),
        lambda: Restarts("pgd", 3),
        lambda: Rivals(APGD),
        lambda: Rivals(APGD(BALL), 9, "dlr"),
        lambda: Cascade([PGD(BALL), FGSM(BALL)]),
        lambda: Cascade(PGD(BALL), FGSM),
        lambda: TransferAttack(MIFGSM, InputDiversity()),
        lambda: TransferAttack(MIFGSM(BALL), (InputDiversity(),)),
        lambda: TransferAttack(MIFGSM(BALL), InputDiversity),
        lambda: Adversary(PGD(BALL)),
        lambda: Adversary((PGD,)),
        lambda: PGD(BALL, steps=True),
    ],
)
def test_what_is_no_attack_is_refused(make):
    with pytest.raises(ConfigError, match=r"pass|one by one"):
        make()


@pytest.mark.wrong_types
def test_what_is_no_target_is_refused():
    target, module = sp.Classifier(nn.Flatten()), nn.Flatten()
    for make in (lambda: Ensemble(target), lambda: Surrogate(target, module), lambda: Surrogate(module, target)):
        with pytest.raises(TargetError, match="Classifier"):
            make()


@pytest.mark.wrong_types
@pytest.mark.parametrize("radius", [10**400, True])
def test_what_is_no_radius_is_refused(radius):
    with pytest.raises(ThreatError, match="is not a radius"):
        sp.L2(radius)


def test_a_radius_per_row_beyond_the_valid_range_is_refused():
    images, target = torch.rand(2, 1, 4, 4), sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    goal = sp.Misclassify(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ThreatError, match="8/255"):
        sp.run(FGSM(BALL), target, goal, images, eps=torch.tensor([0.1, 8.0]))


@pytest.mark.wrong_types
def test_a_training_names_what_it_is_not_given():
    target, data = sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3))), (torch.rand(9, 1, 4, 4), [0, 1, 2] * 3)
    for objective, adversary in ((Madry, Adversary((PGD(BALL),))), ("madry", None), (Madry(), PGD(BALL))):
        with pytest.raises(ConfigError, match="pass"):
            sp.train(target, data, objective, adversary)


@pytest.mark.wrong_types
def test_a_folder_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="out=5"):
        sp.audit(nn.Flatten(), (torch.rand(2, 1, 4, 4), [0, 1]), threats=BALL, out=5)
