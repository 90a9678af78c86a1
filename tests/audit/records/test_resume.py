"""A run goes on with the model and the data that it began with, with nothing else; a begun folder is never lost."""

import multiprocessing
import os
import resource
import signal
import sqlite3
from importlib import import_module

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.audit import AuditObserver, render
from sparring.audit.records import database, run_folder
from sparring.audit.records.database import FILE, Records
from sparring.audit.records.run_folder import has_run
from sparring.errors import RunError
from sparring.files import locked

RUN_MODULE = import_module("sparring.audit.audit")


@pytest.fixture
def size() -> int:
    return 8


class Interrupted(AuditObserver):
    """Stops the run after two chunks of 8."""

    def recorded(self, done):
        if done.number == 1:
            raise KeyboardInterrupt


@pytest.fixture(params=["unfinished", "finished"])
def begun(request, quick):
    """An audit that has ended, or not; called again it is resumed."""

    def begin(**options):
        if request.param == "finished":
            quick(**options)
            return
        with pytest.raises(KeyboardInterrupt):
            quick(observer=Interrupted(), **options)

    return begin


def with_mean(target, mean):
    return sp.Classifier(target.model, mean=(mean,), classes=4, name="small")


def test_another_preprocessing_is_not_resumed(begun, quick, target):
    begun(target=with_mean(target, 0.4))
    with pytest.raises(RunError, match="preprocessing"):
        quick(target=with_mean(target, 0.41), resume=True)
    quick(target=with_mean(target, 0.4), resume=True)


class Sloped(nn.Module):
    slope = 0.0

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return nn.functional.leaky_relu(self.inner(x), type(self).slope)


def test_another_activation_between_the_same_weights_is_not_resumed(begun, quick, target, monkeypatch):
    model = sp.Classifier(Sloped(target.model), classes=4, name="small")
    begun(target=model)
    monkeypatch.setattr(Sloped, "slope", 0.2)
    with pytest.raises(RunError, match="the same weights, and answers otherwise"):
        quick(target=model, resume=True)


def test_another_surrogate_of_the_same_name_is_not_resumed(begun, quick, target, single):
    begun(surrogate=single)
    with torch.no_grad():
        single.model[1].bias += 1
    with pytest.raises(RunError, match="surrogate"):
        quick(surrogate=single, resume=True)


@pytest.mark.parametrize("place", [3, 45])
def test_other_labels_are_not_resumed(place, begun, quick, images, labels):
    begun(data=[(images, labels)])
    changed = labels.clone()
    changed[place] = (changed[place] + 1) % 4
    with pytest.raises(RunError, match=rf"other images or labels at {place // 8 * 8} to "):
        quick(data=[(images, changed)], resume=True)


def test_labels_that_are_not_used_may_change(quick, images, labels):
    before = quick(data=[(images, labels)], labels="model")
    after = quick(data=[(images, (labels + 1) % 4)], labels="model", resume=True)
    assert after.threats == before.threats


def test_other_images_are_not_resumed_wherever_they_lie(begun, quick, images, labels):
    begun(data=[(images, labels)])
    changed = images.clone()
    changed[49, 0, 0, 0] = 1 - changed[49, 0, 0, 0]
    with pytest.raises(RunError, match="other images or labels at 48 to 49"):
        quick(data=[(changed, labels)], resume=True)
    more = torch.cat((images, images[:8])), torch.cat((labels, labels[:8]))
    with pytest.raises(RunError, match="gives "):
        quick(data=[more], resume=True)
    with pytest.raises(RunError, match=r"fewer images \(48, not 50\)"):
        quick(data=[(images[:48], labels[:48])], resume=True)
    quick(data=[(images, labels)], resume=True)


def test_a_whole_chunk_more_is_not_resumed(begun, quick, images, labels):
    begun(data=[(images[:40], labels[:40])])
    with pytest.raises(RunError, match=r"more images \(not 40\)"):
        quick(data=[(images, labels)], resume=True)


def test_data_that_change_with_each_pass_are_not_resumed(quick, images, labels):
    class Shuffled:
        seed = 0

        def __iter__(self):
            self.seed += 1
            order = torch.randperm(50, generator=torch.Generator().manual_seed(self.seed))
            return iter([(images[order], labels[order])])

    report = quick(data=Shuffled())
    assert "data-changes" in {one.code for one in report.warnings}
    with pytest.raises(RunError, match="turn shuffling and random transforms off"):
        quick(data=Shuffled(), resume=True)


def test_a_model_whose_answers_are_random_is_resumed(quick, target):
    """Nothing tells it by its answers, and what is recorded must not be lost."""
    noisy = sp.Classifier(lambda x: target(x) + 0.3 * torch.rand(len(x), 4), classes=4, name="noisy")
    with pytest.raises(KeyboardInterrupt):
        quick(target=noisy, observer=Interrupted())
    assert quick(target=noisy, resume=True).data.count == 50


SMALL = {"suite": "fgsm", "limit": 16, "threats": [sp.Linf(0.05)]}


def begun_or_fresh(quick, out):
    """Go on where something was begun, as a user is told to."""
    if not has_run(out):
        return quick(out=out, **SMALL)
    with pytest.raises(RunError, match="go on with --resume"):
        quick(out=out, **SMALL)
    return quick(out=out, resume=True, **SMALL)


def in_child(work):
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    return child.exitcode


