"""`train`: the loop against one written by hand, its checkpoints, its validation, and what it leaves alone."""

import csv
import math
from dataclasses import dataclass, replace
from importlib import import_module
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparring as sp
from sparring.access import Attack, Gradients
from sparring.attacks import APGD, FGSM, L1APGD, MSD, PGD, CarliniWagner, FastFGSM, SigmaZero
from sparring.defenses.training import (
    Adversary,
    Augment,
    Averaging,
    Devices,
    Distillation,
    Epoch,
    Free,
    Madry,
    Objective,
    Optimizer,
    Plain,
    TrainingConfig,
    Validation,
    WeightPerturbation,
    train,
)
from sparring.defenses.training.augmented import augment_images
from sparring.defenses.training.dataset import DataSubset, InMemoryData, StreamedData
from sparring.defenses.training.trainer import split_validation
from sparring.defenses.training.validation import choose_validation_attacks, has_collapsed, masking_note
from sparring.errors import ConfigError, InputError, RunError, TargetError, ThreatError
from sparring.files import locked
from sparring.geometry import Union
from sparring.random import Key
from sparring.storage import read_tensors

PGD3 = PGD(sp.Linf(0.1), steps=3, step_size=0.05)
ADVERSARY = Adversary((PGD3,))
SMALL = TrainingConfig(epochs=2, batch_size=16, optimizer=Optimizer(name="sgd", lr=0.1, weight_decay=0.0, momentum=0.5))
LOOK = Validation(val_size=20, steps=3, batch_size=16)


def pictures(count=100):
    """Brighter on the left or on the right, with noise; and a faint line on top that tells the class without any.

    What is on the sides withstands an eps of 0.1, and the line does not.
    """
    key = Key(torch.arange(count), 3)
    labels = key.integers("label", (1,), 2).squeeze(1)
    images = 0.2 + 0.3 * key.uniform("noise", (1, 6, 6))
    images[labels == 1, :, :, :3] += 0.3
    images[labels == 0, :, :, 3:] += 0.3
    images[:, :, 0] = 0.5
    images[:, :, 0, ::2] += (0.08 * labels - 0.04)[:, None, None]
    return images.clamp(0, 1), labels


def net(norm=False, dropout=0.0, seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(64, 2))


def trained(module, objective=None, adversary=ADVERSARY, config=SMALL, **options):
    options = {"validation": LOOK, "data": pictures()} | options
    data = options.pop("data")
    return train(sp.Classifier(module, classes=2), data, objective or Madry(), adversary, config=config, **options)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def by_hand(module, config, epochs, adversarial=True):
    """Madry's loop as one would write it, with the same order and the same starting points."""
    images, labels = pictures()
    kept, _ = split_validation(InMemoryData(images, labels), LOOK.val_size, config.seed)
    images, labels = images[kept.positions], labels[kept.positions]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.5)
    updates = config.epochs * 5
    done = 0
    for epoch in range(epochs):
        order = Key(torch.tensor([epoch]), config.seed).uniform("order", (80,), dtype=torch.float64)[0].argsort()
        for rows in order.split(16):
            clean, label = images[rows], labels[rows]
            x = clean
            if adversarial:
                key = Key(rows, config.seed).reseeded(epoch)
                x = (clean + 0.1 * (2 * key.uniform("ball", (1, 6, 6)) - 1)).clamp(0, 1)
                for _ in range(3):
                    x.requires_grad_()
                    (slope,) = torch.autograd.grad(F.cross_entropy(module(x), label), x)
                    x = (x.detach() + 0.05 * slope.sign()).clamp(clean - 0.1, clean + 0.1).clamp(0, 1)
            for group in optimizer.param_groups:
                group["lr"] = config.optimizer.lr_at(done / updates)
            optimizer.zero_grad()
            F.cross_entropy(module(x), label).backward()
            optimizer.step()
            done += 1
    return module


