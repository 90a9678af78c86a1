"""`sparring train`: what it writes and says, what it survives, and what it refuses."""

import csv
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sparring.storage import read_tensors
from sparring.zoo import load_data, load_model

COMMAND = Path(sys.executable).with_name("sparring")
MODELS = """
import os, signal
import torch
from torch import nn

class Net(nn.Module):
    '''Two layers; at the update that STOP names it kills its process, or presses Ctrl-C.'''

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4))
        self.updates = 0

    def forward(self, x):
        how, _, at = os.environ.get("STOP", "never:0").partition(":")
        self.updates += self.training
        if self.training and self.updates == int(at):
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}[how])
        return self.layers(x)

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(36, 4))

    def forward(self, x):
        return x.flatten(1) @ self.weight

class Collapses(nn.Module):
    '''Class 0 throughout, until after the first epoch a step that no gradient shows leads to class 1.'''

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))
        self.register_buffer("updates", torch.zeros(()))

    def forward(self, x):
        self.updates += self.training
        off = ((x[:, 0, 0, 0] > 0.5) & (self.updates > 7)).float()
        return torch.stack([4 - 8 * off, 0 * off], 1) + x.mean((1, 2, 3))[:, None] + 0 * self.bias

def function():
    from sparring import Classifier
    return Classifier(lambda x: x.flatten(1)[:, :4])
"""
PLAN = """
model = "{folder}/models.py:Net"

[data]
train = "{folder}/data.py:images"

[objective]
name = "madry"

[[attack]]
name = "pgd"
threat = "linf:0.05"
steps = 2

[training]
epochs = 3
batch_size = 4
checkpoint_seconds = 0

[training.optimizer]
lr = 0.05
weight_decay = 0.0

[validation]
val_size = 12
steps = 3

[devices]
accelerator = "cpu"
"""
DATA = """
import numpy as np

def images(count=120):
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    labels = random.integers(0, 4, count)
    images[np.arange(count), 0, labels, labels] = 255
    return images, labels

def alone():
    return images()[0]

def five_classes():
    images_, labels = images()
    return images_, labels + 1

def small():
    return np.zeros((40, 1, 5, 5), np.uint8), np.zeros(40, np.int64)

def steady():
    return np.full((40, 1, 6, 6), 0.45, np.float32), np.zeros(40, np.int64)

def noise():
    random = np.random.default_rng(6)
    return random.integers(0, 256, (120, 1, 6, 6), dtype=np.uint8), np.arange(120) % 4

def easy():
    images_, labels = noise()
    images_ //= 8
    images_[np.arange(120), 0, labels] = 255
    return images_, labels

class Lazily:
    def __len__(self):
        return 30

    def __getitem__(self, place):
        if place == 7:
            raise OSError("no such shard")
        return np.zeros((1, 6, 6), np.uint8), 0
"""


@pytest.fixture
def planned(tmp_path):
    """`planned(("epochs = 3", "epochs = 1"))`: a plan with some of its words exchanged."""
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "data.py").write_text(DATA)

    def write(*changes):
        text = PLAN.format(folder=tmp_path)
        for before, after in changes:
            assert text.count(before) == 1, before
            text = text.replace(before, after.format(folder=tmp_path))
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def run(typed, planned, tmp_path):
    """`run(...)`: a training of that plan, in runs/one unless `out` says otherwise."""

    def train(*changes, out="one", words=()):
        return typed("train", planned(*changes), "--out", tmp_path / "runs" / out, *words)

    return train


def said_by(result):
    """The one line that a refused command says."""
    assert result.exit_code == 2, result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


def log_of(folder):
    """The log without its seconds."""
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_outcome(one, other, tolerance=0.0):
    for name in ("best.safetensors", "last.safetensors"):
        weights, others = load_file(one / name), load_file(other / name)
        assert weights.keys() == others.keys()
        for key, value in weights.items():
            torch.testing.assert_close(value, others[key], rtol=0, atol=tolerance)
    if not tolerance:
        assert log_of(one) == log_of(other)


