"""`--defend`: names and numbers as stages, and what a user's own file brings."""

from pathlib import Path
from textwrap import dedent

import pytest

from sparring.audit import Report
from sparring.cli.specs.defenses import known_stages, parse_defense_part
from sparring.defenses.purification import BitDepth, JPEGCompression
from sparring.defenses.randomization import InputNoise, ResizePad
from sparring.errors import SparringError


def test_names_and_parameters_make_stages() -> None:
    assert parse_defense_part("jpeg:quality=50") == parse_defense_part("jpeg:50") == [JPEGCompression(quality=50)]
    assert parse_defense_part("resize-pad:1,max_scale=1.25,output_scale=1.5") == [ResizePad(1, 1.25, 1.5)]
    assert parse_defense_part("bit-depth") == [BitDepth()]
    assert parse_defense_part("input-noise:sigma=0.1,kind=uniform") == [InputNoise(sigma=0.1, kind="uniform")]
    assert parse_defense_part("resize-pad:min_scale=1,max_scale=1.25,output_scale=1.5") == [ResizePad(1, 1.25, 1.5)]


def test_what_is_learned_first_has_no_name_here() -> None:
    assert "jpeg" in known_stages()
    assert not {"hgd", "defense-gan", "denoiser"} & set(known_stages())


def test_a_file_brings_stages_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from sparring.defenses.purification import BitDepth, Median\n"
        "def two():\n    return [Median(3), BitDepth(2)]\n"
        "def none():\n    return 3\n"
    )
    assert [part.name for part in parse_defense_part(f"{file}:two")] == ["Median", "BitDepth"]
    with pytest.raises(SparringError, match=r"none returned int; return a sparring\.targets\.Stage"):
        parse_defense_part(f"{file}:none")


def test_an_audit_behind_stages_has_both_views(typed, user, effort, tmp_path):
    few = (*effort, "--suite", "fgsm", "--accept", "weak-suite", "--limit", 3)
    words = ("audit", *user, "--threat", "linf:0.05", "--out", tmp_path / "run", *few)
    behind = ("--defend", "bit-depth:4", "--defend", "input-noise:0.02", "--votes", 2, "--draws", 3)
    result = typed(*words, *behind)
    assert result.exit_code == 0, result.stderr
    report = Report.model_validate_json((tmp_path / "run" / "report.json").read_text())
    assert (report.model.views, report.model.draws, report.model.stochastic) == (["naive", "adaptive"], 3, True)
    assert report.model.name.startswith("bit-depth:4 > input-noise:0.02 > ")
    assert report.provenance.plan["draws"] == 3
    for changed, said in (
        (("--defend", "bit-depth:5", *behind[2:]), "a run with another model ('bit-depth:4 > "),
        ((*behind[:5], 3, *behind[6:]), "a run of other weights, or of another defence, than bit-depth:4 > "),
        ((*behind[:7], 4), "a run with another draws (3, not 4)"),
        ((), "a run with another model ('bit-depth:4 > "),
    ):
        again = typed(*words, *changed, "--resume")
        assert again.exit_code == 2
        assert said in " ".join(again.stderr.split())
    assert typed(*words, *behind, "--resume").exit_code == 0


def test_a_plan_has_the_defence_too(typed, user, tmp_path):
    model, data = user
    plan = f"""
        model = "{model}"
        data = "{data}"
        threats = ["linf:0.05"]
        suite = ["pgd"]
        limit = 4
        defend = ["bit-depth:bits=3", "input-noise:sigma=0.05"]
        draws = 5
    """
    (tmp_path / "plan.toml").write_text(dedent(plan))
    result = typed("audit", "--plan", tmp_path / "plan.toml", "--dry-run")
    assert result.exit_code == 0, result.stderr
    naive, adaptive = (line.split() for line in result.stdout.splitlines() if "PGD" in line)
    assert (naive[2], naive[-1]) == ("naive", "40")
    assert (adaptive[2], adaptive[-1]) == ("adaptive", "200")
    both = typed("audit", "--plan", tmp_path / "plan.toml", "--votes", 2, "--dry-run")
    assert "--votes is said beside --plan" in both.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--defend", "jpg:75"), "there is no stage 'jpg'"),
        (("--defend", "jpeg:750"), "JPEGCompression quality=750; pass an int from 1 to 100"),
        (("--votes", 5), "votes=5 of what is not random"),
        (("--votes", 0), "votes=0"),
        (("--draws", 3), "draws=3 averages gradients of a random defence, and"),
        (("--defend", "jpeg:75", "--draws", 3), "is not random: 3 draws are one; leave draws out"),
        (("--defend", "input-noise:0.1", "--draws", 3, "--access", "scores"), "is asked for none; leave it out"),
    ],
)
def test_a_defence_that_makes_no_sense_is_refused_before_the_audit(words, said, typed, user, effort, tmp_path):
    result = typed("audit", *user, "--threat", "linf:0.05", "--out", tmp_path / "run", *effort, *words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jpg", r"there is no stage 'jpg'.*Did you mean 'jpeg'"),
        ("jpeg:quality=75,50", r"'50' sets no parameter \(there are: quality, rounding\)"),
        ("jpeg:fine", "'fine' is no int"),
        ("jpeg:qality=75", r"Did you mean 'quality'"),
        ("jpeg:quality=high", "'high' is no int"),
        ("jpeg:quality=500", r"JPEGCompression quality=500; pass an int from 1 to 100"),
        ("input-noise:sigma=0.1,clip=maybe", "'maybe' is no bool"),
        ("input-noise", "wants sigma"),
        ("hgd", "one that is learned first comes from FILE.py:FACTORY"),
        ("/nowhere/mine.py:two", "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_told(spec: str, message: str) -> None:
    with pytest.raises(SparringError, match=message):
        parse_defense_part(spec)
