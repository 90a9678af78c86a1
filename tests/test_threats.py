import pytest

import sparring as sp
from sparring.errors import ThreatError
from sparring.threats import merged_threats, parse_threat, parse_threat_list


def test_fractions_are_exact_and_keep_their_words():
    threat = parse_threat("linf:8/255,2/255, 4/255")
    assert [radius.eps for radius in threat.radii] == [2 / 255, 4 / 255, 8 / 255]
    assert [radius.text for radius in threat.radii] == ["2/255", "4/255", "8/255"]
    assert [ball.eps for ball in parse_threat("L2:0.5").balls()] == [0.5]


def test_one_norm_in_several_options_is_one_threat():
    linf, l2 = parse_threat_list(["linf:2/255", "l2:1", "linf:1/255,2/255"])
    assert (linf.norm, [radius.text for radius in linf.radii]) == ("Linf", ["1/255", "2/255"])
    assert l2.norm == "L2"


def test_a_radius_may_be_as_wide_as_the_range_of_the_inputs():
    with pytest.raises(ThreatError, match=r"larger than the whole range \[0, 1\]"):
        merged_threats([sp.Linf(1.5)])
    assert merged_threats([sp.Linf(1.5)], widest=2.0)[0].radii[0].eps == 1.5
    with pytest.raises(ThreatError, match=r"larger than the whole range of 2$"):
        merged_threats([sp.Linf(2.5)], widest=2.0)


def test_balls_are_threats():
    (threat,) = merged_threats([sp.Linf(8 / 255), sp.Linf(0.1)])
    assert [radius.text for radius in threat.radii] == ["8/255", "0.1"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("linf:8", "for 8 of 255 levels write linf:8/255"),
        ("linf:-1/255", "epsilon -1/255 is not above 0"),
        ("linf:0", "epsilon 0 is not above 0"),
        ("linf:nan", "'nan' is no number or fraction"),
        ("linf:inf", "'inf' is no number"),
        ("linf:1e99/1e-99", "is not above 0 and finite|larger than the whole range"),
        ("linf:1/0", "divides by zero"),
        ("linf:1/2/3", "'1/2/3' is no number or fraction"),
        ("linf:__import__('os')", "is no number or fraction"),
        ("linf:9999999999999999999999999", "is no number or fraction"),
        ("linf", "has no epsilon; write NORM:EPS"),
        ("linf:", "has no epsilon"),
        ("linff:4/255", "'linff' is no norm .* Did you mean 'linf'"),
        ("l0:1.5", "counts components"),
    ],
)
def test_what_is_no_threat_is_told(spec, said):
    with pytest.raises(ThreatError, match=said):
        parse_threat(spec)


@pytest.mark.parametrize("ball", [sp.Linf(), sp.L2(0.0), 0.5])
def test_balls_that_are_no_threat_are_told(ball):
    with pytest.raises(ThreatError):
        merged_threats([ball])
