"""Names, labels, pictures and plans of a stranger, from the folder to everything that an audit writes."""

import csv
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sparring as sp
from sparring.audit import Report
from sparring.audit.plan import make_audit_plan
from sparring.audit.plan_file import make_audit_config
from sparring.audit.records.export import export
from sparring.audit.report.junit import junit_report
from sparring.errors import ConfigError, InputError, SparringError, TargetError
from sparring.zoo import InputSpec, load_data

CLASSES = ("=1+1", "@SUM(A1)", "<b onclick=alert(1)>bold", "a..%2f..%2fetc")
FILES = ("=cmd|' !A0.png", "+1.png", "-1.png", "<script>alert(1)<script>.png", "a..\\..\\up.png", "{{ 7 * 7 }}.png")


def bomb(side):
    """A PNG that says it has side x side dots, in a few hundred bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def folder(tmp_path):
    """Four classes and six pictures in each, with names that want to be something else; and three bombs."""
    root, dice = tmp_path / "stranger", np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for file in FILES:
            Image.fromarray(dice.integers(0, 256, (6, 6), dtype=np.uint8)).save(root / name / file)
    for side in (5_000, 60_000, 2_000_000_000):
        (root / CLASSES[0] / f"bomb-{side}.png").write_bytes(bomb(side))
    return root


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {name for name, _ in attrs}))


@pytest.fixture
def run(quick, single, folder, tmp_path):
    data = load_data(f"folder:{folder}", input=InputSpec(1, 6, 6), classes=4, class_names=CLASSES)
    report = quick(target=single, data=data, threats=[sp.Linf(0.5)], suite="fgsm,pgd", out=tmp_path / "run")
    return report, tmp_path / "run"


def test_a_folder_of_hostile_names_is_audited_as_any_other(run):
    report, path = run
    assert report.data.count == 24
    assert {one.name.rpartition("/")[2] for one in report.data.skipped} == {
        "bomb-5000.png", "bomb-60000.png", "bomb-2000000000.png",
    }  # fmt: skip
    assert {one.name for one in report.per_class} <= set(CLASSES)
    outside = {file.relative_to(path).parts[0] for file in path.rglob("*")}
    assert outside == {"records.sqlite", "examples", "pictures", "report.html", "report.json"}
    assert all(file.stem.replace("-", "").isalnum() for file in (path / "pictures").iterdir())


def test_the_page_of_hostile_names_is_inert(run):
    _, path = run
    text = (path / "report.html").read_text()
    tags = Tags(text).found
    assert not [names for _, names in tags if any(name.startswith("on") for name in names)]
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert text.count("<script") == sum(tag == "script" for tag, _ in tags)
    assert Report.model_validate_json((path / "report.json").read_text()).data.count == 24


def test_the_table_of_hostile_names_has_no_formula(run):
    _, path = run
    with export(path, "csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"name", "clean_prediction", "predicted", "confidence"} <= set(rows[0])
    assert any(row["name"].startswith("'=1+1/") for row in rows)
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "@", "\t", "\r")]
    assert b"alert" not in junit_report(run[0], 0.5)


def test_labels_and_classes_beyond_all_bounds_are_refused(quick, single, images, tmp_path):
    far = torch.full((50,), 10**9)
    with pytest.raises(InputError, match=r"has the label 1000000000; the model's classes are 0 to 3"):
        quick(target=single, data=[(images, far)])
    with pytest.raises(TargetError, match="1000000000"):
        quick(target=sp.Classifier(single.model, classes=10**9), data=[(images, far - 1)])
    assert not (tmp_path / "run").exists()


def test_a_class_more_than_there_are_outputs_costs_nothing(quick, images):
    """20,000 outputs: tables and figures have the classes of the data, not those of the model."""
    torch.manual_seed(0)
    wide = sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 20_000)), classes=20_000)
    report = quick(target=wide, data=[(images[:6].float(), torch.arange(6) + 19_990)], suite="fgsm")
    assert [one.label for one in report.per_class] == list(range(19_990, 19_996))


ENDLESS = "<script>alert(1)</script>" * 10_000


@pytest.mark.parametrize(
    "table",
    [
        {"suite": ENDLESS},
        {"suite": [ENDLESS]},
        {"accept": [ENDLESS]},
        {"goal": ENDLESS},
        {ENDLESS: 1},
        {"limit": ENDLESS},
        {"seed": 10**30},
        {"draws": -(10**30)},
        {"input": {ENDLESS: 1}},
        {"effort": {"steps": ENDLESS}},
    ],
    ids=lambda table: next(iter(table))[:8],
)
def test_a_plan_of_endless_words_is_refused_in_short(table):
    with pytest.raises(SparringError) as told:
        make_audit_config({"model": "m", "data": "d", "threats": ["linf:0.1"]} | table)
    assert len(str(told.value)) < 2000


def test_names_of_a_plan_are_only_names():
    plan = make_audit_plan(model="../../etc/passwd", data="=1+1", smallest=("L2",), batch_size=1, surrogate="<b>")
    assert (plan.model, plan.data, plan.surrogate) == ("../../etc/passwd", "=1+1", "<b>")
    with pytest.raises(ConfigError, match="batch_size=0"):
        make_audit_plan(model="m", data="d", smallest=("L2",), batch_size=0)
