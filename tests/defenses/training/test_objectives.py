"""Every objective: its loss against the formula, its examples, and a short training with it."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from torch import nn
from torch.nn import functional as F

import sparring as sp
from sparring.attacks import APGD, FGSM, MSD, PGD, RFGSM, FastFGSM
from sparring.defenses.training import (
    CROWNIBP,
    IBP,
    MART,
    MTLIBP,
    SABR,
    TRADES,
    AblatedTraining,
    AdversarialELBO,
    Adversary,
    Average,
    Consistency,
    Craft,
    Distillation,
    EnsembleTraining,
    Free,
    GaussianAugmentation,
    Goodfellow,
    GradAlign,
    Madry,
    MaskedTraining,
    Maximum,
    Minibatch,
    Optimizer,
    Plain,
    SmoothAdv,
    TrainingConfig,
    Validation,
    table,
    train,
)
from sparring.defenses.training.dataset import InMemoryData
from sparring.defenses.training.grad_align import misaligned
from sparring.defenses.training.trainer import split_validation
from sparring.engine import Engine, craft
from sparring.errors import ConfigError
from sparring.goals import CrossEntropy, Divergence
from sparring.random import Key
from sparring.rows import take
from sparring.targets import Trainee

COUNT, CLASSES = 7, 5
LINF = PGD(sp.Linf(0.1), steps=3)
L2 = PGD(sp.L2(0.6), steps=3)


def drawn(stream, shape, dtype=torch.float64):
    return Key(torch.arange(shape[0]), 4).normal(stream, shape[1:], dtype=dtype)


LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


def answers(stream, size):
    """Logits (7, 5) of some size, of which two rows are far apart or equal."""
    logits = size * drawn(stream, (COUNT, CLASSES))
    logits[0] = size * torch.tensor([1.0, -1.0, 0.0, 0.0, -1.0])
    logits[1] = 0.0
    return logits.view(COUNT, CLASSES, 1, 1)


def read(images):
    """The model whose images are its logits."""
    return images.flatten(1)


def minibatch(images, labels=LABELS):
    return Minibatch(images, labels, Key(torch.arange(len(labels)), 0))


def entropy(logits, labels, smoothing=0.0):
    """-sum_k q_k log p_k in numpy."""
    wanted = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / logits.shape[1]
    return -(wanted * log_softmax(logits, 1)).sum(1)


def kl(first, second):
    return (np.exp(log_softmax(first, 1)) * (log_softmax(first, 1) - log_softmax(second, 1))).sum(1)


def boosted(logits, labels):
    """-log p_y - log(1 - max_{k != y} p_k), with 1 - p_k as the sum of the others."""
    rows = []
    for row, label in zip(logits, labels, strict=True):
        rival = max((k for k in range(len(row)) if k != label), key=lambda k: row[k])
        rest = logsumexp(np.delete(row, rival)) - logsumexp(row)
        rows.append(-log_softmax(row)[label] - rest)
    return np.array(rows)


def unsure(logits, labels):
    return np.array([1 - np.exp(log_softmax(row))[label] for row, label in zip(logits, labels, strict=True)])


FORMULAS = {
    "plain": (Plain(), lambda x, a, b, y: entropy(x, y)),
    "plain at T, smoothed": (Plain(0.2, 7.0), lambda x, a, b, y: entropy(x / 7, y, 0.2)),
    "madry": (Madry(0.1), lambda x, a, b, y: entropy(a, y, 0.1)),
    "goodfellow": (Goodfellow(0.3, 0.1), lambda x, a, b, y: 0.3 * entropy(x, y, 0.1) + 0.7 * entropy(a, y, 0.1)),
    "ensemble": (EnsembleTraining(0.3), lambda x, a, b, y: 0.3 * entropy(x, y) + 0.7 * entropy(a, y)),
    "trades": (TRADES(6.0), lambda x, a, b, y: entropy(x, y) + 6 * kl(x, a)),
    "mart": (MART(5.0), lambda x, a, b, y: boosted(a, y) + 5 * kl(x, a) * unsure(x, y)),
    "avg": (Average(), lambda x, a, b, y: (entropy(a, y) + entropy(b, y)) / 2),
    "max": (Maximum(), lambda x, a, b, y: entropy(a, y)),
    "free": (Free(), lambda x, a, b, y: entropy(a, y)),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_the_loss_is_its_formula(name, size):
    objective, formula = FORMULAS[name]
    clean, first, second = (answers(stream, size) for stream in ("clean", "first", "second"))
    expected = formula(*(read(images).numpy() for images in (clean, first, second)), LABELS.numpy())
    found = objective.losses(read, minibatch(clean), (first, second))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_and_slopes_are_finite_in_float32(name):
    objective, _ = FORMULAS[name]
    for size in (1.0, 1e2, 1e4):
        images = [answers(stream, size).float().requires_grad_() for stream in ("clean", "first", "second")]
        losses = objective.losses(read, minibatch(images[0]), tuple(images[1:]))
        slopes = torch.autograd.grad(losses.sum(), images, allow_unused=True)
        assert bool(losses.isfinite().all())
        assert all(slope is None or bool(slope.isfinite().all()) for slope in slopes)
        assert any(slope is not None and bool(slope.any()) for slope in slopes)


def test_mart_climbs_on_where_a_probability_rounds_to_one():
    """Authors' logarithms end at log 1e-12; here the loss of a row that is surely wrong keeps its slope."""
    logits = torch.tensor([[0.0, 100.0, 0.0]]).requires_grad_()
    (loss,) = MART(0.0).losses(lambda images: logits, minibatch(logits.detach(), LABELS[:1]), (logits,))
    assert loss.item() == pytest.approx(200 - math.log(2), abs=1e-3)
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slope, torch.tensor([[-1.5, 2.0, -0.5]]))