@pytest.mark.parametrize("adversarial", [True, False])
def test_it_is_the_loop_that_one_would_write(adversarial):
    module = net()
    found = trained(module, *(() if adversarial else (Plain(), Adversary())))
    expected = by_hand(net(), SMALL, 2, adversarial)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.last_weights[name], value, rtol=1e-5, atol=1e-6)


def test_it_learns_to_withstand():
    plain, robust = net(), net()
    longer = SMALL.model_copy(update={"epochs": 30})
    trained(plain, Plain(), Adversary(), longer)
    outcome = trained(robust, config=longer)
    x, y = pictures(300)
    shares = [
        sp.run(PGD(sp.Linf(0.1), steps=20), sp.Classifier(model), sp.Misclassify(y[100:]), x[100:]).robust_accuracy
        for model in (plain, robust)
    ]
    assert shares[1] > shares[0] + 0.3
    assert outcome.best.robust == max(epoch.robust for epoch in outcome.log)
    assert all(epoch.robust <= epoch.single_step <= epoch.clean for epoch in outcome.log)


class Stop(Exception):
    pass


def stop_after(updates):
    def progress(at):
        if at.update == updates:
            raise Stop

    return progress


CONFIGS = {
    "sgd": SMALL,
    "adam, ema": SMALL.model_copy(update={"optimizer": Optimizer(name="adam", lr=0.01), "averaging": Averaging()}),
    "swa, awp": SMALL.model_copy(
        update={"averaging": Averaging(kind="swa", start=0.3), "weight_perturbation": WeightPerturbation(gamma=0.01)}
    ),
    "augmented": SMALL.model_copy(update={"augment": Augment(flip=True, shift=1)}),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("after", [23, 44])  # in the middle of the second epoch, and of the third
def test_a_training_that_was_stopped_ends_the_same(tmp_path, name, after):
    config = CONFIGS[name].model_copy(update={"epochs": 3, "batch_size": 4, "checkpoint_seconds": 0.0})
    whole, part = net(norm=True, dropout=0.3), net(norm=True, dropout=0.3)
    expected = trained(whole, config=config, out=tmp_path / "whole")
    with pytest.raises(Stop):
        trained(part, config=config, out=tmp_path / "part", progress=stop_after(after))
    other = net(norm=True, dropout=0.3, seed=5)  # what the model held when it was stopped does not matter
    found = trained(other, config=config, out=tmp_path / "part", resume=True)
    assert_same(found.last_weights, expected.last_weights)
    assert_same(found.weights, expected.weights)
    assert_same(weights(other), weights(whole))
    assert [replace(e, seconds=0.0) for e in found.log] == [replace(e, seconds=0.0) for e in expected.log]
    for name in ("best.safetensors", "last.safetensors"):
        assert_same(*(read_tensors(tmp_path / run / name, "")[0] for run in ("whole", "part")))


def test_what_is_written(tmp_path):
    found = trained(net(), out=tmp_path, values={"plan": "mine"})
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["robust"]) for row in rows] == [epoch.robust for epoch in found.log]
    tensors, values = read_tensors(tmp_path / "best.safetensors", "")
    assert_same(tensors, found.weights)
    assert values["plan"] == "mine"
    assert values["epoch"]["epoch"] == found.best.epoch
    assert list((tmp_path / "tensorboard").iterdir())


def test_checkpoints_that_do_not_belong(tmp_path):
    with pytest.raises(RunError, match=r"nothing to go on from .*no checkpoint\.safetensors; leave out resume"):
        trained(net(), out=tmp_path, resume=True)
    trained(net(), out=tmp_path)
    other = SMALL.model_copy(update={"seed": 1})
    for options in ({"config": other}, {"data": pictures(101)}, {"objective": Madry(0.1)}):
        with pytest.raises(RunError, match=r"belongs to another training \(other plan, images or seed\)"):
            trained(net(), out=tmp_path, resume=True, **options)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(RunError, match=r"cannot read .*begin again in another folder"):
        trained(net(), out=tmp_path, resume=True)


