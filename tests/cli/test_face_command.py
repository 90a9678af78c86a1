"""`sparring face PLAN`, and the goals of verification in `sparring audit`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.biometrics import GOALS
from sparring.cli.specs.trials import TRIAL_GOALS
from sparring.zoo import face_plan_path, face_plans
from sparring.zoo.python_file import call_factory

SYNTHETIC = face_plan_path("synthetic").with_name("synthetic_faces.py")
PERSONS, PICTURES = 8, 5
CALIBRATED = ("--far", "0.1", "--attacked", "2", "--calibration", "6")


@pytest.fixture
def faces(tmp_path: Path) -> tuple[str, str]:
    """MODEL and DATA: an embedding network in a file, and a folder with a sub-folder for each person."""
    images, persons = call_factory(SYNTHETIC, "pictures")
    for number in range(PERSONS * PICTURES):
        place = tmp_path / "faces" / f"p{int(persons[number])}"
        place.mkdir(parents=True, exist_ok=True)
        levels = (images[number] * 255).round().byte().numpy().transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(levels)).save(place / f"{number % PICTURES}.png")
    return f"{SYNTHETIC}:embedder", f"folder:{tmp_path / 'faces'}"


def audit(typed: Any, faces: tuple[str, str], out: Path, *words: object, own: bool = True) -> Any:
    described = ("--metric", "cosine", "--size", "16", "--aligned") if own else ()
    cheap = ("--threat", "linf:16/255", "--suite", "fgsm", "--accept", "weak-suite")
    return typed("audit", *faces, *cheap, *described, "--out", out, *words)


def test_a_folder_of_faces_is_audited_with_a_network_of_ones_own(typed: Any, faces: Any, tmp_path: Path) -> None:
    result = audit(typed, faces, tmp_path / "run", "--goal", "dodge", *CALIBRATED, "--junit", tmp_path / "junit.xml")
    assert result.exit_code == 0, result.stderr
    assert "Verification: Attack success" in result.stdout
    assert "Success at FAR 0.1" in result.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["words"]["measure"] == "True accept rate under attack"
    (section,) = report["sections"]
    persons = next(table for table in section["tables"] if table["title"] == "Persons and pictures")
    assert [row[1] for row in persons["rows"]] == [6, 2]
    assert report["data"]["count"] == 2
    assert "Attack success" in (tmp_path / "junit.xml").read_text()
    again = typed("report", tmp_path / "run", "--out", tmp_path / "again")
    assert again.exit_code == 0
    assert json.loads((tmp_path / "again" / "report.json").read_text())["sections"] == report["sections"]
    assert audit(typed, faces, tmp_path / "run", "--goal", "dodge", *CALIBRATED, "--resume").exit_code == 0
    refused = audit(typed, faces, tmp_path / "run", "--goal", "dodge", "--far", "0.2", *CALIBRATED[2:], "--resume")
    assert refused.exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--goal", "dodge"), "0.01 of"),  # too few impostors for the rates that are usual
        (("--goal", "dodge", "--far", "x"), "--far"),
        (("--goal", "dodge", "--far", "2"), "false_accept_rates"),
        (("--goal", "dodge", "--threshold", "1.5"), "no similarity"),
        (("--goal", "dodge", *CALIBRATED, "--metric", "manhattan"), "metric"),
        (("--goal", "dodge", "--far", "0.1", "--attacked", "p1,p2", "--calibration", "p2,p3"), "'p2' calibrates"),
        (("--goal", "dodge", "--far", "0.1", "--attacked", "p1,nobody"), "nobody"),
        (("--goal", "dodge", *CALIBRATED, "--classes", "4"), "classes"),
        (("--far", "0.1",), "dodge"),
        (("--goal", "dodg", *CALIBRATED), "Did you mean 'dodge'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_any_work(
    words: tuple[str, ...], said: str, typed: Any, faces: Any, tmp_path: Path
) -> None:
    result = audit(typed, faces, tmp_path / "run", *words)
    assert result.exit_code == 2, result.stdout
    assert said in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_bare_network_says_how_it_compares(typed: Any, faces: Any, tmp_path: Path) -> None:
    result = audit(typed, faces, tmp_path / "run", "--goal", "dodge", *CALIBRATED, own=False)
    assert result.exit_code == 2
    assert "--metric cosine" in result.stderr
    words = ("--metric", "cosine", "--aligned")
    result = audit(typed, faces, tmp_path / "run", "--goal", "dodge", *CALIBRATED, *words, own=False)
    assert result.exit_code == 2
    assert "--size" in result.stderr


def test_the_zoo_has_a_plan_that_needs_no_download(typed: Any, tmp_path: Path) -> None:
    assert {"orl", "synthetic"} <= set(face_plans())
    assert "synthetic" in typed("list", "plans").stdout
    result = typed("face", "synthetic", "--out", tmp_path / "run", "--limit", 2)
    assert result.exit_code == 0, result.stderr
    for goal in ("dodge", "impersonate", "evade", "identify"):
        assert (tmp_path / "run" / goal / "report.html").is_file()
    assert "evade: identification rate" in result.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('goals = ["dodge", "dodge"]\n', "each once"),
        ('goals = ["misclassify"]\n', "dodge"),
        ('goal = "dodge"\n', "goals = [...]"),
        ("[verification]\nfalse_accept_rate = 0.1\n", "Did you mean 'false_accept_rates'"),
        ("[verification]\nattacked = 1\n", "attacked"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(change: str, said: str, typed: Any, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f'model = "zoo:face-faceres"\ndata = "zoo:orl-faces"\nthreats = ["linf:4/255"]\n{change}')
    result = typed("face", plan, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert said in result.stderr
    assert typed("face", "orll", "--out", tmp_path / "run").exit_code == 2


def test_onnx_networks_are_verifiers_too(typed: Any, faces: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(call_factory(SYNTHETIC, "embedder"), (torch.rand(1, 3, 16, 16),), str(file), dynamo=False)
    model = f"onnx:{file}"
    words = ("--goal", "dodge", *CALIBRATED, "--suite", "square", "--queries", 20)
    result = audit(typed, (model, faces[1]), tmp_path / "run", *words)
    assert result.exit_code == 0, result.stderr


def test_single_attacks_take_the_goals_too(typed: Any, faces: Any, tmp_path: Path) -> None:
    own = ("--metric", "cosine", "--size", "16", "--aligned", *CALIBRATED)
    words = ("--threat", "linf:32/255", "--goal", "dodge", *own)
    result = typed("attack", "pgd,square", *faces, *words, "--steps", "5", "--queries", 20, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "run" / "attacks.json").read_text())
    assert record["goal"] == "dodge"
    assert [one["images"] for one in record["attacks"]] == [2, 2]
    assert record["attacks"][0]["fell"] == 2
    whole = ("square", *faces, *words, "--queries", 20, "--limit", 1)
    assert typed("attack", *whole, "--access", "decisions").exit_code == 2  # it needs scores
    assert typed("attack", *whole, "--decimals", 0).exit_code == 0  # whole numbers from 0 to 100
    for wrong, said in ((("--targeted", "3"), "--targeted"), (("--start-on", faces[0]), "--start-on")):
        refused = typed("attack", *whole, *wrong)
        assert refused.exit_code == 2
        assert said in refused.stderr
    assert "dodge" in typed("attack", "pgd", *faces, "--threat", "linf:0.1", "--far", "0.1").stderr


def test_the_command_line_knows_every_goal() -> None:
    assert TRIAL_GOALS == GOALS
