"""`sparring apply`."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sparring.attacks import Perturbation
from sparring.experiments.apply import free_name, input_of_artifact
from sparring.experiments.artifacts import input_made_for
from sparring.geometry import L2, Linf
from sparring.zoo import InputSpec, load_data, load_model

NAMES = ["b.png", "contact.png", "cats/a.jpg", "cats/a.png", "cats/deep er/ü.bmp"]
PLACES = ["b.png", "contact.png.png", "cats/a.png", "cats/a.png.png", "cats/deep er/ü.png"]


@pytest.fixture
def folder(tmp_path):
    """Color pictures of several sizes, some in sub-folders."""
    draw = np.random.default_rng(1)
    for name in NAMES:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (12, 9, 3), dtype=np.uint8)).save(path)
    return f"flat:{tmp_path / 'pictures'}"


@pytest.fixture
def colored(tmp_path):
    """A perturbation for color pictures of 8 x 8."""
    delta = 0.2 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1)).sign()
    return Perturbation(delta, Linf(0.2)).save(tmp_path / "colored.safetensors")


@pytest.fixture
def gray(tmp_path, user):
    """A perturbation that fools the user's model on some of their images."""
    delta = 0.3 * torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(2)).sign()
    return Perturbation(delta, Linf(0.3)).save(tmp_path / "gray.safetensors", {"attack": "drawn", "seed": 2})


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def rows_of(output, word):
    """Of each line of the table: images, those that took part, those that fell."""
    lines = [line.removeprefix(word) for line in output.splitlines() if line.startswith(word) and "%" in line]
    bare = [line.replace("float images", "").replace("PNG files, 8 bits", "") for line in lines]
    return [[int(number) for number in line.split()[:3]] for line in bare]


def test_pictures_keep_their_names_and_are_moved(typed, folder, colored, tmp_path):
    out = tmp_path / "out"
    before = {path for path in tmp_path.rglob("*") if out not in (path, *path.parents)}
    result = typed("apply", colored, folder, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "perturbation within Linf(51/255), for images 3 x 8 x 8" in result.stdout
    assert "fell" not in result.stdout
    assert {path for path in tmp_path.rglob("*") if out not in (path, *path.parents)} == before
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == sorted([*PLACES, "contact.png"])
    (chunk,) = load_data(folder, input=InputSpec(3, 8, 8)).chunks(64)
    assert chunk.names == NAMES
    moved = ((chunk.images + delta_of(colored)).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for place, image in zip(PLACES, moved, strict=True):
        assert (pixels(out / place) == image).all()
    assert (out / "contact.png").stat().st_size < 100_000


def delta_of(path):
    return load_file(path)["delta"]


def test_the_rates_are_those_of_the_model_on_the_floats_and_on_the_files(typed, user, gray, tmp_path):
    out = tmp_path / "out"
    result = typed("apply", gray, user[1], "--out", out, "--model", user[0], "--batch-size", 7, "--limit", 25)
    assert result.exit_code == 0, result.stderr
    assert "made by drawn on ? with ? images of ?, seed 2" in result.stdout
    assert "this very data" not in result.stdout
    target = load_model(user[0]).target
    images = torch.cat([chunk.images for chunk in load_data(user[1], input=None, limit=25).chunks(64)])
    files = torch.stack([torch.from_numpy(pixels(out / f"{place}.png").copy())[None] for place in range(25)]) / 255
    clean = target(images).argmax(1)
    fell = [int((target(x).argmax(1) != clean).sum()) for x in ((images + delta_of(gray)).clamp(0, 1), files)]
    assert fell[0] > 3
    assert rows_of(result.stdout, "another class") == [[25, 25, fell[0]], [25, 25, fell[1]]]


def test_what_rounding_undoes_is_told(typed, tmp_path):
    (tmp_path / "edge.py").write_text(
        """
import torch
from torch import nn

class Edge(nn.Module):
    def forward(self, x):
        over = x.mean((1, 2, 3)) - (128 / 255 + 0.001)
        return torch.stack([-over, over], 1) * 1000

def images():
    return torch.full((5, 1, 6, 6), 128 / 255)
"""
    )
    artifact = Perturbation(torch.full((1, 6, 6), 0.0015), Linf(0.0015)).save(tmp_path / "weak.safetensors")
    words = (artifact, f"{tmp_path / 'edge.py'}:images", "--model", f"{tmp_path / 'edge.py'}:Edge")
    result = typed("apply", *words, "--out", tmp_path / "out")
    assert rows_of(result.stdout, "another class") == [[5, 5, 5], [5, 5, 0]], result.stdout + result.stderr


def test_what_fit_makes_for_a_class_is_counted_for_that_class(typed, user, tmp_path):
    made = tmp_path / "made.safetensors"
    typed("fit", "universal-gradient", *user, "--threat", "linf:0.6", "--targeted", 2, "--epochs", 3, "--out", made)
    result = typed("apply", made, user[1], "--out", tmp_path / "out", "--model", user[0])
    target = load_model(user[0]).target
    images = torch.cat([chunk.images for chunk in load_data(user[1], input=None).chunks(64)])
    clean, moved = target(images).argmax(1), target((images + delta_of(made)).clamp(0, 1)).argmax(1)
    expected = [30, int((clean != 2).sum()), int(((clean != 2) & (moved == 2)).sum())]
    assert expected[2] > 5
    assert rows_of(result.stdout, "class 2")[0] == expected
    assert rows_of(result.stdout, "another class")[0] == [30, 30, int((clean != moved).sum())]
    assert "GradientUniversal(ball=Linf(eps=0.6)" in result.stdout
    assert "held-out images there" in result.stdout
    assert "made on images of this very data" in result.stdout


def test_a_model_of_another_size_is_given_its_own(typed, user, gray, tmp_path):
    (tmp_path / "large.py").write_text(
        """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
"""
    )
    words = ("--model", f"{tmp_path / 'large.py'}:net", "--size", 12, "--channels", 1, "--out", tmp_path / "out")
    result = typed("apply", gray, user[1], *words)
    assert result.exit_code == 0, result.stderr
    assert rows_of(result.stdout, "another class")[0][:2] == [30, 30]
    assert pixels(tmp_path / "out" / "0.png").shape == (6, 6)


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["a.jpg", "a.png", "a.webp", "a.png"], ["a.png", "a.png.png", "a.webp.png", "a.png.1.png"]),
        (["A.png", "a.png"], ["A.png", "a.png.png"]),
        (["../../a.png", "/etc/passwd", "c:\\x\\..\\y.jpg"], ["a.png", "etc/passwd.png", "c:/x/y.png"]),
        (["..", "", "/", "."], ["image.png", "image.1.png", "image.2.png", "image.3.png"]),
        (["a\x00\x1b[31m.png", "\udcff.jpg"], ["a__[31m.png", "_.png"]),
        (["contact.png", "1.5", "x/contact.png"], ["contact.png.png", "1.5.png", "x/contact.png"]),
    ],
)
def test_names(names, places):
    taken = {"contact.png"}
    assert [free_name(name, taken).as_posix() for name in names] == places


