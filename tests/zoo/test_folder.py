"""A user's own folder: labels by one rule, mixed pictures, what is skipped and what is refused."""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.errors import InputError
from sparring.targets import Classifier
from sparring.zoo import Chunk, Data, InputSpec, LoadedModel, Skipped, imagenet_classes, load_data

SPEC = InputSpec(3, 16, 16)
Picture = Callable[..., Path]


def all_rows(data: Data, batch_size: int = 2) -> dict[str, int | None]:
    chunks = list(data.chunks(batch_size))
    assert [chunk.first for chunk in chunks] == [sum(len(c.names) for c in chunks[:k]) for k in range(len(chunks))]
    return {
        name: None if chunk.labels is None else int(chunk.labels[place])
        for chunk in chunks
        for place, name in enumerate(chunk.names)
    }


def load(root: Path, **known: object) -> Data:
    return load_data(f"folder:{root}", input=SPEC, **known)  # type: ignore[arg-type]


def test_a_flat_folder_of_mixed_pictures_has_no_labels(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "b.jpg", (300, 20))
    picture(tmp_path / "a.PNG", (16, 16))
    picture(tmp_path / "c.webp", (33, 200))
    (tmp_path / "notes.txt").write_text("not a picture")
    data = load(tmp_path, classes=1000)
    assert (data.labelled, len(data)) == (False, 3)
    assert "the model's own prediction" in data.label_note
    assert all_rows(data) == {"a.PNG": None, "b.jpg": None, "c.webp": None}
    assert data.skipped == []


def test_chunks_hold_images_in_the_unit_range(tmp_path: Path, picture: Picture) -> None:
    for place in range(5):
        picture(tmp_path / f"{place}.png", color=(0, 255, place))
    chunks: list[Chunk] = list(load(tmp_path).chunks(2))
    assert [tuple(chunk.images.shape) for chunk in chunks] == [(2, 3, 16, 16), (2, 3, 16, 16), (1, 3, 16, 16)]
    assert all(float(chunk.images.min()) >= 0 and float(chunk.images.max()) == 1 for chunk in chunks)


@pytest.mark.parametrize(
    ("folders", "known", "rule"),
    [
        ({"7": 7, "012": 12}, {"classes": 1000}, "class numbers"),
        ({"7": 7, "2000": 2000}, {}, "class numbers"),
        ({"n02123045": 281, "n07920052": 967}, {"classes": 1000}, "WordNet ids"),
        ({"tabby": 281, "Egyptian_cat": 285, "espresso": 967}, {"classes": 1000}, "class names"),
        ({"crane bird": 134, "hoisting-crane": 517}, {"classes": 1000}, "class names"),
        ({"tench, Tinca tinca": 0, "Carassius auratus": 1}, {"classes": 1000}, "class names"),
        ({"Dog": 1, "cat": 0}, {"class_names": ("cat", "dog", "cow")}, "class names"),
        ({"1": 1, "0": 0}, {"class_names": ("1", "0")}, "class numbers"),
        ({"good": 1, "bad": 0}, {"classes": 2}, "the sorted order of the 2 sub-folders"),
    ],
)
def test_one_rule_labels_all_sub_folders(
    tmp_path: Path, picture: Picture, folders: dict[str, int], known: dict[str, object], rule: str
) -> None:
    for name in folders:
        picture(tmp_path / name / "deep" / "x.png")
        picture(tmp_path / name / "y.png")
    data = load(tmp_path, **known)
    assert data.labelled
    assert rule in data.label_note
    rows = all_rows(data)
    assert rows == {f"{name}/{file}": label for name, label in folders.items() for file in ("deep/x.png", "y.png")}


@pytest.mark.parametrize(
    ("folders", "known", "stranger"),
    [
        (["7", "1000"], {"classes": 1000}, "1000"),
        (["tabby", "tabbby"], {"classes": 1000}, "tabbby"),
        (["7", "tabby"], {"classes": 1000}, "tabby"),
        (["n02123045", "n99999999"], {"classes": 1000}, "n99999999"),
        (["crane", "tabby"], {"classes": 1000}, "crane"),
        (["n02123045", "cat"], {"classes": 10}, "cat|n02123045"),
        (["cat", "dog"], {}, "cat"),
    ],
)
def test_folders_that_fit_no_rule_are_refused(
    tmp_path: Path, picture: Picture, folders: list[str], known: dict[str, object], stranger: str
) -> None:
    for name in folders:
        picture(tmp_path / name / "x.png")
    with pytest.raises(InputError, match=rf"the sub-folder '({stranger})' is no class of .*without labels: flat:"):
        load(tmp_path, **known)