def test_trades_and_mart_slope_through_both_answers():
    both = [answers(stream, 1.0)[2:].requires_grad_() for stream in ("clean", "first")]  # rows without equal logits
    for objective in (TRADES(2.0), MART(2.0)):

        def losses(clean, attacked, objective=objective):
            return objective.losses(read, minibatch(clean, LABELS[2:]), (attacked,))

        assert torch.autograd.gradcheck(losses, both)


def test_what_they_are_at_their_ends():
    clean, attacked = answers("clean", 2.0), answers("first", 2.0)
    batch = minibatch(clean)
    plain, madry = Plain().losses(read, batch, ()), Madry().losses(read, batch, (attacked,))
    assert torch.equal(Goodfellow(alpha=1).losses(read, batch, (attacked,)), plain)
    assert torch.equal(Goodfellow(alpha=0).losses(read, batch, (attacked,)), madry)
    assert torch.equal(TRADES(beta=0).losses(read, batch, (attacked,)), plain)
    torch.testing.assert_close(TRADES().losses(read, batch, (clean,)), plain)


def net(classes=3, norm=False, seed=0, dtype=torch.float64):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        inner = nn.BatchNorm2d(3) if norm else nn.Identity()
        return nn.Sequential(nn.Conv2d(1, 3, 3), inner, nn.Tanh(), nn.Flatten(), nn.Linear(108, classes)).to(dtype)


def linear(classes):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def pictures(count=COUNT, dtype=torch.float64):
    return Key(torch.arange(count), 6).uniform("images", (1, 8, 8), dtype=dtype)


def crafting(module, attacks=(LINF,), *, as_trained=False, sources=(), step=0, labels=None, memory=None):
    """What an objective is given, around a model."""
    images = pictures()
    batch = minibatch(images, LABELS % 3 if labels is None else labels)
    trainee = Trainee(sp.Classifier(module), as_trained=as_trained)
    return Craft(batch, trainee, attacks, sources, False, step, {} if memory is None else memory, Engine())


def teacher(seed=9):
    return sp.Classifier(net(seed=seed).eval(), name=f"teacher {seed}")


