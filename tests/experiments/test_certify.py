"""Proven, broken or open over a data set: verdicts that agree with enumeration, and a run that goes on."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import sparring as sp
from sparring.defenses.certification import Status, radii
from sparring.errors import ConfigError, RunError, TargetError
from sparring.experiments.certify import CertifyDataset
from sparring.threats import parse_threat
from sparring.zoo import LoadedModel, load_data

CLASSES = 3


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, CLASSES))


def margins(net, images, labels):
    """The least radius in Linf at which an affine net changes its answer, and None where [0, 1] decides."""
    weight, bias = net[1].weight.detach().double(), net[1].bias.detach().double()
    logits = images.flatten(1).double() @ weight.T + bias
    own = logits.gather(1, labels[:, None])
    slopes = weight[labels][:, None] - weight[None]
    return (own - logits), slopes


def least_radius(net, images, labels):
    """By bisection over the exact worst case within ball and range, which for an affine net is a corner."""
    gaps, slopes = margins(net, images, labels)
    low, high = torch.zeros(len(images)), torch.ones(len(images))
    x = images.flatten(1).double()
    for _ in range(40):
        middle = (low + high) / 2
        down = -torch.minimum(middle[:, None], x)[:, None]
        up = torch.minimum(middle[:, None], 1 - x)[:, None]
        worst = gaps + torch.where(slopes > 0, slopes * down, slopes * up).sum(2)
        worst = worst.scatter(1, labels[:, None], torch.inf).amin(1)
        low, high = torch.where(worst > 0, middle, low), torch.where(worst > 0, high, middle)
    return (low + high) / 2


@pytest.fixture
def case():
    net = linear()
    images = torch.rand(20, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    labels = net(images).argmax(1)
    labels[::7] = (labels[::7] + 1) % CLASSES
    return net, images, labels


def table(out):
    return list(csv.DictReader((out / "certificates.csv").read_text().splitlines()))


def experiment(case, out=None, threat="linf:0.01,0.05,0.2", net=None, labels=None, **options):
    loaded = LoadedModel("affine", sp.Classifier(case[0] if net is None else net), None, None, "", None)
    data = load_data((case[1], case[2] if labels is None else labels), loaded)
    return CertifyDataset(loaded, data, parse_threat(threat), **{"timeout": 2.0, "batch_size": 8, "out": out} | options)


def test_verdicts_of_an_affine_net_are_those_of_its_least_radii(case, tmp_path):
    net, images, labels = case
    counts = experiment(case, tmp_path / "out").run()
    radii = least_radius(net, images, labels)
    wrong = net(images).argmax(1) != labels
    rows = table(tmp_path / "out")
    assert len(rows) == 60
    for count in counts:
        expected = (~wrong & (radii > count.eps)).sum()
        assert count.counts == {Status.PROVEN: expected, Status.BROKEN: 20 - expected, Status.OPEN: 0}
        assert (count.images, count.right) == (20, int((~wrong).sum()))
        mine = [row for row in rows if row["threat"] == f"linf:{count.text}"]
        for row in mine:
            place = int(row["image"])
            assert (row["verdict"] == "proven") == bool(~wrong[place] & (radii[place] > count.eps))
            assert (row["method"] == "clean") == bool(wrong[place])
    sums = json.loads((tmp_path / "out" / "certificates.json").read_text())
    assert [one["proven"] for one in sums["radii"]] == [count.counts[Status.PROVEN] for count in counts]
    assert "float64" in sums["assumptions"]


def test_counterexamples_are_written_and_break_the_net(case, tmp_path):
    net, images, labels = case
    experiment(case, tmp_path / "out").run()
    parts = [load_file(path) for path in sorted((tmp_path / "out").glob("certify-*.safetensors"))]
    assert [len(part["labels"]) for part in parts] == [8, 8, 4]
    examples, status = (
        torch.cat([part[name] for part in parts], dim) for name, dim in (("examples", 0), ("status", 1))
    )
    broken = status[-1] == list(Status).index(Status.BROKEN)
    assert bool(broken.any())
    assert bool((net(examples).argmax(1) != labels)[broken].all())
    assert float((examples - images).abs().max()) <= 0.2 + 1e-6


def test_what_is_stopped_goes_on_and_asks_nothing_again(case, tmp_path, monkeypatch):
    whole = experiment(case, tmp_path / "whole").run()
    calls, verify = [], radii.verify

    def stopping(*given, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return verify(*given, **options)

    monkeypatch.setattr(radii, "verify", stopping)
    with pytest.raises(KeyboardInterrupt):
        experiment(case, tmp_path / "part").run()
    before = len(calls)
    again = experiment(case, tmp_path / "part").run()
    assert len(calls) - before == 6  # two of three batches, each at three radii
    assert [one.counts for one in again] == [one.counts for one in whole]
    read = [table(tmp_path / run) for run in ("whole", "part")]
    assert [(row["name"], row["verdict"], row["method"]) for row in read[0]] == [
        (row["name"], row["verdict"], row["method"]) for row in read[1]
    ]


def test_another_model_threat_or_label_is_not_mixed_in(case, tmp_path):
    experiment(case, tmp_path / "out").run()
    with pytest.raises(RunError, match="other model, threat"):
        experiment(case, tmp_path / "out", net=linear(5)).run()
    with pytest.raises(RunError, match="other model, threat"):
        experiment(case, tmp_path / "out", threat="linf:0.01").run()
    with pytest.raises(RunError, match="other images or labels"):
        experiment(case, tmp_path / "out", labels=(case[2] + 1) % CLASSES).run()


def test_a_mask_confines_the_proof(case):
    free = experiment(case, threat="linf:0.1").run()[0].counts[Status.PROVEN]
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask[:, 1, 1] = True
    assert experiment(case, threat="linf:0.1", mask=mask).run()[0].counts[Status.PROVEN] > free


def test_what_cannot_be_certified_is_refused_before_any_work(case, tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = linear()

        def forward(self, x):
            return self.net(torch.fft.fft(x).real)

    with pytest.raises(TargetError, match="fft"):
        experiment(case, tmp_path / "out", net=Odd()).run()
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="Linf, L2 and L1"):
        experiment(case, threat="l0:3").run()
