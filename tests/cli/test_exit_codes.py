"""How a command ends: one table of exit codes, and a file for the CI server whatever happens."""

import functools
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sparring.cli.display.errors import CODES

RUN_MODULE = import_module("sparring.audit.audit")
MODEL = """
import sys
from torch import nn

class Fails(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.layers = how, nn.Sequential(nn.Flatten(), nn.Linear(36, 4))

    def forward(self, x):
        if self.how == "exits":
            sys.exit(0)
        if self.how == "raises":
            raise KeyError("no such layer")
        return self.layers(x)

def exits_when_asked():
    return Fails("exits")

def raises_when_asked():
    return Fails("raises")

def exits():
    sys.exit(0)

def raises():
    raise ValueError("no weights here")

def good():
    return Fails("not")

class Data:
    def __init__(self, how):
        self.how = how

    def __len__(self):
        if self.how == "len":
            raise OSError("no index")
        return 3

    def __getitem__(self, place):
        raise OSError("no such shard")

def shards():
    return Data("item")

def without_index():
    return Data("len")

class Stage:
    pass

def stage():
    from sparring.transforms import Stage

    class Broken(Stage):
        def __call__(self, images, key=None):
            raise RuntimeError("out of ink")

    return Broken()
"""


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    (tmp_path / "failing.py").write_text(MODEL)
    return tmp_path / "failing.py"


def errors_in(path: Path) -> list[str]:
    """The messages of the errors of a JUnit file."""
    suite = ElementTree.parse(path).getroot()
    found = [str(error.get("message")) for error in suite.iter("error")]
    assert suite.get("errors") == str(len(found))
    return found


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("exits", "failing.py:exits called sys.exit(0); put what runs as a script under `if __name__ == '__main__':`"),
        ("raises", "failing.py:raises raised ValueError: no weights here"),
        ("exits_when_asked", "asked about images of shape (1, 6, 6), called sys.exit(0)"),
        ("raises_when_asked", "asked about images of shape (1, 6, 6), raised KeyError: 'no such layer'"),
    ],
)
def test_a_model_that_raises_or_exits_ends_an_audit_with_3(factory, said, failing, audited, tmp_path):
    result = audited("--junit", tmp_path / "out" / "audit.xml", model=f"{failing}:{factory}")
    assert result.exit_code == 3
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    (told,) = errors_in(tmp_path / "out" / "audit.xml")
    assert said in told


COMMANDS = [
    (command, factory)
    for command in ("attack", "serve", "transfer", "train")
    for factory in ("exits", "raises", "exits_when_asked", "raises_when_asked")
    if command != "serve" or not factory.endswith("asked")  # nobody asks before a request comes
]


@pytest.mark.parametrize(("command", "factory"), COMMANDS)
def test_so_it_does_with_other_commands(command, factory, failing, typed, user, tmp_path):
    model = f"{failing}:{factory}"
    plan = tmp_path / "plan.toml"
    plan.write_text(f'model = "{model}"\n[data]\ntrain = "{user[1]}"\n[objective]\nname = "plain"\n')
    words = {
        "attack": ("attack", "pgd", model, user[1], "--threat", "linf:0.1"),
        "serve": ("serve", model),
        "transfer": ("transfer", user[0], model, user[1], "--threat", "linf:0.1"),
        "train": ("train", plan, "--out", tmp_path / "trained"),
    }
    result = typed(*words[command])
    assert result.exit_code == 3, result.stderr


@pytest.mark.parametrize(("factory", "said"), [("shards", "no such shard"), ("without_index", "no index")])
def test_data_that_raise_end_an_audit_with_3(factory, said, failing, audited):
    result = audited(data=f"{failing}:{factory}")
    assert result.exit_code == 3
    assert said in result.stderr


def test_a_stage_that_raises_ends_an_audit_with_3_and_is_found(failing, audited):
    result = audited("--defend", f"{failing}:stage")
    assert result.exit_code == 3
    assert "failing.py, line" in result.stderr
    assert "raised RuntimeError: out of ink" in result.stderr


def test_a_fault_of_ours_ends_with_70_and_shows_where(audited, monkeypatch, tmp_path):
    monkeypatch.setattr(RUN_MODULE, "run_facts", functools.partial(int, "no number"))
    result = audited("--junit", tmp_path / "audit.xml")
    assert result.exit_code == 70
    assert "audit.py" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("this is a fault of sparring (raised ")
    (told,) = errors_in(tmp_path / "audit.xml")
    assert "this is a fault of sparring" in told


def test_bad_input_ends_with_2_and_is_in_the_file_of_the_ci_server(audited, tmp_path):
    assert audited("--junit", tmp_path / "audit.xml", threat="linf:8").exit_code == 2
    (told,) = errors_in(tmp_path / "audit.xml")
    assert "for 8 of 255 levels write linf:8/255" in told


