"""`sparring audit` and `sparring report`, end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

from sparring.audit import Report


def report_of(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_text())


def test_a_users_model_on_a_users_data(audited, tmp_path):
    result = audited(threat="linf:0.02,0.05")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("clean accuracy 90.0% (27 of 30; 95 %: 74.4% to 96.5%)")
    assert "whether attacks on this model can be believed" in lines[1]
    assert "8 of 30 images" in lines[2]
    report = report_of(tmp_path / "run")
    worst = report.worst()[1].robust_accuracy
    assert f"robust accuracy {worst.share:.1%} ({worst.count} of 30" in result.stdout
    assert (tmp_path / "run" / "report.html").exists()


def test_the_digits_net_of_the_zoo(typed, digits, tmp_path, effort):
    out = tmp_path / "digits"
    words = ("--threat", "linf:0.1", "--threat", "l2:1", "--limit", 40, "--batch-size", 40, *effort)
    result = typed("audit", "zoo:mnist-plain", "zoo:mnist-heldout", "--out", out, *words)
    assert result.exit_code == 0, result.stderr
    report = report_of(out)
    assert [threat.norm for threat in report.threats] == ["Linf", "L2"]
    assert report.data.clean_accuracy.share > 0.9
    assert report.threats[0].epsilons[0].robust_accuracy.share < 0.7
    assert report.gallery[0].label_name in "0123456789"
    assert report.model.sha256


def test_fail_under_exits_with_1_and_says_which(audited, typed, user, tmp_path, effort):
    result = audited("--fail-under", "0.99", threat="linf:0.0001,0.2")
    assert result.exit_code == 1
    assert "under Linf 0.2 is below --fail-under 99.0%" in result.stderr
    result = typed(
        "audit", *user, "--threat", "linf:0.0001", "--out", tmp_path / "b", *effort,
        "--fail-under", "0.5",
    )  # fmt: skip
    assert result.exit_code == 0


def test_certificates_are_shown_and_their_timeout_needs_them(audited, typed, user, tmp_path, effort):
    result = audited("--certify", "--certify-timeout", "1", threat="linf:0.001")
    report = report_of(tmp_path / "run")
    found = report.threats[0].epsilons[0].certificates
    assert found.proven.count > 20
    assert f"proven {found.proven.share:.1%} ({found.proven.count} of 30" in result.stdout
    assert "bounds are computed in float64" in result.stdout
    words = ("audit", *user, "--threat", "linf:0.001", "--certify-timeout", "1")
    refused = typed(*words, "--out", tmp_path / "b", *effort)
    assert refused.exit_code == 2
    assert "certify" in refused.stderr
    told = typed(*words, "--certify", "--dry-run", *effort)
    assert "certificates: at most 0:00:30 more" in told.stdout


def test_report_is_made_again_from_the_records(audited, typed, tmp_path):
    audited()
    before = (tmp_path / "run" / "report.json").read_bytes()
    for name in ("report.json", "report.html"):
        (tmp_path / "run" / name).unlink()
    assert typed("report", tmp_path / "run").exit_code == 0
    assert (tmp_path / "run" / "report.json").read_bytes() == before
    assert (tmp_path / "run" / "report.html").exists()


def test_interrupted_says_how_to_resume_and_exits_with_130(user, tmp_path, effort):
    script = (
        "import os, signal, sys, sparring.audit.records.database as room\n"
        "from sparring.cli import main\n"
        "commit = room.Records.commit\n"
        "def interrupted(self, rows, skipped):\n"
        "    commit(self, rows, skipped)\n"
        "    if rows.chunk['id'] == 1: os.kill(os.getpid(), signal.SIGINT)\n"
        "room.Records.commit = interrupted\n"
        "main()\n"
    )
    out = tmp_path / "run"
    words = ["audit", *user, "--threat", "linf:0.05", "--out", str(out), *effort]
    words += ["--accept", "black-box-beats-white-box"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 130, done.stderr
    assert f"every chunk recorded so far is safe in {out}" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    again = subprocess.run(
        [sys.executable, "-c", "from sparring.cli import main; main()", *words, "--resume"],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("taken up again after 16 images in 2 chunks")
    assert report_of(out).data.count == 30


def test_a_black_box_is_asked_for_decisions_only(audited, tmp_path):
    assert audited("--access", "decisions", "--limit", 4, threat="linf:0.3").exit_code == 0
    (attack,) = report_of(tmp_path / "run").threats[0].epsilons[0].attacks
    assert (attack.attack, attack.access, attack.backwards) == ("HopSkipJump", "Decisions", 0)


def test_pictures_of_a_folder_without_labels(typed, tmp_path, effort):
    from PIL import Image

    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 12, 5))\n"
    )
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number, size in enumerate([(20, 30), (64, 40), (13, 90)]):
        Image.new("RGB", size, (40 * number, 90, 200)).save(folder / f"[red]{number}.png")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    result = typed(
        "audit", f"{tmp_path / 'mine.py'}:net", f"folder:{folder}", "--threat", "linf:8/255", "--out", tmp_path / "run",
        "--size", "8x12", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--classes", 5, *effort,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 images have no label: the model's own clean prediction stands in" in result.stdout
    report = report_of(tmp_path / "run")
    assert report.model.input_shape == [3, 8, 12]
    assert [skip.name for skip in report.data.skipped] == ["cut.jpg"]
    assert "1 of the files could not be used and were left out; the first is cut.jpg" in result.stdout
    assert json.loads((tmp_path / "run" / "report.json").read_text())["data"]["labels"] == "model"


def test_a_plan_says_it_all(typed, user, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f'model = "{user[0]}"\ndata = "{user[1]}"\nthreats = ["linf:0.2"]\nsuite = ["pgd"]\n'
        "fail_under = 0.99\nlimit = 12\n"
    )
    result = typed("audit", "--plan", plan, "--out", tmp_path / "run", "--junit", tmp_path / "junit.xml")
    assert result.exit_code == 1
    assert "is below --fail-under 99.0%" in result.stderr
    assert report_of(tmp_path / "run").provenance.plan["suite"] == ["pgd"]
    assert "failures=" in (tmp_path / "junit.xml").read_text()
    twice = typed("audit", user[0], user[1], "--plan", plan, "--out", tmp_path / "other")
    assert (twice.exit_code, (tmp_path / "other").exists()) == (2, False)
    assert "MODEL is said beside --plan" in twice.stderr


def test_a_dry_run_says_what_would_run_and_writes_nothing(typed, user, tmp_path):
    result = typed("audit", *user, "--threat", "linf:0.05", "--threat", "l2", "--suite", "fgsm,fmn", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "30 images, each" in result.stdout
    assert "at most about 0:0" in result.stdout
    assert [line.split()[0:3] for line in result.stdout.splitlines()[2:5]] == [
        ["Linf", "0.05", "FGSM"], ["Linf", "0.05", "FMN"], ["L2,", "smallest", "FMN"],
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "mine.npz", "__pycache__"}


def test_a_severe_finding_is_not_green_until_it_is_accepted(typed, user, tmp_path, effort):
    (tmp_path / "masked.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Masked(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        torch.manual_seed(3)\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4))\n"
        "    def forward(self, x):\n        return self.net((x * 100).round() / 100)\n"
    )
    words = ("audit", f"{tmp_path / 'masked.py'}:Masked", user[1], "--threat", "linf:0.01", "--out", tmp_path / "run")
    result = typed(*words, *effort, "--fail-under", "0.1")
    assert result.exit_code == 1
    assert "the severe finding zero-gradients is open" in result.stderr
    assert "below --fail-under" not in result.stderr
    open_codes = [one.code for one in report_of(tmp_path / "run").warnings if one.blocks]
    accepted = [word for code in open_codes for word in ("--accept", code)]
    again = typed(*words, *effort, "--fail-under", "0.1", "--resume", *accepted)
    assert again.exit_code == 0, again.stderr
    assert "severe, accepted [zero-gradients]" in again.stdout
    assert typed(*words, *effort, "--accept", "zero").exit_code == 2


def test_two_runs_are_compared_and_exported(typed, audited, user, tmp_path, effort):
    audited()
    assert typed("audit", *user, "--threat", "linf:0.05", "--seed", 1, "--out", tmp_path / "b", *effort).exit_code == 0
    result = typed("compare", tmp_path / "run", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    assert "Linf 0.05" in result.stdout
    assert "McNemar" in result.stdout
    exported = typed("export", tmp_path / "run", "--to", "csv")
    assert exported.exit_code == 0
    assert (tmp_path / "run" / "results.csv").read_text().startswith("sample,name,label")
    assert typed("export", tmp_path / "run", "--to", "xls").exit_code == 2


def test_what_is_missing_is_named(typed, user, tmp_path):
    for words, said in (
        (("audit", "--out", tmp_path / "run"), "no MODEL is given"),
        (("audit", *user, "--threat", "linf:0.1"), "add --out DIR"),
        (("audit", *user, "--threat", "linf", "--out", tmp_path / "run", "--fail-under", "0.5"), "needs a radius"),
        (("audit", "--plan", tmp_path / "none.toml", "--out", tmp_path / "run"), "does not exist"),
    ):
        result = typed(*words)
        assert result.exit_code == 2
        assert said in result.stderr


def test_help_does_not_wait_for_torch():
    script = "import sys\nfrom sparring.cli import app\n"
    script += "try:\n    app(['audit', '--help'])\nexcept SystemExit:\n    pass\n"
    script += "assert 'torch' not in sys.modules, 'torch was imported'\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--dry-run" in done.stdout