CASES = {
    "plain": (Plain(), ()),
    "madry": (Madry(), (LINF,)),
    "fast": (Madry(), (FastFGSM(sp.Linf(0.1)),)),
    "msd": (Madry(), (MSD((sp.Linf(0.1), sp.L2(0.6), sp.L1(3)), steps=3),)),
    "goodfellow": (Goodfellow(), (FGSM(sp.Linf(0.1)),)),
    "free": (Free(m=3), (LINF,)),
    "trades": (TRADES(), (LINF,)),
    "mart": (MART(), (LINF,)),
    "avg": (Average(), (LINF, L2)),
    "max": (Maximum(), (LINF, L2)),
    "grad-align": (GradAlign(Madry(), 0.5), (FastFGSM(sp.Linf(0.1)),)),
    "grad-align of free": (GradAlign(Free(m=2)), (LINF,)),
    "grad-align of plain": (GradAlign(Plain()), (LINF,)),
    "ensemble": (EnsembleTraining(), (RFGSM(sp.Linf(0.1)),)),
    "distillation": (Distillation(teacher(), 5.0), ()),
    "gaussian": (GaussianAugmentation(0.3, 2), ()),
    "consistency": (Consistency(0.3), ()),
    "smoothadv": (SmoothAdv(0.3), (L2,)),
    "ablated": (AblatedTraining(2, 1), ()),
    "masked": (MaskedTraining(1, 3), ()),
}


def sources_of(objective):
    return (teacher(3), teacher(4)) if isinstance(objective, EnsembleTraining) else ()


