"""Transfer techniques: laws, closed forms, and the same computed by hand."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sparring as sp
from sparring import testing
from sparring.access import Attack, Gradient, Gradients, Jacobians, Keep
from sparring.attacks import APGD, BIM, MIFGSM, NIFGSM, PGD, Rivals, Square
from sparring.attacks.transfer import (
    InputDiversity,
    ScaleInvariance,
    TransferAttack,
    TranslationInvariance,
    VarianceTuning,
    copies,
)
from sparring.attacks.transfer.diversity import resize_and_pad
from sparring.attacks.transfer.technique import GradientQuery, GradientWithMemory
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.goals import RivalMargin, Verdict
from sparring.random import Key
from sparring.targets import Restricted, Surrogate
from sparring.testing.attack_laws import run_on_case, with_eps

BALL = sp.Linf(0.05)
MI, NI = MIFGSM(BALL, steps=4), NIFGSM(BALL, steps=4)
DI, TI, SI, VT = InputDiversity(resize_rate=0.6), TranslationInvariance(5), ScaleInvariance(3), VarianceTuning(3)


def small_net(count=6):
    """A small net, attacked by the cross-entropy, of which the papers speak, whether gradients are added or not."""
    case = testing.small_net(count)
    return replace(case, wanted=sp.Misclassify(case.labels, sp.goals.CrossEntropy()))


def question(images, memory=None, step=0, seed=0, eps=0.1):
    indices = torch.arange(len(images))
    memory = torch.zeros_like(images) if memory is None else memory
    return GradientQuery(
        images, None, None, None, Key(indices, seed), step, Region.around(images, sp.Linf(eps)), memory
    )


def answering(slope):
    """A way to ask whose gradient at the images is slope(images); it keeps what it was asked."""
    asked = []

    def ask(question):
        asked.append(question.images)
        blank = question.images.new_zeros(len(question.images))
        return Gradient(Verdict(blank, blank), blank, slope(question.images), question.images)

    return ask, asked


@dataclass(frozen=True)
class At:
    x: torch.Tensor


@dataclass(frozen=True)
class Asking(Attack[Gradients, At]):
    """Asks once, as a test wants it."""

    options: object
    ball: sp.Linf = BALL
    steps: int = 1
    seen: ClassVar[list] = []

    def init(self, oracle, batch):
        return At(batch.x)

    def step(self, oracle, state, t):
        self.seen.append(oracle.gradient(state.x, **self.options(state.x)))
        return state


def with_gradient_transform(case, *techniques, options=lambda x: {}):
    Asking.seen.clear()
    sp.run(TransferAttack(Asking(options), *techniques), case.target, case.goal, case.images)
    return Asking.seen[0]


@pytest.mark.parametrize(
    ("attack", "tolerance"),
    [
        (TransferAttack(BIM(BALL, steps=4), DI), 0.0),
        (TransferAttack(MI, TI, DI), 1e-12),  # rounding in the model's matrix products, as questions grow
        (TransferAttack(NI, SI), 1e-12),
        (TransferAttack(MI, VT), 1e-12),
        (TransferAttack(NI, TI, VarianceTuning(2), ScaleInvariance(2), DI), 1e-12),
        (TransferAttack(MIFGSM(sp.L2(0.5), steps=4), TI, SI), 1e-9),
    ],
    ids=lambda value: value.name if isinstance(value, TransferAttack) else None,
)
def test_laws(attack, tolerance):
    testing.check_attack(attack, tolerance=tolerance, ratio=None)


@pytest.mark.parametrize(
    "technique",
    [InputDiversity(0.0), InputDiversity(1.0, resize_rate=1.0), TranslationInvariance(1), ScaleInvariance(1)],
    ids=lambda technique: technique.abbreviation,
)
def test_a_technique_that_does_nothing_is_the_plain_attack(technique):
    case = small_net()
    plain, changed = (
        run_on_case(attack, case, keep=Keep.HIGHEST_LOSS) for attack in (NI, TransferAttack(NI, technique))
    )
    assert float((plain.examples - changed.examples).abs().max()) <= 1e-12
    assert torch.equal(plain.passes.forwards, changed.passes.forwards)
    assert torch.equal(plain.queries_to_success, changed.queries_to_success)


def test_variance_of_a_neighborhood_of_no_size_is_none():
    case = small_net()
    changed = run_on_case(TransferAttack(MI, VarianceTuning(4, beta=0.0)), case, keep=Keep.HIGHEST_LOSS)
    plain = run_on_case(MI, case, keep=Keep.HIGHEST_LOSS)
    assert float((plain.examples - changed.examples).abs().max()) <= 1e-12


def test_resize_and_pad_is_resize_and_padding():
    images = torch.rand(5, 2, 13, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    places = [(0, 0, 13, 10), (2, 1, 11, 9), (3, 4, 9, 6), (0, 3, 12, 7), (12, 9, 1, 1)]
    top, left, height, width = torch.tensor(places, dtype=torch.float64).unbind(1)
    moved = resize_and_pad(images, top, left, height, width)
    for row, (y, x, h, w) in enumerate(places):
        small = F.interpolate(images[row : row + 1], size=(h, w), mode="bilinear", align_corners=False)
        padded = F.pad(small, (x, 10 - x - w, y, 13 - y - h))
        assert torch.allclose(moved[row], padded[0], atol=1e-12, rtol=0)


def test_pitfall_15_diversity_is_drawn_row_by_row_with_its_probability():
    bright = torch.ones(2000, 1, 20, 20, dtype=torch.float64)
    ask, asked = answering(torch.ones_like)
    InputDiversity(0.7, resize_rate=0.6)(ask, question(bright))
    lit = (asked[0] > 0.5)[:, 0]
    sizes = lit.any(2).sum(1)
    assert float((sizes < 20).double().mean()) == pytest.approx(0.7, abs=0.04)
    assert set(sizes.tolist()) == {12, 13, 14, 15, 16, 17, 18, 19, 20}
    small = lit[sizes == 12]
    corners = {(int(row.any(1).nonzero()[0]), int(row.any(0).nonzero()[0])) for row in small}
    assert len(corners) > 30  # of 9 x 9
    assert max(top for top, _ in corners) == 8  # it may lie at the lower edge
    InputDiversity(0.7, resize_rate=0.6)(ask, question(bright, step=1))
    assert not torch.equal(asked[0], asked[1])


def test_every_step_draws_anew():
    case, asked = small_net(3), []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    attack = TransferAttack(MIFGSM(sp.Linf(1e-3), steps=3), InputDiversity(1.0, resize_rate=0.5))
    sp.run(attack, sp.Classifier(watching), case.goal, case.images, keep=Keep.HIGHEST_LOSS)
    first, second, third, last = asked[1:5]
    for one, other in ((first, second), (second, third), (first, third)):
        assert bool(((one - other).abs().amax(dim=(1, 2, 3)) > 0.1).any())
    assert (last - case.images).abs().max() <= 1e-3 + 1e-9  # the last iterate is asked about as it is


def test_diversity_carries_the_gradient_back():
    """<T x, g> = <x, T' g> for the transformation T of every row."""
    draw = torch.Generator().manual_seed(2)
    images, slope = torch.rand(2, 6, 3, 11, 9, dtype=torch.float64, generator=draw)
    ask, asked = answering(lambda seen: slope)
    answer = InputDiversity(1.0, resize_rate=0.5)(ask, question(images))
    assert torch.allclose((asked[0] * slope).sum((1, 2, 3)), (images * answer.grad).sum((1, 2, 3)), atol=1e-10)
    assert not torch.allclose(answer.grad, slope)


