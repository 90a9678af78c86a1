"""Which attacks a suite has, by norm and by what the target grants."""

import pytest

import sparring as sp
from sparring.audit import make_audit_plan, parse_threat_list
from sparring.audit.plan import EFFORT
from sparring.audit.suites.suite import suite
from sparring.errors import ConfigError, ThreatError


def plan(**options):
    given = {"model": "m", "data": "d", "batch_size": 16, "threats": tuple(parse_threat_list(["linf:0.1"]))}
    return make_audit_plan(**(given | options))


def names(access, ball, **options):
    return [entry.name for entry in suite(access, ball, plan(**options))]


@pytest.mark.parametrize(
    ("access", "found"),
    [
        (sp.Jacobians, ["FGSM", "PGD x 3", "Square"]),
        (sp.Gradients, ["FGSM", "PGD x 3", "Square"]),
        (sp.Scores, ["Square"]),
        (sp.Decisions, ["HopSkipJump"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_suite_asks_for_no_more_than_is_granted(access, found):
    assert names(access, sp.Linf(0.1), suite="quick", restarts=3) == found
    assert all(issubclass(access, entry.access) for entry in suite(access, sp.Linf(0.1), plan(suite="thorough")))


@pytest.mark.parametrize(
    ("ball", "found"),
    [
        (sp.Linf(0.1), ["FGSM", "PGD", "Auto", "Square"]),
        (sp.L2(0.5), ["FGSM", "PGD", "Auto", "Square"]),
        (sp.L1(5), ["FGSM", "PGD", "Auto", "Square"]),
        (sp.Linf(), ["FMN", "FAB-T"]),
        (sp.L2(), ["DDN", "FMN", "ALMA", "FAB-T"]),
        (sp.L1(), ["FMN", "ALMA", "FAB-T"]),
        (sp.L0(), ["FMN", "SigmaZero"]),
    ],
)
def test_the_standard_suite_of_each_norm(ball, found):
    assert names(sp.Jacobians, ball) == found


@pytest.mark.parametrize("name", EFFORT)
@pytest.mark.parametrize("norm", [sp.Linf, sp.L2, sp.L1, sp.L0])
def test_a_name_is_given_once(name, norm):
    for ball in (norm(2) if norm is not sp.Linf else norm(0.1), norm()):
        if norm is sp.L0 and ball.eps < 10:
            with pytest.raises(ThreatError, match=r"no attack of the audit works on L0\(2\)"):
                names(sp.Jacobians, ball, suite=name)
            continue
        for access in (sp.Jacobians, sp.Decisions) if norm in (sp.Linf, sp.L2) else (sp.Jacobians,):
            found = names(access, ball, suite=name)
            assert len(set(found)) == len(found) > 0


def test_a_norm_that_no_attack_serves_is_told():
    with pytest.raises(ThreatError, match=r"no attack of the audit works on L1\(2\) with Decisions"):
        names(sp.Decisions, sp.L1(2))


def test_what_is_carried_over_comes_before_the_queries():
    found = suite(sp.Jacobians, sp.Linf(0.1), plan(surrogate="other"))
    assert [entry.name for entry in found] == ["FGSM", "PGD", "Auto", "transfer from other", "Square"]
    assert found[3].access is sp.Decisions
    assert names(sp.Decisions, sp.Linf(0.1), surrogate="other") == ["transfer from other", "HopSkipJump"]


def test_a_list_of_ones_own_leaves_out_what_does_not_serve_the_norm():
    own = {"suite": "fgsm,ddn,fmn,square"}
    assert names(sp.Jacobians, sp.Linf(0.1), **own) == ["FGSM", "FMN", "Square"]
    assert names(sp.Jacobians, sp.L2(0.5), **own) == ["FGSM", "DDN", "FMN", "Square"]
    assert names(sp.Jacobians, sp.L2(), **own) == ["DDN", "FMN"]
    assert names(sp.Scores, sp.L2(0.5), **own) == ["Square"]
    with pytest.raises(ThreatError, match="no attack of the audit works on L0"):
        names(sp.Jacobians, sp.L0(5), suite=["square"])


def test_repeats_without_end_are_refused():
    assert len(names(sp.Jacobians, sp.Linf(0.1), repeats=250)) == 4
    with pytest.raises(ConfigError, match=r"repeats=1000000000 of 4 attacks are more than 1000 turns .* at most 250"):
        names(sp.Jacobians, sp.Linf(0.1), repeats=10**9)


PAST = [
    "joint PGD, weight 0.3", "joint PGD, weight 1", "joint PGD, weight 3", "Auto, weight 3", "OrthogonalPGD",
    "SelectivePGD",
]  # fmt: skip


def test_what_goes_past_a_detector_comes_last():
    def added(access, ball, **options):
        found = [entry.name for entry in suite(access, ball, plan(**options), rejects=True)]
        before = names(access, ball, **options)
        assert found[: len(before)] == before
        return found[len(before) :]

    for ball in (sp.Linf(0.1), sp.L2(0.5), sp.L1(5)):
        assert added(sp.Jacobians, ball) == PAST
        assert added(sp.Jacobians, ball, suite="quick") == []
    thorough = added(sp.Jacobians, sp.Linf(0.1), suite="thorough")
    assert thorough == [*PAST[:1], "Auto, weight 0.3", *PAST[1:]]
    assert added(sp.Scores, sp.Linf(0.1)) == added(sp.Jacobians, sp.Linf()) == []
    weights = {entry.name: entry.weight for entry in suite(sp.Jacobians, sp.Linf(0.1), plan(), rejects=True)}
    assert [weights[name] for name in PAST] == [0.3, 1, 3, 3, 1, 1]
    entries = suite(sp.Jacobians, sp.Linf(0.1), plan(steps=400), rejects=True)
    assert [one.attack.steps for one in entries if one.name in PAST and "Auto" not in one.name] == [400] * 5


def test_effort_is_the_suites_unless_it_is_said():
    assert (plan().steps, plan().restarts, plan().queries) == tuple(EFFORT["standard"].values())
    assert (plan(suite="quick").steps, plan(suite="quick", steps=7).steps) == (40, 7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"suite": "standart"}, r"Did you mean 'standard'\?"),
        ({"suite": "fgsm,pgdd"}, r"suite 'pgdd' is unknown.*Did you mean 'pgd'\?"),
        ({"suite": "pgd,fgsm,pgd"}, "names pgd twice; .*repeats=2"),
        ({"suite": ()}, "name quick, standard, thorough, or attacks"),
        ({"threats": ()}, "at least 1 item"),
        ({"smallest": ("Linf",)}, "Linf is given with a radius and without"),
        ({"expected_accuracy": 93}, "expected_accuracy=93"),
        ({"repeats": 0}, "repeats=0"),
    ],
)
def test_plans_that_make_no_sense(options, said):
    with pytest.raises(ConfigError, match=said):
        plan(**options)
