"""--scale, --labels, --class-names and --targeted, from the command line to the records."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

NAMES = ("ant", "bee", "cow", "doe")
SIZE = ("--size", 6, "--channels", 1)


@pytest.fixture
def pictures(user, tmp_path):
    """Fifteen of the user's images as PNG files beside each other, and a CSV of their names and labels."""
    held = np.load(tmp_path / "mine.npz")
    (tmp_path / "flat").mkdir()
    rows = []
    for place in range(15):
        Image.fromarray(held["images"][place, 0]).save(tmp_path / "flat" / f"{place:02d}.png")
        rows.append((f"{place:02d}.png", int(held["labels"][place])))
    return f"folder:{tmp_path / 'flat'}", rows


def written(path, rows):
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_an_audit_takes_labels_and_class_names_from_files(audited, pictures, typed, tmp_path):
    data, rows = pictures
    words = written(tmp_path / "labels.csv", [("file", "label"), *((file, NAMES[label]) for file, label in rows)])
    names = written(tmp_path / "names.txt", [(name,) for name in NAMES])
    result = audited("--labels", words, "--class-names", names, *SIZE, data=data, threat="linf:0.4")
    assert result.exit_code in (0, 1), result.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["data"]["label_note"] == f"labels: those of {words}"
    assert report["data"]["labelled_count"] == 15
    assert report["data"]["clean_accuracy"]["count"] == 13  # every tenth label is another class than the model's
    assert {one["name"] for one in report["per_class"]} <= set(NAMES)
    assert typed("export", tmp_path / "run", "--to", "csv").exit_code == 0
    with (tmp_path / "run" / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["name"]: row["label_name"] for row in table} == {
        file: NAMES[label] for file, label in rows if file in {row["name"] for row in table}
    }
    fell = [row for row in table if row["predicted"]]
    assert fell
    assert all(row["predicted_name"] == NAMES[int(row["predicted"])] for row in fell)
    assert all(row["predicted_name"] == "" for row in table if row not in fell)


def test_a_plan_says_how_data_is_read(pictures, typed, user, tmp_path, effort):
    data, rows = pictures
    table = written(tmp_path / "labels.csv", rows)
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f'model = "{user[0]}"\ndata = "{data}"\nthreats = ["linf:0.05"]\nsuite = ["fgsm"]\n'
        f'[input]\nsize = "6"\nchannels = 1\n[read]\nlabels = "{table}"\nscale = 255.0\n'
    )
    result = typed("audit", "--plan", plan, "--out", tmp_path / "run")
    assert result.exit_code in (0, 1), result.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())["data"]["labelled_count"] == 15


@pytest.mark.parametrize("word", ["2", "cow", "Cow"])
def test_a_class_is_named_by_number_or_name(word, typed, user, tmp_path):
    names = written(tmp_path / "names.txt", [(name,) for name in NAMES])
    out = tmp_path / "out"
    typed("attack", "pgd", *user, "--threat", "linf:0.9", "--targeted", word, "--class-names", names, "--out", out)
    assert reached(out, user) == {2}


def reached(out: Path, user) -> set[int]:
    """The classes that the model gives to the examples that succeeded."""
    from sparring.zoo import load_model

    target = load_model(user[0]).target
    parts = [load_file(file) for file in sorted(out.glob("0-pgd-*.safetensors"))]
    assert any(bool(part["success"].any()) for part in parts)
    return {int(one) for part in parts for one in target(part["examples"][part["success"]]).argmax(1)}