@pytest.mark.parametrize("name", CASES)
def test_rows_are_alone(name):
    objective, attacks = CASES[name]
    module = net()
    made = crafting(module, attacks, sources=sources_of(objective))
    examples, batch = objective.examples(made), made.batch
    whole = objective.losses(module, batch, examples)
    assert whole.shape == (COUNT,)
    for row in range(COUNT):
        one = slice(row, row + 1)
        alone = Minibatch(batch.images[one], batch.labels[one], Key(torch.tensor([row]), 0))
        loss = objective.losses(module, alone, tuple(example[one] for example in examples))
        torch.testing.assert_close(loss, whole[one], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("as_trained", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_making_examples_leaves_no_trace(name, as_trained):
    objective, attacks = CASES[name]
    module = net(norm=True).train()
    module[1].running_mean += 0.3
    before = copy.deepcopy(module.state_dict())
    random = torch.get_rng_state()
    made = crafting(module, attacks, as_trained=as_trained, sources=sources_of(objective))
    examples = objective.examples(made)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(len(example) == COUNT and example.grad_fn is None for example in examples)
    objective.losses(module, made.batch, examples).sum().backward()
    assert int(module[1].num_batches_tracked) > 0  # and the update does move them


def test_trades_climbs_the_divergence_from_a_start_beside_the_image():
    module = net()
    made = crafting(module, (PGD(sp.Linf(0.1), steps=4, step_size=0.03),))
    clean = made.batch.images
    x, wanted = made.add_noise(0.001), module(clean).detach().log_softmax(1)
    assert 0 < float((x - clean).abs().max()) < 0.01
    for _ in range(4):
        x = x.detach().requires_grad_()
        loss = (wanted.exp() * (wanted - module(x).log_softmax(1))).sum()
        (slope,) = torch.autograd.grad(loss, x)
        x = torch.minimum(torch.maximum(x + 0.03 * slope.sign(), clean - 0.1), clean + 0.1).clamp(0, 1)
    (found,) = TRADES().examples(made)
    torch.testing.assert_close(found, x.detach(), rtol=0, atol=1e-12)


def test_the_loss_that_is_asked_for_goes_before_the_attacks_own():
    module = net()
    made = crafting(module, (APGD(sp.Linf(0.1), steps=8),))
    loss = Divergence(made.logits(made.batch.images))
    goal = sp.Misclassify(made.batch.labels, loss)
    attack = APGD(sp.Linf(0.1), steps=8, loss=None)
    expected = craft(attack, sp.Classifier(module), goal, made.batch.images)
    assert torch.equal(made(loss=loss), expected)
    assert not torch.equal(made(), expected)


def test_the_divergence_is_its_formula_and_has_rows():
    reference, logits = read(answers("clean", 3.0)), read(answers("first", 3.0))
    loss = Divergence(reference)
    away = sp.Misclassify(LABELS).loss_of(logits, loss)
    np.testing.assert_allclose(away, kl(reference.numpy(), logits.numpy()), rtol=1e-10)
    assert torch.equal(sp.ClassifyAs(LABELS).loss_of(logits, loss), -away)
    rows = torch.tensor([4, 2])
    assert torch.equal(take(sp.Misclassify(LABELS, loss), rows).loss_of(logits[rows]), away[rows])
    asking = reference.clone().requires_grad_()
    assert not sp.Misclassify(LABELS).loss_of(logits, Divergence(asking)).requires_grad
    (slope,) = torch.autograd.grad(sp.Misclassify(LABELS).loss_of(asking, Divergence(asking)).sum(), asking)
    assert float(slope.abs().max()) < 1e-15


def test_the_maximum_is_the_worst_of_each_row_and_the_average_keeps_all():
    module = net()
    made = crafting(module, (PGD(sp.Linf(0.1), steps=3), PGD(sp.L2(0.62), steps=3), PGD(sp.L1(5), steps=3)))
    each = Average().examples(made)
    assert all(torch.equal(each[which], made(which)) for which in range(3))
    losses = torch.stack([F.cross_entropy(module(example), made.batch.labels, reduction="none") for example in each])
    assert len(losses.argmax(0).unique()) == 3
    (worst,) = Maximum().examples(made)
    expected = torch.stack(each)[losses.argmax(0), torch.arange(COUNT)]
    assert torch.equal(worst, expected)
    torch.testing.assert_close(Maximum().losses(module, made.batch, (worst,)), losses.amax(0))
    torch.testing.assert_close(Average().losses(module, made.batch, each), losses.mean(0))


def test_gradients_are_aligned_in_a_linear_model_of_two_classes():
    module = linear(2).double()
    objective, made = GradAlign(Madry(), 3.0), crafting(module, labels=LABELS % 2)
    examples = objective.examples(made)
    assert float((examples[1] - made.batch.images).abs().max()) <= 0.1
    aligned = objective.losses(module, made.batch, examples) - Madry().losses(module, made.batch, examples[:1])
    assert float(aligned.detach().abs().max()) < 1e-12


def test_the_alignment_is_its_formula_and_is_differentiated_through_both_gradients():
    module = net()
    objective, made = GradAlign(Plain(), 0.7), crafting(module)
    examples = objective.examples(made)

    def by_hand():
        slopes = []
        for images in (made.batch.images, examples[0]):
            x = images.clone().requires_grad_()
            loss = F.cross_entropy(module(x), made.batch.labels, reduction="sum")
            slopes.append(torch.autograd.grad(loss, x)[0].flatten(1))
        clean = F.cross_entropy(module(made.batch.images), made.batch.labels, reduction="none").detach()
        return clean + 0.7 * (1 - F.cosine_similarity(*slopes))

    losses = objective.losses(module, made.batch, examples)
    torch.testing.assert_close(losses.detach(), by_hand(), rtol=1e-9, atol=1e-12)
    losses.sum().backward()
    for weight in (module[0].weight, module[4].weight):
        place, step = (0,) * weight.ndim, 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
            values.append(float(by_hand().sum()))
            with torch.no_grad():
                weight[place] -= sign * step
        assert float(weight.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_a_gradient_of_zero_has_no_angle_and_a_tiny_one_has():
    here = torch.zeros(3, 1, 1, 2)
    there = torch.zeros(3, 1, 1, 2)
    here[0] = there[2] = torch.tensor([3.0, 4.0])
    here[1], there[1] = torch.tensor([1e-30, 0.0]), torch.tensor([1e-30, 1e-30])
    here.requires_grad_()
    loss = misaligned(here, there)
    torch.testing.assert_close(loss.detach(), torch.tensor([0.0, 1 - math.sqrt(0.5), 0.0]))
    (slope,) = torch.autograd.grad(loss.sum(), here)
    assert bool(slope[[0, 2]].isfinite().all())
    assert not slope[[0, 2]].any()


def test_the_ensemble_takes_turns():
    module, sources = net(), (teacher(3), teacher(4))
    makers = [sp.Classifier(module), *sources]
    objective, attack = EnsembleTraining(), PGD(sp.Linf(0.1), steps=2)
    chosen = []
    for step in range(60):
        made = crafting(module, (attack,), sources=sources, step=step)
        (found,) = objective.examples(made)
        goal = sp.Misclassify(made.batch.labels, CrossEntropy())
        expected = [craft(attack, target, goal, made.batch.images) for target in makers]
        (which,) = [place for place, images in enumerate(expected) if torch.equal(images, found)]
        chosen.append(which)
        if step < 3:
            assert torch.equal(objective.examples(made)[0], found)
    assert all(10 < chosen.count(which) < 30 for which in range(3))


def test_distillation_is_at_rest_at_its_teacher_alone():
    master = teacher()
    for student, still in ((copy.deepcopy(master.model), True), (net(seed=1), False)):
        objective, made = Distillation(master, 20.0), crafting(student, ())
        examples = objective.examples(made)
        with torch.no_grad():
            wanted = master(made.batch.images).div(20).softmax(1)
            mean = -(wanted * student(made.batch.images).div(20).log_softmax(1)).sum(1)
        assert torch.equal(examples[0], wanted)
        losses = objective.losses(student, made.batch, examples)
        torch.testing.assert_close(losses.detach(), mean)
        losses.sum().backward()
        most = max(float(weight.grad.abs().max()) for weight in student.parameters())
        assert (most < 1e-14) if still else (most > 1e-3)


def test_a_distilled_net_has_its_teachers_probabilities():
    images = pictures(40, torch.float32)
    master = sp.Classifier(linear(3), name="master")
    with torch.no_grad():
        master.model[1].weight.copy_(3 * drawn("master", (3, 64), torch.float32))
        master.model[1].bias.zero_()
    student = linear(3)
    how = Optimizer(name="adam", lr=0.3, weight_decay=0, schedule="cosine", warmup=0)
    config, objective = TrainingConfig(epochs=100, batch_size=8, optimizer=how), Distillation(master, 10.0)
    data = (images, torch.zeros(40, dtype=torch.long))  # the labels are not looked at
    done = train(sp.Classifier(student), data, objective, config=config, validation=Validation(val_size=8))
    student.load_state_dict(done.last_weights)
    kept, _ = split_validation(InMemoryData(*data), 8, 0)
    with torch.no_grad():
        seen = images[kept.positions]
        gap = (student(seen) / 10).softmax(1) - (master(seen) / 10).softmax(1)
        assert float(gap.abs().max()) < 0.01
        assert float((student(seen).softmax(1) - 1 / 3).abs().max()) > 0.6  # at temperature 1 it is sure


def test_the_classes_of_teacher_and_model_must_be_the_same():
    objective, made = Distillation(teacher()), crafting(net(classes=4), ())
    with pytest.raises(ConfigError, match="teacher 9 teaches 3 classes, and the model has 4"):
        objective.losses(net(classes=4), made.batch, objective.examples(made))


SMALL = TrainingConfig(epochs=2, batch_size=24, optimizer=Optimizer(lr=0.1, momentum=0.5, weight_decay=0.0))
LOOK = Validation(val_size=20, steps=3, batch_size=20)


def sides(count=100):
    """Brighter on the left or on the right; and a faint line on top that tells the class until it is attacked."""
    key = Key(torch.arange(count), 3)
    labels = key.integers("label", (1,), 2).squeeze(1)
    images = 0.2 + 0.3 * key.uniform("noise", (1, 8, 8))
    images[labels == 1, :, :, :4] += 0.3
    images[labels == 0, :, :, 4:] += 0.3
    images[:, :, 0] = 0.5
    images[:, :, 0, ::2] += (0.08 * labels - 0.04)[:, None, None]
    return images.clamp(0, 1), labels


def freely(module, replays, eps):
    """The algorithm as one would write it, with the order of the loop."""
    images, labels = sides()
    kept, _ = split_validation(InMemoryData(images, labels), 20, 0)
    images, labels = images[kept.positions], labels[kept.positions]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.5)
    delta, done = torch.zeros(24, 1, 8, 8), 0
    for epoch in range(2):
        order = Key(torch.tensor([epoch]), 0).uniform("order", (80,), dtype=torch.float64)[0].argsort()
        for rows in order.split(24):
            optimizer.param_groups[0]["lr"] = SMALL.optimizer.lr_at(done / 8)
            for _ in range(replays):
                x = (images[rows] + delta[: len(rows)]).clamp(0, 1).requires_grad_()
                optimizer.zero_grad()
                F.cross_entropy(module(x), labels[rows]).backward()
                optimizer.step()
                delta[: len(rows)] = (delta[: len(rows)] + eps * x.grad.sign()).clamp(-eps, eps)
            done += 1
    return module, delta


def test_free_is_its_algorithm():
    """With a last minibatch of 8 of 24, after which the other rows of delta are still there."""
    expected, delta = freely(net(2, dtype=torch.float32), 3, 0.1)
    assert bool((delta[8:] != 0).any())
    found = net(2, dtype=torch.float32)
    done = train(sp.Classifier(found), sides(), Free(3), Adversary((LINF,)), config=SMALL, validation=LOOK)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(done.last_weights[name], value, rtol=1e-5, atol=1e-6)


def test_what_free_remembers():
    memory = {"delta": torch.full((9, 1, 8, 8), 0.3, dtype=torch.float64)}
    made, objective = crafting(net(), (LINF,), memory=memory), Free()
    (example,) = objective.examples(made)
    torch.testing.assert_close(example.detach(), (made.batch.images + 0.1).clamp(0, 1))  # as much as the ball allows
    objective.losses(net(), made.batch, (example,)).sum().backward()
    objective.after_update(made, (example,))
    delta = made.memory["delta"]
    assert delta.shape == (128, 1, 8, 8)  # room for a whole minibatch
    assert not delta[9:].any()
    assert float(delta[:7].abs().max()) <= 0.1
    assert delta[7:9].unique().tolist() == [0.1]
    torch.testing.assert_close(delta[:7], 0.05 + 0.05 * example.grad.sign())
    larger = crafting(net(), (LINF,), memory={"delta": torch.full((2, 1, 8, 8), 0.05, dtype=torch.float64)})
    (example,) = objective.examples(larger)
    torch.testing.assert_close(example.detach()[2:], larger.batch.images[2:])


class Stop(Exception):
    pass


def test_free_goes_on_where_it_was_stopped(tmp_path):
    def trained(**options):
        classifier = sp.Classifier(net(2, dtype=torch.float32))
        config = SMALL.model_copy(update={"checkpoint_seconds": 0.0, "batch_size": 3, "epochs": 1})
        return train(classifier, sides(), Free(3), Adversary((LINF,)), config=config, validation=LOOK, **options)

    def stop_late(at):
        if at.update == 25:  # after the checkpoint of update 20
            raise Stop

    whole = trained()
    with pytest.raises(Stop):
        trained(out=tmp_path, progress=stop_late)
    again = trained(out=tmp_path, resume=True)
    assert all(torch.equal(whole.last_weights[name], value) for name, value in again.last_weights.items())


@pytest.mark.parametrize("name", ["fast", "free", "trades", "mart", "goodfellow", "msd"])
def test_the_model_withstands_more(name):
    objective, attacks = CASES[name]
    objective = {"free": Free(m=4), "trades": TRADES(1.0)}.get(name, objective)
    longer = SMALL.model_copy(update={"epochs": 24 // objective.minibatch_replays})
    x, y = sides(300)
    shares = []
    for how, against in ((Plain(), ()), (objective, attacks)):
        module = net(2, dtype=torch.float32)
        train(sp.Classifier(module), sides(), how, Adversary(against), config=longer, validation=LOOK)
        goal = sp.Misclassify(y[100:])
        shares.append(sp.run(PGD(sp.Linf(0.1), steps=20), sp.Classifier(module), goal, x[100:]).robust_accuracy)
    assert shares[1] > shares[0] + 0.1, shares


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("name", CASES)
def test_one_epoch_of_each(name, batch_norm):
    objective, attacks = CASES[name]
    module = net(norm=True, dtype=torch.float32)
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    images, labels = pictures(64, torch.float32), torch.arange(64) % 3
    adversary = Adversary(attacks, batch_norm, eps_schedule=((0, 0.5), (1, 1.0)), sources=sources_of(objective))
    config = TrainingConfig(epochs=1, batch_size=20, optimizer=Optimizer(lr=0.05))
    validation = Validation(val_size=12, steps=2)
    done = train(sp.Classifier(module), (images, labels), objective, adversary, config=config, validation=validation)
    assert math.isfinite(done.last.loss)
    assert done.last.updates == 3
    assert all(bool(value.isfinite().all()) for value in done.last_weights.values())
    assert not torch.equal(done.last_weights["0.weight"], before["0.weight"])
    assert torch.equal(torch.get_rng_state(), random)


def test_the_table_has_every_objective():
    kinds = {type(objective) for objective, _ in CASES.values()}
    kinds.add(AdversarialELBO)  # of Bayesian networks alone: tests/defenses/bayesian
    kinds |= {IBP, CROWNIBP, SABR, MTLIBP}  # test_certified_training.py
    assert set(table.values()) == kinds
    assert len(table) == len(kinds)


REFUSED = [
    (lambda: Goodfellow(alpha=1.2), r"Goodfellow alpha=1.2; pass a share in \[0, 1\]"),
    (lambda: Goodfellow(label_smoothing=1.0), "Goodfellow label_smoothing=1.0"),
    (lambda: TRADES(beta=-1), "TRADES beta=-1; pass a number from 0"),
    (lambda: TRADES(beta=math.nan), "TRADES beta=nan"),
    (lambda: MART(lambda_=math.inf), "MART lambda_=inf"),
    (lambda: GradAlign(Madry(), -0.1), "GradAlign lambda_=-0.1"),
    (lambda: GradAlign("madry"), "GradAlign objective='madry'; pass the objective beneath"),
    (lambda: Free(m=0), "Free m=0; pass a whole number from 1"),
    (lambda: Distillation(nn.Identity()), r"Distillation teacher=Identity\(\); pass a target"),
    (lambda: Distillation(teacher(), 0.0), "Distillation temperature=0.0"),
    (lambda: Plain(temperature=0), "Plain temperature=0"),
    (lambda: Madry(label_smoothing=-0.1), "Madry label_smoothing=-0.1"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_parameters_that_make_no_sense(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize(("objective", "attacks", "said"), [
    (Average(), (LINF,), "Average works with 2 or more attacks, and the adversary has 1"),
    (Maximum(), (), "Maximum works with 2 or more attacks, and the adversary has 0"),
    (Distillation(teacher()), (LINF,), "Distillation works with 0 attacks"),
    (GradAlign(Plain()), (), "GradAlign works with 1 attacks"),
    (Free(), (L2,), "Free moves by signs, within Linf, and PGD has L2"),
    (GradAlign(Free()), (L2,), "Free moves by signs"),
    (EnsembleTraining(), (LINF,), "the adversary has no sources"),
    (TRADES(), (FGSM(sp.Linf(0.1)),), "flat at the clean image, where FGSM begins"),
])  # fmt: skip
def test_adversaries_that_do_not_fit(objective, attacks, said):
    with pytest.raises(ConfigError, match=said):
        train(sp.Classifier(net(2, dtype=torch.float32)), sides(), objective, Adversary(attacks), validation=LOOK)


def test_what_holds_a_model_is_written_the_same_in_every_process():
    granting = sp.Restricted(teacher(4), sp.Scores)
    written = repr((Distillation(teacher()), Adversary((LINF,), sources=(teacher(3), granting))))
    assert "Classifier('teacher 9')" in written
    assert "Restricted('teacher 4')" in written
    assert " at 0x" not in written
