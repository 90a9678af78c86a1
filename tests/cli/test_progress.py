"""What long work says of itself where there is no terminal."""

import threading
import time

import pytest
import torch

import sparring as sp
from sparring.audit import AttackStarted, CleanCounts
from sparring.cli.display import progress
from sparring.engine import Progress


@pytest.fixture
def lines(monkeypatch):
    """The lines that are said, and an event that is set with the next one."""
    said: list[str] = []
    heard = threading.Event()

    def say(words, style=""):
        said.append(words)
        heard.set()

    monkeypatch.setattr(progress, "say", say)
    monkeypatch.setattr(progress, "EVERY", 0.01)
    return said, heard


def test_a_line_is_said_in_the_middle_of_a_long_step_and_none_after_the_end(lines):
    said, heard = lines
    with progress.ProgressBars() as bars:
        bars.show("PGD: 3 of 8 images stand", 4, 20)
        assert heard.wait(30)  # no step has ended since
    assert said[0] == "PGD: 3 of 8 images stand, step 4 of 20"
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_before_the_first_step_it_says_what_it_was_told(lines):
    said, heard = lines
    with progress.ProgressBars("loading MODEL"):
        assert heard.wait(30)
    assert set(said) == {"loading MODEL"}


def test_the_heart_stops_after_an_error_too():
    with pytest.raises(ZeroDivisionError), progress.ProgressBars():
        raise ZeroDivisionError
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_an_audit_says_threat_attack_what_stands_how_far_it_is_and_how_long_it_will_take(monkeypatch, capsys):
    watch = progress.AuditProgressBars()
    watch.checked_data(CleanCounts(seen=40, labelled=40, correct=40, total=40))
    watch.attacking(AttackStarted("Linf 4/255", "PGD", rows=7, first=20, count=10, done=0.2, share=0.4))
    monkeypatch.setattr(watch, "began", time.perf_counter() - 65)
    watch.step(Progress("PGD", total=7, done=0, batch=7, live=5, step=10, steps=40))
    # 20 images are done, and of 10 the share 0.2 + 0.4 / 4: 23 of 40
    assert watch.heartbeat.words == (
        "Linf 4/255: PGD, 5 of 10 images stand, 57% done, about 0:00:48 left, step 10 of 40"
    )


def test_a_run_taken_up_again_counts_its_own_time_only(monkeypatch):
    watch = progress.AuditProgressBars()
    watch.resumed(3, 30)
    monkeypatch.setattr(watch, "began", time.perf_counter() - 10)
    watch.total = 40
    assert watch.left(0.875, since=0.75) == ", 88% done, about 0:00:10 left"


@pytest.mark.parametrize("suite", ["quick", "standard"])
def test_the_shares_of_an_audits_attacks_add_up_to_the_whole(suite, tmp_path):
    """On one chunk where nothing falls every attack is told once, each where the last one ended."""
    told: list[AttackStarted] = []

    class Listening(sp.audit.AuditObserver):
        def attacking(self, started):
            told.append(started)

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images = torch.rand(6, 1, 4, 4)
    with torch.no_grad():
        labels = net(images).argmax(1)
    threats = [sp.Linf(1e-6), sp.Linf(2e-6), sp.L2(1e-6)]
    options = {"suite": suite, "steps": 3, "restarts": 1, "queries": 5, "observer": Listening()}
    sp.audit(sp.Classifier(net), [(images, labels)], threats=threats, out=tmp_path / "run", **options)
    assert {one.threat for one in told} == {"Linf 1e-06", "Linf 2e-06", "L2 1e-06"}
    assert all(one.rows == one.count == 6 for one in told)
    where = 0.0
    for one in told:
        assert one.done == pytest.approx(where)
        where += one.share
    assert where == pytest.approx(1)


def test_an_attack_over_chunks_says_how_far_it_is(lines):
    with progress.ProgressBars() as bars:
        step = bars.steps("", before=0.5, share=0.25)
        step(Progress("PGD", total=8, done=4, batch=4, live=2, step=10, steps=20))
        assert bars.heartbeat.words.startswith("PGD: 2 of 4 images stand, 69% done, about ")