def test_nothing_else_is_touched():
    module = net(norm=True, dropout=0.5)
    module.eval()
    module[1].train()
    state = torch.get_rng_state()
    images, labels = pictures()
    before = images.clone(), labels.clone()
    trained(module, data=(images, labels))
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in module] == [False, True, False, False, False, False]
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_attacks_do_not_move_running_statistics(mode):
    """One update: the statistics move once, from the adversarial batch that the loss has seen, whatever the mode."""
    module, seen = net(norm=True), []

    @dataclass(frozen=True)
    class Noting(Madry):
        def examples(self, craft):
            before = [buffer.clone() for buffer in module.buffers()]
            made = super().examples(craft)
            assert all(torch.equal(a, b) for a, b in zip(module.buffers(), before, strict=True))
            seen.append(made[0])
            return made

    one = SMALL.model_copy(update={"epochs": 1, "batch_size": 100})
    first = net(norm=True)
    trained(module, Noting(), replace(ADVERSARY, batch_norm=mode), one)
    first[0].train()
    means = first[0](seen[0]).mean((0, 2, 3))
    torch.testing.assert_close(module[1].running_mean, 0.1 * means, rtol=1e-4, atol=1e-6)
    assert int(module[1].num_batches_tracked) == 1


def test_the_modes_differ():
    made = [trained(net(norm=True), adversary=replace(ADVERSARY, batch_norm=mode)) for mode in ("eval", "train")]
    assert not torch.equal(made[0].last_weights["0.weight"], made[1].last_weights["0.weight"])


def test_the_worst_example_of_a_run_may_train():
    found = trained(net(), adversary=replace(ADVERSARY, keep="highest_loss"))
    assert math.isfinite(found.last.loss)


