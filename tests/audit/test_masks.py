"""Audits under a mask, and with a radius of its own for each input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sparring as sp
from sparring.audit import AuditObserver, Report
from sparring.audit.evaluation.clean_chunk import CleanChunk
from sparring.audit.evaluation.confirmation import AttackSlot, measure_examples
from sparring.audit.evaluation.region_limits import RegionLimits
from sparring.audit.records.database import Records
from sparring.audit.records.example_files import read_row
from sparring.errors import InputError, RunError, ThreatError
from sparring.goals import Misclassify
from sparring.rows import take
from sparring.testing import segmenter

Auditor = Callable[..., Report]


@pytest.fixture
def left() -> Tensor:
    """The left half of an image (1, 6, 6) may move."""
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    return mask


@pytest.fixture
def each() -> Tensor:
    """(50, 1, 6, 6): another third of each image may move."""
    return torch.rand((50, 1, 6, 6), generator=torch.Generator().manual_seed(8)) < 0.4


def moved(folder: Path, images: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Sample and what is changed in each recorded example."""
    with closing(Records.open(folder)) as records:
        for row in records.select("SELECT * FROM result WHERE example_file IS NOT NULL"):
            example = read_row(folder / row["example_file"], "examples", row["example_row"])
            yield row["sample"], example != images[row["sample"]].float()


def robust(report: Report) -> int:
    return report.threats[0].epsilons[0].robust_accuracy.count


@pytest.mark.parametrize("suite", ["quick", "standard"])
def test_nothing_outside_the_mask_moves(
    suite: str, quick: Auditor, single: sp.Classifier, images: Tensor, left: Tensor, tmp_path: Path
) -> None:
    report = quick(
        target=single, mask=left, suite=suite, limit=25, threats=[sp.Linf(0.1), sp.L2(0.5), sp.L1()], probes=True
    )
    changes = [change for _, change in moved(tmp_path / "run", images)]
    assert len(changes) > 20
    assert not any(bool(change[~left].any()) for change in changes)
    assert any(bool(change[left].any()) for change in changes)
    assert report.mask is not None
    assert (report.mask.share, report.mask.each, report.mask.picture) == (0.5, False, "pictures/mask.png")
    assert report.probes["limits"]["unbounded"] is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert "may move" in page
    assert 'alt="The mask: white may move"' in page


def test_a_mask_of_its_own_for_each_image(quick: Auditor, images: Tensor, each: Tensor, tmp_path: Path) -> None:
    report = quick(mask=each, threats=[sp.Linf(0.2)])
    changes = list(moved(tmp_path / "run", images))
    assert len(changes) > 10
    assert not any(bool(change[~each[sample]].any()) for sample, change in changes)
    assert report.mask is not None
    assert (report.mask.each, report.mask.picture) == (True, None)
    assert report.mask.share == pytest.approx(float(each.double().mean()))


def test_robust_accuracy_under_a_mask_is_that_of_run(
    quick: Auditor, target: sp.Classifier, images: Tensor, labels: Tensor, left: Tensor
) -> None:
    ball = sp.Linf(0.1)
    attacks = [
        sp.attacks.FGSM(ball),
        sp.attacks.Restarts(sp.attacks.PGD(ball, steps=10), 2),
        sp.attacks.Square(ball, n_queries=20),
    ]
    outcomes = [sp.run(attack, target, sp.Misclassify(labels), images, mask=left) for attack in attacks]
    stands = ~torch.stack([outcome.success for outcome in outcomes]).any(0)
    assert robust(quick(mask=left, threats=[ball])) == int(stands.sum())


def test_a_mask_serves_other_tasks_and_two_workers(quick: Auditor, tmp_path: Path) -> None:
    case = segmenter(6)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    data = [(case.images[part], take(case.goal, part)) for part in (slice(0, 3), slice(3, 6))]
    for out, workers in (("one", None), ("two", 2)):
        quick(target=case.target, data=data, mask=mask, threats=[sp.L2()], out=tmp_path / out, workers=workers)
    found = [list(moved(tmp_path / out, case.images)) for out in ("one", "two")]
    assert len(found[0]) > 2
    assert not any(bool(change[:, :, 4:].any()) for _, change in found[0])
    assert all(torch.equal(one[1], other[1]) for one, other in zip(*found, strict=True))


class Stop(AuditObserver):
    def recorded(self, done: Any) -> None:
        raise KeyboardInterrupt


def test_another_mask_or_other_radii_are_not_resumed(quick: Auditor, images: Tensor, left: Tensor) -> None:
    eps = torch.linspace(0.02, 0.06, 50)
    with pytest.raises(KeyboardInterrupt):
        quick(mask=left, eps=eps, threats=[sp.Linf()], observer=Stop())
    for options, word in (
        ({"mask": ~left, "eps": eps}, "mask"),
        ({"mask": None, "eps": eps}, "mask"),
        ({"mask": left, "eps": eps.flip(0)}, "eps"),
    ):
        with pytest.raises(RunError, match=f"holds a run with another {word}"):
            quick(threats=[sp.Linf()], resume=True, **options)
    assert quick(mask=left, eps=eps, threats=[sp.Linf()], resume=True).data.count == 50


