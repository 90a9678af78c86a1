"""Killed, full, interrupted, disturbed: what is recorded stays, and the rest can be caught up."""

import json
import multiprocessing
import os
import resource
import signal
import sqlite3
from pathlib import Path

import pytest
import torch

import sparring as sp
from sparring.audit import AuditObserver, render
from sparring.audit.records.database import FILE, Records
from sparring.audit.records.example_files import read_row
from sparring.errors import RunError


@pytest.fixture
def size() -> int:
    return 8


def records(folder: Path, batching: bool = True) -> list[list[tuple]]:
    """Everything recorded but the times."""
    connection = sqlite3.connect(folder / FILE)
    placed = {"chunk", "original_file", "original_row", "example_file", "example_row"}
    kept = []
    for table, order in (
        ("chunk", "id"),
        ("sample", "id"),
        ("result", "sample, norm, eps, turn, seed"),
        ("stretched", "sample, norm, eps"),
    ):
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        columns = [name for name in names if name != "seconds" and (batching or name not in placed)]
        if batching or table != "chunk":
            kept.append(connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}").fetchall())
    connection.close()
    return kept


class Killer(AuditObserver):
    """Kills the process inside a chunk, or after one."""

    def __init__(self, moment: str, chunk: int) -> None:
        self.moment, self.chunk, self.chunks = moment, chunk, 0

    def recorded(self, done):
        self.chunks += 1
        if self.moment == "after" and self.chunks == self.chunk:
            die()

    def step(self, progress):
        if self.moment == "inside" and self.chunks == self.chunk and progress.attack == "Square":
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("moment", ["inside-2", "before-3", "after-1"])
def test_killed_and_resumed_is_never_killed(moment, quick, tmp_path):
    whole = quick(out=tmp_path / "whole")
    when, number = moment.split("-")
    commit = Records.commit

    def dying(self, rows, skipped):
        if when == "before" and rows.chunk["id"] == int(number):
            die()
        commit(self, rows, skipped)

    def work():
        Records.commit = dying
        quick(out=tmp_path / "killed", observer=Killer(when, int(number)))

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    connection = Records.open(tmp_path / "killed")
    assert (len(connection.chunks()), connection.finished) == (int(number), False)
    connection.close()
    again = quick(out=tmp_path / "killed", resume=True)
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
    assert again.provenance.resumed == 1
    same = {"exclude": {"provenance", "threats"}}
    assert again.model_dump(**same) == whole.model_dump(**same)


def test_the_batch_size_changes_no_record(quick, images, labels, tmp_path):
    quick(out=tmp_path / "eight")
    quick(data=[(images, labels)], batch_size=50, out=tmp_path / "fifty")
    assert records(tmp_path / "eight", batching=False) == records(tmp_path / "fifty", batching=False)


class Full(AuditObserver):
    """After `chunks` chunks no file may grow beyond `size` bytes."""

    def __init__(self, chunks: int, size: int) -> None:
        self.chunks, self.size = chunks, size

    def recorded(self, done):
        self.chunks -= 1
        if not self.chunks:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@pytest.fixture
def unlimited():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("eps", [0.05, 1e-7], ids=["examples do not fit", "records do not fit"])
def test_a_full_disk_keeps_what_was_recorded(eps, quick, tmp_path, unlimited):
    threats = [sp.Linf(eps)]
    with pytest.raises(RunError, match=r"No space left on device.*every chunk recorded before is safe.*--resume"):
        quick(threats=threats, observer=Full(2, 256))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    connection = Records.open(tmp_path / "run")
    assert len(connection.chunks()) == 2
    connection.close()
    assert not list(tmp_path.rglob("*.partial"))
    quick(threats=threats, resume=True)
    quick(threats=threats, out=tmp_path / "whole")
    assert records(tmp_path / "run") == records(tmp_path / "whole")


class Interrupted(AuditObserver):
    def recorded(self, done):
        if done.number == 2:
            raise KeyboardInterrupt


def test_an_unfinished_run_has_a_report_that_says_so(quick, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        quick(observer=Interrupted())
    report = render(tmp_path / "run")
    assert report.data.count == 24
    assert (report.warnings[0].code, report.warnings[0].severity) == ("unfinished", "severe")
    finished = quick(resume=True)
    assert "unfinished" not in [finding.code for finding in finished.warnings]


def test_a_folder_in_use_is_refused(quick, tmp_path):
    quick()
    with pytest.raises(RunError, match=r"holds a run; go on with --resume, or choose another --out"):
        quick()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="exists and is not empty; choose another --out"):
        quick(out=tmp_path / "other", resume=True)
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="file is a file; choose another --out"):
        quick(out=tmp_path / "file")


def test_resuming_a_finished_run_changes_nothing(quick, tmp_path):
    before = quick()
    kept = records(tmp_path / "run")
    assert quick(resume=True).threats == before.threats
    assert records(tmp_path / "run") == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 6}, r"another steps \(10, not 6\)"),
        ({"seed": 1}, r"another seed \(0, not 1\)"),
        ({"threats": [sp.Linf(0.03)]}, "another threats"),
    ],
)
def test_another_plan_is_not_resumed(change, said, quick):
    quick()
    with pytest.raises(RunError, match=said):
        quick(resume=True, **change)


def test_other_weights_and_other_data_are_not_resumed(quick, target, batches):
    with pytest.raises(KeyboardInterrupt):
        quick(observer=Interrupted())
    with pytest.raises(RunError, match=r"gives other images or labels at 0 to 1 than when .* was begun; turn shuffl"):
        quick(data=batches[::-1], resume=True)
    with torch.no_grad():
        target.model[1].bias += 1
    with pytest.raises(RunError, match="a run of other weights"):
        quick(resume=True)


def test_every_recorded_example_fools_the_model_and_lies_in_the_ball(quick, target, images, tmp_path):
    quick(threats=[sp.Linf(0.05), sp.L2(0.3)])
    connection = Records.open(tmp_path / "run")
    rows = list(connection.select("SELECT * FROM result JOIN sample ON id = sample WHERE success"))
    assert len(rows) > 10
    for row in rows:
        example = read_row(tmp_path / "run" / row["example_file"], "examples", row["example_row"])
        original = images[row["sample"]]
        assert int(target(example[None]).argmax()) == json.loads(row["prediction"])["predicted"] != row["label"]
        ball = {"Linf": sp.Linf, "L2": sp.L2}[row["norm"]](row["eps"])
        size = float(ball.norm(example[None] - original[None]))
        assert size == pytest.approx(row[row["norm"].lower()], rel=1e-5)
        assert size <= row["eps"] + 1e-6
        assert float(example.min()) >= 0
        assert float(example.max()) <= 1
    connection.close()


@pytest.mark.parametrize("content", [None, b"this is no database, although it is called one" * 100])
def test_what_is_no_run_is_told(content, tmp_path):
    if content:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match=r"records\.sqlite"):
        render(tmp_path)


def test_a_missing_shard_is_named(quick, tmp_path):
    quick()
    shard = next((tmp_path / "run" / "examples").glob("*.safetensors"))
    os.remove(shard)
    with pytest.raises(RunError, match=shard.name):
        render(tmp_path / "run")
