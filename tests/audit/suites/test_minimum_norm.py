"""Threats without a radius, targeted goals, transfers and repeats."""

import json
import math
from itertools import pairwise

import pytest
import torch

import sparring as sp
from sparring.audit.records.database import Records
from sparring.errors import ConfigError, GoalError


def rows(folder, question, *values):
    records = Records.open(folder)
    try:
        return list(records.select(question, *values))
    finally:
        records.close()


def test_the_curve_is_read_off_the_smallest_examples(quick, single, images, labels, tmp_path):
    smallest = quick(target=single, threats=[sp.L2(), sp.Linf(0.03)], suite="fgsm,fmn,fab-margin", limit=20)

    threat = smallest.threats[1]
    assert (threat.norm, smallest.threats[0].norm) == ("L2", "Linf")
    outcomes = [
        sp.run(attack, single, sp.Misclassify(labels[:20]), images[:20])
        for attack in (sp.attacks.FMN(sp.L2()), sp.attacks.FABT(sp.L2()))
    ]
    right = ~outcomes[0].already
    sizes = torch.stack([outcome.distance for outcome in outcomes]).amin(0)[right].sort().values
    assert threat.smallest.attacked == threat.smallest.found == len(sizes)
    assert threat.smallest.quartiles[1] == pytest.approx(float(sizes[(len(sizes) + 1) // 2 - 1]), rel=1e-4)
    assert [point.eps for point in threat.curve[1:]] == pytest.approx(sizes.unique().tolist(), rel=1e-4)
    assert [point.robust_accuracy.count for point in threat.curve] == list(range(len(sizes), -1, -1))
    (part,) = threat.epsilons
    assert part.eps_text.endswith("(median)")
    assert part.robust_accuracy.count == sum(point.eps > part.eps for point in threat.curve)
    assert [one.attack for one in part.attacks] == ["FMN", "FABT"]
    assert [one.asked for one in part.attacks] == [len(sizes)] * 2
    found = rows(tmp_path / "run", "SELECT * FROM result WHERE norm = 'L2'")
    assert {row["eps"] for row in found} == {math.inf}

    assert smallest.worst()[0].norm == "Linf"
    assert all(entry.eps < 10 for entry in smallest.gallery)


def test_a_model_that_never_falls_has_a_flat_curve(quick, images):
    class Same(torch.nn.Module):
        def forward(self, x):
            level = 0 * x.flatten(1).mean(1)
            return torch.stack((2 + level, level), 1)

    data = [(images[:8], torch.zeros(8, dtype=torch.long))]
    report = quick(target=sp.Classifier(Same()), data=data, threats=[sp.L2()], suite="fmn")
    (threat,) = report.threats
    assert threat.smallest.quartiles == [None, None, None]
    assert [point.robust_accuracy.count for point in threat.curve] == [8]
    assert threat.epsilons[0].eps_text == "0 (none found)"


def test_a_norm_is_given_with_radii_or_without(quick):
    with pytest.raises(ConfigError, match="L2 is given with a radius and without"):
        quick(threats=[sp.L2(), sp.L2(0.5)])


def test_the_least_likely_class_is_wanted(quick, target, images, labels, tmp_path):
    report = quick(goal="least-likely", threats=[sp.Linf(0.3)], limit=24)
    aims = target(images[:24]).argmin(1)
    found = rows(tmp_path / "run", "SELECT * FROM sample ORDER BY id")
    assert [row["aim"] for row in found] == aims.tolist()
    won = rows(tmp_path / "run", "SELECT prediction, aim FROM result JOIN sample ON id = sample WHERE success")
    assert len(won) > 3
    assert all(json.loads(row["prediction"])["predicted"] == row["aim"] for row in won)
    other = quick(threats=[sp.Linf(0.3)], limit=24, out=tmp_path / "any")
    held, free = (one.threats[0].epsilons[0].robust_accuracy.count for one in (report, other))
    assert held > free


def test_two_classes_have_no_least_likely_one_beside_the_other(quick, images):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
    with pytest.raises(GoalError, match="with 2 classes is the goal misclassify"):
        quick(target=sp.Classifier(net), data=[images], goal="least-likely")


def test_what_transfers_is_recorded_as_one_query(quick, target, tmp_path):
    from copy import deepcopy

    net = deepcopy(target.model)
    with torch.no_grad():
        net[1].weight.mul_(1.01)
    report = quick(surrogate=sp.Classifier(net, name="own"), threats=[sp.Linf(0.1)], suite="fgsm")
    attacks = report.threats[0].epsilons[0].attacks
    assert [(one.attack, one.access) for one in attacks] == [("FGSM", "Gradients"), ("transfer from own", "Decisions")]
    alone = quick(surrogate=sp.Classifier(net, name="own"), threats=[sp.Linf(0.1)], suite="fgsm", access="decisions",
                  out=tmp_path / "alone")  # fmt: skip
    (transferred,) = alone.threats[0].epsilons[0].attacks
    assert transferred.fell > 5
    assert (transferred.forwards, transferred.backwards) == (transferred.asked, 0)


def test_a_repeat_is_another_seed_on_what_stands(quick, tmp_path):
    report = quick(threats=[sp.Linf(0.04)], suite="pgd", steps=2, repeats=3, seed=5)
    found = rows(tmp_path / "run", "SELECT * FROM result ORDER BY sample, turn")
    assert {row["seed"] for row in found} == {5, 6, 7}
    for before, after in pairwise(found):
        if before["sample"] == after["sample"]:
            assert not before["success"]
    (attack,) = report.threats[0].epsilons[0].attacks
    assert attack.asked == len({row["sample"] for row in found})
    assert attack.fell == sum(row["success"] for row in found)
    assert attack.forwards == sum(row["forwards"] for row in found)
    assert attack.fallen_so_far == 50 - report.threats[0].epsilons[0].robust_accuracy.count


def test_examples_after_jpeg(quick, target, tmp_path):
    from sparring.audit.records.example_files import read_row
    from sparring.targets import JPEG

    report = quick(threats=[sp.Linf(0.1)], suite="pgd", limit=24)
    found = rows(tmp_path / "run", "SELECT * FROM result JOIN sample ON id = sample WHERE success")
    for row in found:
        example = read_row(tmp_path / "run" / row["example_file"], "examples", row["example_row"])
        won = int(target(JPEG(90)(example[None])).argmax()) != row["label"]
        assert row["survives_jpeg90"] == won
    assert report.threats[0].epsilons[0].attacks[0].survives_jpeg90 == sum(row["survives_jpeg90"] for row in found)


def test_no_jpeg_has_five_channels(quick, images):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(180, 3))
    report = quick(target=sp.Classifier(net), data=[images[:8].expand(-1, 5, -1, -1)], threats=[sp.Linf(0.3)])
    assert report.threats[0].epsilons[0].attacks[0].survives_jpeg90 is None


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("kind", ["wrong", "nan", "flat"])
def test_where_there_is_nothing_to_find_there_is_a_report_all_the_same(kind, count, single, images, labels, tmp_path):
    """No image is right, or answered, or falls: the report, its files and its comparisons are made."""
    from typer.testing import CliRunner

    from sparring.cli import app

    right = single(images[:count]).argmax(1)

    def net(x):
        if kind == "nan":
            return torch.where(x.flatten(1).amax(1, keepdim=True) > 0.999, single(x), torch.nan)
        return single(x).detach() * 0 + 0 * single(x) + 2 * torch.eye(4)[0] if kind == "flat" else single(x)

    pictures = images[:count].clone()
    if kind == "nan":
        pictures = torch.cat((pictures * 0.9, torch.ones_like(pictures[:1])))  # the last one alone is answered
        right = torch.cat((right, (single(torch.ones_like(pictures[:1])).argmax(1) + 1) % 10))
    truth = torch.zeros_like(right) if kind == "flat" else right if kind == "nan" else (right + 1) % 10
    out = tmp_path / "run"
    report = sp.audit(
        sp.Classifier(net), [(pictures, truth)], threats=[sp.L2(), sp.Linf(0.05)], suite="fgsm,fmn", out=out
    )
    smallest = report.threats[1]
    assert smallest.smallest.found == 0
    assert smallest.smallest.attacked == (count if kind == "flat" else 0)
    assert smallest.smallest.quartiles == [None, None, None]
    assert smallest.epsilons[0].robust_accuracy.count == smallest.smallest.attacked
    for words in (("report", "--figures"), ("export", "--to", "csv"), ("export", "--to", "json"), ("compare", out)):
        result = CliRunner().invoke(app, [words[0], str(out), *map(str, words[1:])])
        assert result.exit_code == 0, result.output