def in_a_process(plan, out, *words, stop="never:0"):
    command = [str(COMMAND), "train", str(plan), "--out", str(out), *words]
    environment = {**os.environ, "STOP": stop, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_what_is_trained_is_a_model_of_every_other_command(run, typed, tmp_path):
    done = run()
    assert done.exit_code == 0, done.stderr
    out = tmp_path / "runs" / "one"
    assert {file.name for file in out.iterdir()} == {
        "best.safetensors", "last.safetensors", "checkpoint.safetensors", "log.csv", "plan.toml", "tensorboard",
    }  # fmt: skip
    kept, given = (out / "plan.toml").read_text(), (tmp_path / "plan.toml").read_text()
    assert kept == f'folder = "{tmp_path}"\n{given}'
    for said in (
        "496 weights to train, fresh weights under seed 0",
        "108 images to train on, 12 held out",
        "Madry(label_smoothing=0.0)",
        "PGD(ball=Linf(eps=0.05), steps=2",
        "108 images x (2 steps of attacks + 1 update): about 324 passes",
        "epoch 1 of 3: loss ",
        "epoch 3 of 3: loss ",
    ):
        assert said in done.stdout
    log = log_of(out)
    best = max(log, key=lambda row: float(row["robust"]))
    assert f"best  epoch {best['epoch']}: {float(best['clean']):.1%} clean, {float(best['robust']):.1%} under" in (
        done.stdout
    )
    name = f"trained:{out}@{tmp_path}/models.py:Net"
    assert f"sparring audit {name} DATA --threat linf:0.05" in done.stdout
    _, values = read_tensors(out / "best.safetensors", "")
    assert values["plan"]["training"]["seed"] == 0
    assert values["epoch"]["epoch"] == int(best["epoch"])

    data = f"{tmp_path}/data.py:images"
    images, labels = (torch.cat(parts) for parts in zip(*((c.images, c.labels) for c in chunks(data)), strict=True))
    right = int((load_model(name).target(images).argmax(1) == labels).sum())
    audited = typed("audit", name, data, "--threat", "linf:0.05", "--out", tmp_path / "audit", "--steps", 10)
    assert audited.exit_code == 1, audited.stderr  # it has learned next to nothing: a severe finding
    assert f"clean accuracy {right / 120:.1%}" in audited.stdout
    attacked = typed("attack", "pgd", name, data, "--threat", "linf:0.05", "--steps", 2)
    assert f"ALREADY {120 - right}" in attacked.stdout


def chunks(data):
    return load_data(data, input=None).chunks(64)


def test_killed_and_gone_on_with_is_as_if_never_killed(run, planned, tmp_path):
    assert run(out="whole").exit_code == 0
    out = tmp_path / "runs" / "killed"
    killed = in_a_process(planned(), out, stop="kill:53")
    assert killed.returncode == -signal.SIGKILL
    _, values = read_tensors(out / "checkpoint.safetensors", "")
    assert values["t"] == 40  # in the middle of the second epoch
    again = run(out="killed", words=["--resume"])
    assert again.exit_code == 0, again.stderr
    assert "taken up again after 40 of 81 updates" in again.stdout
    assert "epoch 1 of 3" not in again.stdout
    assert "epoch 2 of 3" in again.stdout
    assert_same_outcome(tmp_path / "runs" / "whole", out)


def test_killed_before_the_first_checkpoint_it_begins_again(run, planned, tmp_path):
    assert run(out="whole").exit_code == 0
    out = tmp_path / "runs" / "early"
    out.mkdir()
    (out / "plan.toml").write_bytes(planned().read_bytes())
    again = run(out="early", words=["--resume"])
    assert "stopped before the first checkpoint: it begins again" in again.stdout
    assert_same_outcome(tmp_path / "runs" / "whole", out)
    (out / "checkpoint.safetensors").unlink()
    other = run(("epochs = 3", "epochs = 4"), out="early", words=["--resume"])
    assert "is another plan than" in said_by(other)


def test_control_c_says_how_to_go_on(run, planned, tmp_path):
    assert run(out="whole").exit_code == 0
    out = tmp_path / "runs" / "stopped"
    stopped = in_a_process(planned(), out, stop="interrupt:30")
    assert stopped.returncode == 130, stopped.stderr
    assert f"interrupted; go on with:\n  {COMMAND} train {planned()} --out {out} --resume\n" in stopped.stderr
    assert run(out="stopped", words=["--resume"]).exit_code == 0
    assert_same_outcome(tmp_path / "runs" / "whole", out)


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on(run, planned, tmp_path):
    assert run(out="whole").exit_code == 0
    plan = planned(('accelerator = "cpu"', 'accelerator = "cpu"\ncount = 2'))
    both = in_a_process(plan, tmp_path / "runs" / "both")
    assert both.returncode == 0, both.stderr
    assert both.stderr == ""
    assert both.stdout.count("epoch 1 of 3") == 1
    assert "2 processes" in both.stdout
    assert_same_outcome(tmp_path / "runs" / "whole", tmp_path / "runs" / "both", tolerance=1e-4)
    for one, two in zip(log_of(tmp_path / "runs" / "whole"), log_of(tmp_path / "runs" / "both"), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-4)

    out = tmp_path / "runs" / "killed"
    assert in_a_process(plan, out, stop="kill:53").returncode == -signal.SIGKILL
    assert read_tensors(out / "checkpoint.safetensors", "")[1]["t"] == 40
    again = in_a_process(plan, out, "--resume")
    assert again.returncode == 0, again.stderr
    assert_same_outcome(tmp_path / "runs" / "both", out)

    bad = planned(("lr = 0.05", "lr = 1e30"), ('accelerator = "cpu"', 'accelerator = "cpu"\ncount = 2'))
    failed = in_a_process(bad, tmp_path / "runs" / "bad")
    assert failed.returncode == 2
    assert failed.stderr.count("the loss is no number") == 1
    assert "Traceback" not in failed.stderr


def test_weights_are_fresh_under_the_seed_or_the_models_own(run, tmp_path):
    quick = ("epochs = 3", "epochs = 1\nseed = {seed}")
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run((quick[0], quick[1].replace("{seed}", str(seed))), out=out).exit_code == 0
    first, same, other = (load_file(tmp_path / "runs" / out / "last.safetensors") for out in "abc")
    name = "layers.1.weight"
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])
    begun = f'model = "trained:{tmp_path}/runs/a@{tmp_path}/models.py:Net"\nweights = "given"\n'
    still = run((f'model = "{tmp_path}/models.py:Net"', begun), ("lr = 0.05", "lr = 1e-20"), out="on")
    assert still.exit_code == 0, still.stderr
    assert "its own weights to begin at" in still.stdout
    begun_at, ended_at = (load_file(tmp_path / "runs" / out / "best.safetensors") for out in ("a", "on"))
    for key, value in begun_at.items():
        torch.testing.assert_close(ended_at[key], value, rtol=0, atol=1e-12)