def test_names_of_a_data_set_lead_nowhere_else(typed, gray, tmp_path):
    (tmp_path / "evil.py").write_text(
        """
import torch
from sparring.zoo.dataset import Data, Row

def data():
    names = ["../out-evil.png", "/tmp/out-evil.png", "a/../../../evil.png", "x\\x00y", ".."]
    rows = [Row(torch.full((1, 6, 6), 0.5), None, name) for name in names]
    return Data("evil", False, "", None, len(rows), lambda: rows)
"""
    )
    before = set(tmp_path.rglob("*")) | set(Path("/tmp").glob("out-evil*"))
    result = typed("apply", gray, f"{tmp_path / 'evil.py'}:data", "--out", tmp_path / "deep" / "out")
    assert result.exit_code == 0, result.stderr
    new = set(tmp_path.rglob("*")) | set(Path("/tmp").glob("out-evil*"))
    inside = tmp_path / "deep"
    outside = {path for path in new - before if inside not in (path, *path.parents)}
    assert {path for path in outside if "__pycache__" not in path.parts} == set()
    assert len(list((inside / "out").rglob("*.png"))) == 6


def refusal(result):
    assert result.exit_code == 2, result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


def written(path, delta=None, **changes):
    """A file that is an artifact but for the changes."""
    values = {"kind": "perturbation", "ball": {"norm": "Linf", "eps": 0.1}, "settings": {}, "made": {}} | changes
    text = values.pop("text", None) or json.dumps(values)
    save_file({"delta": torch.zeros(1, 6, 6) if delta is None else delta}, path, metadata={"values": text})


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


