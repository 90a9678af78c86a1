"""A user's model and data as files, and a way to type a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from sparring.cli import app
from sparring.errors import AssetError
from sparring.zoo import load_data

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4))

def soft():
    return nn.Sequential(net(), nn.Softmax(1))

def broken():
    raise ValueError("no weights here")
"""


@pytest.fixture
def user(tmp_path: Path) -> tuple[str, str]:
    """MODEL and DATA: a small net, and 30 images of 6 x 6, nine in ten labelled as the net says."""
    path = tmp_path / "mine.py"
    path.write_text(MODEL)
    spaces: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(MODEL, spaces)
    images = np.random.default_rng(5).integers(0, 256, (30, 1, 6, 6), dtype=np.uint8)
    with torch.no_grad():
        labels = spaces["net"]()(torch.from_numpy(images / 255).float()).argmax(1).numpy()
    labels[::10] = (labels[::10] + 1) % 4
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    return f"{path}:net", f"npz:{tmp_path / 'mine.npz'}"


Typed = Callable[..., Result]
QUICK = ("--suite", "quick", "--steps", "10", "--restarts", "1", "--queries", "10", "--batch-size", "8")


@pytest.fixture
def effort() -> tuple[str, ...]:
    """Options of an audit that takes a moment."""
    return QUICK


@pytest.fixture
def typed() -> Typed:
    """`typed("audit", ...)`: the result of the command, which must not raise anything of its own."""

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def audited(typed: Typed, user: tuple[str, str], tmp_path: Path) -> Typed:
    """`audited(...)`: an audit of the user's files with little effort."""

    def run(*words: object, model: str = user[0], data: str = user[1], threat: str = "linf:0.05") -> Result:
        return typed("audit", model, data, "--threat", threat, "--out", tmp_path / "run", *QUICK, *words)

    return run


@pytest.fixture
def digits() -> None:
    """Skip where the digits have not been fetched."""
    try:
        load_data("zoo:mnist-heldout", input=None, limit=1)
    except AssetError as error:
        pytest.skip(f"{error}")
