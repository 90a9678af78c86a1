"""A small finished audit with real PNG files, and Chromium."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparring.audit.records.statistics import share
from sparring.audit.report import render_html, write_html
from sparring.audit.report.model import (
    AttackPart,
    CertificatePart,
    CertificationPart,
    ClassPart,
    CurvePoint,
    DataPart,
    EpsilonPart,
    Finding,
    GalleryPart,
    ImageCertificate,
    ModelPart,
    PredictedValue,
    Provenance,
    Report,
    SkippedFile,
    SmallestPart,
    ThreatPart,
    ViewPart,
)

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


def certificates(proven: int, stood: int) -> CertificatePart:
    """Certificates of the 40 images at a radius: the first are proven, then come the open and the broken ones."""
    words = ["proven"] * proven + ["open"] * (stood - proven) + ["broken"] * (IMAGES - stood)
    return CertificatePart(
        proven=share(proven, IMAGES),
        broken=IMAGES - stood,
        open=stood - proven,
        contradicted=0,
        methods={"crown": proven},
        median_gap=0.25 if stood > proven else None,
        seconds=71.5,
        images=[
            ImageCertificate(
                sample=i,
                name=f"{i}.png",
                verdict=word,
                method="PGD x 2" if word == "broken" else "crown",
                bound=None if word == "broken" else 0.5 if word == "proven" else -0.2,
                gap=0.25 if word == "open" else None,
                seconds=1.5,
                domains=0,
            )
            for i, word in enumerate(words)
        ],
    )


def certified(report: Report) -> Report:
    """The report with certificates at the radii of its first norm: of two in three images that stand."""
    first, *rest = report.threats
    parts = [
        part.model_copy(update={"certificates": certificates(2 * (n := part.robust_accuracy.count) // 3, n)})
        for part in first.epsilons
    ]
    how = CertificationPart(timeout=5.0, assumptions="real arithmetic", uncertified=["L0 3"])
    threats = [first.model_copy(update={"epsilons": parts}), *rest]
    return report.model_copy(update={"threats": threats, "certification": how})


def threat(norm: Any, *radii: EpsilonPart) -> ThreatPart:
    points = [CurvePoint(eps=0, robust_accuracy=share(36, IMAGES))]
    points += [CurvePoint(eps=part.eps, robust_accuracy=part.robust_accuracy) for part in radii]
    return ThreatPart(norm=norm, epsilons=list(radii), curve=points)


def said(label: int, name: str, confidence: float) -> dict[str, PredictedValue]:
    """What a classifier says of a picture."""
    return {
        "predicted": PredictedValue(kind="class", value=label, text=name),
        "confidence": PredictedValue(kind="number", value=confidence, text=f"{100 * confidence:.1f}\u00a0%"),
    }


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
        before=said(281, "tabby", 0.912),
        after=said(285, after, 0.5 + i / 10),
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


def one_class(label: int, name: str, count: int, clean: float, *standing: float, lowest: int = 1) -> ClassPart:
    """A class; `standing` has what stands at each radius, the one at `lowest` is the worst threat's."""
    return ClassPart(
        label=label,
        name=name,
        count=count,
        clean_accuracy=share(clean, count),
        robust_accuracy=share(standing[lowest], count),
        standing=list(standing),
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
            prediction={"confidence": PredictedValue(kind="number", value=0.873, text="87.3\u00a0%")},
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
            Finding(code="few-samples", severity="note", message="40 images are few.", advice="Take 1,000."),
            Finding(
                code="zero-gradients",
                severity="severe",
                message="Gradients are zero.",
                advice="Unmask them.",
                when="a tenth of them is zero",
                why="attacks fail without the model being robust",
            ),
        ],
        per_class=[
            one_class(0, "cat", 20, 19, 13, 1, 14),
            one_class(1, "dog", 10, 9, 5, 0, 6),
            one_class(2, "2", 10, 8, 5, 2, 7),
        ],
        probes={"steady": {"of": 32, "again": 0.0}},
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


