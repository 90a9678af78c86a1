"""Audits of verifiers, detectors, segmenters and point clouds: the same figures as `run`, and what the task says."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.audit import AuditObserver, Report, render
from sparring.audit.audit import make_request
from sparring.audit.estimate import estimate
from sparring.audit.records.compare import compare
from sparring.audit.records.database import FILE
from sparring.audit.records.export import export
from sparring.defenses.randomization import InputNoise
from sparring.errors import ConfigError, GoalError, InputError, RunError, TargetError
from sparring.goals import Dodge, Goal, Terms
from sparring.inputs import PointClouds, Unbounded
from sparring.rows import take
from sparring.targets import Defended, Model, Target
from sparring.tasks import Task
from sparring.testing import Case, detector, impersonation, segmenter, small_net, verifier

COUNT, CHUNK = 8, 3
CASES = {"verifier": verifier, "gallery": impersonation, "detector": detector, "segmenter": segmenter}
EFFORT: dict[str, Any] = {"suite": "quick", "steps": 5, "restarts": 1, "queries": 10, "batch_size": CHUNK}
RADII = {"verifier": 0.02, "gallery": 0.05, "detector": 0.05, "segmenter": 0.4}
COLUMNS = {
    "verifier": {"similarity": "number", "accepted": "flag"},
    "gallery": {"similarity": "number", "accepted": "flag"},
    "detector": {"objects": "count", "confidence": "number"},
    "segmenter": {"pixel_accuracy": "number"},
}
GOALS = {
    "verifier": "Dodge(threshold=0.8, metric=cosine)",
    "gallery": "Impersonate(threshold=0.5, metric=cosine)",
    "detector": "Vanish(iou=0.3, score_threshold=0.5)",
    "segmenter": "MisclassifyPixels(share=0.333333, ignore=255, margin_in=logits)",
}


def batches(case: Case, goal: Goal | None = None) -> list[tuple[Tensor, Goal]]:
    """The case's inputs with rows of its goal."""
    whole = case.goal if goal is None else goal
    parts = [slice(start, start + CHUNK) for start in range(0, len(case.images), CHUNK)]
    return [(case.images[part], take(whole, part)) for part in parts]


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """An audit with little effort, without probes unless they are asked for."""

    def run(target: Target[Any], data: Any, probes: bool = False, **options: Any) -> Report:
        with monkeypatch.context() as patch:
            if not probes:
                patch.setattr(import_module("sparring.audit.audit"), "run_probes", lambda *_: {"sample": {"images": 0}})
            return sp.audit(target, data, **({"out": tmp_path / "run"} | EFFORT | options))

    return run


def records(folder: Path) -> list[Any]:
    """Samples and results as they are recorded, without times."""
    connection = sqlite3.connect(folder / FILE)
    connection.row_factory = sqlite3.Row
    found = []
    for table, order in (("sample", "id"), ("result", "sample, norm, eps, turn")):
        rows = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]
        found.append([{name: value for name, value in row.items() if name != "seconds"} for row in rows])
    connection.close()
    return found


@pytest.mark.parametrize("name", CASES)
def test_robust_accuracy_is_that_of_run_and_the_records_say_what_the_task_says(
    name: str, quick: Callable[..., Report], tmp_path: Path
) -> None:
    case = CASES[name](COUNT)
    ball = sp.Linf(RADII[name])
    report = quick(case.target, batches(case), threats=[ball])
    attacks = [sp.attacks.FGSM(ball), sp.attacks.PGD(ball, steps=5), sp.attacks.Square(ball, n_queries=10)]
    outcomes = [sp.run(attack, case.target, case.goal, case.images) for attack in attacks]
    fell = torch.stack([outcome.success for outcome in outcomes]).any(0)
    (part,) = report.threats[0].epsilons
    assert int(fell.sum()) > 0
    assert part.robust_accuracy.count == COUNT - int(fell.sum())
    assert (report.model.task, report.goal) == (case.task.name, GOALS[name])
    assert report.data.clean_accuracy is not None
    assert (report.data.clean_accuracy.count, report.data.labels) == (COUNT, "data")
    assert (report.model.classes, report.per_class) == (None, [])

    with torch.no_grad():
        clean = case.task.prediction(case.target(case.images.float()), case.goal)
    samples, results = records(tmp_path / "run")
    for row in samples:
        said = json.loads(row["clean_prediction"])
        assert said == pytest.approx({key: column[row["id"]].item() for key, column in clean.items()}, abs=1e-5)
        assert row["label"] is None
    won = [row for row in results if row["success"]]
    assert won
    assert all(set(json.loads(row["prediction"])) == set(COLUMNS[name]) for row in won)
    entry = report.gallery[0]
    assert {key: one.kind for key, one in entry.before.items()} == COLUMNS[name]
    assert entry.after != entry.before or name == "detector"
    assert (tmp_path / "run" / str(entry.original)).exists()