def test_flat_runs_a_tree_without_labels(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "whatever" / "x.png")
    picture(tmp_path / "y.png")
    data = load_data(f"flat:{tmp_path}", input=SPEC, classes=10)
    assert not data.labelled
    assert all_rows(data) == {"y.png": None, "whatever/x.png": None}


def test_every_beginning_is_balanced(tmp_path: Path, picture: Picture) -> None:
    for label, count in (("0", 4), ("1", 2), ("2", 1)):
        for place in range(count):
            picture(tmp_path / label / f"{place}.png")
    order = [int(name[0]) for name in all_rows(load(tmp_path, classes=3))]
    assert order == [0, 1, 2, 0, 1, 0, 0]
    limited = load(tmp_path, classes=3, limit=3)
    assert (len(limited), sorted(all_rows(limited).values())) == (3, [0, 1, 2])  # type: ignore[type-var]


def test_what_cannot_be_read_is_skipped_counted_and_named(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "good.png")
    whole = picture(tmp_path / "half.jpg", (200, 200)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / ".hidden.png").write_text("never looked at")
    (tmp_path / "scan.tiff").write_bytes(b"II*\0")
    data = load(tmp_path)
    for _ in range(2):  # each pass counts anew
        assert all_rows(data) == {"good.png": None}
        assert [skip.name for skip in data.skipped] == ["empty.png", "half.jpg", "scan.tiff"]
    assert len(data) == 4
    reasons = {skip.name: skip.reason for skip in data.skipped}
    assert "truncated" in reasons["half.jpg"]
    assert reasons["empty.png"] == "not a JPEG, PNG, WebP or BMP picture"
    assert reasons["scan.tiff"] == ".tiff files are not read; save it as PNG"


def test_links_are_followed_only_inside_the_folder(tmp_path: Path, picture: Picture) -> None:
    outside = picture(tmp_path / "outside" / "secret.png")
    root = tmp_path / "root"
    inside = picture(root / "own.png")
    (root / "alias.png").symlink_to(inside)
    (root / "leaving.png").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    data = load(root)
    assert all_rows(data) == {"alias.png": None, "own.png": None}
    assert data.skipped == [Skipped("leaving.png", "a link that leaves the folder")]