def test_translation_is_a_convolution_with_the_authors_kernel():
    slope = torch.rand(4, 3, 17, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    ask, _ = answering(lambda images: slope)
    line = np.exp(-0.5 * np.linspace(-3, 3, 15) ** 2)
    kernel = torch.from_numpy(np.outer(line, line) / np.outer(line, line).sum()).expand(3, 1, 15, 15)
    wanted = F.conv2d(slope, kernel, padding="same", groups=3)
    assert torch.allclose(TranslationInvariance()(ask, question(slope)).grad, wanted, atol=1e-12, rtol=0)


def test_pitfall_15_a_kernel_that_does_not_fit_is_refused():
    case = small_net(2)
    with pytest.raises(
        ConfigError, match=r"kernel_size=15 does not fit into images of 8 x 8 pixels; .* odd number up to 7"
    ):
        run_on_case(TransferAttack(MI, TranslationInvariance()), case)
    run_on_case(TransferAttack(MI, TranslationInvariance(7)), case)


def by_hand(case, images, loss):
    images = images.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(images).sum(), images)
    return grad


def test_scale_is_the_mean_over_copies():
    case = small_net(5)

    def loss(x):
        parts = [F.cross_entropy(case.module(x / 2**i), case.labels, reduction="none") for i in range(4)]
        return torch.stack(parts).mean(0)

    answer = with_gradient_transform(case, ScaleInvariance(4))
    assert torch.allclose(answer.grad, by_hand(case, case.images, loss), atol=1e-12, rtol=0)
    assert torch.allclose(answer.value, loss(case.images), atol=1e-12)
    assert torch.equal(answer.images, case.images)
    assert torch.allclose(answer.verdict.margin, case.goal(case.module(case.images)).margin, atol=1e-12)