HOSTILE = {
    "words": lambda path: path.write_text("delta = 1"),
    "nothing": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Evil())),
    "a folder": lambda path: path.mkdir(),
    "no file": lambda path: None,
    "cut short": lambda path: (written(path), path.write_bytes(path.read_bytes()[:-8])),
    "a header of 2^60 bytes": lambda path: path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}"),
    "other tensors": lambda path: save_file({"weight": torch.zeros(3)}, path),
    "no kind": lambda path: written(path, kind=None),
    "unknown kind": lambda path: written(path, kind="os.system"),
    "kind of a list": lambda path: written(path, kind=["perturbation"]),
    "no JSON": lambda path: written(path, text="{"),
    "a list": lambda path: written(path, text="[1, 2]"),
    "a deep list": lambda path: written(path, text="[" * 100_000),
    "infinite": lambda path: written(path, ball={"norm": "Linf", "eps": "inf"}),
    "huge": lambda path: written(path, ball={"norm": "Linf", "eps": 10**400}),
    "negative": lambda path: written(path, ball={"norm": "Linf", "eps": -1}),
    "no number": lambda path: written(path, ball={"norm": "Linf", "eps": "nan"}),
    "unknown norm": lambda path: written(path, ball={"norm": "__class__", "eps": 1}),
    "outside its ball": lambda path: written(path, torch.full((1, 6, 6), 0.2)),
    "not finite": lambda path: written(path, torch.full((1, 6, 6), torch.nan)),
    "no image": lambda path: written(path, torch.zeros(6)),
    "of no size": lambda path: written(path, torch.zeros(1, 0, 6)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind, typed, user, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    HOSTILE[kind](tmp_path / "a.safetensors")
    assert "a.safetensors" in refusal(typed("apply", tmp_path / "a.safetensors", user[1], "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "made",
    [
        {"attack": "\x1b[31m[bold]" + "x" * 5000, "seed": {"a": []}, "class": "2", "fooled": {"held out": [9, 3]}},
        {"class": 10**30, "fooled": {"held out": ["a", None]}},
        {"class": True, "fooled": [1]},
    ],
)
def test_what_a_file_says_of_itself_is_not_trusted(made, typed, user, tmp_path):
    written(tmp_path / "a.safetensors", made=made)
    words = ("--out", tmp_path / "out", "--model", user[0], "--limit", 3)
    result = typed("apply", tmp_path / "a.safetensors", user[1], *words)
    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert len(result.stdout) < 3000
    assert rows_of(result.stdout, "another class") == [[3, 3, 0], [3, 3, 0]]
    assert "class 1" not in result.stdout
    assert "it fooled" not in result.stdout


@pytest.mark.parametrize("size", [None, [1, 8], [1, 8, 10**9], [1, 8, True], [0, 8, 8], "188", [1.0, 8, 8]])
def test_a_size_of_no_image_is_not_believed(size):
    assert input_made_for({"size": size}) is None


def test_the_size_it_was_made_on_is_where_an_artifact_of_any_size_begins():
    class Any:
        shape = (1, None, None)

    usual = input_made_for({"size": [3, 8, 9]})
    assert (usual.channels, usual.height, usual.width) == (3, 8, 9)
    assert input_of_artifact(usual, Any()) == InputSpec(1, 8, 9)
    assert input_of_artifact(None, Any()) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "zoo:photo"}, "Did you mean 'photos'?"),
        ({"words": ("--model", "zoo:mnist-plane")}, "Did you mean 'mnist-plain'?"),
        ({"words": ("--mean", "0.5")}, "describe a model; add --model MODEL"),
        ({"words": ("--limit", 0)}, "--limit 0 is no number from 1"),
        ({"out": "taken"}, "taken exists and is not empty; choose another --out"),
        ({"out": "taken/note"}, "note is a file; choose another --out"),
        ({"out": "taken/note/out"}, "cannot write"),
    ],
)
def test_bad_input(change, said, typed, user, gray, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note").write_text("mine")
    out = tmp_path / change.get("out", "out")
    result = typed("apply", gray, change.get("data", user[1]), "--out", out, *change.get("words", ()))
    assert said in refusal(result)
    assert (tmp_path / "taken" / "note").read_text() == "mine"


def test_images_that_the_artifact_does_not_apply_to(typed, gray, tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros((3, 1, 5, 5), np.uint8))
    said = refusal(typed("apply", gray, f"npz:{tmp_path / 'other.npz'}", "--out", tmp_path / "out"))
    assert "(3, 1, 5, 5)" in said
    assert "6 x 6" in said


def test_images_that_no_png_can_hold(typed, tmp_path):
    artifact = Perturbation(torch.zeros(2, 6, 6), L2(1.0)).save(tmp_path / "two.safetensors")
    (tmp_path / "two.py").write_text(
        """
import torch
from sparring.zoo.dataset import Data, Row

def data():
    return Data("two", False, "", None, 1, lambda: [Row(torch.zeros(2, 6, 6), None, "a")])
"""
    )
    said = refusal(typed("apply", artifact, f"{tmp_path / 'two.py'}:data", "--out", tmp_path / "out"))
    assert "a PNG holds 1 or 3" in said
