"""Numbers, texts and paths in options that nothing could be done with: one line that says so, and exit code 2."""

import math

import pytest

from sparring.errors import ThreatError
from sparring.geometry import L0, L1, L2, Linf
from sparring.threats import parse_threat


def refused(typed, *words):
    result = typed(*words)
    assert result.exit_code == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--targeted", 10**20), "--targeted '100000000000000000000' is no class of"),
        (("--batch-size", 0), "--batch-size 0 is no number from 1 to 2147483647"),
        (("--batch-size", -3), "--batch-size -3 is no number from 1"),
        (("--seed", -1), "--seed -1 is no number from 0"),
        (("--limit", 0), "--limit 0 is no number from 1"),
        (("--rate", "1e-300"), "--rate 1e-300 is no number from 0.0001 to"),
        (("--rate", "nan"), "--rate nan is no number"),
        (("--rate", "inf"), "--rate inf is no number"),
        (("--top-k", 0), "--top-k 0 is no number from 1"),
        (("--encode", f"resize:{10**8}"), "pass a height and a width from 1 to 16384"),
        (("--size", "99999x99999"), "is larger than 16384 pixels"),
        (("--queries", "9" * 5000), "queries"),
    ],
)
def test_numbers_of_an_attack(words, said, typed, user):
    assert said in refused(typed, "attack", "fgsm", *user, "--threat", "linf:0.1", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch-size", 0), "--batch-size 0 is no number from 1"),
        (("--seed", -1), "--seed -1 is no number from 0"),
        (("--epochs", 0), "--epochs 0 is no number from 1"),
        (("--held-out", "nan"), "--held-out nan is no number"),
    ],
)
def test_numbers_of_a_fit(words, said, typed, user, tmp_path):
    out = tmp_path / "made.safetensors"
    assert said in refused(typed, "fit", "universal", *user, "--threat", "linf:0.1", "--out", out, *words)
    assert not out.exists()


@pytest.mark.parametrize("out", ["", ".", "/", "..", "x"])
def test_a_fit_is_written_to_a_file_of_its_kind(out, typed, user, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(typed, "fit", "universal", *user, "--threat", "linf:0.1", "--out", out)
    assert "is no FILE.safetensors; give it that ending" in message


@pytest.mark.parametrize("network", ["", ".", "/", "none.onnx"])
def test_a_property_of_no_network_is_bad_input(network, typed, tmp_path):
    scalars = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
    (tmp_path / "any.vnnlib").write_text(f"{scalars}(assert (<= X_0 1))\n(assert (>= X_0 0))\n(assert (<= Y_0 0))")
    assert "is no file" in refused(typed, "certify", network, tmp_path / "any.vnnlib")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("access = {a = 1}", "access {'a': 1} is unknown (decisions, scores"),
        ("goal = [1]", "goal [1] is unknown"),
        (f"seed = {'9' * 5000}", "is no TOML"),
        (f"limit = {10**30}", "less than 2147483648"),
        ('surrogate = "a\\u0000b"', "NUL character"),
        ("suite = [[]]", "suite"),
        ("accept = [{}]", "accept"),
    ],
)
def test_plans(line, said, typed, user, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(f'model = "{user[0]}"\ndata = "{user[1]}"\nthreats = ["linf:0.1"]\n{line}\n')
    assert said in refused(typed, "audit", "--plan", plan, "--dry-run")


def test_a_path_that_is_too_long_is_bad_input(typed, user):
    assert "File name too long" in refused(typed, "attack", "fgsm", "x" * 300, user[1], "--threat", "linf:0.1")


def test_a_hundred_thousand_radii_are_too_many():
    with pytest.raises(ThreatError, match="has 99999 radii; name at most 1000"):
        parse_threat("linf:" + ",".join(f"{i}e-6" for i in range(1, 100_000)))


@pytest.mark.parametrize(
    ("ball", "largest"),
    [(L2(40), math.sqrt(3 * 16)), (L1(400), 3 * 16), (L0(49), 3 * 16)],
)
def test_a_radius_that_is_too_large_is_told_the_largest_of_its_norm(ball, largest):
    import torch

    with pytest.raises(
        ThreatError, match=f"no two of them lie further apart than {largest:g} in {ball!s:.2}; pass less"
    ):
        ball.check(torch.zeros(1, 3, 4, 4))


def test_only_in_linf_a_radius_is_taken_for_levels():
    import torch

    with pytest.raises(ThreatError, match="for 8 of 255 levels pass 8/255"):
        Linf(8).check(torch.zeros(1, 3, 4, 4))