def test_objective_and_steering_follow_the_rows_of_copies():
    case = small_net(5)
    rivals, weight = (case.labels + 1) % 4, torch.arange(1.0, 6.0).double()

    def options(x):
        return {"objective": lambda verdict, images: weight * verdict.loss - images.flatten(1).sum(1),
                "loss": RivalMargin(rivals)}  # fmt: skip

    def loss(x):
        total = 0
        for i in range(3):
            z = case.module(x / 2**i)
            lead = z.gather(1, rivals[:, None]) - z.gather(1, case.labels[:, None])
            total = total + weight * lead[:, 0] - (x / 2**i).flatten(1).sum(1)
        return total / 3

    answer = with_gradient_transform(case, SI, options=options)
    assert torch.allclose(answer.grad, by_hand(case, case.images, loss), atol=1e-12, rtol=0)


def test_how_many_copies_are_asked_together_changes_nothing(monkeypatch):
    case = small_net(5)
    attack = TransferAttack(NI, VarianceTuning(5), ScaleInvariance(3), DI)
    together = run_on_case(attack, case, keep=Keep.HIGHEST_LOSS)
    monkeypatch.setattr(copies, "TOGETHER", 12)
    apart = run_on_case(attack, case, keep=Keep.HIGHEST_LOSS)
    assert float((together.examples - apart.examples).abs().max()) <= 1e-12
    assert torch.equal(together.passes.forwards, apart.passes.forwards)
    assert int(together.passes.forwards[0]) == 4 * (1 + 5) * 3 + 1


def test_pitfall_15_neighbors_are_uniform_in_beta_eps_and_tune_the_next_gradient():
    images = torch.full((40, 3, 8, 8), 0.5, dtype=torch.float64)
    images[0] = 0.02  # close to black
    memory = torch.rand_like(images)
    ask, asked = answering(torch.square)
    answer = VarianceTuning(3, beta=2.0)(ask, question(images, memory))
    assert isinstance(answer, GradientWithMemory)
    around = torch.cat(asked[1:])[:120].view(40, 3, 3, 8, 8)  # copies of a row lie side by side
    assert torch.equal(answer.grad, images**2 + memory)
    assert torch.allclose(answer.memory, (around**2).mean(1) - images**2, atol=1e-12)
    noise = around[1:] - 0.5
    assert 0.198 < noise.abs().max() <= 0.2
    assert float(noise.std()) == pytest.approx(0.2 / 3**0.5, rel=0.02)  # of a uniform draw
    assert not torch.equal(noise[:, 0], noise[:, 1])
    assert not torch.equal(noise[0], noise[1])
    assert around[0].min() == 0


