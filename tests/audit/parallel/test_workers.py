"""Several workers write the records of one, whatever happens to them on the way."""

import contextlib
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.main import get_command

import sparring as sp
from sparring.audit import AuditObserver
from sparring.audit.parallel.chunk_worker import (
    ChunkFailure,
    ChunkResult,
    deserialize,
    picklable,
    serialize,
    serialize_job,
)
from sparring.audit.parallel.worker_pool import work_in_pool
from sparring.audit.parallel.workers import Workers, parse_workers
from sparring.audit.plan_file import make_audit_config
from sparring.audit.records.database import Records
from sparring.audit.records.example_files import read_row
from sparring.cli import app
from sparring.defenses.purification import JPEGCompression
from sparring.errors import AssetError, ConfigError, InputError, RunError
from sparring.targets import Defended, LockOut, Remote
from sparring.zoo import Chunk, load_model

TABLES = ("chunk", "sample", "result", "stretched", "probe", "skipped")
EFFORT = {"threats": [sp.Linf(0.02), sp.Linf(0.05), sp.L2(0.2)], "suite": "fgsm,pgd,square", "queries": 12}


@pytest.fixture
def size():
    return 10


def content(folder: Path):
    """Every table but its times, and every byte of the shards."""
    records = Records.open(folder)
    tables = {name: [dict(row) for row in records.select(f"SELECT * FROM {name}")] for name in TABLES}
    records.close()
    tables["probe"] = [row for row in tables["probe"] if row["name"] != "seconds"]
    for rows in tables.values():
        for row in rows:
            row.pop("seconds", None)
    shards = {path.name: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
    assert shards
    assert len(tables["chunk"]) > 2
    return tables, shards


class Told(AuditObserver):
    """What was said, and an interruption after some chunks."""

    def __init__(self, after=None):
        self.words, self.after, self.done = [], after, 0

    def report_message(self, words):
        self.words.append(words)

    def recorded(self, done):
        self.done += 1
        if self.done == self.after:
            raise KeyboardInterrupt


@pytest.fixture
def alone(quick, tmp_path):
    """The records of one worker."""
    quick(out=tmp_path / "alone", **EFFORT)
    return content(tmp_path / "alone")


def test_two_workers_write_what_one_does(alone, quick, tmp_path):
    report = quick(out=tmp_path / "two", workers=2, **EFFORT)
    assert content(tmp_path / "two") == alone
    assert report.provenance.device.endswith("2 workers of 1 threads")
    assert not multiprocessing.active_children()


def test_an_interrupted_audit_goes_on_with_another_number_of_workers(alone, quick, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        quick(out=out, workers=2, observer=Told(after=2), **EFFORT)
    assert not multiprocessing.active_children()
    with sqlite3.connect(out / "records.sqlite") as records:
        assert records.execute("SELECT COUNT(*) FROM chunk").fetchone() == (2,)
    with pytest.raises(KeyboardInterrupt):
        quick(out=out, resume=True, observer=Told(after=1), **EFFORT)
    quick(out=out, workers=3, resume=True, **EFFORT)
    assert content(out) == alone


def test_one_worker_for_each_device(alone, quick, tmp_path):
    report = quick(out=tmp_path / "devices", devices=["cpu", "cpu"], **EFFORT)
    assert content(tmp_path / "devices") == alone
    assert report.provenance.device.endswith("2 workers on cpu, cpu of 1 threads")


DEADLY = """
import os, pathlib, signal, torch
from torch import nn

class Deadly(nn.Sequential):
    "Kills its worker as often as there are files to take away."
    def forward(self, x):
        if os.getpid() != {writer}:
            for bullet in sorted(pathlib.Path({folder!r}).glob("*.bullet"))[:1]:
                bullet.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

def net():
    torch.manual_seed(3)
    return Deadly(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4))
"""


@pytest.fixture
def deadly(tmp_path):
    """A model that kills so many workers."""
    (tmp_path / "deadly.py").write_text(DEADLY.format(folder=str(tmp_path), writer=os.getpid()))
    loaded = load_model(f"{tmp_path / 'deadly.py'}:net")

    def load(bullets):
        for number in range(bullets):
            (tmp_path / f"{number}.bullet").touch()
        return loaded

    return load


def test_a_worker_that_is_killed_costs_nothing_but_time(deadly, quick, tmp_path):
    quick(target=deadly(0), out=tmp_path / "alone", **EFFORT)
    observer = Told()
    quick(target=deadly(1), out=tmp_path / "killed", workers=2, observer=observer, **EFFORT)
    assert content(tmp_path / "killed") == content(tmp_path / "alone")
    (said,) = observer.words
    assert said.startswith("a worker ended on chunk ")
    assert said.endswith("killed by signal 9; another takes it")


def test_a_chunk_that_kills_every_worker_is_given_up_and_the_rest_is_safe(deadly, quick, tmp_path):
    out, observer = tmp_path / "run", Told(after=2)
    with pytest.raises(KeyboardInterrupt):
        quick(target=deadly(0), out=out, observer=observer, **EFFORT)
    with pytest.raises(RunError, match=r"3 workers died on chunk 2, the last one killed by signal 9.*--resume"):
        quick(target=deadly(9), out=out, workers="1", devices=["cpu"], resume=True, observer=observer, **EFFORT)
    assert len(observer.words) == 2
    for bullet in tmp_path.glob("*.bullet"):
        bullet.unlink()
    quick(target=deadly(0), out=out, resume=True, **EFFORT)
    quick(target=deadly(0), out=tmp_path / "alone", **EFFORT)
    assert content(out) == content(tmp_path / "alone")


@pytest.mark.slow
def test_ray_writes_what_one_does_though_a_worker_is_killed_and_leaves_nothing_behind(deadly, quick, tmp_path):
    quick(target=deadly(0), out=tmp_path / "alone", **EFFORT)
    quick(target=deadly(1), out=tmp_path / "ray", workers="ray:2", observer=Ports(), **EFFORT)
    assert content(tmp_path / "ray") == content(tmp_path / "alone")
    assert not list(tmp_path.glob("*.bullet"))
    assert not sys.modules["ray"].is_initialized()
    assert not list(Path(tempfile.gettempdir()).glob("sparring-ray-*"))
    assert not (Path.home() / ".ray" / "auth_token").exists() or "RAY_AUTH_TOKEN" not in os.environ


class Ports(AuditObserver):
    """Looks, while ray runs, for a port of it that others could reach, and for its token in its files."""

    def recorded(self, done):
        (folder,) = Path(tempfile.gettempdir()).glob("sparring-ray-*")
        token = os.environ["RAY_AUTH_TOKEN"].encode()
        assert not any(token in path.read_bytes() for path in folder.rglob("*") if path.is_file())
        there = listening(descendants(os.getpid()))
        assert len(there) > 3
        assert all(address in ("0100007F", "0000000000000000FFFF00000100007F") for address in there)


def descendants(pid):
    """The process and all that came of it."""
    found, parents = {pid}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    for _ in parents:
        more = {child for child, parent in parents.items() if parent in found}
        if more <= found:
            break
        found |= more
    return found


def listening(pids):
    """The addresses that the processes listen on."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(handle))
    tables = [Path(f"/proc/net/{kind}").read_text().splitlines()[1:] for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return [line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


ORPHANS = """
import os, signal, sys, time, torch
from multiprocessing import active_children
import sparring as sp
from importlib import import_module
from sparring.audit import AuditObserver

class Killer(AuditObserver):
    def recorded(self, done):
        print(*(child.pid for child in active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    import_module("sparring.audit.audit").run_probes = lambda *_: {"sample": {"images": 0}}
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4))
    data = [(torch.rand(40, 1, 6, 6), torch.randint(0, 4, (40,)))] * 50
    sp.audit(sp.Classifier(net), data, threats=[sp.Linf(0.001)], out=sys.argv[1], suite="pgd", steps=500,
             batch_size=40, workers=2, observer=Killer())
"""


INTERRUPTED = """
import os, signal, sys
from importlib import import_module
from sparring.audit.records.database import Records

if __name__ == "__main__":
    commit = Records.commit
    def interrupted(self, rows, skipped):
        commit(self, rows, skipped)
        if rows.chunk["id"] == 1:
            os.killpg(0, signal.SIGINT)
    Records.commit = interrupted
    import_module("sparring.audit.audit").run_probes = lambda *_: {"sample": {"images": 0}}
    from sparring.cli import main
    main()
"""


def test_ctrl_c_reaches_the_workers_too_and_the_command_says_how_to_go_on(deadly, tmp_path):
    (tmp_path / "script.py").write_text(INTERRUPTED)
    np.savez(tmp_path / "data.npz", images=np.random.default_rng(5).integers(0, 256, (40, 1, 6, 6), dtype=np.uint8))
    out = tmp_path / "run"
    words = [f"{tmp_path / 'deadly.py'}:net", f"npz:{tmp_path / 'data.npz'}", "--threat", "linf:0.05", "--suite", "pgd"]
    words += ["--batch-size", "8", "--out", str(out), "--workers", "2"]
    command, environment = [sys.executable, str(tmp_path / "script.py"), "audit"], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=100, check=False,
                          env=environment, start_new_session=True)  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert f"every chunk recorded so far is safe in {out}" in done.stderr
    assert "--workers 2 --resume" in done.stderr
    assert "Traceback" not in done.stderr
    with sqlite3.connect(out / "records.sqlite") as records:
        assert records.execute("SELECT COUNT(*) FROM chunk").fetchone() == (2,)


def test_no_worker_outlives_the_audit(tmp_path):
    (tmp_path / "script.py").write_text(ORPHANS)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


class Backwards:
    """A crew that answers the last question first, and counts what it holds."""

    def __init__(self, bad=None):
        self.held, self.most, self.bad = [], 0, bad

    def submit(self, number, chunk):
        self.held.append(number)
        self.most = max(self.most, len(self.held))

    def next_result(self):
        number = self.held.pop()
        return (
            ChunkFailure(number, InputError("no such image"))
            if number == self.bad
            else ChunkResult(number, None, [], 0.0)
        )


def test_answers_come_in_order_and_few_chunks_are_held():
    pool = Backwards()
    assert [done.number for done in work_in_pool(pool, 3, [(number, None) for number in range(40)])] == list(range(40))
    assert pool.most <= 6


def test_what_a_worker_raises_is_raised_when_its_turn_comes():
    seen = []
    with pytest.raises(InputError, match="no such image"):
        seen.extend(done.number for done in work_in_pool(Backwards(bad=7), 3, [(number, None) for number in range(40)]))
        raise AssertionError
    told = picklable(InputError("here"))
    assert type(told) is InputError
    assert "in a worker" in told.__notes__[0]


def test_a_bad_image_is_refused_in_words_as_in_one_process(quick, images, labels, tmp_path):
    bad = images.clone()
    bad[31, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="image 1 holds NaN"):
        quick(data=[(bad, labels)], workers=2, **EFFORT)


def test_a_chunk_travels_without_the_tensor_it_is_cut_from():
    whole = torch.rand(4000, 3, 4, 4)
    chunk = Chunk(whole[10:12], torch.tensor([1, 2]), ["a", "b"], 10)
    packed = serialize_job(5, chunk)
    assert len(packed) < 5000
    number, again = deserialize(packed)
    assert (number, again.names, again.first) == (5, ["a", "b"], 10)
    assert torch.equal(again.images, chunk.images)
    flipped = torch.rand(2, 4, 4, 3).permute(0, 3, 1, 2)  # strides decide which kernel a convolution takes
    assert deserialize(serialize(flipped)).stride() == flipped.stride()


@pytest.mark.parametrize(
    ("workers", "devices", "said"),
    [
        (0, None, r"workers 0 is not between 1 and 1024; pass a number of processes from 1 on, or ray:N"),
        ("0", None, "workers '0' is not between"),
        (-2, None, r"workers -2 is unknown; pass a number"),
        ("ray:x", None, "workers 'ray:x' is unknown; pass a number of processes from 1 on, or ray:N"),
        ("ray:0", None, "workers 'ray:0' is not between"),
        ("1000000000", None, "is unknown"),
        (True, None, "workers True is unknown"),
        (2.5, None, "workers 2.5 is unknown"),
        (None, [], "devices is empty; name some, as cuda:0,cuda:1"),
        (None, ["gpu"], "device 'gpu' is unknown; use cpu, cuda or cuda:0"),
        (None, ["cuda:99"], r"device 'cuda:99' is not here: torch .* sees \d+ CUDA GPUs"),
        (1, ["cpu", "cpu"], "1 workers cannot use 2 devices; pass at least one worker per device"),
        ("ray:2", ["cpu", "cpu"], "workers 'ray:2' beside devices: ray places workers itself"),
    ],
)
def test_workers_that_make_no_sense_are_refused(workers, devices, said, quick, tmp_path):
    with pytest.raises(ConfigError, match=said):
        quick(workers=workers, devices=devices)
    assert not (tmp_path / "run").exists()


def test_workers_are_read_as_they_are_written():
    assert parse_workers(None, None).in_this_process
    assert parse_workers(1, None).in_this_process
    assert parse_workers("ray:3", None) == Workers(3, True)
    four = parse_workers(4, ["cuda:0", "cpu"]) if torch.cuda.is_available() else parse_workers(4, ["cpu", "cpu"])
    assert [four.device_of(number) for number in range(4)] == [*four.devices, *four.devices]


def test_a_service_is_asked_by_one_process_only(quick, target, tmp_path):
    said = "is a service, whose limits and journal only one process can keep; leave workers and devices out"
    with pytest.raises(ConfigError, match=said):
        quick(target=LockOut(target, 1000), workers=2)
    with pytest.raises(ConfigError, match="model " + said):
        quick(target=Remote("http://127.0.0.1:9/v2/models/model"), workers="ray:2")
    with pytest.raises(ConfigError, match=said):
        quick(surrogate=sp.targets.Surrogate(LockOut(target, 9), target), workers=2)
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_told_to_another_process_is_refused(quick, target, tmp_path):
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.link = target.model, sqlite3.connect(":memory:")

        def forward(self, x):
            return self.net(x.double())

    held = sp.Classifier(Held(), classes=4, name="held")
    with pytest.raises(ConfigError, match=r"held cannot be handed .*sqlite3\.Connection.*leave workers out"):
        quick(target=held, workers=2, **EFFORT)
    assert not (tmp_path / "run").exists()
    held.model.link.close()


def test_ray_is_named_where_it_is_not_installed(quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AssetError, match=r"workers ray:2 needs ray, .*pip install 'sparring\[ray\]'"):
        quick(workers="ray:2")


def test_the_search_in_bfloat16_is_confirmed_in_float32(quick, single, tmp_path):
    dtypes = set()

    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = single.model

        def forward(self, x):
            said = self.net(x)
            dtypes.add(said.dtype)
            return said

    seen = sp.Classifier(Seen(), classes=4, name="seen")
    wider = EFFORT | {"threats": [sp.Linf(0.05), sp.Linf(0.1)]}
    exact = quick(target=seen, out=tmp_path / "exact", **wider)
    assert dtypes == {torch.float32}
    assert exact.provenance.precision == "float32"
    coarse = quick(target=seen, out=tmp_path / "coarse", precision="bfloat16", **wider)
    assert dtypes == {torch.float32, torch.bfloat16}
    assert coarse.provenance.precision == "float32; the search autocast to bfloat16, each success confirmed without"
    records = Records.open(tmp_path / "coarse")
    fell = list(records.select("SELECT example_file, example_row, label FROM result JOIN sample ON sample = id "
                               "WHERE success"))  # fmt: skip
    records.close()
    examples = torch.stack([read_row(tmp_path / "coarse" / row[0], "examples", row[1]) for row in fell])
    assert len(fell) > 10
    assert (single.model(examples).argmax(1) != torch.tensor([row[2] for row in fell])).all()
    with pytest.raises(RunError, match=r"another precision \('bfloat16', not 'float32'\)"):
        quick(target=seen, out=tmp_path / "coarse", resume=True, **wider)
    with pytest.raises(ConfigError, match=r"precision 'bfloat' is unknown .*Did you mean 'bfloat16'"):
        quick(precision="bfloat")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiled_search_is_confirmed_by_the_eager_model_in_workers_too(quick, single, tmp_path):
    quick(target=single, out=tmp_path / "eager", **EFFORT)
    one = quick(target=single, out=tmp_path / "one", compile=True, **EFFORT)
    quick(target=single, out=tmp_path / "two", compile=True, workers=2, **EFFORT)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert one.provenance.precision == "float32; the search compiled, each success confirmed without"
    eager, fast = (content(tmp_path / name)[0]["result"] for name in ("eager", "one"))
    assert [row["success"] for row in fast] == [row["success"] for row in eager]


def test_what_cannot_be_compiled_is_refused(quick, single, tmp_path):
    said = "compile=True serves a torch.nn.Module that is asked for gradients"
    for target in (sp.Classifier(lambda x: single(x), classes=4), Defended(single, JPEGCompression(75))):
        with pytest.raises(ConfigError, match=said):
            quick(target=target, compile=True)
    with pytest.raises(ConfigError, match=said):
        quick(target=single, access="scores", compile=True)
    assert not (tmp_path / "run").exists()


def test_the_precision_of_a_double_model_is_told_as_it_is(quick):
    assert quick(suite="fgsm").provenance.precision == "float64"


def test_the_documented_commands_know_their_options():
    text = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
    commands = re.findall(r"sparring audit (.*)", text)
    assert len(commands) > 5
    known = {option for one in get_command(app).commands["audit"].params for option in one.opts}
    assert {word for command in commands for word in re.findall(r"--[a-z-]+", command)} <= known
    (plan,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert make_audit_config(tomllib.loads(plan)).fail_under == 0.4
