"""Layers with Gaussian weights: their divergence, their draws, the laws of targets, and the predictive mean."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as exact_divergence
from torch.nn import functional as F

import sparring as sp
from sparring.defenses.bayesian import BayesianLayer, kl_divergence, make_bayesian
from sparring.errors import ConfigError, TargetError
from sparring.random import Key
from sparring.targets import Defended
from sparring.targets.pipeline import INSIDE
from sparring.targets.random_layers import drawing, keyed_layers
from sparring.testing import check_target

COUNT = 5


def seeded(make) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make()


def small() -> nn.Module:
    layers = nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)
    return seeded(lambda: nn.Sequential(*layers)).double().eval()


def pictures(count: int = COUNT) -> Tensor:
    return key_of(count).uniform("pictures", (2, 8, 8), dtype=torch.float64)


def key_of(count: int = COUNT, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def wide_of(layer: nn.Module, std: float = 0.3) -> BayesianLayer:
    """The layer with standard deviations that differ from weight to weight."""
    made = BayesianLayer(layer, prior_std=0.7)
    with torch.no_grad():
        for name in made.names:
            weight = getattr(made, f"{name}_log_std")
            noise = Key(torch.zeros(1, dtype=torch.int64), 5).normal(name, weight.shape, dtype=weight.dtype)[0]
            weight.copy_(torch.tensor(std).log() + 0.3 * noise)
    return made


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), (6,)),
    "linear on tokens": (lambda: nn.Linear(6, 4), (3, 6)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, padding=1), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (2, 7, 7)),
    "grouped and dilated": (lambda: nn.Conv2d(4, 4, 3, groups=2, dilation=2), (4, 7, 7)),
    "reflected": (lambda: nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), (2, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2), (1, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1), (2, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_image_meets_its_own_weights(name: str) -> None:
    make, shape = LAYERS[name]
    layer = wide_of(seeded(make).double()).eval()
    x, key = key_of().normal("x", shape, dtype=torch.float64), key_of(seed=8)
    with drawing(keyed_layers(layer), key), torch.no_grad():
        answers, weights = layer(x), layer.draw_weights()
        expected = seeded(make).double()
        for row in range(COUNT):
            for word, drawn in weights.items():
                getattr(expected, word).data = drawn[row]
            torch.testing.assert_close(answers[row], expected(x[row : row + 1])[0], rtol=1e-10, atol=1e-12)
    assert not torch.equal(weights["weight"][0], weights["weight"][1])


def test_divergence_is_that_of_gaussians_summed_over_all_weights() -> None:
    net = make_bayesian(small(), prior_std=0.7)
    layers = [module for module in net.modules() if isinstance(module, BayesianLayer)]
    expected = torch.zeros((), dtype=torch.float64)
    for number, layer in enumerate(layers):
        with torch.no_grad():
            layer.weight_log_std.copy_(layer.layer.weight * 0.2 - 1 - number)
        for name in ("weight", "bias"):
            q = Normal(getattr(layer.layer, name), getattr(layer, f"{name}_log_std").exp())
            expected = expected + exact_divergence(q, Normal(0.0 * q.mean, 0.7 + 0.0 * q.mean)).sum()
    assert len(layers) == 2
    torch.testing.assert_close(kl_divergence(net), expected, rtol=1e-12, atol=0)


def test_divergence_of_the_prior_from_itself_is_zero() -> None:
    layer = BayesianLayer(nn.Linear(3, 2).double(), prior_std=0.2, init_std=0.2)
    with torch.no_grad():
        layer.layer.weight.zero_()
        layer.layer.bias.zero_()
    assert abs(float(layer.kl_divergence().detach())) < 1e-12


def test_answers_of_a_linear_layer_have_the_moments_of_a_linear_gaussian() -> None:
    layer, count = wide_of(seeded(lambda: nn.Linear(6, 2)).double()).eval(), 40_000
    x = torch.linspace(-1, 2, 6, dtype=torch.float64)
    with drawing(keyed_layers(layer), key_of(count)), torch.no_grad():
        answers = layer(x.expand(count, 6))
    mean = F.linear(x, layer.layer.weight, layer.layer.bias)
    variance = F.linear(x.square(), (2 * layer.weight_log_std).exp(), (2 * layer.bias_log_std).exp())
    error = (variance / count).sqrt()
    assert bool(((answers.mean(0) - mean).abs() < 4 * error).all())
    torch.testing.assert_close(answers.var(0), variance, rtol=4 * (2 / count) ** 0.5, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name: str) -> None:
    make, shape = LAYERS[name]
    layer = wide_of(seeded(make).double()).eval()
    x = key_of(2).normal("x", shape, dtype=torch.float64).requires_grad_()

    def answers(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
        with drawing(keyed_layers(layer), key_of(2)):
            return torch.func.functional_call(layer, named, (x,))

    assert torch.autograd.gradcheck(answers, (x, *layer.parameters()), fast_mode=True)
    assert torch.autograd.gradcheck(lambda *_: layer.kl_divergence(), tuple(layer.parameters()), fast_mode=True)


def test_law_of_targets() -> None:
    net, other = make_bayesian(small()), make_bayesian(small(), init_std=0.06)
    target = sp.Classifier(net)
    assert target.stochastic
    check_target(target, pictures(), other=sp.Classifier(other), modules=(net,))
    check_target(Defended(target, votes=3), pictures(), modules=(net,))


def test_one_draw_serves_a_batch_in_training_and_without_a_key() -> None:
    layer, x = wide_of(nn.Linear(6, 4).double()), torch.ones(COUNT, 6, dtype=torch.float64)
    layers = keyed_layers(layer)
    found = []
    for seed in (1, 1, 2):
        with drawing(layers, key_of(seed=seed)):
            answers = layer.train()(x)
        assert bool((answers == answers[0]).all())
        found.append(answers)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    free = layer.eval()(x)
    assert bool((free == free[0]).all())
    assert not torch.equal(free, layer(x))


def test_a_layer_at_two_places_has_the_same_weights_in_a_pass() -> None:
    layer = nn.Linear(4, 4, bias=False).double()
    net = make_bayesian(nn.Sequential(layer, layer)).eval()
    x, key = torch.eye(4, dtype=torch.float64), key_of(4)
    with drawing(keyed_layers(net), key), torch.no_grad():
        weight = net[0].draw_weights()["weight"]
        answers = net(x)
    assert net[0] is net[1]
    torch.testing.assert_close(answers, torch.einsum("bij,bjk,bk->bi", weight, weight, x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(kl_divergence(net), net[0].kl_divergence(), rtol=0, atol=0)


def test_switched_off_it_is_the_network_that_it_was_made_of() -> None:
    plain = small()
    target = sp.Classifier(make_bayesian(plain)).disable_noise()
    assert not target.stochastic
    assert torch.equal(target(pictures()), plain(pictures()))


def test_predictive_mean_is_the_mean_of_the_probabilities() -> None:
    target = sp.Classifier(make_bayesian(small(), init_std=0.3))
    key = key_of()
    with target.frozen(), torch.no_grad():
        answers = Defended(target, votes=7)(pictures(), key)
        drawn = [target(pictures(), key.reseeded(vote).reseeded(INSIDE)).softmax(1) for vote in range(7)]
    torch.testing.assert_close(answers.softmax(1), torch.stack(drawn).mean(0))


def test_the_mean_gradient_over_draws_is_that_of_the_expected_answer() -> None:
    """EOT of a linear network, whose expected gradient is its mean weights."""
    net = make_bayesian(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2))).double(), init_std=0.2).eval()
    target, count = sp.Classifier(net), 20_000
    x = torch.full((count, 1, 2, 2), 0.5, dtype=torch.float64).requires_grad_()
    with target.frozen():
        (grad,) = torch.autograd.grad(target(x, key_of(count))[:, 0].sum(), x)
    error = 0.2 / count**0.5
    assert bool(((grad.flatten(1).mean(0) - net[1].layer.weight[0]).abs() < 4 * error).all())
    torch.testing.assert_close(grad.flatten(1).std(0), torch.full((4,), 0.2, dtype=torch.float64), rtol=0.03, atol=0)


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


def test_attention_keeps_the_projection_that_it_never_calls() -> None:
    net = make_bayesian(seeded(Attentive).eval())
    assert isinstance(net.head, BayesianLayer)
    assert sp.Classifier(net)(torch.rand(2, 4, 3, 3), key_of(2)).shape == (2, 3)


class Folded(nn.Module):
    """Halves of an image are put into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.reshape(-1, 4)).view(len(images), -1)


def test_refusals() -> None:
    normed = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    for network, told in (
        (nn.ReLU(), "has no Linear"),
        (make_bayesian(small()), "has BayesianLayers already"),
        (normed, "remove_parametrizations"),
        (nn.Sequential(nn.LazyLinear(2)), "has seen no input"),
        ("a net", "torch.nn.Module only"),
    ):
        with pytest.raises(TargetError, match=told):
            make_bayesian(network)
    for given in (0, -1.0, float("nan"), "wide"):
        with pytest.raises(ConfigError, match="prior_std"):
            make_bayesian(small(), prior_std=given)
        with pytest.raises(ConfigError, match="init_std"):
            make_bayesian(small(), init_std=given)
    with pytest.raises(TargetError, match="no random weights; pass make_bayesian"):
        kl_divergence(small())
    with pytest.raises(TargetError, match="6 rows for 3 images"):
        sp.Classifier(make_bayesian(Folded()).eval())(torch.rand(3, 2, 2, 2), key_of(3))