def test_variance_tuned_momentum_by_hand():
    """Each iterate that the model is shown follows from the gradients at what it was shown before."""
    case, asked = small_net(4), []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    sp.run(TransferAttack(MI, VT), sp.Classifier(watching), case.goal, case.images, keep=Keep.HIGHEST_LOSS)
    loss = {n: lambda x, n=n: F.cross_entropy(case.module(x), case.labels.repeat_interleave(n), reduction="none")
            for n in (1, 3)}  # fmt: skip
    x, memory, variance = case.images, torch.zeros_like(case.images), torch.zeros_like(case.images)
    for t in range(4):
        plain, around = asked[1 + 2 * t], asked[2 + 2 * t]
        assert torch.allclose(plain, x, atol=1e-12, rtol=0)
        grad = by_hand(case, plain, loss[1])
        tuned = grad + variance
        memory = memory + tuned / tuned.abs().sum((1, 2, 3), keepdim=True)
        variance = by_hand(case, around, loss[3]).view(4, 3, 3, 8, 8).mean(1) - grad
        x = case.images + (x + BALL.eps / 4 * memory.sign() - case.images).clamp(-BALL.eps, BALL.eps)
    assert torch.allclose(asked[9], x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [BIM, PGD, MIFGSM, NIFGSM])
@pytest.mark.parametrize(
    "techniques", [(), (InputDiversity(1.0, resize_rate=0.5),), (TI, VT, SI)], ids=("plain", "DI", "all")
)
def test_on_ones_own_model_the_last_iterate_or_a_worse_comes_back(kind, techniques):
    case, asked = small_net(6), []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    inner = kind(sp.Linf(0.08), steps=4)
    attack = TransferAttack(inner, *techniques) if techniques else inner
    outcome = sp.run(attack, sp.Classifier(watching), case.goal, case.images, keep=Keep.HIGHEST_LOSS)
    last = asked[-2 if outcome.success.any() else -1]  # the engine's confirmation is the very last
    assert last.shape == case.images.shape
    assert (last - case.images).abs().amax() <= 0.08 + 1e-9
    returned, iterate = (case.goal(case.module(x)) for x in (outcome.examples, last))
    assert bool(((returned.margin > 0) >= (iterate.margin > 0)).all())
    same = (returned.margin > 0) == (iterate.margin > 0)
    assert bool((returned.loss >= iterate.loss - 1e-9)[same].all())
    assert float((last - case.images).abs().amax(dim=(1, 2, 3)).min()) > 0.04  # it has walked


def test_the_first_technique_is_the_outermost():
    """Smoothing the gradient after it came back through the resize is not the same as before."""
    case = small_net(4)
    images = case.images
    ask, _ = answering(torch.square)
    some = InputDiversity(1.0, resize_rate=0.5)
    inner = TI(lambda q: some(ask, q), question(images, step=1)).grad
    outer = some(lambda q: TI(ask, q), question(images, step=1)).grad
    assert not torch.allclose(inner, outer)
    seen = with_gradient_transform(case, TI, some).grad
    alone = with_gradient_transform(case, some).grad
    smoothed = TI(answering(lambda _: alone)[0], question(images)).grad
    assert torch.allclose(seen, smoothed, atol=1e-12)
    assert TransferAttack(MI, TI, DI).name == "TI-DI-MIFGSM"


def test_rivals_steer_through_the_techniques():
    case, apgd = small_net(6), APGD(sp.Linf(0.03), steps=4, loss=None)
    inside = run_on_case(TransferAttack(Rivals(apgd, 2), SI), case, keep=Keep.HIGHEST_LOSS)
    around = run_on_case(Rivals(TransferAttack(apgd, SI), 2), case, keep=Keep.HIGHEST_LOSS)
    assert torch.equal(inside.examples, around.examples)
    alone = run_on_case(TransferAttack(replace(apgd, loss=sp.goals.CrossEntropy()), SI), case, keep=Keep.HIGHEST_LOSS)
    assert not torch.equal(inside.examples, alone.examples)


