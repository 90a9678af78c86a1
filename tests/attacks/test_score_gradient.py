"""NES, SPSA, Bandits: the estimate against closed forms and foolbox's, each step against a literal loop, the laws."""

import numpy as np
import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Batch
from sparring.attacks.score.bandits import Bandits
from sparring.attacks.score.gradient_estimate import CHUNK, estimate_gradient
from sparring.attacks.score.nes import NES
from sparring.attacks.score.spsa import SPSA
from sparring.errors import AccessError, ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.random import Key
from sparring.rows import take

BALLS = [sp.Linf(0.08), sp.L2(0.8)]
SHORT = {
    f"{attack.name} {attack.ball}": attack
    for ball in BALLS
    for attack in (
        NES(ball, steps=9, n_samples=6),
        SPSA(ball, steps=9, n_samples=6),
        Bandits(ball, steps=25, tile_size=2),
    )
}
ALL = pytest.mark.parametrize("attack", SHORT.values(), ids=SHORT.keys())


class Linear:
    """Answers with <w, x> on the inputs `x`, and notes what it was asked."""

    def __init__(self, x, ball, key=None, bend=0.0):
        self.w, self.bend, self.asked = testing.cases.draw("w", tuple(x.shape[1:])), bend, []
        self.region, self.key = Region.around(x, ball), key

    def margins(self, images):
        flat = (images * self.w).flatten(1).sum(1)
        return flat + self.bend * torch.sin(5 * flat)

    def score(self, images, rows=None):
        self.asked.append((images.clone(), rows))
        margin = self.margins(images) - 1e6  # never won
        return sp.goals.Verdict(margin, margin)


def points(count, shape, spread=0.1):
    noise = Key(torch.arange(count), 3).uniform("x", shape, dtype=torch.float64) * 2 - 1
    return 0.5 + spread * noise


@ALL
def test_batch_law(attack):
    """Bit-equal where only signs of the estimate are used: NES and Bandits in Linf."""
    exact = isinstance(attack.ball, sp.Linf) and not isinstance(attack, SPSA)
    testing.check_batch_law(attack, testing.small_net(8), tolerance=0.0 if exact else 1e-9)


@ALL
def test_the_other_laws(attack):
    case = testing.small_net(4)
    testing.check_feasible(attack, case)
    testing.check_reported_success(attack, case)
    testing.check_budget(attack, testing.small_net(2), limit=9)
    testing.check_access(attack, case)
    testing.check_resume(attack, case)
    testing.check_target_unchanged(attack, testing.small_net(3))


# --- the estimate


@pytest.mark.parametrize("stream", ["normal", "signs"])
def test_the_estimate_is_the_mean_of_the_projections_of_the_gradient(stream):
    """On a linear score (f+ - f-) / 2h = <w, u>, so g = mean <w, u> u to the rounding, row by row."""
    shape, key = (3, 4, 5), Key(torch.tensor([4, 9]), 1)
    x, draw = points(2, shape), getattr(key, stream)
    oracle = Linear(x, sp.Linf(0.5))
    seen = estimate_gradient(oracle, x, draw, 14, 1e-3, 6)
    u = draw("directions", (7, 60), 6 * 1_000_003, torch.float64)
    expected = ((u @ oracle.w.flatten())[:, :, None] * u).mean(1)
    assert float((seen.grad.flatten(1) - expected).abs().max()) < 1e-5
    assert torch.allclose(seen.margin, oracle.margins(x) - 1e6, atol=1e-6)  # antithetic: the noise cancels


