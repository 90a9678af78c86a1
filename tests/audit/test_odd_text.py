"""Names that are no UTF-8, and lone surrogates, reach every file that an audit writes as text that it can hold."""

import json
import os
import sqlite3

import numpy as np
import pytest
from PIL import Image

import sparring as sp
from sparring.audit import render
from sparring.audit.plan import make_audit_plan
from sparring.audit.plan_file import make_audit_config
from sparring.audit.records.database import FILE
from sparring.audit.records.export import export
from sparring.text import printable, storable
from sparring.threats import parse_threat
from sparring.zoo import InputSpec, LoadedModel, load_data

BYTE = os.fsdecode(b"caf\xe9")  # Latin-1: a lone surrogate to Python


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("é\U0001f600", "é\U0001f600"),
        (BYTE, "caf\\xe9"),
        ("\ud800 and \udfff", "\\ud800 and \\udfff"),
        ((BYTE, 3, None, {BYTE: [BYTE]}), ("caf\\xe9", 3, None, {"caf\\xe9": ["caf\\xe9"]})),
    ],
)
def test_storable_text_is_utf_8_and_says_what_was_there(text, expected):
    assert storable(text) == expected
    assert printable(storable("x\x1b")) == "x\\x1b"


@pytest.fixture
def folder(tmp_path):
    """Four classes of three pictures, of which names of folders, files and above are no UTF-8."""
    root = tmp_path / BYTE / "pictures"
    for number, name in enumerate(("a", "b", "c", BYTE)):
        (root / name).mkdir(parents=True)
        for place in range(3):
            dice = np.random.default_rng(3 * number + place)
            path = root / name / f"{place}-{BYTE}.png"
            Image.fromarray(dice.integers(0, 256, (6, 6), dtype=np.uint8)).save(path)
    (root / "a" / f"broken-{BYTE}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


def test_a_folder_of_names_that_are_no_utf_8_is_audited_resumed_and_exported(quick, single, folder, tmp_path):
    names = ("a", "b", "c", BYTE)
    data = load_data(f"folder:{folder}", input=InputSpec(1, 6, 6), classes=4, class_names=names)
    target = LoadedModel(f"model {BYTE}", single, None, names, f"made by {BYTE}\ud800", None)
    out = tmp_path / "run"
    words = {"target": target, "data": data, "suite": "fgsm", "out": out, "command": f"sparring audit {BYTE}"}
    report = quick(threats=[sp.Linf(0.5)], **words)
    assert report.title.startswith("model caf\\xe9 on folder:")
    assert {one.name for one in report.data.skipped} == {"a/broken-caf\\xe9.png"}
    again = quick(threats=[sp.Linf(0.5)], resume=True, **words)
    assert again.title == report.title
    assert render(out) == again
    assert json.loads((out / "report.json").read_text("utf-8"))["model"]["name"] == "model caf\\xe9"
    rows = json.loads(export(out, "json", tmp_path / "rows.json").read_text("utf-8"))
    assert rows
    assert all("-caf\\xe9.png" in row["name"] for row in rows)
    with sqlite3.connect(out / FILE) as connection:
        sampled = {name for (name,) in connection.execute("SELECT name FROM sample")}
    connection.close()
    assert sampled == {f"{one}/{place}-caf\\xe9.png" for one in ("a", "b", "c", "caf\\xe9") for place in range(3)}


def test_a_plan_keeps_what_is_used_and_stores_what_can_be_stored():
    config = make_audit_config({"model": f"{BYTE}.py:net", "data": f"folder:{BYTE}", "threats": ["linf:0.1"]})
    assert (config.model, config.data) == (f"{BYTE}.py:net", f"folder:{BYTE}")
    plan = make_audit_plan(model=config.model, data="d", threats=(parse_threat("linf:0.1"),), batch_size=8)
    assert plan.model == "caf\\xe9.py:net"
    plan.model_dump_json()