def test_a_folder_without_one_good_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(InputError, match=r"none of 1 pictures can be used \(a\.png: not a JPEG"):
        list(load(tmp_path).chunks(4))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"{tmp_path} holds no picture \(\.apng, \.bmp, .*; name a folder of pictures"
    ):
        load(tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no folder; name one that exists"):
        load(tmp_path / "nowhere")


def test_pictures_beside_sub_folders_of_pictures_are_refused(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "stray.png")
    picture(tmp_path / "1" / "x.png")
    with pytest.raises(InputError, match=r"holds pictures \(stray\.png\) beside sub-folders of them \(1\)"):
        load(tmp_path, classes=10)


def test_without_an_input_spec_pictures_must_be_of_one_size(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "a.png", (16, 16))
    picture(tmp_path / "b.png", (16, 16))
    data = load_data(f"folder:{tmp_path}", input=None)
    assert next(data.chunks(8)).images.shape == (2, 3, 16, 16)
    picture(tmp_path / "c.png", (17, 16))
    with pytest.raises(InputError, match=r"c\.png has shape \(3, 16, 17\) .*LoadedModel with input=InputSpec"):
        list(load_data(f"folder:{tmp_path}", input=None).chunks(8))


def test_pictures_are_read_one_chunk_at_a_time(tmp_path: Path, ramp: np.ndarray) -> None:
    for place in range(6):
        Image.fromarray(ramp).save(tmp_path / f"{place}.png")
    chunks = load(tmp_path).chunks(2)
    next(chunks)
    for place in range(3, 6):
        (tmp_path / f"{place}.png").unlink()
    assert [chunk.names for chunk in chunks] == [["2.png"]]


def test_imagenet_names_are_unique() -> None:
    names = imagenet_classes.class_names()
    assert len(set(names)) == len(set(imagenet_classes.wordnet_ids())) == 1000
    assert (names[0], names[281], names[967], names[639]) == ("tench", "tabby", "espresso", "tank suit")


@pytest.mark.parametrize(
    ("folders", "known", "said"),
    [
        (
            ["bird", "cat", "dogs"],
            {"class_names": ("dog", "cat", "bird")},
            r"'dogs' is no class .*Did you mean 'dog'\?",
        ),
        (["good", "bad"], {"class_names": ("x", "y")}, "'bad' is no class"),
        (["1", "2"], {"class_names": ("0", "1")}, "'2' is no class"),
        (["train", "val"], {"classes": 2}, r"train, val are parts of a data set .*; name one of them: folder:.*/val"),
        (["train"], {"classes": 10}, "train are parts of a data set"),
        (["n01440764", "n02102040"], {}, "add --classes 1000"),
        (["n01440764", "n02102040"], {"classes": 5}, "add --classes 1000"),
    ],
)
def test_folders_that_only_look_like_classes_are_refused(
    tmp_path: Path, picture: Picture, folders: list[str], known: dict[str, object], said: str
) -> None:
    for name in folders:
        picture(tmp_path / name / "x.png")
    with pytest.raises(InputError, match=said):
        load(tmp_path, **known)


def test_numbers_count_as_numbers_also_where_they_begin_with_one(tmp_path: Path, picture: Picture) -> None:
    for number in range(1, 11):
        picture(tmp_path / str(number) / "x.png")
    data = load(tmp_path, classes=10)
    assert all_rows(data) == {f"{number}/x.png": number - 1 for number in range(1, 11)}
    assert data.class_names == tuple(str(number) for number in range(1, 11))
    assert (
        "order of the numbers of the 10 sub-folders, as many as the model has classes: 1 is class 0" in data.label_note
    )


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_whatever_their_unicode_form(tmp_path: Path, picture: Picture, form: Any) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    for name in ("Ähre", "Öl"):
        picture(tmp_path / unicodedata.normalize(form, name) / "x.png")
    names = tuple(unicodedata.normalize(other, name) for name in ("öl", "ähre"))  # type: ignore[arg-type]
    assert sorted(all_rows(load(tmp_path, class_names=names)).values()) == [0, 1]  # type: ignore[type-var]
    assert {name[0]: label for name, label in all_rows(load(tmp_path, class_names=names)).items()} == {
        unicodedata.normalize(form, "Ä")[0]: 1,
        unicodedata.normalize(form, "Ö")[0]: 0,
    }


def test_a_link_to_a_class_folder_is_refused(tmp_path: Path, picture: Picture) -> None:
    elsewhere = picture(tmp_path / "elsewhere" / "x.png").parent
    root = tmp_path / "root"
    picture(root / "cat" / "x.png")
    (root / "dog").symlink_to(elsewhere)
    with pytest.raises(
        InputError, match="dog is a link to a folder, which is not followed; put the folder itself there"
    ):
        load(root, classes=1)


def test_what_is_left_out_is_said(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "cat" / "x.png")
    picture(tmp_path / "dog" / "x.png")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    (tmp_path / "cat" / "Thumbs.db").touch()
    (tmp_path / "dog" / "notes.txt").touch()
    note = load(tmp_path, classes=2).label_note
    assert note.endswith("; left out: 1 links to folders (loop), 2 files that are no pictures (Thumbs.db)")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.mp4").touch()
    with pytest.raises(InputError, match=r"holds no picture .*; left out: 1 files that are no pictures \(a\.mp4\)"):
        load(tmp_path / "empty")


@pytest.mark.parametrize("spec", ["folder", "flat"])
def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, picture: Picture, spec: str) -> None:
    picture(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s.png")[:100])
        data = load_data(f"{spec}:{tmp_path}", input=SPEC)
        assert all_rows(data) == {"good.png": None}
    assert {skip.name: skip.reason for skip in data.skipped} == {
        "pipe.png": "no regular file",
        "s.png": "no regular file",
        "device.png": "a link that leaves the folder",
        "loop.png": "a link that leads nowhere, or a file that is gone",
        "nowhere.png": "a link that leads nowhere, or a file that is gone",
    }


def test_names_that_are_no_text_can_be_stored(tmp_path: Path, picture: Picture) -> None:
    for name in (b"caf\xe9", b"dog"):
        inner = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        picture(Path(inner) / os.fsdecode(b"b\xff\xfeild.png"))
        (Path(inner) / os.fsdecode(b"\xfa.png")).touch()
    data = load(tmp_path, classes=2)
    assert all_rows(data) == {r"caf\xe9/b\xff\xfeild.png": 0, r"dog/b\xff\xfeild.png": 1}
    assert [skip.name for skip in data.skipped] == [r"caf\xe9/\xfa.png", r"dog/\xfa.png"]
    assert data.class_names == (r"caf\xe9", "dog")
    for text in (data.label_note, data.name, *data.class_names):
        text.encode()


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "b.png,1\nin/a.png,0\n",
        "\ufefffile,label\nb.png,dog\n./in/a.png,cat\n",
        "id;target;label;filename\n1;0;1.0;b.png\n2;1;0;in\\a.png\n",
        'Image\tclass\n"b.png"\t Dog\n\nin/a.png\tCAT\n',
    ],
)
def test_labels_may_come_from_a_table(tmp_path: Path, picture: Picture, text: str) -> None:
    root = tmp_path / "pictures"
    for name in ("in/a.png", "b.png", "c.png"):
        picture(root / name)
    labels = table(tmp_path / "labels.csv", text)
    for spec in ("folder", "flat"):
        data = load_data(f"{spec}:{root}", input=SPEC, class_names=("cat", "dog"), labels=labels)
        assert list(all_rows(data).items()) == [("b.png", 1), ("in/a.png", 0)]
        assert (
            data.label_note == f"labels: those of {labels}; left out: 1 pictures that labels.csv does not name (c.png)"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no labels"),
        ("a.png\n", "has no column of labels"),
        ("a.png,0\nb.png\n", "line 2: 'b.png' lacks a column"),
        ("a.png,0\n./a.png,0\n", r"names ./a.png twice, in lines 1 and 2"),
        ("a.png,0\nA.png,1\n", r"line 2: 'A.png' is no picture in .*Did you mean 'a.png'"),
        ("picture,klass\na.png,0\n", "line 1: 'picture' is no picture in .*a header is file,label"),
        ("../a.png,0\n", r"line 1: '../a.png' is no picture"),
        ("file,label\na.png,\n", "line 2: the label is empty"),
        ("file,label\na.png,2\n", r"labels.csv \(label\): line 2 has the label '?2'?; the model's classes are 0 to 1"),
        ("a.png,cow\n", "line 1 has the label 'cow'; a word that is no class name"),
        ("a.png,0.5\n", "line 1 has the label 0.5; a label is a whole number"),
        ('a.png,"0\n', "cannot be read as a table"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, picture: Picture, text: str, said: str) -> None:
    picture(tmp_path / "root" / "a.png")
    labels = table(tmp_path / "labels.csv", text)
    with pytest.raises(InputError, match=said):
        load_data(f"flat:{tmp_path / 'root'}", input=SPEC, class_names=("cat", "dog"), labels=labels)


def test_a_table_that_is_no_text_file_is_refused(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "bytes.csv").write_bytes(b"a.png,\xff\xfe\n")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, said in (("bytes.csv", "cannot be read as a table"), ("pipe.csv", "no file"), ("no.csv", "no file")):
        with pytest.raises(InputError, match=said):
            load_data(f"flat:{tmp_path}", input=SPEC, labels=tmp_path / name)


def test_class_names_that_are_no_text_meet_folders_of_that_name(tmp_path: Path, picture: Picture) -> None:
    name = os.fsdecode(b"caf\xe9")
    for folder in ("a", name):
        picture(tmp_path / folder / "x.png")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    model = LoadedModel("net", Classifier(net, classes=2), InputSpec(3, 4, 4), (name, "a"), "here", None)
    assert model.class_names == (r"caf\xe9", "a")
    assert all_rows(load_data(tmp_path, model)) == {"a/x.png": 1, r"caf\xe9/x.png": 0}