def test_every_image_may_have_a_target_of_its_own(typed, user, pictures, tmp_path):
    from sparring.zoo import load_model

    data, rows = pictures
    wanted = {file: (label + 1 + place % 2) % 4 for place, (file, label) in enumerate(rows)}
    table = written(tmp_path / "t.csv", [(file, label, wanted[file]) for file, label in reversed(rows)])
    words = ("--threat", "linf:0.9", "--targeted", table, "--labels", table, "--out", tmp_path / "out", *SIZE)
    result = typed("attack", "pgd", user[0], data, *words)
    assert result.exit_code == 0, result.stderr
    [part] = [load_file(file) for file in (tmp_path / "out").glob("0-pgd-*.safetensors")]
    found = load_model(user[0]).target(part["examples"]).argmax(1)
    targets = torch.tensor([wanted[file] for file, _ in reversed(rows)])
    assert part["success"].sum() > 5
    assert bool((found == targets)[part["success"]].all())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--targeted", "dog"), "--targeted 'dog' is no class of"),
        (("--targeted", "4"), "targets[0] is 4"),
        (("--targeted", "{folder}/short.csv"), "--targeted names no target for '14.png'"),
        (("--targeted", "{folder}/two.csv"), "has no column 'target'"),
        (("--targeted", "{folder}/same.csv"), "line 1: 00.png is to be given class 0, which is its label"),
        (("--targeted", "{folder}/gone.csv"), "gone.csv is no file"),
        (("--labels", "{folder}/gone.csv"), "gone.csv is no file"),
        (("--scale", "0"), "is no value of white"),
        (("--class-names", "{folder}/gone.txt"), "gone.txt is no file of class names"),
        (("--class-names", "{folder}/three.txt"), "names 3 classes, and"),
        (("--class-names", "{folder}/three.txt", "--classes", "4"), "names 3 classes, and"),
        (("--class-names", "{folder}/hole.txt"), "class 1 is called ''"),
        (("--class-names", "{folder}/hole.json"), "does not number its 2 classes from 0 to 1"),
        (("--class-names", "{folder}/pipe"), "pipe is no file of class names"),
    ],
)
def test_what_does_not_fit_is_refused(words, said, typed, user, pictures, tmp_path):
    data, rows = pictures
    written(tmp_path / "short.csv", [(file, label, (label + 1) % 4) for file, label in rows[:-1]])
    written(tmp_path / "two.csv", rows)
    written(tmp_path / "same.csv", [("00.png", 0, 0)])
    written(tmp_path / "three.txt", [(name,) for name in NAMES[:3]])
    written(tmp_path / "hole.txt", [("ant",), ("",), ("bee",)])
    (tmp_path / "hole.json").write_text('{"0": "ant", "2": "bee"}')
    os.mkfifo(tmp_path / "pipe")
    filled = [word.format(folder=tmp_path) for word in words]
    result = typed("attack", "fgsm", user[0], data, "--threat", "linf:0.1", *SIZE, *filled)
    assert result.exit_code == 2, result.stdout
    assert said in result.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "ant\nbee\ncow\ndoe\n\n"),
        ("a.json", '["ant", "bee", "cow", "doe"]'),
        ("b.json", '{"1": "bee", "0": "ant", "3": "doe", "2": "cow"}'),
        ("c.json", '{"bee": 1, "ant": 0, "doe": 3, "cow": 2}'),
    ],
)
def test_class_names_may_be_lines_or_json(name, text, tmp_path):
    from sparring.zoo.class_names import read_class_names

    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == NAMES


def test_data_that_changes_is_told_by_an_attack(typed, user, tmp_path):
    (tmp_path / "data.py").write_text(
        "import torch\n\ndef loader():\n    data = torch.utils.data.TensorDataset(torch.rand(20, 1, 6, 6), "
        "torch.arange(20) % 4)\n    return torch.utils.data.DataLoader(data, batch_size=5, shuffle=True)\n"
    )
    words = ("attack", "fgsm", user[0])
    result = typed(*words, f"{tmp_path / 'data.py'}:loader", "--threat", "linf:0.1")
    assert "cannot be repeated: turn shuffling off" in " ".join(result.stdout.split())
    assert "cannot be repeated" not in typed(*words, user[1], "--threat", "linf:0.1").stdout


def test_files_whose_names_are_no_text_are_audited_to_the_end(audited, user, tmp_path):
    held = np.load(tmp_path / "mine.npz")
    root = os.fsencode(tmp_path / "classes")
    for place in range(12):
        folder = root + b"/caf\xe9%d" % held["labels"][place]
        os.makedirs(folder, exist_ok=True)
        Image.fromarray(held["images"][place, 0]).save(os.fsdecode(folder + b"/\xff%d.png" % place))
    for label in range(4):
        os.makedirs(root + b"/caf\xe9%d" % label, exist_ok=True)
    result = audited(*SIZE, "--classes", 4, data=f"folder:{tmp_path / 'classes'}")
    assert result.exit_code in (0, 1), result.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["data"]["labelled_count"] == 12
    assert {one["name"] for one in report["per_class"]} <= {rf"caf\xe9{label}" for label in range(4)}


def test_an_attack_says_how_many_images_have_no_label(typed, user, tmp_path):
    (tmp_path / "some.py").write_text(
        "import torch\nx = torch.rand(6, 1, 6, 6)\nsome = [(x[i], None if i == 4 else i % 4) for i in range(6)]\n"
    )
    result = typed("attack", "fgsm", user[0], f"{tmp_path / 'some.py'}:some", "--threat", "linf:0.1")
    assert result.exit_code == 0, result.stderr
    assert "1 of the images have no label" in result.stdout