def test_a_severe_finding_ends_with_1_without_a_bar_too(audited, tmp_path):
    np.savez(tmp_path / "wrong.npz", images=np.zeros((8, 1, 6, 6), np.uint8), labels=np.arange(8) % 4)
    result = audited("--junit", tmp_path / "audit.xml", data=f"npz:{tmp_path / 'wrong.npz'}")
    assert result.exit_code == 1
    assert "the severe finding low-clean-accuracy is open" in result.stderr
    assert errors_in(tmp_path / "audit.xml") == []


def test_a_file_that_cannot_be_written_is_told_before_the_work(audited, tmp_path):
    result = audited("--junit", tmp_path)
    assert result.exit_code == 2
    assert f"--junit {tmp_path} is a folder; name a file" in result.stderr
    assert not (tmp_path / "run").exists()
    result = audited("--junit", tmp_path / "run" / "report.json")
    assert result.exit_code == 2
    assert "lies among the files of the run" in result.stderr


@pytest.mark.parametrize("name", ["mine.py", "mine.npz", "run/examples/chunk", "run"])
def test_the_file_for_a_server_overwrites_nothing_else(name, audited, tmp_path):
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    result = audited("--junit", tmp_path / name)
    assert result.exit_code == 2
    assert "--junit" in result.stderr
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "words", [("--limit", "many"), ("--no-such-option",), ("--seed",), ("one", "two", "three")], ids=str
)
@pytest.mark.parametrize("first", [True, False])
def test_a_command_line_that_cannot_be_read_leaves_a_file_too(words, first, typed, user, tmp_path):
    path = tmp_path / "new" / "audit.xml"
    rest = ("audit", *user, "--threat", "linf:0.1", "--out", tmp_path / "run")
    words = (*rest, "--junit", path, *words) if first else (*rest, *words[:1], *words[1:], f"--junit={path}")
    result = typed(*words)
    assert result.exit_code == 2
    if "--seed" in words and not first:
        return  # --junit is then the value of --seed
    (told,) = errors_in(path)
    assert told.startswith("usage: ")
    assert not (tmp_path / "run").exists()