def test_weights_are_perturbed_up_the_objective_and_put_back():
    """One update, against the two gradients taken by hand."""
    images, labels = pictures()
    gamma, one = 0.02, SMALL.model_copy(update={"epochs": 1, "batch_size": 100})
    one = one.model_copy(update={
        "weight_perturbation": WeightPerturbation(gamma=gamma),
        "optimizer": Optimizer(lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant"),
    })  # fmt: skip
    found = trained(net(), Plain(), Adversary(), one)
    kept, _ = split_validation(InMemoryData(images, labels), LOOK.val_size, 0)
    images, labels = images[kept.positions], labels[kept.positions]
    module = net()
    start = weights(module)
    F.cross_entropy(module(images), labels).backward()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim > 1:
                weight += gamma * weight.norm() * weight.grad / weight.grad.norm()
    module.zero_grad()
    F.cross_entropy(module(images), labels).backward()
    for name, weight in module.named_parameters():
        torch.testing.assert_close(found.last_weights[name], start[name] - 0.1 * weight.grad, rtol=1e-4, atol=1e-6)


def test_the_perturbed_pass_moves_the_statistics_once():
    how = WeightPerturbation(gamma=0.02)
    one = SMALL.model_copy(update={"epochs": 1, "batch_size": 100, "weight_perturbation": how})
    module = net(norm=True)
    trained(module, config=one)
    assert int(module[1].num_batches_tracked) == 1


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_are_what_they_say(kind):
    seen = []
    module = net()
    how = Averaging(kind=kind, decay=0.9, start=0.2)
    config = SMALL.model_copy(update={"averaging": how})
    found = trained(module, config=config, progress=lambda at: seen.append(weights(module)))
    mean = seen[0]
    for count, after in enumerate(seen):
        young = count - 2  # averaging starts after a fifth of ten updates
        share = 1.0 if young < 1 else max(0.1, 9 / (10 + young)) if kind == "ema" else 1 / (young + 1)
        mean = {name: value + share * (after[name] - value) for name, value in mean.items()}
    for name, value in mean.items():
        torch.testing.assert_close(found.last_weights[name], value, rtol=1e-4, atol=1e-6)
        assert not torch.equal(found.last_weights[name], seen[-1][name])


def test_schedules_raise_eps_and_steps():
    adversary = Adversary((PGD3,), eps_schedule=((0, 0.0), (2, 1.0)), steps_schedule=((0, 1), (1, 5)))
    sizes = [(round(a.ball.eps, 6), round(a.step_size, 6), a.steps) for (a,) in map(adversary.at, (0.5, 1.0, 1.5, 3.0))]
    assert sizes == [(0.025, 0.0125, 1), (0.05, 0.025, 5), (0.075, 0.0375, 5), (0.1, 0.05, 5)]
    found = trained(net(), adversary=adversary)
    assert [epoch.eps for epoch in found.log] == [0.5, 1.0]


def test_rates():
    cycle = Optimizer(lr=1.0, schedule="one-cycle", warmup=0.25)
    assert [cycle.lr_at(done) for done in (0.0, 0.125, 0.25, 0.625, 1.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    cosine = Optimizer(lr=1.0, schedule="cosine", warmup=0.0)
    assert [round(cosine.lr_at(done), 6) for done in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]
    steps = Optimizer(lr=1.0, schedule="steps", warmup=0.0)
    assert [round(steps.lr_at(done), 6) for done in (0.0, 0.5, 0.8)] == [1.0, 0.1, 0.01]
    assert Optimizer(lr=0.3, schedule="constant").lr_at(0.9) == 0.3


@dataclass(frozen=True)
class Turning(PGD):
    """Harmless in the first epochs, and out of all bounds of the training later: every row falls."""

    epochs: int = 2
    seen: ClassVar[list] = []

    def step(self, oracle, state, t):
        if t == 0:
            self.seen.append(len(state.x))
        state = super().step(oracle, state, t)
        late = sum(self.seen) > 20 * self.epochs
        return state if late else replace(state, x=oracle.region.x)


def turning(epochs, steps):
    made = Turning(sp.Linf(0.6), steps=steps, epochs=epochs, step_size=0.3, random_start=False)
    made.seen.clear()
    return made


@pytest.mark.parametrize("collapse", ["stop", "rollback", "ignore"])
def test_catastrophic_overfitting(collapse):
    """The validation sees its attack win all of a sudden while a single step (of a tiny radius) does not."""
    validation = LOOK.model_copy(update={"collapse": collapse})
    quick = Optimizer(name="adam", lr=0.02, schedule="constant")
    longer = SMALL.model_copy(update={"epochs": 4, "optimizer": quick})
    module = net()
    trained(module, Plain(), Adversary(), longer.model_copy(update={"epochs": 10}))
    attack = turning(2, 6)
    tiny = PGD(sp.Linf(1e-3), steps=1)
    found = trained(module, Plain(), Adversary(), longer, validation=validation, validation_attacks=(tiny, attack))
    assert found.log[0].robust > 0.5
    assert found.log[-1].robust < 0.2 < found.log[-1].single_step
    if collapse == "stop":
        assert "catastrophic overfitting" in found.stopped
        assert len(found.log) < 4
    if collapse == "ignore":
        assert found.stopped is None
        assert len(found.log) == 4
    if collapse == "rollback":  # the planted attack goes on winning, so that the second time it stops
        assert "back to epoch" in next(epoch.note for epoch in found.log if epoch.note)
        assert "catastrophic overfitting" in found.stopped
    assert found.best.robust == max(epoch.robust for epoch in found.log)


def test_collapse_is_told_from_a_bad_epoch():
    now = Epoch(3, 1, 0.1, 0.99, 0.95, 0.10, 1.0, 0.1, 1.0)
    assert has_collapsed(now, best=0.6)
    assert not has_collapsed(replace(now, robust=0.4), best=0.6)  # worse, not collapsed
    assert not has_collapsed(replace(now, single_step=0.2), best=0.6)  # single steps win as well: merely bad
    assert not has_collapsed(replace(now, robust=math.nan), best=math.nan)


def test_what_withstands_single_steps_alone_is_remarked():
    now = Epoch(3, 1, 0.1, 0.99, 0.95, 0.10, 1.0, 0.1, 1.0)
    assert masking_note(now).startswith("95.0% withstand a single step and 10.0% the iterated attack")
    assert masking_note(replace(now, eps=0.5)) == ""  # the radius is still growing
    assert masking_note(replace(now, robust=0.6)) == ""
    assert masking_note(replace(now, robust=math.nan)) == ""


def test_patience():
    still = SMALL.model_copy(update={"epochs": 8, "optimizer": Optimizer(lr=1e-12, schedule="constant")})
    found = trained(net(), config=still, validation=LOOK.model_copy(update={"patience": 2}))
    assert len(found.log) == 3
    assert found.stopped == "no better epoch since 1"


def test_a_loss_that_is_no_number_is_told(tmp_path):
    wild = SMALL.model_copy(update={"optimizer": Optimizer(lr=1e30, schedule="constant")})
    with pytest.raises(
        RunError, match=r"the loss is no number after 5 updates; lower the optimizer's lr or max_grad_norm"
    ):
        trained(net(), config=wild, out=tmp_path)


def test_gradients_are_clipped():
    how = Optimizer(lr=1.0, schedule="constant", momentum=0.0, weight_decay=0.0, max_grad_norm=1e-3)
    one = SMALL.model_copy(update={"optimizer": how, "epochs": 1, "batch_size": 100})
    before = weights(net())
    found = trained(net(), config=one)
    moved = torch.cat([(found.last_weights[name] - value).flatten() for name, value in before.items()]).norm()
    assert float(moved) == pytest.approx(1e-3, rel=0.01)


def test_held_out_images_are_not_trained_on():
    @dataclass(frozen=True)
    class Seeing(Plain):
        seen: ClassVar[list] = []

        def losses(self, net, batch, examples):
            self.seen.append(batch.images.clone())
            return super().losses(net, batch, examples)

    images, labels = pictures()
    trained(net(), Seeing(), Adversary())
    training, held_out = split_validation(InMemoryData(images, labels), 20, 0)
    seen = {image.numpy().tobytes() for image in torch.cat(Seeing.seen)}
    assert seen == {image.numpy().tobytes() for image in images[training.positions]}
    assert not seen & {image.numpy().tobytes() for image in images[held_out.positions]}


def test_augmented_views():
    images = torch.rand(64, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    key = Key(torch.arange(64), 0)
    flipped = augment_images(images, key, Augment(flip=True))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48
    moved = augment_images(images, key, Augment(shift=1))
    padded = F.pad(images, [1] * 4)
    views = [padded[:, :, i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    places = [[torch.equal(moved[row], view[row]) for view in views].index(True) for row in range(64)]
    assert len(set(places)) == 9
    assert torch.equal(augment_images(images[10:20], Key(torch.arange(10, 20), 0), Augment(shift=1)), moved[10:20])


def test_sources_hold_and_read_the_same():
    images, labels = pictures(30)
    bytes_ = (images * 255).round() / 255
    held = InMemoryData(bytes_, labels)
    assert held.pixels.dtype == torch.uint8
    order = [torch.tensor([3, 1]), torch.tensor([29])]
    for (a, b), rows in zip(held.batches(order), order, strict=True):
        assert torch.equal(a, bytes_[rows])
        assert torch.equal(b, labels[rows])
    assert InMemoryData(images, labels).pixels.dtype == torch.float32
    lazily = StreamedData([(image, int(label)) for image, label in zip(bytes_, labels, strict=True)])
    for (a, b), (c, d) in zip(lazily.batches(order), held.batches(order), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert torch.equal(DataSubset(held, torch.tensor([5, 7])).at(torch.tensor([1]))[0], bytes_[7:8])
    found = [trained(net(), data=data).last_weights for data in ((bytes_, labels), lazily)]
    assert_same(*found)


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"adversary": Adversary()}, ConfigError, "Madry works with 1 attacks, and the adversary has 0"),
    ({"objective": Plain()}, ConfigError, "Plain works with 0 attacks, and the adversary has 1"),
    ({"validation": Validation(val_size=100)}, InputError, "val_size=100 of 100 images leaves none to train on"),
    ({"data": (pictures()[0] * 255, pictures()[1])}, InputError, r"pixels reach from .* and images lie in \[0, 1\]"),
    ({"data": (pictures()[0], pictures()[1][:5])}, InputError, r"labels of shape \(5,\) beside 100 images"),
    ({"data": 5}, InputError, r"int is a int; pass \(images, labels\)"),
])  # fmt: skip
def test_parts_that_do_not_fit(change, error, words):
    with pytest.raises(error, match=words):
        trained(net(), **change)


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: Adversary((CarliniWagner(),)), ConfigError, "searches for the smallest example; train with PGD"),
    (lambda: Adversary((FGSM(sp.Linf(0.1)),), steps_schedule=((0, 3),)), ConfigError, "attacks with a number of steps"),
    (lambda: Adversary(batch_norm="both"), ConfigError, "adversary batch_norm='both'; pass one of eval, train"),
    (lambda: Adversary(eps_schedule=((2, 1.0), (1, 0.5))), ConfigError, "rising epochs from 0"),
    (lambda: TrainingConfig(optimizer=3), ConfigError, r"training.optimizer=3: write a table, .* Optimizer\(\.\.\.\)"),
    (lambda: TrainingConfig(epochs=0), ConfigError, "training.epochs=0: Input should be greater than or equal to 1"),
    (lambda: TrainingConfig(epoch=3), ConfigError, "training.epoch=3: Extra inputs are not permitted"),
    (lambda: Optimizer(name="rmsprop"), ConfigError, "optimizer.name='rmsprop': Input should be 'sgd'"),
    (lambda: Madry(1.0), ConfigError, r"smoothing=1.0; pass a share in \[0, 1\)"),
    (lambda: PGD(sp.Linf()), ThreatError, "PGD needs a radius"),
])  # fmt: skip
def test_settings_that_make_no_sense(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_functions_and_frozen_models_cannot_be_trained():
    with pytest.raises(TargetError, match=r"only a Classifier around a torch\.nn\.Module can be trained"):
        train(sp.Classifier(lambda x: x.flatten(1)), pictures(), Plain())
    with pytest.raises(TargetError, match="no weight that asks for a gradient"):
        trained(net().requires_grad_(False))


def test_fast_training_is_madrys_with_one_long_step():
    found = trained(net(), adversary=Adversary((FastFGSM(sp.Linf(0.1)),)))
    assert math.isfinite(found.last.loss)


def test_the_objective_is_a_seam_of_its_own():
    """A stranger's objective: no attack of ours needs to know."""

    @dataclass(frozen=True)
    class Squared(Objective):
        def examples(self, craft):
            return (craft(), craft.random_in_ball())

        def losses(self, net, batch, examples):
            wanted = F.one_hot(batch.labels, 2).float()
            return sum(F.mse_loss(net(x), wanted, reduction="none").sum(1) for x in examples)

    assert trained(net(), Squared()).last.loss < 4
    assert issubclass(PGD, Attack)
    assert PGD3.access is Gradients


def test_a_checkpoint_belongs_to_one_teacher(tmp_path):
    teachers = [sp.Classifier(net(seed=seed).eval(), name="teacher") for seed in (1, 2)]
    trained(net(), Distillation(teachers[0]), Adversary(), out=tmp_path)
    with pytest.raises(RunError, match="belongs to another training"):
        trained(net(), Distillation(teachers[1]), Adversary(), out=tmp_path, resume=True)
    again = trained(net(), Distillation(teachers[0]), Adversary(), out=tmp_path, resume=True)
    assert len(again.log) == 2


def colored(count=100):
    images, labels = pictures(count)
    return torch.cat((images, 1 - images, images), 1), labels


def color_net(seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_channels_last_goes_on_the_same(tmp_path, name):
    changes = {"channels_last": True, "optimizer": Optimizer(name=name, lr=0.01), "batch_size": 4}
    config = SMALL.model_copy(update={**changes, "checkpoint_seconds": 0.0})
    expected = trained(color_net(), config=config, data=colored(), out=tmp_path / "whole")
    with pytest.raises(Stop):
        trained(color_net(), config=config, data=colored(), out=tmp_path / "part", progress=stop_after(23))
    found = trained(color_net(3), config=config, data=colored(), out=tmp_path / "part", resume=True)
    assert_same(found.last_weights, expected.last_weights)


def test_a_data_set_that_draws_goes_on_the_same(tmp_path):
    images, labels = pictures()

    class Noisy:
        def __len__(self):
            return len(labels)

        def __getitem__(self, place):
            return (images[place] + 0.1 * torch.rand(1, 6, 6)).clamp(0, 1), int(labels[place])

    config = SMALL.model_copy(update={"batch_size": 4, "checkpoint_seconds": 0.0})
    quiet = {"config": config, "data": Noisy(), "validation": LOOK.model_copy(update={"steps": 1})}
    expected = trained(net(), out=tmp_path / "whole", **quiet)
    with pytest.raises(Stop):
        trained(net(), out=tmp_path / "part", progress=stop_after(23), **quiet)
    found = trained(net(), out=tmp_path / "part", resume=True, **quiet)
    assert_same(found.last_weights, expected.last_weights)


def test_a_checkpoint_belongs_to_one_model(tmp_path):
    trained(net(), out=tmp_path)
    other = sp.Classifier(net(), mean=0.5, std=0.2, classes=2)
    with pytest.raises(RunError, match="belongs to another training"):
        train(other, pictures(), Madry(), ADVERSARY, config=SMALL, validation=LOOK, out=tmp_path, resume=True)
    with pytest.raises(RunError, match="belongs to another training"):
        trained(net(norm=True), out=tmp_path, resume=True)
    with pytest.raises(RunError, match=r"holds a training already; pass resume=True"):
        trained(net(), out=tmp_path)


def normalised():
    images, labels = pictures()
    return [((image - 0.5) / 0.2, int(label)) for image, label in zip(images, labels, strict=True)]


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"data": (pictures()[0], pictures()[1] + 1)}, InputError, "image 0 has the label 2; the model's classes are"),
    ({"data": (pictures()[0], pictures()[1] - 100)}, InputError, "image 0 has the label -99; the model's classes"),
    ({"data": colored()}, TargetError, r"cannot take images of shape \(3, 6, 6\)"),
    (
        {"data": normalised(), "objective": Plain(), "adversary": Adversary()},
        InputError,
        r"list\[0\] has pixels from -.*undo the normalisation",
    ),
    ({"adversary": Adversary((PGD(sp.Linf(8.0)),))}, ThreatError, r"larger than the whole range"),
    (
        {"objective": Free(), "validation": LOOK.model_copy(update={"collapse": "rollback"})},
        ConfigError,
        r"Free runs none",
    ),
    ({"devices": Devices(count=3)}, ConfigError, r"batch_size=16 does not divide over 3 processes; pass a multiple"),
])  # fmt: skip
def test_what_does_not_fit_is_told_before_the_first_update(change, error, words):
    seen = []
    with pytest.raises(error, match=words):
        trained(net(), progress=seen.append, **change)
    assert seen == []


