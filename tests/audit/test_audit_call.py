"""`sparring.audit(...)`: what comes back, and what is refused at the door."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sparring as sp
from sparring.audit import Report
from sparring.errors import ConfigError, InputError, RunError, TargetError, ThreatError
from sparring.zoo.batches import Batches


def codes(report):
    return [finding.code for finding in report.warnings]


def test_the_report_on_the_disk_is_the_report(quick, tmp_path):
    report = quick()
    assert Report.model_validate_json((tmp_path / "run" / "report.json").read_text()) == report
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (report.data.count, report.data.labels, report.model.classes) == (50, "data", 4)
    assert (report.data.clean_accuracy.count, report.data.clean_accuracy.total) == (45, 50)
    for entry in report.gallery:
        for picture in (entry.original, entry.perturbation, entry.adversarial):
            assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")
        assert entry.after["predicted"].value != entry.label


def test_robust_accuracy_is_that_of_the_attacks_run_by_hand(quick, target, images, labels):
    attacks = [
        sp.attacks.FGSM(sp.Linf(0.05)),
        sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.05), steps=10), 2),
        sp.attacks.Square(sp.Linf(0.05), n_queries=20),
    ]
    outcomes = [sp.run(attack, target, sp.Misclassify(labels), images) for attack in attacks]
    standing = ~torch.stack([outcome.success for outcome in outcomes]).any(0)
    (part,) = quick(threats=[sp.Linf(0.05)]).threats[0].epsilons
    assert part.robust_accuracy.count == int(standing.sum())
    assert part.attacks[0].fell == int((outcomes[0].success & ~outcomes[0].already).sum())


def test_the_room_and_the_function_are_one_name(quick):
    import sparring.audit

    assert callable(sparring.audit)
    with pytest.raises(InputError, match="no images"):
        quick(data=[])


def test_a_goal_that_is_none_is_refused(quick):
    with pytest.raises(ConfigError, match="Did you mean 'misclassify'"):
        quick(goal="misclassified")


def test_a_data_loader_is_data(quick, images, labels):
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    assert quick(data=loader).data.count == 50


def test_without_labels_the_report_speaks_of_agreement(quick, images):
    report = quick(data=[images])
    assert (report.data.labels, report.data.labelled_count, report.data.clean_accuracy) == ("model", 0, None)
    (caution,) = [caution for caution in report.warnings if caution.code == "label-free"]
    assert caution.message == (
        "No image has a label: robust accuracy is agreement with the model's own clean predictions."
    )
    assert report.threats[0].curve[0].robust_accuracy.share == 1.0
    assert all(entry.label_source == "model" for entry in report.gallery)


def test_a_part_without_labels_is_counted_apart(quick, images, labels):
    report = quick(data=[(images[:20], labels[:20]), (images[20:], None)])
    assert (report.data.labels, report.data.labelled_count) == ("mixed", 20)
    assert report.data.clean_accuracy.total == 20
    assert "30 of 50 images have no label" in report.warnings[0].message


def test_labels_of_the_model_may_be_asked_for(quick):
    assert quick(labels="model").data.labels == "model"


def test_low_clean_accuracy_is_a_severe_caution(quick, images, labels):
    report = quick(data=[(images, (labels + 1) % 4)])
    assert report.warnings[0].code == "low-clean-accuracy"
    assert "Check mean, std" in report.warnings[0].advice


def test_cautions_are_raised_where_they_hold(quick, tmp_path, images, labels):
    assert "few-images" in codes(quick())
    assert "nothing-left" not in codes(quick(out=tmp_path / "a", threats=[sp.Linf(0.001)]))
    assert "nothing-left" in codes(quick(out=tmp_path / "b", threats=[sp.Linf(0.9)]))


def test_masked_gradients_are_a_severe_caution(quick, images):
    class Masked(nn.Module):
        def forward(self, x):
            level = (x.flatten(1).mean(1) * 0) + (x.flatten(1).mean(1) > 0.5).float().detach()
            return torch.stack((1 - level, level), dim=1) * 5

    report = quick(target=sp.Classifier(Masked()), data=[images], threats=[sp.Linf(0.001)])
    assert report.warnings[0].code == "zero-gradients"
    assert report.threats[0].epsilons[0].attacks[0].reasons == {"NO_GRADIENT": 50}


def test_rows_that_are_not_finite_do_not_count_as_robust(quick, images):
    class Overflow(nn.Module):
        def forward(self, x):
            level = x.flatten(1).mean(1)
            return torch.stack((level, torch.where(x[:, 0, 0, 0] > 0.5, torch.nan, level - 1)), dim=1)

    labels = torch.zeros(50, dtype=torch.long)
    report = quick(target=sp.Classifier(Overflow()), data=[(images, labels)], threats=[sp.Linf(0.001)])
    dark = int((images[:, 0, 0, 0] <= 0.5).sum())
    assert 0 < dark < 50
    assert report.data.clean_accuracy.count == dark
    assert report.threats[0].epsilons[0].robust_accuracy.count == dark


@pytest.mark.parametrize(
    ("access", "attacks"),
    [("scores", ["Square"]), ("decisions", ["HopSkipJump"]), ("gradients", ["FGSM", "PGD x 2", "Square"])],
)
def test_a_black_box_is_audited_with_queries_only(access, attacks, quick):
    report = quick(access=access, threats=[sp.Linf(0.3)], limit=12, queries=300)
    (part,) = report.threats[0].epsilons
    assert [attack.attack for attack in part.attacks] == attacks
    assert report.model.access.lower() == access
    assert sum(attack.fell for attack in part.attacks) > 0
    if access != "gradients":
        assert sum(attack.backwards for attack in part.attacks) == 0
        assert all(attack.forwards <= 300 * attack.asked for attack in part.attacks)


def test_limit_takes_the_first_images_only(quick):
    assert quick(limit=13).data.count == 13


def test_pictures_in_color_and_names_from_outside(quick, images, tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 3))
    report = quick(target=sp.Classifier(net, name="<b>net</b>\x1b[31m"), data=[images.expand(-1, 3, -1, -1)])
    assert report.model.name == "<b>net</b>\x1b[31m"
    assert "<b>net</b>" not in (tmp_path / "run" / "report.html").read_text()


def x(*shape):
    return torch.full(shape, 0.5)


ZERO = torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        ([], InputError, "holds no images"),
        (iter([]), InputError, "can be read only once"),
        (4, InputError, r"is a int; pass \(images, labels\), images \(N, C, H, W\), a data set"),
        (["images"], InputError, r"list\[0\] is a str; return a tensor \(C, H, W\), an array or a PIL image"),
        ([(x(2, 1, 6, 6) * 255, ZERO)], InputError, "pixels reach from 127.5 to 127.5.*divide by 255"),
        ([(x(2, 1, 6, 6) - 1, ZERO)], InputError, "undo the normalisation"),
        ([(x(2, 1, 6, 6) * torch.nan, ZERO)], InputError, "holds NaN or infinity"),
        ([(x(2, 36), ZERO)], InputError, r"must be a float tensor \(N, C, H, W\)"),
        ([(x(2, 3, 6, 6), ZERO)], TargetError, r"small cannot take images of shape \(3, 6, 6\)"),
        (
            [(x(2, 1, 6, 6), torch.tensor([0, 4]))],
            InputError,
            "image 1 has the label 4; the model's classes are 0 to 3",
        ),
        (
            [(x(2, 1, 6, 6), torch.tensor([0, -1]))],
            InputError,
            "image 1 has the label -1; the model's classes are 0 to 3",
        ),
        ([(x(2, 1, 6, 6), torch.tensor([0, 1, 2]))], InputError, r"batch 0: labels of shape \(3,\) beside 2 images"),
        ([(x(2, 1, 6, 6), torch.tensor([0.0, 1.5]))], InputError, r"image 1 has the label 1\.5; a label is a whole"),
        ([(x(2, 1, 6, 6), ZERO), (x(2, 1, 7, 7), ZERO)], InputError, "give all images one size"),
        ([(np.full((2, 1, 6, 6), 9.0), ZERO)], InputError, "pixels reach from 9 to 9"),
    ],
)
def test_data_that_cannot_be_audited_is_refused_at_the_door(data, kind, said, quick, tmp_path):
    with pytest.raises(kind, match=said):
        quick(data=data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"threats": [sp.L2(8)]}, ThreatError, "larger than the whole range"),
        ({"threats": []}, ConfigError, "threats=.*at least 1 item"),
        ({"threats": [sp.L0(3)]}, ThreatError, "no attack of the audit works on L0"),
        ({"threats": [3]}, ThreatError, "is no threat; pass balls"),
        ({"access": "score"}, ConfigError, "Did you mean 'scores'"),
        ({"steps": 0}, ConfigError, "steps=0: Input should be greater than or equal to 1"),
        ({"batch_size": 0}, ConfigError, "batch_size=0"),
        ({"seed": -1}, ConfigError, "seed=-1"),
        ({"labels": "none"}, ConfigError, "labels='none'"),
        ({"limit": 0}, ConfigError, "limit=0"),
    ],
)
def test_plans_that_make_no_sense_are_refused_at_the_door(options, kind, said, quick, tmp_path):
    with pytest.raises(kind, match=said):
        quick(**options)
    assert not (tmp_path / "run").exists()


def test_probabilities_are_refused(quick, target, images):
    class Soft(nn.Module):
        def forward(self, x):
            return target.model(x.double()).softmax(1)

    with pytest.raises(TargetError, match="returns probabilities"):
        quick(target=sp.Classifier(Soft()))
    report = quick(target=sp.Classifier(Soft(), probabilities=True))
    assert "probabilities" in codes(report)


def test_the_plan_is_written_down_as_it_was(quick, tmp_path):
    quick(seed=7)
    plan = json.loads((tmp_path / "run" / "report.json").read_text())["provenance"]["plan"]
    assert (plan["seed"], plan["steps"], plan["threats"][0]["radii"][0]["eps"]) == (7, 10, 0.02)


def test_the_model_is_left_as_it_was(quick, target):
    target.model.train()
    before = {name: value.clone() for name, value in target.model.state_dict().items()}
    quick()
    assert target.model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in target.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in target.model.state_dict().items())


def test_how_many_images_there_are_is_known_of_lists_and_loaders():
    pairs = TensorDataset(torch.zeros(5, 1, 2, 2), torch.zeros(5, dtype=torch.long))
    loader = DataLoader(pairs, batch_size=2)
    assert Batches([torch.zeros(3, 1, 2, 2), (torch.zeros(2, 1, 2, 2), [0, 1])], "list").candidates == 5
    assert Batches(loader, "loader").candidates == 5
    assert Batches({0: torch.zeros(3, 1, 2, 2)}.values(), "view").candidates is None


class Jittered:
    """A data set whose items are drawn anew each time that they are read."""

    def __init__(self, images, labels, first=0):
        self.images, self.labels, self.first = images, labels, first

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        noise = 0.01 * torch.rand(()) if place >= self.first else 0
        return (self.images[place] * 0.9 + noise).float(), int(self.labels[place])


@pytest.mark.parametrize("kind", ["shuffled", "jittered", "jittered later"])
def test_data_that_cannot_be_repeated_is_told_reported_and_not_resumed(kind, quick, single, images, labels, tmp_path):
    pairs = TensorDataset(images.float(), labels)
    data = {
        "shuffled": DataLoader(pairs, batch_size=25, shuffle=True),
        "jittered": Jittered(images, labels),
        "jittered later": Jittered(images, labels, first=30),
    }[kind]
    told = []

    class Observer(sp.audit.AuditObserver):
        def report_message(self, message):
            told.append(message)

    report = quick(target=single, data=data, observer=Observer())
    assert [message for message in told if "can be neither repeated nor resumed" in message] == told
    assert len(told) == 1
    (finding,) = [one for one in report.warnings if one.code == "data-changes"]
    assert f"other images at {25 if kind == 'jittered later' else 0}" in finding.message
    with pytest.raises(RunError, match="so the run cannot be resumed; turn shuffling"):
        quick(target=single, data=data, resume=True)


def test_data_that_stays_the_same_has_no_such_finding(quick, images, labels):
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    assert "data-changes" not in codes(quick(data=loader))


def test_all_forms_of_the_same_data_have_the_same_records(quick, single, images, labels, tmp_path):
    images = images.float()
    forms = {
        "pair": (images, labels),
        "numpy": ((images[:, 0] * 255).round().numpy().astype(np.uint8), labels.numpy()),
        "data set": TensorDataset(images, labels),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=25),
        "items": list(zip(images, labels.tolist(), strict=True)),
    }
    reports = [quick(target=single, data=data, out=tmp_path / name) for name, data in forms.items()]
    assert len({report.data.sha256 for report in reports}) == 1
    assert len({tuple(point.robust_accuracy.count for point in one.threats[0].curve) for one in reports}) == 1
    assert {one.data.clean_accuracy.count for one in reports} == {45}


def test_names_and_paths_are_data(single, images, labels, tmp_path):
    np.savez(tmp_path / "a.npz", images=(images * 255).round().byte().numpy(), labels=labels.numpy())
    for data in (f"npz:{tmp_path / 'a.npz'}", tmp_path / "a.npz"):
        report = sp.audit(single, data, threats=[sp.Linf(0.05)], suite="fgsm", limit=10)
        assert report.data.count == 10


def test_a_run_without_a_folder_is_told_where_it_is(single, images, labels):
    told = []

    class Observer(sp.audit.AuditObserver):
        def report_message(self, message):
            told.append(message)

    report = sp.audit(single, (images[:8], labels[:8]), threats=[sp.Linf(0.05)], suite="fgsm", observer=Observer())
    [message] = told
    folder = Path(message.rpartition(" ")[2])
    assert Report.model_validate_json((folder / "report.json").read_text()) == report
    shutil.rmtree(folder)