@pytest.mark.parametrize("stream", ["normal", "signs"])
@pytest.mark.parametrize("ball", [sp.Linf(0.05), sp.L2(0.5)], ids=str)
def test_the_estimate_finds_the_gradient_of_a_linear_score(ball, stream):
    """E g = w; n pairs in d dimensions leave a relative error of sqrt(d / n)."""
    shape, pairs = (3, 4, 4), 4000
    x = points(2, shape)
    oracle = Linear(x, ball)
    seen = estimate_gradient(oracle, x, getattr(Key(torch.arange(2), 0), stream), 2 * pairs, 1e-3, 0)
    error = (seen.grad - oracle.w).flatten(1).norm(dim=1) / oracle.w.norm()
    assert float(error.max()) < 1.3 * (48 / pairs) ** 0.5


def test_at_the_edge_of_the_ball_a_component_counts_half_with_the_right_sign():
    shape, pairs = (1, 6, 6), 6000
    x = points(2, shape)
    oracle = Linear(x, sp.Linf(0.05))
    corner = x + 0.05 * torch.where(torch.arange(6) < 3, 1.0, 0.0)  # half of the pixels lie at their bound
    seen = estimate_gradient(oracle, corner, Key(torch.arange(2), 0).signs, 2 * pairs, 0.01, 0)
    share = torch.where(torch.arange(6) < 3, 0.5, 1.0)
    assert float((seen.grad - share * oracle.w).abs().max()) < 4 * float(oracle.w.norm()) / pairs**0.5


@pytest.mark.filterwarnings("ignore")  # foolbox's own
def test_the_estimate_is_as_good_as_foolboxs():
    """At equal queries, as cosines with the true gradient of the margin."""
    import eagerpy
    import foolbox
    from foolbox.gradient_estimators import es_gradient_estimator

    case, samples = testing.small_net(6), 200
    x = case.images.clone().requires_grad_()
    true = torch.autograd.grad(case.goal.margin(case.module(x)).sum(), x)[0].flatten(1)

    class Oracle:
        region = Region.around(case.images, sp.Linf(0.5))

        def score(self, images, rows):
            return take(case.goal, rows)(case.module(images).detach())

    ours = estimate_gradient(Oracle(), case.images, Key(torch.arange(6), 0).normal, samples, 1e-3, 0).grad
    theirs = []
    estimator = es_gradient_estimator(foolbox.attacks.LinfPGD, samples=samples, sigma=1e-3, bounds=(0, 1), clip=True)()
    for row in range(6):  # its loss is one number for the whole batch

        def loss(image, row=row):
            return eagerpy.astensor(take(case.goal, torch.tensor([row])).margin(case.module(image.raw)).detach()).sum()

        theirs.append(estimator.value_and_grad(loss, eagerpy.astensor(case.images[row : row + 1]))[1].raw)
    cosine = [float(torch.cosine_similarity(g.flatten(1), true).mean()) for g in (ours, torch.cat(theirs))]
    assert cosine[0] == pytest.approx((100 / (100 + 192)) ** 0.5, abs=0.06)  # n / (n + d) of the square lies along it
    assert cosine[0] > cosine[1] - 0.06