def test_probabilities_cannot_be_trained_as_logits():
    with pytest.raises(TargetError, match="the model returns probabilities"):
        trained(nn.Sequential(net(), nn.Softmax(1)))


def test_a_clipped_loss_that_is_no_number_is_told_too(tmp_path):
    wild = SMALL.model_copy(update={"optimizer": Optimizer(lr=1e30, schedule="constant", max_grad_norm=1e30)})
    with pytest.raises(RunError, match=r"is no number after .* updates; lower the optimizer's lr or max_grad_norm"):
        trained(net(), config=wild, out=tmp_path)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def forward(self, images):
        return self.layers(images)


def test_one_image_left_over_is_left_out_for_a_batch_norm():
    assert trained(Flat(), data=pictures(101)).last.updates == 2 * 5  # 81 images in minibatches of 16
    assert trained(net(), data=pictures(101)).last.updates == 2 * 6


def test_layers_in_eval_mode_stay_there():
    module = net(norm=True)
    module[1].eval()
    before = module[1].running_mean.clone()
    trained(module, adversary=replace(ADVERSARY, batch_norm="train"))
    assert torch.equal(module[1].running_mean, before)
    assert not module[1].training
    assert module.training


def test_the_model_keeps_its_precision_and_no_gradient():
    module = net()
    found = trained(module, config=SMALL.model_copy(update={"precision": "64-true"}))
    assert found.last_weights["0.weight"].dtype == torch.float64
    assert module[0].weight.dtype == torch.float32
    assert all(weight.grad is None for weight in module.parameters())