def in_a_process(*words, **options):
    command = [sys.executable, "-m", "sparring", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def test_it_is_a_module_too():
    assert in_a_process("--version").stdout.startswith("sparring ")
    assert in_a_process("audit", "--no-such-option").returncode == 2


@pytest.mark.parametrize("after", [0.1, 0.2])
def test_ctrl_c_at_the_start_ends_with_130_and_no_traceback(after):
    """Python's own start before the first line of ours is not ours, and is waited for."""
    script = (
        "import sys, threading, time, os, signal\n"
        f"threading.Timer({after}, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "sys.argv = ['sparring', 'list', 'attacks']\n"
        "from sparring.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    assert done.returncode == 130
    assert done.stderr.strip() in ("", "interrupted")


def test_a_reader_that_goes_away_is_no_failed_audit(user, effort, tmp_path):
    words = ["audit", *user, "--threat", "linf:0.05", "--out", str(tmp_path / "run"), *effort]
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sparring", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(writer)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_may_lie_in_the_folder_of_the_run_and_is_there_while_it_runs(audited, tmp_path, monkeypatch):
    inside = tmp_path / "run" / "audit.xml"
    before: list[str] = []
    original = RUN_MODULE.run_probes

    def probe(*arguments):
        before.extend(errors_in(inside))
        return original(*arguments)

    monkeypatch.setattr(RUN_MODULE, "run_probes", probe)
    assert audited("--junit", inside, "--accept", "black-box-beats-white-box").exit_code == 0
    assert before == ["the audit did not end: its process was killed, or is still running"]
    assert errors_in(inside) == []


def test_the_table_is_in_every_help(typed):
    for words in ((), ("audit",), ("train",)):
        shown = typed(*words, "--help").stdout
        for code, meaning in CODES.items():
            assert f"{code:3}  {meaning}" in shown


@pytest.mark.parametrize("names", [("bird", "cat", "dog", "fox"), ("1", "2", "3", "0")])
def test_class_folders_need_no_number_of_classes(names, typed, user, tmp_path, effort):
    """One clean pass tells how many classes the model has."""
    draw = np.random.default_rng(3)
    for name in names:
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    words = ("--size", 6, "--channels", 1, "--threat", "linf:0.05", "--out", tmp_path / "run", *effort)
    result = typed("audit", user[0], f"folder:{tmp_path / 'pictures'}", *words)
    assert result.exit_code in (0, 1), result.stderr
    assert "of 12 images" in result.stdout
    from sparring.audit import Report

    report = Report.model_validate_json((tmp_path / "run" / "report.json").read_text())
    assert report.data.count == 12
    named = {item.label_name for item in report.gallery}
    assert named <= set(names)
    attacked = typed("attack", "fgsm", user[0], f"folder:{tmp_path / 'pictures'}", *words[:6])
    assert attacked.exit_code == 0, attacked.stderr


def test_children_of_the_tests_take_ctrl_c_also_where_the_tests_run_in_the_background():
    """A shell without job control starts background processes with SIGINT ignored, which their children inherit."""
    if os.environ.get("SPARRING_IN_BACKGROUND") == "1":
        child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        assert subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout == "True\n"
        return
    test = f"{__file__}::{test_children_of_the_tests_take_ctrl_c_also_where_the_tests_run_in_the_background.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        capture_output=True, text=True, check=False, env=os.environ | {"SPARRING_IN_BACKGROUND": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    assert (done.returncode, "s" in done.stdout.split("[")[0]) == (0, False), done.stdout + done.stderr


WORKERS = """
import multiprocessing
from sparring.transforms import Stage

class Late(Stage):
    def __init__(self, error):
        self.error = error

    def __call__(self, images, key=None):
        if multiprocessing.parent_process() is not None:
            raise self.error
        return images

def raises():
    return Late(ValueError("out of ink"))

def exits():
    return Late(SystemExit(0))
"""


@pytest.mark.parametrize("factory", ["raises", "exits"])
def test_what_user_code_raises_in_a_worker_ends_with_3_too(factory, audited, tmp_path):
    (tmp_path / "stages.py").write_text(WORKERS)
    result = audited("--defend", f"{tmp_path / 'stages.py'}:{factory}", "--workers", 2)
    assert result.exit_code == 3, result.stderr
    assert "stages.py, line" in result.stderr


def test_an_exit_that_is_the_users_is_no_exit_of_ours(failing, audited, tmp_path):
    """typer.Exit ends our own commands; where a stage raises it, no report has been made."""
    (tmp_path / "stages.py").write_text(WORKERS.replace('ValueError("out of ink")', "__import__('typer').Exit(0)")
                                        .replace("is not None", "is None"))  # fmt: skip
    result = audited("--defend", f"{tmp_path / 'stages.py'}:raises")
    assert result.exit_code == 3
    assert "stages.py, line" in result.stderr


def test_size_describes_the_pictures_of_a_defended_model_too(typed, tmp_path, effort):
    """The README's own command."""
    (tmp_path / "mine.py").write_text(
        "import sparring as sp\nfrom torch import nn\nfrom sparring.targets import Defended\n"
        "from sparring.defenses.purification import JPEGCompression\n"
        "def defended():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        "    return Defended(sp.Classifier(net), JPEGCompression(75))\n"
    )
    for number, size in enumerate([(20, 30), (64, 40), (13, 90)]):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("L", size, 60 * number).save(tmp_path / "pictures" / f"{number}.png")
    words = ("--threat", "linf:4/255", "--out", tmp_path / "run", *effort)
    model, data = f"{tmp_path / 'mine.py'}:defended", f"folder:{tmp_path / 'pictures'}"
    result = typed("audit", model, data, "--size", 8, "--channels", 1, *words)
    assert result.exit_code in (0, 1), result.stderr
    assert (tmp_path / "run" / "report.html").exists()
    refused = typed("audit", model, data, "--size", 8, "--mean", 0.5, *words)
    assert refused.exit_code == 2
    assert "--mean, --std and --classes describe a bare model" in refused.stderr


ODD = """
import os
import torch
from torch import nn
from sparring.transforms import Stage

def elsewhere():
    os.makedirs(os.path.dirname(__file__) + "/elsewhere", exist_ok=True)
    os.chdir(os.path.dirname(__file__) + "/elsewhere")
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))

class Counts(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :4].round().long()

class Forgot(Stage):
    def __call__(self, images, key=None):
        images + 0

class Few(Stage):
    def __call__(self, images, key=None):
        return images[:1]
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text(ODD)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "odd.py"


def test_a_file_that_changes_the_working_directory_does_not_move_the_report(odd, user, typed, effort):
    words = ("--threat", "linf:0.05", "--out", "here", "--junit", "here.xml", "--limit", 4, *effort)
    result = typed("audit", f"{odd}:elsewhere", user[1], *words)
    assert result.exit_code in (0, 1), result.stderr
    assert (odd.parent / "here" / "report.html").exists()
    assert errors_in(odd.parent / "here.xml") == []


def test_answers_that_are_no_logits_and_stages_that_return_no_images_are_refused(odd, user, audited):
    assert "the model returned torch.int64; logits are real numbers" in audited(model=f"{odd}:Counts").stderr
    assert "Forgot returned a NoneType for" in audited("--defend", f"{odd}:Forgot").stderr
    few = audited("--defend", f"{odd}:Few")
    assert few.exit_code == 2
    assert "Few returned shape (1, 1, 6, 6) for" in few.stderr