@pytest.mark.parametrize("given", [sp.Linf(), sp.Linf(0.3)])
def test_each_input_has_its_own_radius(quick: Auditor, images: Tensor, given: sp.Linf, tmp_path: Path) -> None:
    eps = torch.linspace(0.01, 0.2, 50)
    report = quick(eps=eps, threats=[given], probes=True)
    with closing(Records.open(tmp_path / "run")) as records:
        rows = list(records.select("SELECT sample, linf FROM result WHERE success"))
    assert len(rows) > 10
    assert all(row["linf"] <= float(eps[row["sample"]]) + 1e-6 for row in rows)
    assert any(row["linf"] > 0.15 for row in rows)
    assert report.threats[0].epsilons[0].eps_text == "0.01 to 0.2"
    assert report.radii is not None
    assert (report.radii.low, report.radii.high) == pytest.approx((0.01, 0.2))
    assert "each image has one of its own" in (tmp_path / "run" / "report.html").read_text()


def test_what_moves_outside_its_mask_is_no_example(
    target: sp.Classifier, images: Tensor, labels: Tensor, left: Tensor
) -> None:
    rows, right = torch.arange(50), torch.ones(50, dtype=torch.bool)
    limits = RegionLimits.make(left, None, (1, 6, 6)).rows(0, 50)
    zero = torch.zeros(50)
    clean = CleanChunk(
        0, ["a"] * 50, images, Misclassify(labels), True, {}, right, right, zero, zero, zero, limits=limits
    )
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    everywhere = noise.where(torch.ones_like(left), images)
    slot = AttackSlot("Linf", 1.0, "", 0, 0, 1 << 43)
    _, rates = measure_examples(target, clean, rows, everywhere, sp.Linf(1.0), slot, 50)
    assert not bool(rates.any())
    _, rates = measure_examples(target, clean, rows, noise.where(left, images), sp.Linf(1.0), slot, 50)
    assert bool(rates.any())


def test_masks_and_radii_that_do_not_fit_are_refused(
    quick: Auditor, left: Tensor, each: Tensor, tmp_path: Path
) -> None:
    threats = {"threats": [sp.Linf(0.1)]}
    for mask, said in (
        (left.float(), "a mask is a bool tensor"),
        (left.numpy(), "this is ndarray"),
        (torch.ones(1, 7, 6, dtype=torch.bool), r"shape \(1, 7, 6\), and one input has \(1, 6, 6\)"),
        (torch.zeros_like(left), "the mask is false everywhere: nothing may move"),
        (each[:20], "there are 20 masks and at least 25 inputs"),
        (torch.cat((each, each)), "there are 100 masks and 50 inputs"),
        (each.index_fill(0, torch.tensor([7]), False), "the mask of input 7 is false everywhere"),
    ):
        with pytest.raises(InputError, match=said):
            quick(mask=mask, **threats)
    for eps, given, said in (
        (torch.full((50,), 0.1), [sp.Linf(0.1), sp.Linf(0.2)], "one radius, and there are 2 threats"),
        (torch.full((50,), 0.1), [sp.Linf(0.1), sp.L2()], "one radius, and there are 2 threats"),
        (torch.zeros(50), [sp.Linf()], r"eps\[0\] is 0"),
        ([0.1] * 50, [sp.Linf()], "eps is a float tensor"),
        (torch.full((50,), 1.5), [sp.L0()], "not whole"),
        (torch.full((50,), 1.5), [sp.Linf()], "larger than the whole range"),
    ):
        with pytest.raises(ThreatError, match=said):
            quick(eps=eps, threats=given)
    with pytest.raises(InputError, match="there are 40 radii and at least 50 inputs"):
        quick(eps=torch.full((40,), 0.1), threats=[sp.Linf()])
    assert not (tmp_path / "run").exists()


def test_an_attack_that_knows_no_mask_is_refused_before_any_work(
    quick: Auditor, left: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sp.attacks.PGD, "uses_region", False)
    with pytest.raises(ThreatError, match="PGD knows no mask"):
        quick(mask=left, suite="fgsm,pgd", threats=[sp.Linf(0.1)])
    assert not (tmp_path / "run").exists()


def test_a_surrogate_is_attacked_under_the_mask_too(
    quick: Auditor, images: Tensor, left: Tensor, tmp_path: Path
) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4)).double()
    own = sp.Classifier(net, name="own")
    report = quick(mask=left, surrogate=own, suite="fgsm", threats=[sp.Linf(0.3)], probes=True)
    assert report.threats[0].epsilons[0].attacks[-1].attack == "transfer from own"
    assert not any(bool(change[~left].any()) for _, change in moved(tmp_path / "run", images))