def test_bfloat16_trains():
    assert math.isfinite(trained(net(), config=SMALL.model_copy(update={"precision": "bf16-mixed"})).last.loss)


def test_eps_schedule_scales_unions():
    union = Union((sp.Linf(0.2), sp.L2(1.0)))
    (attack,) = Adversary((PGD(union, steps=2),), eps_schedule=((0, 0.5),)).at(0.0)
    assert [ball.eps for ball in attack.ball.balls] == [0.1, 0.5]


@pytest.mark.parametrize(("attack", "other"), [
    (APGD(sp.Linf(0.1)), PGD),
    (PGD(sp.Linf(0.1)), APGD),
    (L1APGD(sp.L1(2.0)), PGD),
    (PGD(sp.L1(2.0)), L1APGD),
    (PGD(sp.L0(3)), SigmaZero),
])  # fmt: skip
def test_validation_uses_another_attack(attack, other):
    (attack_of_validation,) = choose_validation_attacks((attack,), 5)
    assert type(attack_of_validation) is other
    assert attack_of_validation.ball == attack.ball


def test_validation_has_an_attack_for_every_ball():
    assert len(choose_validation_attacks((MSD((sp.Linf(0.1), sp.L2(1.0))),), 5)) == 2
    assert math.isfinite(trained(net(), adversary=Adversary((PGD(sp.L0(3), steps=2),))).last.robust)


class Sloped(nn.Module):
    """A net whose code changes with `slope`, which neither weights nor names tell."""

    slope = 0.0

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return nn.functional.leaky_relu(self.inner(x), type(self).slope)


def test_a_training_is_not_resumed_with_other_code_between_the_same_weights(tmp_path, monkeypatch):
    def model():
        return Sloped(net())

    trained(model(), out=tmp_path)
    monkeypatch.setattr(Sloped, "slope", 0.3)
    with pytest.raises(RunError, match="the same weights and answers otherwise"):
        trained(model(), out=tmp_path, resume=True)


def test_two_trainings_in_one_folder_do_not_meet(tmp_path, monkeypatch):
    module = import_module("sparring.defenses.training.trainer")
    monkeypatch.setattr(module, "locked", lambda folder, what: locked(folder, what, wait_s=0.1))
    trained(net(), out=tmp_path)
    with locked(tmp_path, "a training"), pytest.raises(RunError, match="another process is at work on a training in"):
        trained(net(), out=tmp_path, resume=True)
    trained(net(), out=tmp_path, resume=True)