class Page(HTMLParser):
    """Elements, table rows by the table's class, and the readable text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._table, self._hidden, self._words = "", "", [""]
        self.feed(text)
        self.text = re.sub(r"\s+", " ", "".join(self._words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag in {"style", "script"}:
            self._hidden = tag
        if tag == "table":
            self._table = found["class"]
        if tag == "tr":
            self.rows.setdefault(self._table, []).append([])
        if tag in {"th", "td"}:
            self.rows[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if tag == "table":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self._words.append(data)
        if self._table and self.rows.get(self._table) and self.rows[self._table][-1]:
            self.rows[self._table][-1][-1] += data

    def table(self, name: str) -> list[list[str]]:
        return [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in self.rows[name]]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Report], Page]:
    """The page of a report whose pictures lie in `tmp_path`, taken apart."""
    return lambda report: Page(render_html(report, tmp_path))


@pytest.fixture(scope="session")
def build() -> Callable[[Path], Report]:
    """Makes the audit that `report` is, with its pictures in a folder."""
    return finished_audit


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return finished_audit(tmp_path)


@pytest.fixture
def defended(report: Report) -> Report:
    """The same audit of a model behind a random defense with a detector: two views, and expected numbers."""
    content = report.model_dump()
    content["model"] |= {"views": ["naive", "adaptive"], "stochastic": True, "rejects": True, "draws": 16}
    content["data"] |= {"rejected": share(2, IMAGES).model_dump()}
    for threat in content["threats"]:
        for part in threat["epsilons"]:
            held = part["robust_accuracy"]["count"]
            part["robust_accuracy"] = share(held - 0.25, IMAGES).model_dump()
            naive = ViewPart(name="naive", robust_accuracy=share(held + 3, IMAGES))
            adaptive = ViewPart(name="adaptive", robust_accuracy=share(held - 0.25, IMAGES))
            part["views"] = [naive.model_dump(), adaptive.model_dump()]
            told = {"rate": 0.375, "survives_jpeg90": 0}
            part["attacks"] = [one | told | {"view": view} for view in ("naive", "adaptive") for one in part["attacks"]]
    return Report.model_validate(content)


@pytest.fixture
def proven(report: Report) -> Report:
    """The same audit with certificates in its first norm."""
    return certified(report)


@pytest.fixture
def nearest(report: Report) -> Report:
    """An audit that searched the smallest examples in L2, and nothing else: 30 of 36 images fell."""
    found = [0.1 * i for i in range(1, 31)]
    curve = [CurvePoint(eps=0, robust_accuracy=share(36, IMAGES))]
    curve += [CurvePoint(eps=eps, robust_accuracy=share(36 - i, IMAGES)) for i, eps in enumerate(found, 1)]
    part = radius(1.8, "1.8 (median)", 36, (18, 0))
    sizes = SmallestPart(attacked=36, found=30, quartiles=[0.9, 1.8, 2.7])
    only = ThreatPart(norm="L2", epsilons=[part], curve=curve, smallest=sizes)
    classes = [one_class(i, str(i), 20, 18, 9, lowest=0) for i in range(2)]
    return report.model_copy(update={"threats": [only], "gallery": [], "per_class": classes})


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Report], Path]:
    """Writes a report whose pictures lie in `tmp_path`, and returns the file."""

    def write(report: Report) -> Path:
        path = tmp_path / "report.html"
        write_html(report, path)
        return path

    return write


HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> javascript:alert(3) https://evil.example/x.png "
    "../../etc/passwd file:///etc/passwd {{ 7 * 7 }} </style></script></title><!-- \u202egnp.exe\u202c \x00\x1b[31m "
)


@pytest.fixture
def hostile(report: Report) -> Report:
    """The same audit with a hostile text in every place that a stranger can fill."""
    return Report.model_validate(_poisoned(report.model_dump(), HOSTILE))


@pytest.fixture
def hostile_views(defended: Report) -> Report:
    """The audit of a defended model, its views named by a stranger too."""
    return Report.model_validate(_poisoned(defended.model_dump(), HOSTILE))


@pytest.fixture
def hostile_proofs(proven: Report) -> Report:
    """The audit with certificates, images and methods named by a stranger."""
    return Report.model_validate(_poisoned(proven.model_dump(), HOSTILE))


@pytest.fixture
def endless(report: Report) -> Report:
    """The same audit with a word of 5,000 letters in every place that a stranger can fill."""
    return Report.model_validate(_poisoned(report.model_dump(), "W" * 5000))


def _poisoned(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, dict):
        keep = key not in {"plan", "versions", "probes", "prediction", "methods"}
        return {k if keep else f"{text}{k}": _poisoned(v, text, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(one, text, key) for one in value]
    # what is ours, or may only be one of a few words
    ours = {"norm", "severity", "kind", "inputs", "labels", "label_source", "started", "verdict", *KINDS}
    return text + value if isinstance(value, str) and value and key not in ours else value


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