def test_catastrophic_overfitting_is_told_and_exits_with_1(run, tmp_path):
    done = run(
        ("models.py:Net", "models.py:Collapses"),
        ("data.py:images", "data.py:steady"),
        ("linf:0.05", "linf:0.1"),
        ("steps = 3", 'steps = 3\n[[validation.attack]]\nname = "square"\nthreat = "linf:0.1"\nn_queries = 40'),
        ("[data]", 'weights = "given"\n[data]'),
    )
    assert done.exit_code == 1, done.stdout + done.stderr
    assert "stopped after 2 epochs: catastrophic overfitting: 100.0% withstand a single step" in done.stderr
    best = tmp_path / "runs" / "one" / "best.safetensors"
    assert f"{best} is from before" in done.stderr
    assert load_file(best)["updates"] == 7


GRAY = """
def gray():
    from sparring import Classifier
    from sparring.zoo import InputSpec, LoadedModel
    return LoadedModel("gray", Classifier(Net(), classes=4), InputSpec(1, 6, 6), None, "", None)
"""


def test_pictures_in_folders_are_read_as_they_are_needed(run, tmp_path):
    random = np.random.default_rng(3)
    for label in range(3):
        folder = tmp_path / "pictures" / str(label)
        folder.mkdir(parents=True)
        for place in range(10):
            Image.fromarray(random.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"{place}.png")
    (tmp_path / "pictures" / "1" / "broken.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "gray.py").write_text(MODELS + GRAY)
    gray = (f"{tmp_path}/models.py:Net", f"{tmp_path}/gray.py:gray")
    done = run(gray, (f"{tmp_path}/data.py:images", f"folder:{tmp_path}/pictures"))
    assert done.exit_code == 0, done.stderr
    assert "1 pictures cannot be read and are left out: 1/broken.png: " in done.stdout
    assert "18 images to train on, 12 held out" in done.stdout


ATTACK = '[[attack]]\nname = "pgd"\nthreat = "linf:0.05"\nsteps = 2\n'
SECOND = ATTACK.replace("linf:0.05", "l2:0.3")
MSD = ATTACK.replace('"pgd"', '"msd"').replace('"linf:0.05"', '["linf:0.05", "l2:0.3"]')
OBJECTIVES = {
    "plain": ('name = "plain"\n', ""),
    "goodfellow": ('name = "goodfellow"\nalpha = 0.4\n', ATTACK.replace('"pgd"', '"fgsm"').replace("steps = 2\n", "")),
    "free": ('name = "free"\nm = 2\n', ATTACK.replace('"pgd"', '"fast-fgsm"').replace("steps = 2\n", "")),
    "grad-align": ('name = "grad-align"\nlambda_ = 0.3\n[objective.objective]\nname = "trades"\nbeta = 2\n', ATTACK),
    "mart": ('name = "mart"\n', ATTACK),
    "avg": ('name = "avg"\n', ATTACK + SECOND),
    "max": ('name = "max"\n', ATTACK + SECOND),
    "msd": ('name = "madry"\n', MSD),
    "ensemble": ('name = "ensemble"\n', ATTACK + '[adversary]\nsources = ["{folder}/models.py:Net"]\n'),
    "distillation": ('name = "distillation"\nteacher = "{folder}/models.py:Net"\ntemperature = 20\n', ""),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_from_a_plan(name, run, tmp_path):
    objective, attacks = OBJECTIVES[name]
    done = run(('name = "madry"\n', objective), (ATTACK, attacks), ("epochs = 3", "epochs = 1"))
    assert done.exit_code == 0, done.stderr
    assert "epoch 1 of 1: loss " in done.stdout
    assert ("robust" in done.stdout) == bool(attacks)
    if "l2:0.3" in attacks:
        assert "--threat linf:0.05 --threat l2:0.3 " in done.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs = 3", "epoch = 3"), "training has no 'epoch' (it has epochs, "),
        (("epochs = 3", "epochs = -3"), "training.epochs=-3: Input should be greater than or equal to 1"),
        (("epochs = 3", "epochs = 'ten'"), "training.epochs='ten': Input should be a valid integer"),
        (('"madry"', '"madri"'), "Did you mean 'madry'?"),
        (('"pgd"', '"bmi"'), "Did you mean 'bim'?"),
        (('"linf:0.05"', '"linf:8"'), "for 8 of 255 levels write linf:8/255"),
        (('"linf:0.05"', '"l2:40"'), "larger than the whole range of these images (6)"),
        (('"madry"', '"plain"'), "Plain works with 0 attacks, and the adversary has 1"),
        (('"pgd"', '"fmn"'), "FMN searches for the smallest example; train with PGD"),
        (("data.py:images", "data.py:missing"), "has no function or class 'missing'"),
        (("data.py:images", "data.py:alone"), "has no labels; training needs a label for every image"),
        (("data.py:images", "data.py:five_classes"), "labels go from 1 to 4, and the model has 4 classes (0 to 3)"),
        (("data.py:images", "data.py:small"), "cannot take images of shape (1, 5, 5)"),
        (("models.py:Net", "models.py:Bare"), "the model (Bare) has weights and no reset_parameters()"),
        (("models.py:Net", "models.py:function"), "is no torch.nn.Module"),
        (("val_size = 12", "val_size = 120"), "validation.val_size=120 of 120 images leaves none to train on"),
        (("lr = 0.05", "lr = 1e30"), "lower the optimizer's lr"),
        (("[training]", "[training"), "is no TOML"),
    ],
)
def test_bad_plans(change, said, run):
    assert said in said_by(run(change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[training]", "[traning]"), "plan has no 'traning'"),
        (("[[attack]]", "[[atack]]"), "Did you mean 'attack'?"),
        (("[training.optimizer]", "[training.optimiser]"), "Did you mean 'optimizer'?"),
        (("lr = 0.05", "learning_rat = 0.05"), "training.optimizer has no 'learning_rat'"),
        (("val_size = 12", "val_sise = 12"), "Did you mean 'val_size'?"),
        (("steps = 2", "step = 2"), "Did you mean 'steps'?"),
        (('threat = "linf:0.05"', 'threats = "linf:0.05"'), "Did you mean 'threat'?"),
        (("train = ", "trian = "), "Did you mean 'train'?"),
        (('accelerator = "cpu"', 'acelerator = "cpu"'), "Did you mean 'accelerator'?"),
        (('"pgd"', '"{folder}/own.py:broken"'), "own.py does not exist"),
        (("[data]", 'folder = "here"\n[data]'), "folder='here' is no absolute path"),
    ],
)
def test_misspelt_keys_are_asked_back(change, said, run):
    assert said in said_by(run(change))


OWN = """
from dataclasses import dataclass
import sparring as sp

@dataclass(frozen=True)
class Own(sp.attacks.PGD):
    pass

def made():
    return sp.attacks.PGD(sp.Linf(0.9), steps=7)
"""


@pytest.mark.parametrize("name", ["PGD", "own.py:Own", "own.py:made"])
def test_an_attack_is_named_as_everywhere(name, run, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    assert run(out="known").exit_code == 0
    done = run(('"pgd"', f'"{name}"'), out="other")
    assert done.exit_code == 0, done.stderr
    ours, theirs = (load_file(tmp_path / "runs" / out / "last.safetensors") for out in ("known", "other"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_paths_are_relative_to_the_plan_and_stay_so_in_the_folder_of_the_training(
    typed, planned, tmp_path, monkeypatch
):
    """From another working directory, and through a second training that goes on from the first."""
    away, path = tmp_path / "away", planned()
    away.mkdir()
    path.write_text(path.read_text().replace(f"{tmp_path}/", ""))
    assert 'model = "models.py:Net"' in path.read_text()
    monkeypatch.chdir(away)
    done = typed("train", path, "--out", "first")
    assert done.exit_code == 0, done.stderr
    again = path.read_text().replace('"models.py:Net"', '"trained:away/first@models.py:Net"\nweights = "given"')
    (tmp_path / "again.toml").write_text(again)
    second = typed("train", tmp_path / "again.toml", "--out", "second")
    assert second.exit_code == 0, second.stderr
    monkeypatch.chdir(tmp_path)
    factory = f"{tmp_path}/models.py:Net"
    refused = typed(
        "attack", "fgsm", f"trained:{away / 'second'}", f"{tmp_path}/data.py:images", "--threat", "linf:0.1"
    )
    assert f"@{factory}" in said_by(refused)
    assert load_model(f"trained:{away / 'second'}@{factory}").target.model is not None


def test_a_training_that_has_learned_nothing_says_so(run):
    nothing = run(("data.py:images", "data.py:noise"), ("lr = 0.05", "lr = 1e-9"), ("val_size = 12", "val_size = 60"))
    assert nothing.exit_code == 0, nothing.stderr
    assert "it has learned nothing" in nothing.stdout
    assert re.search("always answering the commonest class gives [23][0-9].[0-9]%", " ".join(nothing.stdout.split()))
    learned = run(("data.py:images", "data.py:easy"), ("epochs = 3", "epochs = 9"), out="easy")
    assert "it has learned nothing" not in learned.stdout, learned.stdout


def test_the_plans_of_the_zoo_are_found_by_name(typed, tmp_path):
    from sparring.defenses.training.plan import read_training_plan
    from sparring.experiments.train import find_plan
    from sparring.zoo import plans

    listed = typed("list", "plans").stdout
    assert set(plans()) >= {"mnist-plain", "mnist-robust-linf"}
    for name, about in plans().items():
        assert name in listed
        assert len(about) > 20
        for typed_name in (name, f"zoo:{name}"):
            plan = read_training_plan(find_plan(typed_name))
            assert load_model(plan.model).target is not None
            assert plan.data.train.startswith("zoo:")
    wrong = typed("train", "mnist-robust", "--out", tmp_path / "run")
    assert "Did you mean 'mnist-robust-linf'?" in said_by(wrong)


def test_the_plans_are_part_of_the_package():
    """What hatch puts into a wheel is the package's folder: the plans lie in it."""
    import sparring
    from sparring.zoo import plan_path

    assert plan_path("mnist-plain").is_relative_to(Path(sparring.__file__).parent)


def test_no_attack_for_madry(run):
    assert "Madry works with 1 attacks, and the adversary has 0" in said_by(run((ATTACK, "")))


def test_bad_places(run, typed, tmp_path):
    missing = typed("train", tmp_path / "none.toml", "--out", tmp_path / "runs" / "none")
    assert "none.toml does not exist; name a training plan" in said_by(missing)
    assert "no checkpoint.safetensors; leave out --resume" in said_by(run(words=["--resume"]))
    assert not (tmp_path / "runs").exists()
    assert run().exit_code == 0
    assert "exists and is not empty; choose another --out" in said_by(run())
    other = run(("lr = 0.05", "lr = 0.06"), words=["--resume"])
    assert "belongs to another training (other plan, images or seed)" in said_by(other)
    assert "pass cpu or cuda; choose a GPU with CUDA_VISIBLE_DEVICES" in said_by(
        run(out="two", words=["--device", "cuda:1"])
    )


@pytest.fixture
def unlimited():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(run, planned, unlimited):
    planned()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
    assert "free some space or choose another folder" in said_by(run())


def test_the_list_of_objectives(typed):
    listed = typed("list", "objectives").stdout
    assert "madry" in listed
    assert "label_smoothing, temperature" in listed


HELP = """
import sys
from sparring.cli import main
sys.argv = ["sparring", "train", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
assert not {"torch", "numpy", "scipy", "PIL"} & set(sys.modules)
"""


def test_help_is_there_at_once():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PLAN" in done.stdout
