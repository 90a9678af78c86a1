"""A small linear model in float64 and images of which some are near its boundary."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.audit import Report

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture
def target() -> sp.Classifier:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4)).double()
    return sp.Classifier(net, classes=4, name="small")


@pytest.fixture
def single(target: sp.Classifier) -> sp.Classifier:
    """The same model in float32."""
    return sp.Classifier(deepcopy(target.model).float(), classes=4, name="single")


@pytest.fixture
def images() -> Tensor:
    """(50, 1, 6, 6) on the 8-bit grid."""
    generator = torch.Generator().manual_seed(5)
    return (torch.rand((50, 1, 6, 6), generator=generator) * 255).round() / 255


@pytest.fixture
def labels(target: sp.Classifier, images: Tensor) -> Tensor:
    """The model's own class, but for every tenth image."""
    with torch.no_grad():
        own = target(images).argmax(1)
    own[::10] = (own[::10] + 1) % 4
    return own


@pytest.fixture
def size() -> int:
    """Images of a chunk."""
    return 25


@pytest.fixture
def batches(images: Tensor, labels: Tensor, size: int) -> Batches:
    return list(zip(images.split(size), labels.split(size), strict=True))


Auditor = Callable[..., Report]


@pytest.fixture
def quick(
    target: sp.Classifier, batches: Batches, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Auditor:
    """An audit of the small model with little effort; everything can be said otherwise, and `probes` asked for."""

    def run(probes: bool = False, **options: object) -> Report:
        with monkeypatch.context() as patch:
            if not probes:  # they take longer than all the rest of so small an audit
                patch.setattr(import_module("sparring.audit.audit"), "run_probes", lambda *_: {"sample": {"images": 0}})
            return audited(**options)

    def audited(**options: object) -> Report:
        threats = [sp.Linf(0.02), sp.Linf(0.05)]
        effort = {"threats": threats, "batch_size": size, "suite": "quick", "steps": 10, "restarts": 2, "queries": 20}
        given = {"target": target, "data": batches, "out": tmp_path / "run"} | effort | options
        return sp.audit(given.pop("target"), given.pop("data"), **given)

    return run