def test_memory_survives_where_an_attack_steers():
    """The oracle that `with_loss` makes writes down what techniques remember, too."""
    case = small_net(4)
    rivals = Rivals(APGD(BALL, steps=3, loss=None), 1)
    tuned = run_on_case(TransferAttack(rivals, VT), case, keep=Keep.HIGHEST_LOSS)
    plain = run_on_case(rivals, case, keep=Keep.HIGHEST_LOSS)
    assert not torch.equal(tuned.examples, plain.examples)


def test_a_render_of_the_attack_is_honoured():
    case = small_net(5)

    def options(x):
        return {"render": lambda v: (x + 0.1 * v.square()).clamp(0, 1)}

    def loss(v):
        x = (case.images + 0.1 * v.square()).clamp(0, 1)
        losses = [F.cross_entropy(case.module(x / 2**i), case.labels, reduction="none") for i in range(3)]
        return torch.stack(losses).mean(0)

    answer = with_gradient_transform(case, SI, options=options)
    assert torch.allclose(answer.grad, by_hand(case, case.images, loss), atol=1e-12, rtol=0)
    assert torch.equal(answer.images, (case.images + 0.1 * case.images.square()).clamp(0, 1))


def test_against_a_victim_with_the_gradients_of_another():
    case = small_net(8)
    victim = Restricted(sp.Classifier(lambda x: case.module(0.97 * x)), sp.access.Scores)
    goal = sp.Misclassify(victim(case.images).argmax(1))
    attack = TransferAttack(MIFGSM(sp.Linf(0.2)), TI, DI)
    outcome = sp.run(attack, Surrogate(victim, case.target), goal, case.images)
    assert outcome.success.all()
    assert torch.equal(victim(outcome.examples).argmax(1) != goal.classes, outcome.success)
    assert int(outcome.passes.forwards.max()) <= 11


def test_another_radius_keeps_the_techniques():
    attack = with_eps(TransferAttack(MI, TI, DI), 0.3)
    assert attack == TransferAttack(MIFGSM(sp.Linf(0.3), steps=4), TI, DI)


class OfJacobians(Attack[Jacobians, At]):
    ball, steps = BALL, 1

    def init(self, oracle, batch):
        return At(batch.x)

    def step(self, oracle, state, t):
        return state


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (
            lambda: TransferAttack(Square(BALL), DI),
            ConfigError,
            "Square asks for Scores; transfer techniques change Gradients",
        ),
        (lambda: TransferAttack(OfJacobians(), DI), ConfigError, "OfJacobians asks for Jacobians; .*pass MIFGSM"),
        (lambda: TransferAttack(MI), ConfigError, r"MIFGSM with no technique is itself; pass one or more"),
        (lambda: TransferAttack(MI, SI, VT), ConfigError, "VarianceTuning has a memory.* before ScaleInvariance"),
        (lambda: TransferAttack(MI, VT, VT), ConfigError, "VarianceTuning has a memory.* pass it once"),
        (lambda: TransferAttack(MIFGSM(sp.L2(1)), VT), ThreatError, r"VarianceTuning knows Linf, not L2\(1\)"),
        (
            lambda: InputDiversity(1.5),
            ConfigError,
            "InputDiversity diversity_prob=1.5; pass a finite number >= 0 and <= 1",
        ),
        (lambda: InputDiversity(resize_rate=0), ConfigError, "resize_rate=0; pass a finite number > 0"),
        (lambda: TranslationInvariance(4), ConfigError, "kernel_size=4; pass an odd number"),
        (lambda: TranslationInvariance(sigma=0), ConfigError, "sigma=0; pass a finite number > 0"),
        (lambda: ScaleInvariance(0), ConfigError, "m=0; pass an integer >= 1"),
        (lambda: VarianceTuning(0), ConfigError, "N=0; pass an integer >= 1"),
        (lambda: VarianceTuning(beta=-1), ConfigError, "beta=-1; pass a finite number >= 0"),
    ],
)
def test_what_makes_no_sense(made, error, words):
    with pytest.raises(error, match=words):
        made()
