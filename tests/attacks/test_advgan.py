"""AdvGAN: laws, pitfalls by name, bounds, files."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.optim import Adam

import sparring as sp
from sparring import testing
from sparring.access import Budget, Gradients, Keep, Ledger, QueryBroker, SharedBatch
from sparring.attacks import PGD
from sparring.attacks.shared import ArtifactAttack, load_artifact
from sparring.attacks.shared.adam import NetworkState, adam
from sparring.attacks.shared.advgan import AdvGAN
from sparring.attacks.shared.generator import PerturbationGenerator, bound
from sparring.attacks.shared.networks import Discriminator, Generator, NetworkSpec
from sparring.errors import ConfigError, InputError, ThreatError
from sparring.geometry.region import Region
from sparring.random import Key
from sparring.rows import take
from sparring.testing.cases import draw

SMALL = AdvGAN(sp.Linf(0.3), epochs=3, batch_size=8, width=2)
STRONG = AdvGAN(sp.Linf(0.2), epochs=25, batch_size=16, learning_rate=5e-3, width=4)


@pytest.fixture(scope="module")
def case():
    return testing.small_net(48)


@pytest.fixture(scope="module")
def strong(case):
    """Made on the first 32 images."""
    return sp.fit(STRONG, case.target, take(case.goal, torch.arange(32)), case.images[:32])


def fresh(x, ball, *, seed=0, width=4, gain=1.0):
    """A generator that has learned nothing."""
    plan = NetworkSpec(Generator, x.shape[1], width)
    return PerturbationGenerator(gain * plan.initial_weights(seed, x), x.shape[1], width, ball)


@pytest.mark.parametrize("attack", [SMALL, replace(SMALL, ball=sp.L2(1.0))], ids=["Linf", "L2"])
def test_laws(attack):
    testing.check_shared(attack, ratio=None)


def test_it_learns_and_pgd_at_the_same_eps_has_at_least_its_success(case, strong):
    held_out, goal = case.images[32:], take(case.goal, torch.arange(32, 48))
    by_generator = sp.run(ArtifactAttack(strong.artifact), case.target, goal, held_out)
    untrained = sp.run(ArtifactAttack(fresh(held_out, STRONG.ball)), case.target, goal, held_out)
    by_pgd = sp.run(PGD(STRONG.ball), case.target, goal, held_out)
    assert by_generator.success.sum() >= untrained.success.sum() + 6
    assert strong.fooled[-1] > strong.fooled[0] + 0.3
    assert bool((by_pgd.success | ~by_generator.success).all())


def test_targeted_goes_to_the_class(case):
    target_class = 2
    standing = case.labels != target_class
    goal = sp.ClassifyAs(torch.full((48,), target_class))
    made = sp.fit(replace(STRONG, ball=sp.Linf(0.4)), case.target, goal, case.images)
    assert made.images == int(standing.sum())
    with torch.no_grad():
        predicted = case.module(made.artifact.apply(case.images[standing])).argmax(1)
    assert (predicted == target_class).float().mean() > 0.7
    assert made.fooled[0] < made.fooled[-1]


def test_pitfall_clean_errors_are_no_successes(case, strong):
    labels = case.labels.clone()
    labels[:10] = (labels[:10] + 1) % 4
    outcome = sp.run(ArtifactAttack(strong.artifact), case.target, sp.Misclassify(labels), case.images)
    assert outcome.passes.forwards.tolist() == [0] * 10 + [1] * 38
    assert outcome.success[10:].any()
    moved = strong.artifact.apply(case.images[:10])
    assert not torch.equal(outcome.examples[:10], moved)  # they were left as they were
    assert torch.equal(outcome.examples[:10], case.images[:10])


def no_inner_attack(attack, images, rows):
    raise AssertionError("AdvGAN runs no attack of single images")


def stepped(attack, case, goal):
    """The state after one step on all images."""
    ledger = Ledger(Region.around(case.images, attack.ball), Keep.FIRST, Budget())
    oracle = Gradients(QueryBroker(case.target, goal, ledger, 128, skip_won=False))
    key = Key(torch.arange(len(case.images)), 0)
    return attack.step(
        oracle, attack.init(case.images[:1], 0, None), SharedBatch(case.images, key, no_inner_attack), 0.0
    )


def test_pitfall_the_discriminator_ignores_labels(case):
    """One step under other labels: another generator, the same discriminator."""
    before = SMALL.init(case.images[:1], 0, None)
    one, other = (stepped(SMALL, case, sp.Misclassify(labels)) for labels in (case.labels, (case.labels + 1) % 4))
    assert torch.equal(one.discriminator.weights, other.discriminator.weights)
    assert not torch.equal(one.discriminator.weights, before.discriminator.weights)
    assert not torch.equal(one.generator.weights, other.generator.weights)


def test_each_part_of_the_loss_moves_the_generator(case):
    plain = replace(SMALL, alpha=0.0, beta=0.0)
    weights = [
        stepped(attack, case, case.goal).generator.mean
        for attack in (
            plain,
            replace(plain, alpha=0.1),
            replace(plain, beta=0.1, hinge_bound=0.0),
            replace(plain, beta=0.1),
        )
    ]
    assert not torch.allclose(weights[0], weights[1], rtol=1e-3)
    assert not torch.allclose(weights[0], weights[2], rtol=1e-3)
    assert torch.equal(weights[0], weights[3])  # fresh moves are within half of what the ball allows


def test_the_hinge_keeps_moves_small(case):
    goal, images = case.goal, case.images
    free = sp.fit(replace(STRONG, epochs=8, alpha=0.0, beta=0.0), case.target, goal, images).artifact
    held = sp.fit(replace(STRONG, epochs=8, alpha=0.0, beta=5.0, hinge_bound=0.5), case.target, goal, images).artifact
    sizes = [float((made.apply(images) - images).flatten(1).norm(dim=1).mean()) for made in (free, held)]
    assert sizes[0] > 1.2
    assert sizes[1] < 0.75


def test_pitfall_an_image_is_moved_alone_as_it_is_among_others(case, strong):
    together = strong.artifact.apply(case.images)
    alone = torch.cat([strong.artifact.apply(image[None]) for image in case.images])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)
    assert (together - case.images).std(0).mean() > 0.001  # and not all of them in the same way


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("gain", [1.0, 30.0, 1e30])
@pytest.mark.parametrize("ball", [sp.Linf(0.3), sp.Linf(1 / 255), sp.Linf(1e-8), sp.L2(0.5), sp.L2(1e-3)], ids=str)
def test_pitfall_the_bound_holds_exactly_whatever_the_weights(ball, gain, dtype):
    x = torch.cat((draw("x", (6, 3, 8, 8)).sigmoid(), torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))).to(dtype)
    made = fresh(x, ball, gain=gain).apply(x)
    assert made.dtype == dtype
    assert bool(((made >= 0) & (made <= 1)).all())
    size = float(ball.norm(made - x).max())
    assert size <= ball.eps if isinstance(ball, sp.Linf) else size <= ball.eps * (1 + 1e-5)


def test_the_ball_is_used_to_its_edge():
    moves = 50 * draw("moves", (4, 3, 8, 8))
    assert float(bound(moves, sp.Linf(0.3)).abs().max()) == pytest.approx(0.3)
    assert torch.allclose(bound(moves, sp.L2(0.5)).flatten(1).norm(dim=1), torch.tensor(0.5).double(), rtol=1e-5)
    assert torch.equal(bound(moves.fill_(float("nan")), sp.L2(0.5)), torch.zeros_like(moves))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 13), (2, 11, 8)], ids=str)
def test_any_size_and_number_of_channels(shape):
    x = draw("sizes", (4, *shape)).sigmoid()
    made = fresh(x, sp.Linf(0.1), width=2).apply(x)
    assert made.shape == x.shape
    assert bool(((made - x).abs().amax((2, 3)) > 0).all())  # every channel moves
    opponent = NetworkSpec(Discriminator, shape[0], 2)
    scores = opponent.run(opponent.initial_weights(0, x), x)
    assert scores.shape == (4,)
    assert float(scores.std()) > 0


def test_images_that_do_not_fit(case, strong):
    with pytest.raises(InputError, match=r"the artifact moves images \(N, 3, any, any\)"):
        strong.artifact.apply(case.images[:, :1])
    with pytest.raises(InputError, match=r"at least 8 x 8, not \(8, 7\)"):
        strong.artifact.apply(case.images[..., :7])
    with pytest.raises(InputError, match=r"at least 8 x 8, not \(4, 8\)"):
        model = sp.Classifier(lambda images: images.mean((2, 3)))
        sp.fit(SMALL, model, sp.Misclassify(model(case.images).argmax(1)), case.images[:, :, :4])


def test_adam_is_torchs():
    network = NetworkState.initial(draw("weights", (7,)))
    parameter = network.weights.clone().requires_grad_()
    optimizer = Adam([parameter], lr=0.03)
    for move in range(5):
        parameter.grad = draw(f"slope {move}", (7,))
        optimizer.step()
        network = adam(network, parameter.grad, 0.03, move)
    assert torch.allclose(network.weights, parameter.detach(), rtol=1e-12)


def test_going_on_from_an_artifact(case, strong):
    goal = take(case.goal, torch.arange(32))
    more = sp.fit(
        replace(STRONG, epochs=2, learning_rate=1e-9), case.target, goal, case.images[:32], start=strong.artifact
    )
    assert torch.allclose(more.artifact.weights, strong.artifact.weights, atol=1e-6)
    assert more.fooled[0] > strong.fooled[0] + 0.3
    with pytest.raises(InputError, match="a generator of width 4 cannot go on with width=2"):
        sp.fit(SMALL, case.target, goal, case.images[:32], start=strong.artifact)


def test_a_file_brings_back_the_artifact(case, strong, tmp_path):
    path = strong.artifact.save(tmp_path / "generator.safetensors", strong.made)
    artifact, origin = load_artifact(path)
    assert (artifact.channels, artifact.width, artifact.ball) == (3, 4, sp.Linf(0.2))
    assert torch.equal(artifact.apply(case.images), strong.artifact.apply(case.images))
    assert origin["attack"] == repr(STRONG)
    with safe_open(str(path), framework="pt") as file:
        assert tuple(file.get_slice("layers.0.weight").get_shape()) == (4, 3, 3, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"channels": 3, "width": 10**9}},
        {"settings": {"channels": 3, "width": 2.0}},
        {"settings": {"channels": True, "width": 2}},
        {"settings": {"channels": 3, "width": 4}},  # other shapes than those in the file
        {"settings": {}},
        {"settings": 3},
        {"drop": "layers.0.weight"},
        {"add": {"more": torch.zeros(1)}},
        {"add": {"layers.0.weight": torch.zeros(2, 3, 3, 3, dtype=torch.int32)}},
        {"add": {"layers.0.weight": torch.full((2, 3, 3, 3), float("inf"))}},
    ],
    ids=["huge", "fraction", "truth", "other", "none", "number", "missing", "more", "integers", "infinite"],
)
def test_a_hostile_file_is_refused(tmp_path, change):
    made = fresh(torch.zeros(1, 3, 8, 8), sp.Linf(0.1), width=2)
    tensors = {name: value.clone() for name, value in made.tensors().items()} | change.pop("add", {})
    tensors.pop(change.pop("drop", None), None)
    values = {"kind": "generator", "ball": {"norm": "Linf", "eps": 0.1}, "settings": made.settings(), "made": {}}
    path = tmp_path / "generator.safetensors"
    save_file(tensors, str(path), metadata={"values": json.dumps(values | change)})
    with pytest.raises(InputError, match=r"generator.safetensors is no artifact .*; make it again"):
        load_artifact(path)


def test_bad_input():
    with pytest.raises(ThreatError, match="AdvGAN needs a radius"):
        AdvGAN(sp.Linf())
    with pytest.raises(ThreatError, match="AdvGAN knows Linf and L2, not L1"):
        AdvGAN(sp.L1(1.0))
    for name, value in {
        "epochs": 0, "learning_rate": 0.0, "alpha": -1.0, "beta": -1.0, "hinge_bound": -1.0, "width": 1000
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=f"AdvGAN {name}={value}; pass a"):
            AdvGAN(sp.Linf(0.1), **{name: value})