def test_what_the_task_says_turns_with_the_attack(quick: Callable[..., Report], tmp_path: Path) -> None:
    case = verifier(COUNT)
    report = quick(case.target, batches(case), threats=[sp.Linf(0.05)])
    for entry in report.gallery:
        assert (entry.before["accepted"].text, entry.after["accepted"].text) == ("yes", "no")
        before, after = entry.before["similarity"].value, entry.after["similarity"].value
        assert before is not None
        assert after is not None
        assert before > 0.8 > after
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Dodge(threshold=0.8, metric=cosine)" in page
    assert re.search(r"similarity <bdi>0\.\d+</bdi></span> <span class=\"turn\"", page)
    assert 'href="#classes"' not in page
    before_again = (tmp_path / "run" / "report.json").read_bytes()
    render(tmp_path / "run")
    assert (tmp_path / "run" / "report.json").read_bytes() == before_again


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_export_has_the_columns_of_the_task(form: str, quick: Callable[..., Report], tmp_path: Path) -> None:
    case = detector(COUNT)
    quick(case.target, batches(case), threats=[sp.Linf(0.05)], suite="fgsm")
    path = export(tmp_path / "run", form)
    rows = json.loads(path.read_text()) if form == "json" else list(csv.DictReader(path.read_text().splitlines()))
    found = next(row for row in rows if int(row["success"]))
    assert float(found["clean_confidence"]) > 0.5
    assert int(found["clean_objects"]) > 0
    assert {"objects", "confidence"} <= set(found)
    assert "predicted" not in found


@pytest.mark.parametrize("name", ["verifier", "segmenter"])
def test_the_standard_suite_and_the_probes_serve_every_task(
    name: str, quick: Callable[..., Report], tmp_path: Path
) -> None:
    case = CASES[name](COUNT)
    threats = [sp.Linf(RADII[name])]
    report = quick(case.target, batches(case), probes=True, threats=threats, suite="standard", queries=10)
    assert {"steady", "slopes", "climbs", "limits"} <= set(report.probes)
    assert [part.attack for part in report.threats[0].epsilons[0].attacks] == ["FGSM", "PGD", "Auto", "Square"]
    assert not [finding.code for finding in report.warnings if finding.severity == "severe"]


def test_smallest_examples_of_any_task(quick: Callable[..., Report]) -> None:
    case = impersonation(COUNT)
    report = quick(case.target, batches(case), threats=[sp.L2()])
    smallest = report.threats[0].smallest
    assert smallest is not None
    found = sp.run(sp.attacks.DDN(ball=sp.L2()), case.target, case.goal, case.images)
    assert smallest.found == int(found.success.sum()) == COUNT


class Stop(AuditObserver):
    """Interrupts after the first chunk."""

    def recorded(self, done: Any) -> None:
        raise KeyboardInterrupt


