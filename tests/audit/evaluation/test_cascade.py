"""The union over attacks and radii, row by row, and what happens to an example once it is rounded."""

from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.access import Attack, Batch
from sparring.audit import AuditObserver, make_audit_plan, parse_threat_list
from sparring.audit.evaluation.attacker_views import EvaluatedTarget
from sparring.audit.evaluation.clean_chunk import CleanChunk
from sparring.audit.records import database as room
from sparring.audit.suites.suite_entry import make_entry
from sparring.geometry import Ball


@dataclass(frozen=True)
class Nothing:
    x: torch.Tensor


@dataclass(frozen=True)
class Shift(Attack[sp.Scores, Nothing]):
    """Every pixel up or down by eps."""

    ball: Ball
    sign: int
    steps: int = 1

    @property
    def name(self):
        return "Up" if self.sign > 0 else "Down"

    def init(self, oracle, batch: Batch):
        return Nothing(batch.x)

    def step(self, oracle, state, t):
        oracle.score((state.x + self.sign * self.ball.eps).clamp(0, 1))
        return state


class Bands(nn.Module):
    """The class of an image of level m is whether m lies within (101.7, 153.3) / 255."""

    def forward(self, x):
        level = x.flatten(1).mean(1)
        within = 25.8 / 255 - (level - 0.5).abs()
        return torch.stack((torch.zeros_like(within), 100 * within), dim=1)


LEVELS = [0.42, 0.58, 0.5, 0.45, 0.1]  # falls down; falls up; stands; falls down at the larger radius; wrong


@pytest.fixture
def shifted(monkeypatch, tmp_path):
    def run(threats, levels=LEVELS, **options):
        def shifts(access, ball, plan, rejects=False):
            return [make_entry(Shift(ball, 1), plan), make_entry(Shift(ball, -1), plan)]

        run_module = import_module("sparring.audit.audit")
        for module in ("audit", "evaluation.cascade", "request"):
            monkeypatch.setattr(import_module(f"sparring.audit.{module}"), "suite", shifts)
        monkeypatch.setattr(run_module, "run_probes", lambda *_: {"sample": {"images": 0}})
        x = torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
        data = [(x, torch.ones(len(x), dtype=torch.long))]
        return sp.audit(sp.Classifier(Bands()), data, threats=threats, out=tmp_path / "run", **options)

    return run


def test_a_sample_stands_only_where_every_attack_failed(shifted, tmp_path):
    small, large = shifted([sp.Linf(0.03), sp.Linf(0.06)]).threats[0].epsilons
    assert [(part.attack, part.asked, part.fell, part.fallen_so_far) for part in small.attacks] == [
        ("Up", 4, 1, 2),
        ("Down", 3, 1, 3),
    ]
    assert (small.wrong_before, small.robust_accuracy.count, small.robust_accuracy.total) == (1, 2, 5)
    assert [(part.asked, part.fell) for part in large.attacks] == [(2, 0), (2, 1)]
    assert (large.fallen_at_smaller_eps, large.robust_accuracy.count) == (2, 1)
    records = room.Records.open(tmp_path / "run")
    fell = {row["sample"]: row["attack"] for row in records.select("SELECT * FROM result WHERE success")}
    assert fell == {0: "Down", 1: "Up", 3: "Down"}
    records.close()


def test_the_curve_begins_at_the_clean_accuracy_and_never_rises(shifted):
    curve = shifted([sp.Linf(0.03), sp.Linf(0.06), sp.Linf(0.2)]).threats[0].curve
    assert [point.eps for point in curve] == [0.0, 0.03, 0.06, 0.2]
    assert [point.robust_accuracy.count for point in curve] == [4, 2, 1, 0]


def test_norms_do_not_share_what_fell(shifted):
    linf, l2 = shifted([sp.Linf(0.03), sp.L2(0.0001)]).threats
    assert linf.epsilons[0].robust_accuracy.count == 2
    assert l2.epsilons[0].attacks[0].asked == 4


def test_an_example_between_two_levels_dies_when_rounded(shifted):
    """153 + 0.4 and 102 - 0.4 round back to where they came from; 152.7 + 0.9 goes on to 154.

    At the larger radius the first two are stretched, and then survive.
    """
    report = shifted([sp.Linf(0.4 / 255), sp.Linf(0.9 / 255)], levels=[153 / 255, 102 / 255, 152.7 / 255])
    small, large = report.threats[0].epsilons
    assert [(part.fell, part.survives_uint8) for part in small.attacks] == [(1, 0), (1, 0)]
    assert [(part.fell, part.survives_uint8) for part in large.attacks] == [(1, 1), (0, 0)]
    assert (small.robust_accuracy.count, small.robust_accuracy_uint8.count) == (1, 3)
    assert (large.robust_accuracy.count, large.robust_accuracy_uint8.count) == (0, 0)
    assert [finding.code for finding in report.warnings].count("rounding") == 1


def test_an_attack_that_claims_what_the_model_does_not_confirm_is_not_believed(target, images, labels, monkeypatch):
    """A model that answers otherwise the second time: its rows stand, and the report says so."""
    from sparring.audit.evaluation import cascade, predictions

    monkeypatch.setattr(predictions, "goal_met", lambda target, seen, goal: torch.zeros(len(goal), dtype=torch.bool))
    zero, right = torch.zeros(50), torch.ones(50, dtype=torch.bool)
    columns = {"predicted": labels, "confidence": torch.ones(50)}
    truth = sp.Misclassify(labels)
    clean = CleanChunk(0, ["a"] * 50, images, truth, True, columns, right, right, zero, zero, zero)
    plan = make_audit_plan(
        model="m", data="d", batch_size=16, threats=tuple(parse_threat_list(["linf:0.2"])), suite="quick", steps=2,
        restarts=1, queries=2,
    )  # fmt: skip
    attempts = list(cascade.cascade(EvaluatedTarget(target, (("", target),)), clean, plan, AuditObserver()))
    assert [int(attempt.fell.sum()) for attempt in attempts] == [0, 0, 0]
    assert all(float(attempt.rate.max()) == 0 for attempt in attempts)
    reasons = {sp.Reason(code).name for attempt in attempts for code in attempt.reason.tolist()}
    assert "UNCONFIRMED" in reasons
    assert "FOUND" not in reasons
