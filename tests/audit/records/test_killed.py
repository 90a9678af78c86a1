"""Killed at any moment and taken up again: the same report as if nothing had happened, but for the times."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sparring as sp
from sparring.audit import render
from sparring.audit.records.database import Records
from sparring.errors import SparringError
from sparring.zoo import InputSpec, load_data

TIMES = {"seconds", "started", "resumed"}


@pytest.fixture
def size():
    return 8


def timeless(value):
    """The report without the times in it."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in TIMES}
    return [timeless(one) for one in value] if isinstance(value, list) else value


class Child:
    """An audit in a process of its own, which may be killed."""

    def __init__(self, work):
        self.process = multiprocessing.get_context("fork").Process(target=work)
        self.process.start()

    def killed_after(self, seconds):
        """Was it still at work?"""
        self.process.join(seconds)
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)  # which it may forestall by ending
        self.process.join()
        assert self.process.exitcode in (0, -signal.SIGKILL)
        return self.process.exitcode != 0


@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments_changes_nothing(moments, quick, tmp_path):
    effort = {"threats": [sp.Linf(0.02), sp.Linf(0.06), sp.L2(0.2)], "suite": "fgsm,pgd,square", "queries": 12}
    clock = time.perf_counter()
    whole = timeless(quick(out=tmp_path / "whole", **effort).model_dump())
    duration = time.perf_counter() - clock
    dice, killed = random.Random(moments), 0
    for number in range(moments):
        out = tmp_path / f"run-{number}"
        killed += Child(lambda out=out: quick(out=out, **effort)).killed_after(dice.uniform(0, duration))
        killed += Child(lambda out=out: quick(out=out, resume=True, **effort)).killed_after(dice.uniform(0, duration))
        report = quick(out=out, resume=True, **effort)
        assert timeless(report.model_dump()) == whole
        assert not list(out.rglob("*.partial"))
    assert killed >= moments // 2


def test_a_picture_that_cannot_be_read_is_left_out_and_told(quick, tmp_path):
    folder = tmp_path / "pictures"
    for label in "abcd":
        (folder / label).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    (folder / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    data = load_data(f"folder:{folder}", input=InputSpec(1, 6, 6), class_names=tuple("abcd"), classes=4)
    report = quick(data=data, suite="fgsm", expected_accuracy=None)
    assert report.data.count == 11
    assert [one.name for one in report.data.skipped] == ["b/1.png"]
    assert render(tmp_path / "run") == report


def everything(folder):
    """All results but their times."""
    records = Records.open(folder)
    found = [dict(row) for row in records.select("SELECT * FROM result ORDER BY sample, eps, turn")]
    records.close()
    return [{name: value for name, value in row.items() if name not in ("seconds", "checks")} for row in found]


def test_memory_that_runs_out_halves_the_batch_and_changes_no_record(quick, target, tmp_path):
    """In the engine's passes and in the auditor's own looks; the engine repeats what was cut short, and counts it."""

    class Small(sp.Classifier):
        most = 100

        def __call__(self, images, key=None):
            if len(images) > self.most:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().__call__(images, key)

    effort = {"suite": "fgsm,pgd", "limit": 24}
    quick(target=Small(target.model, classes=4, name="small"), out=tmp_path / "whole", **effort)
    Small.most = 3
    quick(target=Small(target.model, classes=4, name="small"), out=tmp_path / "halved", **effort)
    assert everything(tmp_path / "whole") == everything(tmp_path / "halved")


def test_a_model_of_nan_is_refused_and_one_with_some_is_told(quick, images, labels):
    class Broken(nn.Module):
        def __init__(self, everywhere):
            super().__init__()
            self.net, self.everywhere = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), everywhere

        def forward(self, x):
            bad = torch.ones(len(x), 1, dtype=torch.bool) if self.everywhere else x[:, 0, 0, :1] > 0.7
            return torch.where(bad, torch.nan, self.net(x))

    with pytest.raises(SparringError, match="no finite logit"):
        quick(target=sp.Classifier(Broken(True)))
    report = quick(target=sp.Classifier(Broken(False)), suite="fgsm")
    (found,) = [one for one in report.warnings if one.code == "non-finite"]
    bad = int((images[:, 0, 0, 0] > 0.7).sum())
    assert found.message.startswith(f"{bad} clean images make the model answer NaN")
