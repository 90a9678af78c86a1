"""`sparring fit`."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.attacks import Perturbation, load_artifact, shared_table
from sparring.engine import run
from sparring.errors import InputError
from sparring.experiments.fit import split_images
from sparring.files import locked_file
from sparring.geometry import L2, Linf
from sparring.goals import Misclassify
from sparring.rows import take
from sparring.zoo import load_data, load_model

QUICK = ("--epochs", 4, "--attack-batch-size", 8, "--batch-size", 8)
WIDE = """
import torch
from torch import nn

def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3))

def images():
    return torch.rand(24, 3, 10, 10, generator=torch.Generator().manual_seed(2))
"""

BOX = """
from sparring import Classifier, Restricted, Scores
from sparring.zoo import LoadedModel

class Silent(nn.Module):
    def forward(self, x):
        raise AssertionError("asked")

def box():
    return LoadedModel("box", Restricted(Classifier(Silent()), Scores), None, None, "", None)
"""


@pytest.fixture
def fitted(typed, user, tmp_path):
    """`fitted(...)`: a fit on the user's files with little effort; what it said, and the file's path."""

    def made(*words, name="universal-gradient", threat="linf:0.2", out="made.safetensors", held_out=0.3):
        path = tmp_path / out
        options = ("--threat", threat, "--out", path, "--held-out", held_out)
        return typed("fit", name, *user, *options, *QUICK, *words), path

    return made


def everything(user):
    target = load_model(user[0]).target
    return target, torch.cat([chunk.images for chunk in load_data(user[1], input=None).chunks(64)])


def row_of(output, name):
    line = next(line for line in output.splitlines() if line.startswith(name))
    return [int(word) for word in line.removeprefix(name).split()[:3]]


def test_what_is_printed_and_written_is_what_the_model_says(fitted, user):
    result, path = fitted()
    assert result.exit_code == 0, result.stderr
    artifact, made = load_artifact(path)
    target, images = everything(user)
    parts, copies = split_images(images, 0.3, 0)
    assert (len(parts.fitted), len(parts.held_out), copies) == (21, 9, 0)
    assert artifact.ball == Linf(0.2)
    clean, moved = target(images).argmax(1), target(artifact.apply(images)).argmax(1)
    for name, rows in (("fitted on", parts.fitted), ("held out", parts.held_out)):
        fell = int((clean != moved)[rows].sum())
        assert row_of(result.stdout, name) == [len(rows), len(rows), fell]
        assert made["fooled"][name] == [fell, len(rows)]
    assert made["fooled"]["fitted on"][0] > 10
    assert (made["model"], made["data"], made["class"], made["seed"]) == (*user, None, 0)
    assert "whatever the label" in result.stdout
    assert re.search(r"4 of at most 4 epochs, [0-9]+ images forward, 84 backward", result.stdout)


def test_the_picture_shows_the_perturbation_and_four_images(fitted):
    _, path = fitted()
    picture = path.with_suffix(".png")
    assert picture.stat().st_size < 200_000
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    delta = load_artifact(path)[0].delta
    side = 6 * 32  # each dot of the images is a square of 32
    corners = [place for place in range(pixels.shape[1] - side) if place % (side + 10) == 10]
    assert len(corners) == 5
    bottom = pixels[-10 - side : -10, 10 : 10 + side].astype(float) / 255
    magnified = 0.5 + 0.5 * delta[0] / delta.abs().max()
    assert np.abs(bottom[16::32, 16::32, 0] - magnified.numpy()).max() < 0.02


@pytest.mark.parametrize("name", list(shared_table))
def test_each_attack_makes_something_that_fools(name, typed, tmp_path):
    (tmp_path / "wide.py").write_text(WIDE)
    out = tmp_path / "made.safetensors"
    words = (f"{tmp_path / 'wide.py'}:net", f"{tmp_path / 'wide.py'}:images", "--threat", "l2:4", "--out", out, *QUICK)
    result = typed("fit", name, *words)
    assert result.exit_code == 0, result.stderr
    artifact, _ = load_artifact(out)
    assert artifact.ball == L2(4)
    assert row_of(result.stdout, "fitted on")[2] > 0
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_targeted(fitted, user):
    result, path = fitted("--targeted", 2, threat="linf:0.6")
    assert result.exit_code == 0, result.stderr
    artifact, made = load_artifact(path)
    target, images = everything(user)
    held_out = images[split_images(images, 0.3, 0)[0].held_out]
    others = target(held_out).argmax(1) != 2
    fell = others & (target(artifact.apply(held_out)).argmax(1) == 2)
    assert row_of(result.stdout, "held out") == [9, int(others.sum()), int(fell.sum())]
    assert made["class"] == 2
    assert int(fell.sum()) > 2


def test_the_split_follows_the_seed_and_has_no_image_on_both_sides():
    images = torch.rand(40, 1, 4, 4).repeat(2, 1, 1, 1)
    parts, copies = split_images(images, 0.25, 7)
    assert (copies, len(parts.fitted), len(parts.held_out)) == (40, 30, 10)
    both = torch.cat([parts.fitted, parts.held_out]) % 40
    assert sorted(both.tolist()) == list(range(40))
    again = split_images(images, 0.25, 7)[0]
    assert torch.equal(parts.fitted, again.fitted)
    assert torch.equal(parts.held_out, again.held_out)
    assert not torch.equal(parts.held_out, split_images(images, 0.25, 8)[0].held_out)
    with pytest.raises(InputError, match="1 different images"):
        split_images(images[:1].repeat(5, 1, 1, 1), 0.5, 0)


def test_copies_are_told(typed, user, tmp_path):
    images = np.load(user[1].removeprefix("npz:"))["images"]
    np.savez(tmp_path / "twice.npz", images=np.concatenate([images, images[:5]]))
    words = (user[0], f"npz:{tmp_path / 'twice.npz'}", "--threat", "linf:0.1", "--out", tmp_path / "a.safetensors")
    result = typed("fit", "universal-gradient", *words, *QUICK)
    assert "5 images are copies of others and take no part" in result.stdout
    assert row_of(result.stdout, "fitted on")[0] == 21


def test_it_goes_on_from_an_artifact(fitted, user):
    _, first = fitted("--epochs", 2)
    result, second = fitted("--epochs", 1, "--from", first, out="second.safetensors")
    assert result.exit_code == 0, result.stderr
    assert "held-out ones may be among them" not in result.stdout
    _, alone = fitted("--epochs", 1, out="alone.safetensors")
    begun, fresh = (load_artifact(path)[0].delta for path in (second, alone))
    assert not torch.allclose(begun, fresh)
    result, _ = fitted("--from", first, "--seed", 1, out="third.safetensors")
    assert "made on other images: held-out ones may be among them" in result.stdout


def test_a_stopped_fit_is_taken_up_again(fitted, typed, user, tmp_path):
    source = (tmp_path / "mine.py").read_text()
    stopping = """
