"""Certificates in an audit: verdicts that a closed form gives, runs that go on, and proofs that an example breaks."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor, nn

import sparring as sp
from sparring.audit import AuditObserver, Report, certification, render
from sparring.audit.parallel.chunk_worker import ChunkWorker, answer_chunk, deserialize, serialize_job, unpack_worker
from sparring.audit.records.compare import compare
from sparring.audit.records.database import Records
from sparring.audit.records.example_files import read_row
from sparring.audit.records.export import export
from sparring.cli.display.audit_result import exit_if_refused
from sparring.defenses.certification import radii
from sparring.defenses.purification import JPEGCompression
from sparring.errors import ConfigError, RunError, SparringError, TargetError

CLASSES = 3
RADII = (0.01, 0.05, 0.2)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, CLASSES))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(20, 1, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(net: nn.Module, images: Tensor) -> Tensor:
    own = net(images).argmax(1)
    own[::7] = (own[::7] + 1) % CLASSES
    return own


@pytest.fixture
def quick(quick: Any, net: nn.Module, images: Tensor, labels: Tensor) -> Any:
    """An audit of the affine net by one step of FGSM, which misses some images, with certificates."""
    given = {
        "target": sp.Classifier(net),
        "data": [(images[part], labels[part]) for part in (slice(0, 12), slice(12, 20))],
        "threats": "linf:" + ",".join(map(str, RADII)),
        "suite": "fgsm",
        "certify": True,
        "certify_timeout": 2.0,
        "batch_size": 12,
    }
    return lambda **options: quick(**given | options)


def worst_gaps(net: Any, images: Tensor, labels: Tensor, eps: Tensor | float, free: Tensor | None = None) -> Tensor:
    """(N, K) the least z_y - z_k of an affine net within Linf and [0, 1]: each pixel goes as far as it may."""
    weight, bias = net[1].weight.detach().double(), net[1].bias.detach().double()
    x = images.flatten(1).double()
    logits = x @ weight.T + bias
    slopes = weight[labels][:, None] - weight[None]
    eps = torch.as_tensor(eps, dtype=torch.float64).expand(len(x))[:, None]
    down, up = torch.minimum(eps, x)[:, None], torch.minimum(eps, 1 - x)[:, None]
    moves = torch.where(slopes > 0, -slopes * down, slopes * up)
    moves = moves if free is None else moves * free.flatten()
    return logits.gather(1, labels[:, None]) - logits + moves.sum(2)


def withstands(net: Any, images: Tensor, labels: Tensor, eps: Tensor | float, free: Tensor | None = None) -> Tensor:
    """(N,) whether nothing in the ball changes the right class; never a close call."""
    gaps = worst_gaps(net, images, labels, eps, free).scatter(1, labels[:, None], torch.inf).amin(1)
    assert float(gaps.abs().min()) > 1e-4
    return gaps > 0


def words(report: Report, threat: int = 0) -> list[list[str]]:
    return [[one.verdict for one in part.certificates.images] for part in report.threats[threat].epsilons]


def test_verdicts_of_an_affine_net_are_those_of_the_closed_form(
    quick: Any, net: nn.Module, images: Tensor, labels: Tensor, tmp_path: Path
) -> None:
    report = quick()
    for part, found in zip(report.threats[0].epsilons, words(report), strict=True):
        expected = withstands(net, images, labels, part.eps)
        assert found == ["proven" if one else "broken" for one in expected]
        assert part.certificates.proven.count == part.robust_accuracy.count == int(expected.sum())
        assert sum(part.certificates.methods.values()) == int(expected.sum())
    wrong = net(images).argmax(1) != labels
    by = [one.method for one in report.threats[0].epsilons[-1].certificates.images]
    assert [method == "clean" for method in by] == wrong.tolist()
    missed = [row for row, method in enumerate(by) if method == "branch-and-bound"]
    assert missed  # FGSM alone leaves images that can be broken
    last = report.threats[0].epsilons[-1].attacks[-1]
    assert (last.attack, last.fell) == ("branch-and-bound", len(missed))
    assert [one.code for one in report.warnings if one.severity == "warning"] == ["search-beats-attacks"]
    with closing(Records.open(tmp_path / "run")) as records:
        rows = list(records.select("SELECT * FROM result WHERE attack = 'branch-and-bound' AND success"))
    assert [row["sample"] for row in rows] == missed
    for row in rows:
        example = read_row(tmp_path / "run" / row["example_file"], "examples", row["example_row"])
        assert float((example - images[row["sample"]]).abs().max()) <= row["eps"] + 1e-6
        assert int(net(example[None]).argmax()) != labels[row["sample"]]
    assert {part.sample for part in report.gallery if part.attack == "branch-and-bound"} == set(missed)
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<section id="certificates"' in page
    assert 'class="proven" points=' in page
    assert "the verdict on each image" in page.lower()


def test_radii_masks_and_the_least_likely_class(
    quick: Any, net: nn.Module, images: Tensor, labels: Tensor, tmp_path: Path
) -> None:
    eps = torch.linspace(0.01, 0.3, 20)
    free = torch.zeros(1, 5, 5, dtype=torch.bool)
    free[:, 1:3] = True
    report = quick(threats=[sp.Linf()], eps=eps, mask=free)
    expected = withstands(net, images, labels, eps, free)
    assert 3 < int(expected.sum()) < 17
    assert words(report)[0] == ["proven" if one else "broken" for one in expected]
    report = quick(threats="linf:0.1", goal="least-likely", out=tmp_path / "least")
    least = net(images).argmin(1)
    right = net(images).argmax(1) == labels
    reached = torch.tensor([reaches(net, image, int(one), 0.1) for image, one in zip(images, least, strict=True)])
    assert words(report)[0] == ["broken" if hit or not ok else "proven" for hit, ok in zip(reached, right, strict=True)]


def reaches(net: Any, image: Tensor, target: int, eps: float) -> bool:
    """Is there a point of the box where the class `target` is the largest? By linear programming."""
    from scipy.optimize import linprog

    weight, bias = net[1].weight.detach().double().numpy(), net[1].bias.detach().double().numpy()
    x = image.flatten().double().numpy()
    others = [k for k in range(CLASSES) if k != target]
    # the greatest t with z_target - z_k >= t for all k
    matrix = [[*(weight[k] - weight[target]), 1.0] for k in others]
    bounds = [(max(0.0, one - eps), min(1.0, one + eps)) for one in x] + [(None, None)]
    found = linprog([0.0] * 25 + [-1.0], A_ub=matrix, b_ub=[bias[target] - bias[k] for k in others], bounds=bounds)
    assert abs(found.fun) > 1e-4
    return bool(-found.fun > 0)


class Told(AuditObserver):
    def __init__(self, stop_after: int = 1 << 30) -> None:
        self.messages: list[str] = []
        self.left = stop_after

    def report_message(self, message: str) -> None:
        self.messages.append(message)

    def certified(self, done: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_what_is_stopped_goes_on_and_asks_nothing_again(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quick(out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        quick(observer=Told(stop_after=1))
    half = render(tmp_path / "run")
    assert "certificates are missing" in half.warnings[0].message
    assert "open" in words(half)[0]
    asked: list[int] = []
    verify = radii.verify
    monkeypatch.setattr(radii, "verify", lambda *given, **how: asked.append(len(given[2])) or verify(*given, **how))
    again = quick(resume=True)
    assert words(again) == words(whole)
    first, second = sum(x != "broken" for x in words(whole)[0][:12]), sum(x != "broken" for x in words(whole)[0][12:])
    assert sum(asked) <= 3 * second + 3 < 3 * (first + second)
    asked.clear()
    assert words(quick(resume=True)) == words(whole)
    assert asked == []
    with pytest.raises(RunError, match="another certify"):
        quick(resume=True, certify=False)


def test_a_finished_audit_is_certified_later(quick: Any, tmp_path: Path) -> None:
    whole = quick(out=tmp_path / "whole")
    plain = quick(certify=False)
    assert plain.certification is None
    later = quick(resume=True)
    assert words(later) == words(whole)
    assert [part.robust_accuracy for part in later.threats[0].epsilons] == [
        part.robust_accuracy for part in whole.threats[0].epsilons
    ]
    assert later.threats[0].epsilons[0].attacks[0].seconds == plain.threats[0].epsilons[0].attacks[0].seconds


def test_workers_are_handed_the_jobs_and_answer_the_same(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_workers(worker: ChunkWorker, jobs: Any, observer: AuditObserver) -> Any:
        """Each job and each answer goes through bytes, as between processes."""
        other = unpack_worker(worker.to_bytes())
        assert not other.networks
        return (deserialize(answer_chunk(other, serialize_job(number, job))) for number, job in jobs)

    one = quick(out=tmp_path / "one")
    monkeypatch.setattr(certification, "work_here", as_workers)
    two = quick(out=tmp_path / "two")
    pairs = [[(i.verdict, i.method, i.bound, i.domains) for p in r.threats[0].epsilons for i in p.certificates.images]
             for r in (one, two)]  # fmt: skip
    assert pairs[0] == pairs[1]


def planted(run: Path, statement: str) -> Report:
    with sqlite3.connect(run / "records.sqlite") as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        assert connection.execute(statement).rowcount == 1
    connection.close()
    return render(run)


PROVEN = "INSERT INTO certificate VALUES ({sample}, 'Linf', 0.05, 'proven', 'crown', 1.0, 0.0, 0.1, 0, 0)"


def test_an_example_that_breaks_a_proven_image_is_a_severe_finding(quick: Any, tmp_path: Path) -> None:
    report = quick(threats=["linf:0.05,0.2", "l2:0.4"])
    found = [part.certificates.images for threat in report.threats for part in threat.epsilons]
    attacked = next(one.sample for one in found[0] if one.method == "FGSM")
    searched = next(one.sample for one in found[1] if one.method == "branch-and-bound")
    crossed = next(k for k in range(20) if found[0][k].verdict == "proven" and found[2][k].verdict == "broken")
    changes = [
        (attacked, 0, PROVEN.format(sample=attacked)),
        (7, 0, PROVEN.format(sample=7)),  # wrong without an attack
        (searched, 1, f"UPDATE certificate SET verdict = 'proven' WHERE sample = {searched} AND eps = 0.2"),
        (crossed, 0, f"UPDATE result SET linf = 0.04 WHERE sample = {crossed} AND norm = 'L2' AND success"),
    ]
    for number, (sample, radius, change) in enumerate(changes):
        run = shutil.copytree(tmp_path / "run", tmp_path / f"changed-{number}")
        after = planted(run, change)
        severe = [one for one in after.warnings if one.blocks]
        assert [one.code for one in severe] == ["certificate-contradicted", "weak-suite"]
        assert f"(image {sample})" in severe[0].message
        with pytest.raises(typer.Exit):
            exit_if_refused(after, None)
        part, before = (each.threats[0].epsilons[radius] for each in (after, report))
        assert part.certificates.contradicted == 1
        assert part.certificates.images[sample].verdict == "contradicted"
        assert part.certificates.proven.count == before.certificates.proven.count - (sample == crossed)
        assert part.robust_accuracy == before.robust_accuracy
        rows = csv.DictReader(export(run, "csv").read_text().splitlines())
        told = {row["sample"] for row in rows if row["verdict"] == "contradicted"}
        assert told == (set() if sample == 7 else {str(sample)})  # what was wrong before has no row of an attack
        proven = [one for one in compare(tmp_path / "run", run) if "contradicted" in one.threat]
        assert [one.threat for one in proven] == [f"Linf {before.eps_text}, proven (1 contradicted)"]


def test_a_contradiction_is_told_when_it_is_recorded(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certification.certificate_rows

    def wrong(done: Any) -> Any:
        rows = made(done)
        if not done.searched and done.clean.first == 0:
            rows.certificates.append({**rows.certificates[0], "sample": 0, "verdict": "proven"})  # wrong when clean
        return rows

    monkeypatch.setattr(certification, "certificate_rows", wrong)
    observer = Told()
    report = quick(observer=observer)
    assert any("a certificate is contradicted" in message for message in observer.messages)
    assert "certificate-contradicted" in {one.code for one in report.warnings if one.blocks}


class Spectral(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.fft.fft(x).real)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"target": "defended"}, TargetError, "behind a defence"),
        ({"target": "random"}, TargetError, "random"),
        ({"target": "restricted"}, TargetError, "Restricted"),
        ({"target": "spectral"}, TargetError, r"fft.* in .*shape|fft"),
        ({"access": "scores", "suite": "square"}, ConfigError, "black box"),
        ({"threats": "l0:3", "suite": "pgd"}, ConfigError, "L0 3"),
        ({"threats": "linf", "suite": "quick"}, ConfigError, "Linf without a radius"),
        ({"certify_timeout": float("inf")}, ConfigError, "certify_timeout"),
        ({"certify_timeout": -1}, ConfigError, "certify_timeout"),
        ({"certify_timeout": True}, ConfigError, "certify_timeout"),
        ({"certify": "yes"}, ConfigError, "certify"),
    ],
)
def test_what_has_no_certificates_is_refused_before_any_work(
    options: dict[str, Any], kind: type[SparringError], said: str, quick: Any, net: nn.Module, tmp_path: Path
) -> None:
    targets = {
        "defended": lambda: sp.targets.Defended(sp.Classifier(net), JPEGCompression(75)),
        "random": lambda: sp.Classifier(net, stochastic=True),
        "restricted": lambda: sp.Restricted(sp.Classifier(net), sp.Gradients),
        "spectral": lambda: sp.Classifier(Spectral(net)),
    }
    given = options | ({"target": targets[options["target"]]()} if "target" in options else {})
    with pytest.raises(kind, match=said):
        quick(**given)
    assert not (tmp_path / "run").exists()


def test_an_image_that_differs_from_the_trace_ends_the_audit_with_its_attacks(
    quick: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def differs(*given: Any, **how: Any) -> Any:
        raise TargetError("the net differs from its trace")

    monkeypatch.setattr(radii, "verify", differs)
    with pytest.raises(TargetError, match="from its trace; every attack is recorded: read them with sparring report"):
        quick()
    monkeypatch.undo()
    assert render(tmp_path / "run").threats[0].epsilons[0].attacks[0].fell == 0
    assert render(tmp_path / "run").threats[0].epsilons[2].attacks[0].fell > 0


def test_threats_without_certificates_are_named(quick: Any) -> None:
    observer = Told()
    suite = "fgsm,sigma-zero:steps=5,ddn:steps=5"
    report = quick(threats=["linf:0.05", "l0:2", "l2"], suite=suite, limit=3, observer=observer)
    assert any("L0 2; L2 without a radius have none" in message for message in observer.messages)
    assert report.certification.uncertified == ["L0 2", "L2 without a radius"]
    held = {threat.norm: [part.certificates is not None for part in threat.epsilons] for threat in report.threats}
    assert held == {"Linf": [True], "L0": [False], "L2": [False]}