def test_an_audit_is_resumed_and_other_goals_are_refused(quick: Callable[..., Report], tmp_path: Path) -> None:
    case = verifier(COUNT)
    options: dict[str, Any] = {"threats": [sp.Linf(0.02)], "suite": "fgsm"}
    quick(case.target, batches(case), out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        quick(case.target, batches(case), observer=Stop(), **options)
    assert isinstance(case.goal, Dodge)
    other = replace(case.goal, template=case.goal.template.flip(0))
    with pytest.raises(RunError, match="gives other inputs or goals at 0"):
        quick(case.target, batches(case, other), resume=True, **options)
    was, is_now = (rf"'Dodge\(threshold={value}, metric=cosine\)'" for value in (0.8, 0.7))
    with pytest.raises(RunError, match=rf"another goal \({was}, not {is_now}\)"):
        quick(case.target, batches(case, replace(case.goal, threshold=0.7)), resume=True, **options)
    quick(case.target, batches(case), resume=True, **options)
    assert records(tmp_path / "run") == records(tmp_path / "whole")


@pytest.mark.parametrize("name", ["verifier", "detector"])
def test_two_workers_write_what_one_does(name: str, quick: Callable[..., Report], tmp_path: Path) -> None:
    case = CASES[name](COUNT)
    options: dict[str, Any] = {"threats": [sp.Linf(RADII[name])], "suite": "fgsm,pgd"}
    quick(case.target, batches(case), out=tmp_path / "one", **options)
    quick(case.target, batches(case), out=tmp_path / "two", workers=2, **options)
    assert records(tmp_path / "one") == records(tmp_path / "two")


def test_two_runs_are_compared_and_not_across_goals(quick: Callable[..., Report], tmp_path: Path) -> None:
    case, options = verifier(COUNT), {"threats": [sp.Linf(0.02)], "suite": "fgsm"}
    quick(case.target, batches(case), out=tmp_path / "a", **options)
    assert [row.better + row.worse for row in compare(tmp_path / "a", tmp_path / "a")] == [0, 0]
    assert isinstance(case.goal, Dodge)
    quick(case.target, batches(case, replace(case.goal, threshold=0.7)), out=tmp_path / "b", **options)
    with pytest.raises(RunError, match=r"are of other goals \(verification, Dodge\(threshold=0.8, metric=cosine\)"):
        compare(tmp_path / "a", tmp_path / "b")
    other = replace(case.goal, template=case.goal.template.roll(1, 0))
    quick(case.target, batches(case, other), out=tmp_path / "c", **options)
    with pytest.raises(RunError, match="have other goals for the same inputs"):
        compare(tmp_path / "a", tmp_path / "c")


def test_an_input_on_which_the_goal_is_met_already_is_wrong(quick: Callable[..., Report]) -> None:
    case = verifier(COUNT)
    assert isinstance(case.goal, Dodge)
    template = case.goal.template.clone()
    template[2] = -template[2]
    report = quick(case.target, batches(case, Dodge(template, 0.8)), threats=[sp.Linf(0.001)], suite="fgsm")
    assert report.data.clean_accuracy is not None
    assert report.data.clean_accuracy.count == COUNT - 1
    assert report.threats[0].epsilons[0].wrong_before == 1


def test_a_random_defence_of_a_verifier_has_two_views(quick: Callable[..., Report]) -> None:
    case = verifier(4)
    target = Defended(case.target, InputNoise(0.02))
    report = quick(target, batches(case), threats=[sp.Linf(0.05)], suite="fgsm", draws=2)
    assert report.model.views == ["naive", "adaptive"]
    assert report.model.stochastic
    assert set(report.gallery[0].after) == {"similarity", "accepted"}


@dataclass(frozen=True)
class Present:
    """Which points of each cloud are there."""

    there: Tensor


class PointNet(nn.Module):
    """Logits of the mean feature over the points that are there."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.features, self.head = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, points: Tensor, context: Present) -> Tensor:
        there = context.there[:, :, None].to(points)
        logits: Tensor = self.head((self.features(points).tanh() * there).sum(1) / there.sum(1))
        return logits


def test_point_clouds_with_a_context(quick: Callable[..., Report], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    points = 2 * torch.rand((6, 10, 3), generator=generator) - 1
    there = torch.rand((6, 10), generator=generator) > 0.3
    target = sp.Classifier(PointNet(), inputs=PointClouds(), takes_context=True)
    with torch.no_grad():
        labels = target(points, None, Present(there)).argmax(1)
    data = [(points[:3], labels[:3], Present(there[:3])), (points[3:], labels[3:], Present(there[3:]))]
    report = quick(target, data, probes=True, threats=[sp.Linf(0.3)], suite="standard", queries=10)
    (part,) = report.threats[0].epsilons
    assert report.data.clean_accuracy is not None
    assert (report.data.clean_accuracy.count, report.model.inputs) == (6, "point clouds")
    outcome = sp.run(sp.attacks.FGSM(sp.Linf(0.3)), target, sp.Misclassify(labels), points, context=Present(there))
    assert part.attacks[0].fell == int(outcome.success.sum()) > 0
    assert part.robust_accuracy_uint8 is None
    assert (part.attacks[0].survives_uint8, part.attacks[0].survives_jpeg90) == (None, None)
    assert report.gallery[0].original is None
    assert not (tmp_path / "run" / "pictures").exists()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "PNG" not in page.split("</style>")[1].split("<script>")[0]
    assert "Inputs that stand" in page
    assert export(tmp_path / "run", "csv").exists()


def test_what_has_no_range_may_have_any_radius(quick: Callable[..., Report]) -> None:
    torch.manual_seed(0)
    codes = 3 * torch.randn(6, 5)
    net = nn.Linear(5, 3)
    target = sp.Classifier(net, inputs=Unbounded())
    with torch.no_grad():
        labels = net(codes).argmax(1)
    report = quick(target, [(codes, labels)], probes=True, threats=[sp.Linf(4.0)], suite="fgsm,pgd")
    assert report.probes["limits"]["unbounded"] is None
    assert report.threats[0].epsilons[0].robust_accuracy.count < 6


@dataclass(frozen=True)
class Counting(Task):
    """A task of a user's own: one number per input."""

    def check(self, outputs: Any, count: int) -> None:
        return

    def _fused(self, answers: Any, how: str) -> Any:
        return answers[0]

    name = "counting"
    fusions = ("first",)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        return {"rate": outputs[:, 0], "many": outputs[:, 0] > 0}


def test_a_task_of_a_users_own(quick: Callable[..., Report], tmp_path: Path) -> None:
    case = small_net(COUNT)
    target = Model(case.module, Counting(), name="counter")

    goal = Above(torch.zeros(COUNT))
    report = quick(target, [(case.images, goal)], threats=[sp.Linf(0.2)], suite="pgd")
    assert (report.model.task, report.goal) == ("counting", "Above()")
    rows = json.loads(export(tmp_path / "run", "json").read_text())
    assert {"clean_rate_prediction", "rate_prediction", "clean_many", "many"} <= set(rows[0])


@dataclass(frozen=True)
class Above(Goal):
    """The first output rises above a bar."""

    bar: Tensor

    def __len__(self) -> int:
        return len(self.bar)

    def terms(self, outputs: Tensor) -> Terms:
        return Terms((outputs[:, 0] - self.bar)[:, None])


class Untold(Target[sp.Jacobians]):
    """A target without a task."""

    access = sp.Jacobians
    name = "untold"

    def __call__(self, images: Tensor, key: Any = None, context: Any = None) -> Tensor:
        return images.flatten(1)


def test_what_cannot_be_audited_is_refused_at_the_door(quick: Callable[..., Report], tmp_path: Path) -> None:
    case, net = verifier(COUNT), small_net(COUNT)
    data, threats = batches(case), {"threats": [sp.Linf(0.02)]}
    with pytest.raises(
        TargetError, match=r"untold has no task.*Model\(module, Verification\(\)\).*Classifier\(module\)"
    ):
        quick(Untold(), [case.images], **threats)
    with pytest.raises(GoalError, match=r"has no goal; the data of verification is batches of \(inputs, goal\)"):
        quick(case.target, [case.images], **threats)
    with pytest.raises(GoalError, match="has labels; the data of verification"):
        quick(case.target, [(case.images, case.labels)], **threats)
    with pytest.raises(GoalError, match="bring their goal in each batch"):
        quick(case.target, data, goal="least-likely", **threats)
    with pytest.raises(GoalError, match="labels='model' takes the classes of a classifier"):
        quick(case.target, data, labels="model", **threats)
    with pytest.raises(GoalError, match="Vanish is a goal of detection"):
        quick(case.target, batches(detector(COUNT)), **threats)
    with pytest.raises(InputError, match="the goal speaks of 3 images and there are 8"):
        quick(case.target, [(case.images, data[0][1])], **threats)
    with pytest.raises(GoalError, match=r"batch of '3' has the goal Dodge\(threshold=0.7, .*\), and those before it"):
        quick(case.target, [data[0], (data[1][0], replace(data[1][1], threshold=0.7))], **threats)  # type: ignore[type-var]
    with pytest.raises(GoalError, match="embeddings of 8 dimensions, and the templates have 5"):
        quick(case.target, [(case.images, Dodge(torch.ones(COUNT, 5), 0.8))], **threats)
    with pytest.raises(GoalError, match="a classifier's batches"):
        quick(net.target, [(net.images, net.goal)], **threats)
    with pytest.raises(InputError, match="takes no context"):
        quick(case.target, [(case.images, case.goal, Present(torch.ones(COUNT, 2)))], **threats)
    with pytest.raises(ConfigError, match="the surrogate net gives outputs of classification"):
        quick(case.target, data, surrogate=sp.Classifier(net.module, name="net"), **threats)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_estimates_any_task(tmp_path: Path) -> None:
    case = segmenter(COUNT)
    job = make_request(case.target, batches(case), threats=[sp.Linf(0.1), sp.L2()], out=tmp_path, suite="fgsm,fmn")
    found = estimate(job)
    assert [line.attack for line in found.lines] == ["FGSM", "FMN", "FMN"]
    assert found.images == COUNT