def dying(monkeypatch, statement):
    """Kill this process before SQL statement number `statement` of the records."""
    left = [statement]

    def tick(_):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(folder):
        connection = sqlite3.connect(folder / FILE, isolation_level=None)
        connection.set_trace_callback(tick)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
        return connection

    monkeypatch.setattr(database, "connect", connect)


def test_a_run_killed_while_it_is_begun_is_resumed_or_begun_again(quick, tmp_path, monkeypatch):
    whole = quick(out=tmp_path / "whole", **SMALL)
    codes, states = [], set()
    for statement in range(1, 40, 3):
        out = tmp_path / f"run-{statement}"

        def work(out=out, statement=statement):
            dying(monkeypatch, statement)
            quick(out=out, **SMALL)

        codes.append(in_child(work))
        states.add(has_run(out))
        assert begun_or_fresh(quick, out).threats[0].epsilons[0].robust_accuracy == (
            whole.threats[0].epsilons[0].robust_accuracy
        )
    assert codes.count(-signal.SIGKILL) >= 7
    assert states == {True, False}


@pytest.mark.parametrize("bytes_left", [0, 1, 512, 4096, 4097, 8192, 20_000, 40_000, 70_000])
def test_a_disk_that_is_full_while_a_run_is_begun_leaves_nothing_in_the_way(bytes_left, quick, tmp_path):
    told = tmp_path / "told"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, resource.RLIM_INFINITY))
        try:
            quick(out=tmp_path / "run", **SMALL)
        except RunError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            told.write_text(str(error))

    assert in_child(work) == 0
    if bytes_left < 8192:
        said = told.read_text()
        assert "No space left on device" in said
        assert "recorded before is safe" not in said  # nothing was
        assert "make room, then repeat the command" in said
    assert begun_or_fresh(quick, tmp_path / "run").data.count == 16


def test_two_audits_of_one_folder_do_not_meet(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(RUN_MODULE, "locked", lambda folder, what: locked(folder, what, wait_s=0.1))
    quick(out=tmp_path / "run", **SMALL)
    reader, writer = os.pipe()

    def hold():
        with locked(tmp_path / "run", "an audit"):
            os.write(writer, b"x")
            signal.pause()

    child = multiprocessing.get_context("fork").Process(target=hold)
    child.start()
    os.read(reader, 1)
    try:
        with pytest.raises(RunError, match=r"another process is at work on an audit in .*; wait until it ends"):
            quick(out=tmp_path / "run", resume=True, **SMALL)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    quick(out=tmp_path / "run", resume=True, **SMALL)


def open_to_all(folder):
    """Let every user enter the folder, which pytest made in folders of its own."""
    for one in (folder, *folder.parents):
        if one.name.startswith(("pytest-", "popen-")) or one == folder:
            one.chmod(0o755)


@pytest.fixture
def readable(tmp_path_factory):
    """A folder that every user may enter, and `as_nobody(work)`: do it in a process that may not write there."""
    root = tmp_path_factory.mktemp("readable")
    open_to_all(root)

    def as_nobody(work):
        def there():
            if os.geteuid() == 0:
                os.seteuid(65534)
            work()

        for folder, _, files in os.walk(root):
            os.chmod(folder, 0o555)
            for file in files:
                os.chmod(os.path.join(folder, file), 0o444)
        code = in_child(there)
        for folder, _, _ in os.walk(root):
            os.chmod(folder, 0o755)
        return code

    return root, as_nobody


def test_a_run_on_a_disk_that_cannot_be_written_is_read_and_reported_elsewhere(quick, readable, tmp_path):
    root, as_nobody = readable
    report = quick(out=root / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    open_to_all(tmp_path)

    def work():
        with pytest.raises(RunError, match=r"cannot write the report to .*Permission denied.*--out DIR"):
            render(root / "run")
        assert render(root / "run", elsewhere / "report").threats == report.threats

    assert as_nobody(work) == 0
    made = {file.relative_to(root / "run") for file in (root / "run").rglob("*") if file.suffix in (".png", ".html")}
    there = {file.relative_to(elsewhere / "report") for file in (elsewhere / "report").rglob("*")}
    assert made <= there
    assert (elsewhere / "report" / "report.html").read_text() == (root / "run" / "report.html").read_text()


def test_a_disk_that_cannot_be_written_is_no_full_disk(quick, readable):
    root, as_nobody = readable

    def work():
        with pytest.raises(RunError, match=r"Permission denied; make the folder writable, .* or choose another --out$"):
            quick(out=root / "inside" / "run", **SMALL)

    assert as_nobody(work) == 0


def test_a_killed_run_on_a_disk_that_cannot_be_written_is_read_or_says_what_to_do(quick, readable):
    root, as_nobody = readable

    class Killed(AuditObserver):
        def recorded(self, done):
            if done.number == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: quick(out=root / "run", observer=Killed())) == -signal.SIGKILL

    def read():
        records = Records.open(root / "run", read_only=True)
        assert records.chunks() == {0: 8, 1: 8}

    def fail():
        with pytest.raises(RunError, match="copy the folder to a disk that can be written"):
            Records.open(root / "run", read_only=True)

    assert as_nobody(read) == 0
    (root / "run" / f"{FILE}-shm").unlink()  # as a copy may have it
    assert as_nobody(fail) == 0
    assert run_folder.has_run(root / "run")
