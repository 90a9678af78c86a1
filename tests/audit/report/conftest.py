"""A small finished audit with real PNG files, and Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparring.audit.report import write_html
from sparring.audit.report_model import (
    AttackPart,
    Caution,
    CurvePoint,
    DataPart,
    EpsilonPart,
    GalleryPart,
    ModelPart,
    Prediction,
    Provenance,
    Report,
    SkippedFile,
    ThreatPart,
)
from sparring.audit.statistics import share

IMAGES = 40
KINDS = ("original", "perturbation", "adversarial")


def attack(name: str, access: str, asked: int, fell: int, stood: int) -> AttackPart:
    return AttackPart(
        attack=name,
        access=access,
        asked=asked,
        fell=fell,
        success_rate=fell / asked if asked else None,
        fallen_so_far=IMAGES - stood,
        robust_accuracy_after=stood / IMAGES,
        median_size=0.0123 if fell else None,
        survives_uint8=max(fell - 1, 0),
        forwards=7 * asked,
        backwards=3 * asked,
        checks=asked + fell,
        seconds=12.34,
        reasons={"FOUND": fell, "EXHAUSTED": asked - fell},
    )


def radius(eps: float, text: str, before: int, fells: tuple[int, int]) -> EpsilonPart:
    after_first = before - fells[0]
    return EpsilonPart(
        eps=eps,
        eps_text=text,
        robust_accuracy=share(after_first - fells[1], IMAGES),
        robust_accuracy_uint8=share(after_first - fells[1] + 1, IMAGES),
        wrong_before=4,
        fallen_at_smaller_eps=36 - before,
        attacks=[
            attack("PGD x 2", "Gradients", before, fells[0], after_first),
            attack("Square", "Scores", after_first, fells[1], after_first - fells[1]),
        ],
    )


def threat(norm: Any, *radii: EpsilonPart) -> ThreatPart:
    points = [CurvePoint(eps=0, robust_accuracy=share(36, IMAGES))]
    points += [CurvePoint(eps=part.eps, robust_accuracy=part.robust_accuracy) for part in radii]
    return ThreatPart(norm=norm, epsilons=list(radii), curve=points)


def example(folder: Path, i: int, name: str, after: str, attack_name: str, norm: str, text: str) -> GalleryPart:
    pixels = np.random.default_rng(i).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    names = [f"pictures/{i:05d}-{norm}-{kind}.png" for kind in KINDS]
    for path, array in zip(names, pixels, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / path)
    return GalleryPart(
        sample=i,
        name=name,
        label=281,
        label_name="tabby",
        label_source="data",
        before=Prediction(label=281, name="tabby", confidence=0.912),
        after=Prediction(label=285, name=after, confidence=0.5 + i / 10),
        attack=attack_name,
        norm=norm,
        eps=0.1,
        eps_text=text,
        sizes={"linf": 0.0157, "l2": 4.5 - i, "l1": 201.5, "l0": 27648.0},
        queries=10 * (i + 1),
        survives_uint8=i != 1,
        original=names[0],
        perturbation=names[1],
        adversarial=names[2],
        magnification=60.0,
        width=28,
        height=28,
    )


def finished_audit(folder: Path) -> Report:
    """Two norms, three radii, four examples; the pictures lie in `folder`."""
    return Report(
        title="mnist-plain on folder:digits",
        model=ModelPart(
            name="zoo:mnist-plain", sha256="ab" * 32, classes=10, access="Gradients", input_shape=[3, 28, 28]
        ),
        data=DataPart(
            name="folder:digits",
            count=IMAGES,
            labels="data",
            label_note="labels: by folder",
            labelled_count=IMAGES,
            clean_accuracy=share(36, IMAGES),
            mean_confidence=0.873,
            skipped=[SkippedFile(name="broken.jpg", reason="truncated after 1,024 bytes")],
            sha256="cd" * 32,
        ),
        threats=[
            threat("Linf", radius(4 / 255, "4/255", 36, (11, 2)), radius(8 / 255, "8/255", 23, (20, 0))),
            threat("L2", radius(0.5, "0.5", 36, (9, 0))),
        ],
        gallery=[
            example(folder, 0, "cat.jpg", "Egyptian cat", "PGD x 2", "Linf", "4/255"),
            example(folder, 1, "dog.jpg", "tiger cat", "Square", "Linf", "4/255"),
            example(folder, 2, "owl.jpg", "lynx", "PGD x 2", "Linf", "8/255"),
            example(folder, 3, "elk.jpg", "lynx", "PGD x 2", "L2", "0.5"),
        ],
        warnings=[
            Caution(code="few-samples", severity="note", message="40 images are few.", advice="Take 1,000."),
            Caution(code="zero-gradient", severity="severe", message="Gradients are zero.", advice="Unmask them."),
        ],
        provenance=Provenance(
            command="sparring audit zoo:mnist-plain folder:digits --threat linf:4/255,8/255",
            plan={"model": "zoo:mnist-plain", "seed": 7},
            versions={"sparring": "0.1.0", "torch": "2.13.0"},
            device="cpu",
            precision="float32",
            started="2026-03-04T05:06:00+00:00",
            seconds=322.4,
            seed=7,
        ),
    )


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return finished_audit(tmp_path)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Report], Path]:
    """Writes a report whose pictures lie in `tmp_path`, and returns the file."""

    def write(report: Report) -> Path:
        path = tmp_path / "report.html"
        write_html(report, path)
        return path

    return write


HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> javascript:alert(3) "
    "https://evil.example/x.png {{ 7 * 7 }} </style></script><!-- \u202egnp.exe\u202c \x00\x1b[31m "
)


@pytest.fixture
def hostile(report: Report) -> Report:
    """The same audit with a hostile text in every place that a stranger can fill."""
    return Report.model_validate(_poisoned(report.model_dump(), HOSTILE))


@pytest.fixture
def endless(report: Report) -> Report:
    """The same audit with a word of 5,000 letters in every place that a stranger can fill."""
    return Report.model_validate(_poisoned(report.model_dump(), "W" * 5000))


def _poisoned(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, dict):
        keep = key not in {"plan", "versions"}
        return {k if keep else f"{text}{k}": _poisoned(v, text, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(one, text, key) for one in value]
    ours = {"norm", "severity", "labels", "label_source", "started", *KINDS}
    return text + value if isinstance(value, str) and key not in ours else value


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window; skips, with the command that brings it, where there is none."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()
