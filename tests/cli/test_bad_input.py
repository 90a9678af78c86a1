"""Each mistake is one line on standard error that names it and the cure, and exit code 2."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from sparring.cli.display.errors import Settings

TAKEN = ("--accept", "black-box-beats-white-box")  # what a random net of this size may raise


def refusal(result, code=2):
    """The one line that a refused command says."""
    assert result.exit_code == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("threat", "said"),
    [
        ("linf:8", "for 8 of 255 levels write linf:8/255"),
        ("linf:-0.1", "is not above 0"),
        ("lnf:4/255", "Did you mean 'linf'?"),
        ("linf:nan", "'nan' is no number"),
        ("l2:40", "larger than the whole range of these images (6)"),
        ("l0:3", "no attack of the audit works on L0(3)"),
    ],
)
def test_threats(threat, said, audited):
    assert said in refusal(audited(threat=threat))


def test_no_threat(typed, user, tmp_path):
    assert "add --threat linf:4/255" in refusal(typed("audit", *user, "--out", tmp_path / "run"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("zoo:mnist-plane", "Did you mean 'mnist-plain'?"),
        ("mnist-plain", "Did you mean 'zoo:mnist-plain'?"),
        ("{folder}/mine.py", "say which function or class to call"),
        ("{folder}/mine.py:nett", "Did you mean 'net'?"),
        ("{folder}/mine.py:soft", "the model returns probabilities"),
        ("{folder}/evil.pth", "pickles are never run here"),
        ("timm:resnet18", "timm"),
    ],
)
def test_models(model, said, audited, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    assert said in refusal(audited(model=model.format(folder=tmp_path)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.full((4, 1, 6, 6), 128.0), None, "divide by 255"),
        (np.full((4, 1, 6, 6), np.nan), None, "NaN"),
        (np.zeros((4, 3, 6, 6), np.uint8), None, "cannot take images of shape (3, 6, 6)"),
        (np.zeros((4, 1, 6, 6), np.uint8), [0, 1, 2, 4], "the model has 4 classes"),
        (np.zeros((4, 1, 6, 6), np.uint8), [0, 1, 2], "labels of shape (3,)"),
        (np.zeros((0, 1, 6, 6), np.uint8), None, "no"),
    ],
)
def test_arrays(images, labels, said, audited, tmp_path):
    given = {"images": images} | ({} if labels is None else {"labels": np.array(labels)})
    np.savez(tmp_path / "bad.npz", **given)
    assert said in refusal(audited(data=f"npz:{tmp_path / 'bad.npz'}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("zoo:photo", "Did you mean 'photos'?"),
        ("folder:{folder}/none", "is no folder"),
        ("folder:{folder}/empty", "holds no picture"),
        ("npz:{folder}/none.npz", "none.npz"),
        ("{folder}/empty", "For that folder write folder:"),
    ],
)
def test_data(data, said, audited, tmp_path):
    (tmp_path / "empty").mkdir()
    assert said in refusal(audited(data=data.format(folder=tmp_path)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-under", "40"], "write 0.40 for 40 %"),
        (["--access", "score"], "Did you mean 'scores'?"),
        (["--size", "big"], "--size 'big' is no size"),
        (["--channels", "3"], "says nothing without --size"),
        (["--mean", "a,b"], "is no list of numbers"),
        (["--std", "0"], "is not positive"),
        (["--device", "cud"], "device 'cud' is unknown"),
        (["--limit", "0"], "limit"),
        (["--restarts", "0"], "restarts=0"),
    ],
)
def test_options(words, said, audited):
    assert said in refusal(audited(*words))


def test_what_describes_a_users_model_does_not_describe_the_zoos(audited):
    assert "zoo:mnist-plain brings its own" in refusal(audited("--mean", "0.5", model="zoo:mnist-plain"))


def test_a_run_folder_that_exists(audited, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert "exists and is not empty" in refusal(audited())
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_a_run_that_exists(audited, typed, tmp_path):
    assert audited(*TAKEN).exit_code == 0
    assert "go on with --resume, or choose another --out" in refusal(audited())
    assert audited("--resume").exit_code == 0
    assert "holds no run" in refusal(typed("report", tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pgdd",), "Did you mean 'pgd'?"),
        (("pgd",), "add --threat linf:8/255"),
        (("fgsm", "--threat", "linf:0.1", "--steps", 3), "fgsm has no --steps"),
        (("pgd", "--threat", "linf:0.1", "--steps", 0), "--steps 0 is no number of steps"),
        (("square", "--threat", "l0:2"), "Square knows Linf, L2 and L1"),
        (("pgd", "--threat", "linf:0.1", "--targeted", 4), "targets[0] is 4, and the model has 4 classes"),
    ],
)
def test_attacks(words, said, typed, user):
    name, *options = words
    assert said in refusal(typed("attack", name, *user, *options))


def test_the_zoo_has_no_such_name(typed):
    assert "Did you mean 'efficientnet-lite" in refusal(typed("zoo", "get", "efficientnet-lite9"))


def test_words_from_outside_are_printed_as_they_are(audited):
    said = refusal(audited(model="[bold red]zoo[/]:\x1b[31mx"))
    assert "[bold red]zoo[/]" in said
    assert "\x1b[31m" not in said


def test_debug_shows_the_traceback(user, tmp_path, effort):
    from typer.testing import CliRunner

    from sparring.cli import app

    try:
        words = ["--debug", "audit", *user, "--threat", "linf:8", "--out", str(tmp_path / "run"), *effort]
        result = CliRunner().invoke(app, words)
    finally:
        Settings.debug = False
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "ThreatError" in result.stderr.splitlines()[-1]
