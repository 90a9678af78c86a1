"""Attacks that a suite names with parameters, of a file, or as objects: what runs, and what is recorded or refused."""

from __future__ import annotations

import json

import pytest

import sparring as sp
from sparring.audit import render
from sparring.errors import ConfigError, RunError, ThreatError, UserCodeError

OWN = """
from dataclasses import dataclass
import sparring as sp

@dataclass(frozen=True)
class Own(sp.attacks.PGD):
    pass

def made():
    return sp.attacks.PGD(sp.Linf(0.05), steps=3)

def broken():
    raise ValueError("no attack here")
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}"


def parts(report, which=0):
    return report.threats[which].epsilons[0].attacks


def counted(part):
    """What an attack did, without its name and time."""
    return part.model_dump(exclude={"attack", "seconds"})


def test_words_objects_and_files_run_what_they_mean_and_nothing_else(quick, own, tmp_path):
    threats = [sp.Linf(0.05)]
    known = quick(threats=threats, suite=[sp.attacks.PGD(sp.Linf(0.05), steps=3)], out=tmp_path / "known")
    same = ("pgd:steps=3", "PGD:steps=3", [sp.attacks.PGD(sp.Linf(0.05), steps=3)], f"{own}:made", f"{own}:Own:steps=3")
    for place, suite in enumerate(same):
        report = quick(threats=threats, suite=suite, out=tmp_path / str(place))
        assert [counted(part) for part in parts(report)] == [counted(part) for part in parts(known)], suite


def test_several_with_one_name_are_told_apart(quick, tmp_path):
    nested = sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.02), steps=2), 2)
    report = quick(threats=[sp.Linf(0.02)], suite=["fgsm", "pgd:steps=2", "pgd:steps=4", sp.attacks.BIM, nested])
    names = [part.attack for part in parts(report)]
    assert names == [
        "FGSM", "PGD(steps=2)", "PGD(steps=4)", "BIM", "Restarts(attack=PGD(steps=2), n_restarts=2)"
    ]  # fmt: skip
    asked = [part.asked for part in parts(report)]
    assert asked == sorted(asked, reverse=True)
    assert asked[0] > 0


@pytest.mark.parametrize("suite", ["auto", "AutoAttack:steps=3,n_queries=5"])
def test_the_ensembles_can_be_named(quick, suite):
    (part,) = parts(quick(threats=[sp.Linf(0.02)], suite=suite))
    assert part.attack.lower().startswith(suite.partition(":")[0].lower())
    assert part.asked > 0


def test_a_report_is_made_again_without_the_attacks(quick, own, tmp_path):
    first = quick(threats=[sp.Linf(0.02)], suite=["fgsm", f"{own}:Own:steps=2"], out=tmp_path / "run")
    (tmp_path / "own.py").write_text("raise SystemExit(5)")
    again = render(tmp_path / "run")
    (tmp_path / "own.py").write_text(OWN)  # workers of later tests import it
    assert [part.model_dump() for part in parts(again)] == [part.model_dump() for part in parts(first)]


def test_a_run_is_resumed_with_the_same_attacks_only(quick, tmp_path):
    one, other = sp.attacks.PGD(sp.Linf(0.02), steps=2), sp.attacks.PGD(sp.Linf(0.02), steps=3)
    quick(threats=[sp.Linf(0.02)], suite=[one], out=tmp_path / "run")
    quick(threats=[sp.Linf(0.02)], suite=[one], out=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match=r"another suite \(\('PGD\(steps=2\)',\), not \('PGD\(steps=3\)',\)\)"):
        quick(threats=[sp.Linf(0.02)], suite=[other], out=tmp_path / "run", resume=True)


def test_a_run_is_not_resumed_with_another_content_of_the_attacks_file(quick, tmp_path):
    file = tmp_path / "changing.py"
    file.write_text(OWN)
    quick(threats=[sp.Linf(0.02)], suite=[f"{file}:Own"], out=tmp_path / "run")
    quick(threats=[sp.Linf(0.02)], suite=[f"{file}:Own"], out=tmp_path / "run", resume=True)
    file.write_text(OWN + "\nTOLERANCE = 3\n")
    with pytest.raises(RunError, match="another content of the files that suite names"):
        quick(threats=[sp.Linf(0.02)], suite=[f"{file}:Own"], out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("ball", [sp.L2(1.0), sp.Linf(0.3)], ids=str)
def test_an_attack_within_a_ball_that_is_no_threat_is_refused(quick, ball):
    with pytest.raises(ThreatError, match=r"PGD\(steps=2\) was made within .*, which is no threat of this audit"):
        quick(threats=[sp.Linf(0.02)], suite=[sp.attacks.PGD(ball, steps=2)])


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("suite", "kind", "said"),
    [
        ("pdg", ConfigError, r"suite 'pdg' is unknown .*Did you mean 'pgd'\?"),
        ("pgd:step=3", ConfigError, r"Did you mean 'steps'\?"),
        ("pgd:eps=3", ConfigError, "norm and radius come from the threat"),
        ("pgd:steps=0", ConfigError, "PGD steps=0; pass an integer >= 1"),
        (["pgd", "PGD"], ConfigError, "suite names pgd twice"),
        (["pgd", "quick"], ConfigError, "'quick' is a suite of its own"),
        ([sp.Linf(0.1)], ConfigError, "is no attack; pass a name, a class or an object"),
        (5, ConfigError, "5 is no attack"),
        ("deepfool,msd", ThreatError, "suite: msd has no field `ball`"),
        ("fgsm,carlini-wagner", ThreatError, r"CarliniWagner knows L2, not Linf\(0\.02\)"),
        ("none.py:made", ConfigError, "none.py does not exist"),
        ("OWN:broken", UserCodeError, "raised ValueError: no attack here"),
        ("OWN:mad", ConfigError, r"has nothing of the name 'mad'. Did you mean 'made'\?"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(quick, own, tmp_path, suite, kind, said):
    suite = suite.replace("OWN", own) if isinstance(suite, str) else suite
    with pytest.raises(kind, match=said):
        quick(threats=[sp.Linf(0.02)], suite=suite, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_workers_run_attacks_of_a_file_and_objects_too(quick, own, tmp_path):
    suite = [f"{own}:Own:steps=2", sp.attacks.Square(sp.Linf(0.02), n_queries=9)]
    alone = quick(threats=[sp.Linf(0.02)], suite=suite, out=tmp_path / "alone")
    shared = quick(threats=[sp.Linf(0.02)], suite=suite, out=tmp_path / "shared", workers=2)
    assert [counted(part) for part in parts(shared)] == [counted(part) for part in parts(alone)]


def test_a_plan_file_may_name_them(tmp_path):
    from sparring.audit.plan_file import read_audit_config

    (tmp_path / "plan.toml").write_text(
        'model = "m"\ndata = "d"\nthreats = ["linf:0.1"]\nsuite = ["PGD:steps=3", "c&w"]\n'
    )
    assert read_audit_config(tmp_path / "plan.toml").suite == ("PGD:steps=3", "c&w")
    (tmp_path / "plan.toml").write_text('model = "m"\ndata = "d"\nthreats = ["linf:0.1"]\nsuite = ["pgd:stepz=3"]\n')
    with pytest.raises(ConfigError, match=r"plan\.toml: 'pgd:stepz=3': pgd has no parameter 'stepz'"):
        read_audit_config(tmp_path / "plan.toml")


def test_the_report_of_a_command_line_with_parameters_is_valid(quick, tmp_path):
    quick(threats=[sp.Linf(0.02)], suite="pgd:steps=2,n_restarts=2", out=tmp_path / "run")
    (attack,) = json.loads((tmp_path / "run" / "report.json").read_text())["threats"][0]["epsilons"][0]["attacks"]
    assert attack["attack"] == "PGD(steps=2) x 2"