def test_memory_stays_flat_whatever_the_number_of_directions():
    shape = (3, 32, 32)
    x = points(2, shape)
    oracle = Linear(x, sp.L2(1))
    samples = 4 * (CHUNK // 3072) + 6
    estimate_gradient(oracle, x, Key(torch.arange(2), 0).signs, samples, 0.01, 0)
    assert [len(images) for images, _ in oracle.asked] == [4 * (CHUNK // 3072)] * 2 + [12]
    first, second = (images[: CHUNK // 3072] for images, _ in oracle.asked[:2])
    assert not torch.equal(first, second)  # each set draws its own


# --- pitfall 28


@ALL
def test_pitfall_28_probes_come_in_antithetic_pairs(attack):
    shape, key = (3, 6, 6), Key(torch.arange(3), 0)
    x = points(3, shape)
    oracle = Linear(x, attack.ball, key)
    state = attack.init(oracle, Batch(x, key))
    assert not oracle.asked  # the clean image is the engine's to look at
    attack.step(oracle, state, 0)
    (images, rows), samples = oracle.asked[0], 2 if isinstance(attack, Bandits) else attack.n_samples
    assert torch.equal(rows, torch.arange(3).repeat_interleave(samples))
    way = images.view(3, samples, -1) - x.flatten(1)[:, None]
    ahead, behind = way[:, : samples // 2], way[:, samples // 2 :]
    assert float((ahead + behind).abs().max()) < 1e-12
    assert float(ahead.abs().amax((1, 2)).min()) > 1e-4
    assert not torch.equal(ahead[0], ahead[1])  # each row has its own directions


@ALL
@pytest.mark.parametrize("limit", [1, 7, 20])
def test_pitfall_28_the_budget_is_in_queries_not_in_steps(attack, limit):
    case = testing.small_net(4)
    outcome = sp.run(attack, case.target, case.goal, case.images, budget=sp.Budget(forwards=limit))
    assert (outcome.passes.forwards <= limit).all()
    assert (outcome.passes.forwards[~outcome.success] == limit).all()  # and it is used up
    assert (outcome.queries_to_success[outcome.success] <= limit).all()
    assert outcome.examples.isfinite().all()
    assert not outcome.passes.backwards.any()


@ALL
def test_pitfall_28_labels_alone_are_refused(attack):
    case = testing.small_net(2)
    with pytest.raises(AccessError, match=f"{attack.name} needs Scores"):
        sp.run(attack, testing.attack_laws.Restricted(case.target, sp.Decisions), case.goal, case.images)


# --- each step against a literal loop


def literal_slope(f, x, ball, original, directions, probe):
    grad, seen = np.zeros_like(x), []
    for u in directions:
        pair = []
        for sign in (1, -1):
            image = np.clip(x + sign * probe * u, 0, 1)
            if isinstance(ball, sp.Linf):
                image = np.clip(image, original - ball.eps, original + ball.eps)
            else:
                size = np.linalg.norm(image - original)
                image = original + (image - original) * min(1, ball.eps / size)
            pair.append(f(image))
        grad += (pair[0] - pair[1]) / (2 * probe) * u / len(directions)
        seen += pair
    return grad, np.mean(seen)


def moved(x, direction, size, ball, original):
    if isinstance(ball, sp.Linf):
        image = x + size * np.sign(direction)
        return np.clip(np.clip(image, original - ball.eps, original + ball.eps), 0, 1)
    delta = x + size * direction / np.linalg.norm(direction) - original
    return original + delta * min(1, ball.eps / np.linalg.norm(delta))  # the box is far away


def followed(attack, steps, literal, shape=(2, 6, 6), bend=0.3):
    """The attack's iterates, and those of `literal(f, x, draw)`, a generator, for each of two rows."""
    x, key = points(2, shape), Key(torch.arange(2), 5)
    oracle = Linear(x, attack.ball, key, bend)
    state, ours = attack.init(oracle, Batch(x, key)), []
    for t in range(steps):
        state = attack.step(oracle, state, t)
        ours.append(state.image)
    for row in range(2):

        def f(image):
            return float(oracle.margins(torch.from_numpy(image).view(1, *shape))) - 1e6

        one = Key(key.indices[row : row + 1], key.seed)
        for t, image in zip(range(steps), literal(f, x[row].flatten().numpy(), one, shape), strict=False):
            assert np.abs(ours[t][row].flatten().numpy() - image).max() < 1e-6, (row, t)
    return state


@pytest.mark.parametrize("ball", [sp.Linf(0.06), sp.L2(0.4)], ids=str)
def test_nes_is_the_authors_loop(ball):
    """Momentum 0.9 over 0.1, and a rate that is halved when the last of five mean scores is below the first."""
    drops = []

    def literal(f, x, key, shape):
        image, g, rate, last = x.copy(), 0.0, 0.03, []
        for t in range(60):
            u = key.normal("directions", (4, x.size), t * 1_000_003, torch.float64)[0].numpy()
            grad, mean = literal_slope(f, image, ball, x, u, 1e-3)
            g = 0.9 * g + 0.1 * grad
            last = [*last, mean][-5:]
            if len(last) == 5 and last[-1] < last[0]:
                rate, last = max(rate / 2, 0.03 / 200), []
                drops.append(t)
            image = moved(image, g, rate, ball, x)
            yield image

    state = followed(NES(ball, steps=60, n_samples=8, step_size=0.03), 60, literal)
    assert drops
    assert (state.step_size < 0.03).any()
    assert (state.step_size >= 0.03 / 200).all()


@pytest.mark.parametrize("ball", [sp.Linf(0.06), sp.L2(0.4)], ids=str)
def test_spsa_is_adam_on_the_estimate(ball):
    """Kingma & Ba 2015, algorithm 1, and the projection."""

    def literal(f, x, key, shape):
        image, m, v = x.copy(), 0.0, 0.0
        rate = 0.02 if isinstance(ball, sp.Linf) else 0.02 / x.size**0.5
        for t in range(25):
            u = key.signs("directions", (4, x.size), t * 1_000_003, torch.float64)[0].numpy()
            g, _ = literal_slope(f, image, ball, x, u, 0.01)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            delta = image + rate * (m / (1 - 0.9 ** (t + 1))) / np.sqrt(v / (1 - 0.999 ** (t + 1))) - x
            if isinstance(ball, sp.Linf):
                image = x + delta.clip(-ball.eps, ball.eps)
            else:
                image = x + delta * min(1, ball.eps / np.linalg.norm(delta))
            yield image

    followed(SPSA(ball, n_samples=8, learning_rate=0.02), 25, literal)


@pytest.mark.parametrize("ball", [sp.Linf(0.06), sp.L2(0.4)], ids=str)
def test_bandits_are_the_papers_exponentiated_gradient_and_gradient(ball):
    """Linf: odds of (v + 1) / 2 times exp(2 step), the paper's form; L2: v + step."""

    def literal(f, x, key, shape):
        image, prior, power = x.copy(), np.zeros((shape[0], 3, 3)), 0.0

        def spread(v):
            return v.repeat(2, 1).repeat(2, 2).flatten()

        for t in range(40):
            noise = key.normal("noise", prior.shape, t, torch.float64)[0].numpy() / prior.size**0.5
            ways = [spread(prior + 0.7 * sign * noise) for sign in (1, -1)]
            scores = [f(np.clip(image + 0.1 * way / np.linalg.norm(way), 0, 1)) for way in ways]
            gain = scores[0] - scores[1]
            power = 0.9 * power + 0.1 * gain**2
            step = 0.5 * gain / (power / (1 - 0.9 ** (t + 1))) ** 0.5 * noise
            if isinstance(ball, sp.Linf):
                up, down = (prior + 1) / 2 * np.exp(step), (1 - prior) / 2 * np.exp(-step)
                prior = up / (up + down) * 2 - 1
            else:
                prior = prior + step
            image = moved(image, spread(prior), ball.eps / 5, ball, x)
            yield image

    followed(Bandits(ball, tile_size=2, exploration=0.7, online_lr=0.5), 40, literal)


# --- properties


@ALL
def test_the_scale_of_the_logits_changes_nothing(attack):
    case = testing.small_net(5)
    louder = sp.Classifier(lambda images: case.module(images) * 64)
    one, other = (sp.run(attack, target, case.goal, case.images) for target in (case.target, louder))
    assert torch.equal(one.examples, other.examples)
    assert torch.equal(one.passes.forwards, other.passes.forwards)


@ALL
def test_a_row_leaves_with_its_first_success(attack):
    case = testing.small_net(8)
    ball = type(attack.ball)(attack.ball.eps * 3)
    long = type(attack)(ball, steps=attack.steps * 5)
    outcome = sp.run(long, case.target, case.goal, case.images)
    assert outcome.success.float().mean() > 0.6
    samples = getattr(attack, "n_samples", 4)
    last = outcome.passes.forwards - outcome.queries_to_success
    assert (last[outcome.success] < max(samples, 20)).all()  # at most the rest of that question
    assert (outcome.queries_to_success[outcome.success] > 0).all()
    whole = long.steps * getattr(long, "n_samples", 2)
    assert outcome.queries_to_success[outcome.success].float().median() < whole / 2  # seen on the way, not at the end


@ALL
def test_it_serves_a_target_class(attack):
    case = testing.small_net(6)
    goal = sp.ClassifyAs((case.labels + 1) % 4)
    ball = type(attack.ball)(attack.ball.eps * 5)
    outcome = sp.run(type(attack)(ball, steps=300), case.target, goal, case.images, budget=sp.Budget(forwards=2000))
    with torch.no_grad():
        given = case.module(outcome.examples).argmax(1)
    assert outcome.success.sum() >= 4
    assert torch.equal(given[outcome.success], goal.classes[outcome.success])


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (1, 7, 2), (5, 4, 4)])
@pytest.mark.parametrize("kind", [NES, SPSA, Bandits])
def test_images_of_odd_shapes(kind, shape):
    x = points(3, shape, spread=0.5)  # some pixels near the edge of the range

    def model(images):
        total = images.flatten(1).mean(1)
        return torch.stack((total, 1e3 - total), dim=1)

    goal = sp.Misclassify(torch.ones(3, dtype=torch.long), loss=sp.goals.Margin())
    outcome = sp.run(kind(sp.Linf(0.2), steps=60), sp.Classifier(model), goal, x, keep=sp.access.Keep.HIGHEST_LOSS)
    size = (outcome.examples - x).flatten(1).abs().amax(1)
    assert (outcome.examples.flatten(1).mean(1) > x.flatten(1).mean(1)).all()  # uphill
    assert (size <= 0.2 + 1e-9).all()


def test_bandits_tiles_share_one_value_and_their_number_is_rounded_up():
    x, attack = points(2, (3, 10, 7)), Bandits(sp.Linf(0.1), tile_size=5)
    oracle = Linear(x, attack.ball, Key(torch.arange(2), 0))
    state = attack.step(oracle, attack.init(oracle, Batch(x, Key(torch.arange(2), 0))), 0)
    assert state.prior.shape == (2, 3, 2, 2)
    assert len((state.image - x)[0, 0, :5, :4].round(decimals=9).unique()) == 1


@pytest.mark.parametrize(("build", "error", "message"), [
    (lambda: NES(sp.L1(3)), ThreatError, "NES knows Linf and L2, not L1"),
    (lambda: SPSA(sp.L0(3)), ThreatError, "SPSA knows Linf and L2, not L0"),
    (lambda: Bandits(sp.Linf()), ThreatError, "Bandits needs a radius"),
    (lambda: NES(sp.L2(1), n_samples=5), ConfigError, "NES n_samples=5; pass an even number"),
    (lambda: SPSA(sp.L2(1), n_samples=0), ConfigError, "SPSA n_samples=0; pass an integer >= 2"),
    (lambda: NES(sp.L2(1), sigma=-1), ConfigError, "NES sigma=-1; pass a finite number > 0"),
    (lambda: SPSA(sp.L2(1), learning_rate=float("nan")), ConfigError, "SPSA learning_rate=nan; pass a finite"),
    (lambda: Bandits(sp.L2(1), tile_size=0), ConfigError, "Bandits tile_size=0; pass an integer >= 1"),
    (lambda: Bandits(sp.L2(1), online_lr=0), ConfigError, "Bandits online_lr=0; pass a finite number > 0"),
    (lambda: NES(sp.L2(1), steps=0), ConfigError, "NES steps=0; pass an integer >= 1"),
])  # fmt: skip
def test_bad_parameters_are_told_with_the_cure(build, error, message):
    with pytest.raises(error, match=message):
        build()
