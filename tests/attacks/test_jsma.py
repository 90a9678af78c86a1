"""JSMA beside an N^2 one written out here, and where implementations are known to go wrong."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks.minimal import saliency
from sparring.attacks.minimal.jsma import JSMA
from sparring.attacks.minimal.saliency import best_pair
from sparring.errors import ConfigError, ThreatError
from sparring.testing.cases import draw

SHORT = {"gamma": 0.15, "theta": 0.5}
VARIANTS = [JSMA(**SHORT), JSMA(**SHORT, logits=True), JSMA(theta=-0.4, gamma=0.15), JSMA(theta=1, gamma=0.15)]


def run(attack, case, goal=None, **options):
    return sp.run(attack, case.target, goal or case.goal, case.images, **options)


def products(u, v):
    """(B, N, N) (u_p + u_q) (v_p + v_q) where both sums are above 0 and p != q, else 0."""
    far, near = u[:, :, None] + u[:, None], v[:, :, None] + v[:, None]
    other = ~torch.eye(u.shape[1], dtype=torch.bool)
    return torch.where((far > 0) & (near > 0) & other, far * near, 0)


def by_brute_force(attack, case, row, target):
    """The attack on one row, with every pair in a matrix and probabilities that are not logarithms."""
    image, count = case.images[row].flatten().clone(), case.images[row].numel()
    label = int(case.labels[row])
    sign = -1 if target is None else 1
    for _ in range(int(count * attack.gamma / 2) + 1):
        seen = image.clone().requires_grad_()
        logits = case.module(seen.view(1, *case.images.shape[1:]))[0]
        winner = int(logits.argmax())
        if winner != label if target is None else winner == target:
            return image, True
        outputs = logits if attack.logits else logits.softmax(0)
        own = outputs[label if target is None else target]
        a = torch.autograd.grad(sign * own, seen, retain_graph=True)[0]
        b = torch.autograd.grad(sign * (outputs.sum() - own), seen)[0]
        way = (image + attack.theta).clamp(0, 1) - image
        value = products((a * way)[None], (-b * way)[None])[0]
        value[way == 0, :] = value[:, way == 0] = 0
        if value.max() <= 0:
            break
        pair = [int(value.argmax()) // count, int(value.argmax()) % count]
        image[pair] = (image[pair] + attack.theta).clamp(0, 1)
    return image, False


def clouds():
    """Pairs (u, v) of every kind: independent, opposed, on arcs bent out and in, with ties and with masks."""
    for size in (2, 3, 7, 30):
        u, v = draw(f"u {size}", (6, size)), draw(f"v {size}", (6, size))
        angle = u.sigmoid() * 1.5
        yield from ((u, v), (u, 0.3 * v - u), (u, u), (u.round(), v.round()), (u.exp(), (-u).exp()))
        yield from ((angle.cos(), angle.sin()), (-u.abs(), v), (0 * u, 0 * v), (1e-30 * u, 1e-30 * v))
        yield u.masked_fill(v > 0.5, -torch.inf), v.masked_fill(v > 0.5, -torch.inf)


@pytest.mark.parametrize("cells", [1, 50, 2**21])
def test_the_best_pair_is_that_of_all_pairs(monkeypatch, cells):
    monkeypatch.setattr(saliency, "CELLS", cells)
    for u, v in clouds():
        pair, found = best_pair(u, v)
        expected = products(u, v).flatten(1).amax(1)
        assert torch.equal(found, expected > 0)
        assert (pair[:, 0] != pair[:, 1])[found].all()
        got = u.gather(1, pair).sum(1) * v.gather(1, pair).sum(1)
        torch.testing.assert_close(got[found], expected[found], rtol=1e-12, atol=0)


@pytest.mark.parametrize("attack", VARIANTS, ids=str)
@pytest.mark.parametrize("targeted", [False, True])
def test_it_takes_the_pairs_that_brute_force_takes(attack, targeted):
    case = testing.small_net(6)
    targets = (case.labels + 1) % 4
    outcome = run(attack, case, sp.ClassifyAs(targets) if targeted else None)
    won = []
    for row in range(6):
        image, success = by_brute_force(attack, case, row, int(targets[row]) if targeted else None)
        assert bool(outcome.success[row]) == success
        if success:
            torch.testing.assert_close(outcome.examples[row].flatten(), image, rtol=0, atol=1e-12)
        won.append(success)
    assert any(won)


def test_a_finite_eps_caps_what_is_asked_too():
    attack = JSMA(ball=sp.L0(5), theta=0.3, gamma=1)
    testing.check_feasible(attack)
    free, held = (run(a, testing.small_net()) for a in (JSMA(theta=0.3, gamma=1), attack))
    assert (free.distance > 5).any()
    assert held.success.any()
    assert (held.distance[held.success] <= 5).all()
    assert torch.equal(held.success, free.distance <= 5)


def test_pitfall_16_gamma_counts_features():
    """n * gamma / 2 pairs, and a look at what the last one has made."""
    case = testing.small_net(4)
    hopeless = sp.ClassifyAs((case.labels + 2) % 4)
    outcome = run(JSMA(theta=0.001, gamma=0.1), case, hopeless)
    assert not outcome.success.any()
    assert (outcome.passes.backwards == int(192 * 0.1 / 2)).all()
    assert (outcome.passes.forwards == int(192 * 0.1 / 2) + 1).all()
    both = run(JSMA(theta=0.001, gamma=0.1, logits=True), case, hopeless)
    assert (both.passes.backwards == 2 * int(192 * 0.1 / 2)).all()
    capped = run(JSMA(theta=0.001, gamma=0.1, steps=3), case, hopeless)
    assert (capped.passes.backwards == 3).all()
    assert (capped.passes.forwards == 4).all()


@pytest.mark.parametrize("theta", [1.0, 0.3, -1.0, -0.3])
def test_pitfall_16_theta_has_a_sign_and_saturated_features_leave(theta):
    """Each feature moves in the direction of theta by whole thetas, or to the edge; one at the edge never moves."""
    case = testing.small_net(8)
    images = case.images.clone()
    images[:, :, ::4] = 1.0 if theta > 0 else 0.0
    with torch.no_grad():
        case = testing.Case(case.module, images, case.module(images).argmax(1))
    outcome = run(JSMA(theta=theta, gamma=1), case)
    delta = outcome.examples - images
    assert outcome.success.any()
    assert (delta * theta >= 0).all()
    assert (delta[:, :, ::4] == 0).all()
    at_edge = outcome.examples == (1.0 if theta > 0 else 0.0)
    times = delta / theta
    assert (at_edge | ((times - times.round()).abs() < 1e-9)).all()
    if abs(theta) < 1:
        assert (times > 1.5).any()  # features may move again


@pytest.mark.parametrize("classes", [2, 3, 11])
@pytest.mark.parametrize("logits", [False, True])
def test_pitfall_16_any_number_of_classes(classes, logits):
    case = testing.linear(classes)
    for goal in (case.goal, sp.ClassifyAs((case.labels + classes // 2) % classes)):
        outcome = run(JSMA(gamma=1, logits=logits), case, goal)
        assert outcome.attack_success_rate >= 0.75
        assert (goal(case.module(outcome.examples)).margin[outcome.success] > 0).all()


def test_nearly_saturated_features_are_not_moved_for_nothing():
    """The steepest feature has no room left: what counts is slope times way."""
    layer = nn.Linear(4, 2, bias=True).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [9.0, 9, 1, 1]]))
        layer.bias.copy_(torch.tensor([19.0, 0]))
    module = nn.Sequential(nn.Flatten(), layer)
    images = torch.tensor([[[[0.99, 0.99, 0.0, 0.0]]]], dtype=torch.float64)
    outcome = run(JSMA(gamma=0.5), testing.Case(module, images, torch.tensor([0])))
    assert outcome.success.all()
    assert (outcome.examples == torch.tensor([0.99, 0.99, 1, 1], dtype=torch.float64)).all()


def test_a_saturated_softmax_still_has_a_slope():
    """In float32 the gradient of a probability of 1 is 0; that of its logarithm ranks the pairs alike and is not."""
    case = testing.linear(3)
    layer = case.module[1]
    with torch.no_grad():
        layer.weight.mul_(1e4)
        layer.bias.mul_(1e4)
    single = testing.Case(case.module.float(), case.images.float(), case.labels)
    with torch.no_grad():
        assert (single.module(single.images).softmax(1).amax(1) == 1).all()
    assert run(JSMA(gamma=1), single, sp.ClassifyAs((case.labels + 1) % 3)).attack_success_rate >= 0.75


def test_a_row_without_a_pair_ends_there():
    case = testing.linear(3)
    white = torch.ones_like(case.images)
    with torch.no_grad():
        case = testing.Case(case.module, white, case.module(white).argmax(1))
    outcome = run(JSMA(), case)
    assert not outcome.success.any()
    assert (outcome.passes.backwards == 1).all()


MEASURE = """
import torch
from torch import nn
import sparring as sp
from sparring.attacks.minimal.jsma import JSMA
torch.set_num_threads(1)
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
torch.manual_seed(0)
net, images = nn.Sequential(nn.Flatten(), nn.Linear(150528, 4)), torch.rand(2, 3, 224, 224)
labels = net(images).argmax(1)
sp.run(sp.attacks.FGSM(sp.Linf(0.0)), sp.Classifier(net), sp.Misclassify(labels), images)
before = peak()
outcome = sp.run(JSMA(steps=4, logits=True), sp.Classifier(net), sp.ClassifyAs((labels + 1) % 4), images)
assert int(outcome.passes.backwards.max()) == 8, outcome.passes
angle = torch.rand(1, 2000)
sp.attacks.minimal.saliency.best_pair(angle.cos(), angle.sin())  # where nothing can be left out
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_pitfall_16_memory_is_linear_in_the_features():
    """All pairs of 224 x 224 x 3 features in float32 would take 84 GiB an image."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    extra = float(done.stdout)
    print(f"JSMA on two images of 224 x 224 x 3: {extra:.0f} MiB beyond what the process had")
    assert extra < 300


def test_bad_input_is_refused():
    with pytest.raises(ThreatError, match="JSMA knows L0, not L2; use FMN there"):
        JSMA(ball=sp.L2())
    with pytest.raises(ConfigError, match="JSMA theta=0; pass a finite number other than 0"):
        JSMA(theta=0)
    with pytest.raises(ConfigError, match=r"JSMA gamma=1\.5; pass a finite number > 0 and <= 1"):
        JSMA(gamma=1.5)
    with pytest.raises(ConfigError, match="JSMA steps=0; pass an integer >= 1"):
        JSMA(steps=0)
