"""Attacks in words: names as people type them, parameters by the types of the fields, and new balls for objects."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import sparring as sp
from sparring.attacks import table
from sparring.attacks.spec import describe, parse_attack, spec_of, split_attacks, with_ball
from sparring.errors import ConfigError, ThreatError


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("pgd", "pgd"), ("PGD", "pgd"), ("Pgd", "pgd"), (" pgd ", "pgd"), ("c&w", "carlini-wagner"),
        ("C&W", "carlini-wagner"), ("cw", "carlini-wagner"), ("CarliniWagner", "carlini-wagner"),
        ("carlini_wagner", "carlini-wagner"), ("cw-l0", "carlini-wagner-l0"), ("CW-Linf", "carlini-wagner-linf"),
        ("mifgsm", "mi-fgsm"), ("MIM", "mi-fgsm"), ("AutoPGD", "apgd"), ("L1APGD", "apgd-l1"), ("auto", "auto"),
        ("AutoAttack", "autoattack"), ("auto-attack", "autoattack"), ("SquareAttack", "square"),
        ("HSJA", "hopskipjump"),
        ("HopSkipJumpAttack", "hopskipjump"), ("BoundaryAttack", "boundary"), ("FAB-T", "fab-margin"), ("FAB", "fab"),
        ("LBFGS", "l-bfgs"), ("sigma_zero", "sigma-zero"), ("I-FGSM", "bim"), ("ElasticNet", "ead"),
    ],
)  # fmt: skip
def test_an_attack_is_found_as_people_type_it(typed, name):
    assert parse_attack(typed, table).kind is table[name]


def test_every_name_of_the_table_and_every_class_means_itself():
    for name, kind in table.items():
        for typed in (name, name.upper(), name.replace("-", "_"), name.replace("-", ""), kind.__name__):
            assert parse_attack(typed, table).kind is kind, typed


@pytest.mark.parametrize(
    ("typed", "hint"), [("pdg", "pgd"), ("fsgm", "fgsm"), ("squar", "square"), ("deepfol", "deepfool"), ("CWL", "pgd")]
)
def test_the_nearest_name_is_offered(typed, hint):
    with pytest.raises(ConfigError, match=f"there is no attack '{typed}'") as caught:
        parse_attack(typed, table)
    if typed != "CWL":
        assert f"Did you mean '{hint}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("word", "attack"),
    [
        ("pgd:steps=10", sp.attacks.PGD(sp.Linf(0.1), steps=10)),
        ("PGD: steps = 10 , step_size = 2/255", sp.attacks.PGD(sp.Linf(0.1), steps=10, step_size=2 / 255)),
        ("pgd:steps=1e2,step_size=none", sp.attacks.PGD(sp.Linf(0.1), steps=100)),
        ("pgd:random_start=False", sp.attacks.PGD(sp.Linf(0.1), random_start=False)),
        ("pgd:steps=10,n_restarts=3", sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.1), steps=10), 3)),
        ("square:n_queries=100,p_init=.3", sp.attacks.Square(sp.Linf(0.1), n_queries=100, p_init=0.3)),
        ("apgd:loss=dlr", sp.attacks.APGD(sp.Linf(0.1), loss=sp.goals.DLR())),
        ("apgd:loss=cross-entropy", sp.attacks.APGD(sp.Linf(0.1), loss=sp.goals.CrossEntropy())),
        ("fmn:step_size=0.5", sp.attacks.FMN(sp.Linf(0.1), step_size=0.5)),
    ],
)
def test_parameters_are_read_by_their_types(word, attack):
    assert parse_attack(word, table).make(sp.Linf(0.1)) == attack


def test_an_enum_is_named_in_any_case():
    made = parse_attack("ead:decision_rule=l1", table).make(sp.L1(1.0))
    assert made == sp.attacks.EAD(sp.L1(1.0), decision_rule=sp.attacks.DecisionRule.L1)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("pgd:step=3", r"pgd has no parameter 'step' \(it has steps, .*Did you mean 'steps'\?"),
        ("pgd:n_restart=3", r"Did you mean 'n_restarts'\?"),
        ("pgd:ball=linf", "pgd has no parameter 'ball'"),
        ("pgd:steps", "steps has no value; write steps=VALUE"),
        ("pgd:steps=0", "PGD steps=0; pass an integer >= 1"),
        ("pgd:steps=-5", "PGD steps=-5; pass an integer >= 1"),
        ("pgd:steps=1.5", "steps='1.5' is not an integer"),
        ("pgd:steps=ten", "steps='ten' is not an integer"),
        ("pgd:steps=", "steps='' is not an integer"),
        ("pgd:step_size=nan", "step_size='nan' is not a number or none"),
        ("pgd:step_size=1/0", "step_size='1/0' is not a number or none"),
        ("pgd:step_size=-1", "step_size=-1.0; pass a finite number > 0"),
        ("pgd:random_start=no", "random_start='no' is not true or false"),
        ("pgd:steps=1,steps=2", "gives steps twice"),
        ("pgd:n_restarts=0", "n_restarts=0; pass an integer >= 1"),
        ("square:p_init=2", "p_init=2.0; pass a finite number > 0 and <= 1"),
        ("apgd:loss=dl", r"loss='dl' is not none or one of .*Did you mean 'dlr'\?"),
        ("boundary:starting_pool=1", "boundary has no parameter 'starting_pool'"),
        ("", "there is no attack ''"),
        ("mine.py:Attack", "a Python file is not run for an attack here"),
    ],
)
def test_parameters_that_do_not_fit_are_told(word, said):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_attack(word, table)
    assert "\n" not in str(caught.value)


def test_commas_part_attacks_and_not_their_parameters():
    text = "pgd:steps=10, n_restarts=3,square, a.py:B:x=1,y=2 ,fgsm"
    assert split_attacks(text) == ["pgd:steps=10,n_restarts=3", "square", "a.py:B:x=1,y=2", "fgsm"]


def test_a_word_means_again_what_it_meant():
    for word in ("pgd:steps=10,step_size=2/255,n_restarts=3", "ead:decision_rule=l1,beta=1e-3", "auto"):
        first = parse_attack(word, table)
        assert parse_attack(first.word, table) == first


def test_an_object_gets_another_ball_and_keeps_the_rest():
    inner = sp.attacks.PGD(sp.Linf(0.5), steps=3)
    assert with_ball(inner, sp.L2(1.0)) == sp.attacks.PGD(sp.L2(1.0), steps=3)
    nested = sp.attacks.Cascade(sp.attacks.Restarts(inner, 2), sp.attacks.Square(sp.Linf(0.5), n_queries=7))
    moved = with_ball(nested, sp.Linf(0.1))
    expected = (
        sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.1), steps=3), 2),
        sp.attacks.Square(sp.Linf(0.1), n_queries=7),
    )
    assert moved == sp.attacks.Cascade(*expected)
    assert spec_of(nested).make(sp.Linf(0.1)) == moved
    assert spec_of(nested).make(None) == nested


@dataclass(frozen=True)
class Fixed(sp.attacks.PGD):
    """An attack that has its own ball, whatever it is given."""

    @property
    def ball(self):  # type: ignore[override]
        return sp.Linf(0.3)

    @ball.setter
    def ball(self, value):
        return None


def test_an_object_that_keeps_its_ball_is_refused_on_another():
    assert with_ball(Fixed(sp.Linf(0.3)), sp.Linf(0.3)).ball == sp.Linf(0.3)
    with pytest.raises(ThreatError, match=r"Fixed works in Linf\(0\.3\) alone"):
        with_ball(Fixed(sp.Linf(0.3)), sp.Linf(0.1))


def test_a_description_has_what_differs_from_the_default():
    assert describe(sp.attacks.PGD(sp.Linf(0.1))) == "PGD"
    assert describe(sp.attacks.PGD(sp.Linf(0.1), steps=3)) == "PGD(steps=3)"
    restarts = sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.1), steps=3), 2)
    assert describe(restarts) == "Restarts(attack=PGD(steps=3), n_restarts=2)"
    pool = sp.attacks.HopSkipJump(starting_pool=torch.zeros(2, 1, 4, 4))
    assert describe(pool) == "HopSkipJump(starting_pool=tensor(2, 1, 4, 4))"


@pytest.mark.parametrize("thing", [5, None, "x", object(), sp.Linf(0.1), int])
def test_what_is_no_attack_is_refused(thing):
    with pytest.raises(ConfigError, match="is no attack; pass a name, a class or an object"):
        spec_of(thing)