class Stops(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.calls = net(), 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 12:
            raise KeyboardInterrupt
        return self.inside(x)
"""
    (tmp_path / "stops.py").write_text(source + stopping)
    words = ("--threat", "linf:0.2", "--out", tmp_path / "b.safetensors", *QUICK, "--checkpoint", tmp_path / "on")
    stopped = typed("fit", "universal-gradient", f"{tmp_path / 'stops.py'}:Stops", user[1], *words)
    assert stopped.exit_code == 130
    assert f"the same command goes on from {tmp_path / 'on'}" in stopped.stderr
    assert not (tmp_path / "b.safetensors").exists()
    _, whole = fitted()
    (before, again), (after, path) = (fitted("--checkpoint", tmp_path / "c", out=f"{i}.safetensors") for i in range(2))
    assert before.exit_code == after.exit_code == 0
    assert "epoch 1 of" in before.stdout
    assert "epoch 1 of" not in after.stdout  # nothing was left to do
    kept = [load_artifact(file)[0].delta for file in (whole, again, path)]
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[1], kept[2])


def refusal(result):
    assert result.exit_code == 2, result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "universel"}, "Did you mean 'universal'?"),
        ({"name": "pgd"}, "run it with `sparring attack pgd`"),
        ({"threat": "l1:3"}, "knows Linf and L2, not L1(3)"),
        ({"threat": "linf:0.1,0.2"}, "2 are given; pass one"),
        ({"threat": "l2:40"}, "larger than the whole range"),
        ({"held_out": 0}, "--held-out 0 is no share"),
        ({"held_out": 1}, "--held-out 1 is no share"),
        ({"held_out": "nan"}, "--held-out nan is no number"),
        ({"held_out": 0.01}, "leave 30 to fit on and 0 to measure on"),
        ({"held_out": 0.99}, "leave 0 to fit on and 30 to measure on"),
        ({"words": ("--limit", 1)}, "1 different images"),
        ({"words": ("--targeted", 4)}, "targets[0] is 4, and the model has 4 classes"),
        ({"words": ("--target", -1)}, "-1 is no class"),
        ({"words": ("--epochs", 0)}, "--epochs 0 is no number from 1"),
        ({"words": ("--attack-batch-size", 0)}, "--attack-batch-size 0 is no number from 1"),
        ({"words": ("--from", "none.safetensors")}, "none.safetensors"),
        ({"out": "made.npz"}, "give it that ending"),
    ],
)
def test_bad_input(change, said, fitted, tmp_path):
    change = dict(change)
    result, path = fitted(*change.pop("words", ()), **change)
    assert said in refusal(result)
    assert not path.exists()


def test_no_threat(typed, user, tmp_path):
    words = (*user, "--out", tmp_path / "made.safetensors")
    assert "none is given; pass one, as --threat linf:10/255" in refusal(typed("fit", "universal", *words))


def test_attack_says_where_such_attacks_are(typed, user):
    assert "`sparring fit universal`" in refusal(typed("attack", "universal", *user, "--threat", "linf:0.1"))


@pytest.mark.parametrize("taken", ["made.safetensors", "made.png"])
def test_nothing_is_overwritten(taken, fitted, tmp_path):
    (tmp_path / taken).write_text("mine")
    assert f"{taken} exists; choose another --out" in refusal(fitted()[0])
    assert (tmp_path / taken).read_text() == "mine"


def test_an_artifact_that_cannot_be_gone_on_from(fitted, tmp_path):
    Perturbation(torch.full((1, 6, 6), 0.3), Linf(0.3)).save(tmp_path / "large.safetensors")
    Perturbation(torch.full((1, 5, 5), 0.1), Linf(0.1)).save(tmp_path / "small.safetensors")
    said = refusal(fitted("--from", tmp_path / "large.safetensors")[0])
    assert "lies in Linf(0.3), which is not within the --threat Linf(51/255)" in said
    assert "(N, 1, 5, 5)" in refusal(fitted("--from", tmp_path / "small.safetensors")[0])
    (tmp_path / "note.safetensors").write_text("a note")
    assert "pass a file that" in refusal(fitted("--from", tmp_path / "note.safetensors")[0])


def test_images_that_the_model_says_are_the_target_already(fitted, user, tmp_path, typed):
    target, images = everything(user)
    said = target(images).argmax(1)
    most = int(said.bincount().argmax())
    alike = (images[said == most] * 255).round().to(torch.uint8).numpy()
    np.savez(tmp_path / "alike.npz", images=alike)
    words = ("--threat", "linf:0.1", "--targeted", most, "--out", tmp_path / "made.safetensors")
    result = typed("fit", "universal-gradient", user[0], f"npz:{tmp_path / 'alike.npz'}", *words)
    assert f"every held-out image is of class {most} to the model already" in refusal(result)


def test_a_black_box_is_refused_before_it_is_asked(typed, user, tmp_path):
    source = (tmp_path / "mine.py").read_text()
    (tmp_path / "box.py").write_text(source + BOX)
    words = (f"{tmp_path / 'box.py'}:box", user[1], "--threat", "linf:0.1", "--out", tmp_path / "made.safetensors")
    assert "GradientUniversal needs Gradients" in refusal(typed("fit", "universal-gradient", *words))


def test_the_python_way_gives_the_same(fitted, user):
    from sparring import Engine, fit
    from sparring.attacks import ArtifactAttack, GradientUniversal

    result, path = fitted()
    target, images = everything(user)
    rows = split_images(images, 0.3, 0)[0]
    goal = Misclassify(target(images).argmax(1))
    attack = GradientUniversal(Linf(0.2), epochs=4, batch_size=8)
    made = fit(attack, target, take(goal, rows.fitted), images[rows.fitted], indices=rows.fitted, engine=Engine(8))
    assert torch.equal(made.artifact.delta, load_artifact(path)[0].delta)
    outcome = run(ArtifactAttack(made.artifact), target, take(goal, rows.held_out), images[rows.held_out])
    assert row_of(result.stdout, "held out")[2] == int(outcome.success.sum())


def test_two_fits_into_one_file_at_once_are_refused(typed, user, tmp_path):
    out = tmp_path / "one.safetensors"
    with locked_file(out, "a fit"):
        result = typed("fit", "universal-gradient", *user, "--threat", "linf:0.2", "--out", out)
    assert result.exit_code == 2
    assert "another process is at work on a fit, one.safetensors" in result.stderr
    assert list(tmp_path.glob(".*.lock")) == []
