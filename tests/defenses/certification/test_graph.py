"""The captured graph computes what the classifier computes, or the network is refused by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparring as sp
from sparring.defenses.certification import Network, certify_bounds
from sparring.errors import InputError, TargetError


class Wrapped(nn.Module):
    """A network given by a function of (layers, x)."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def conv(*args, **kwargs):
    return nn.Conv2d(*args, **kwargs)


def flat(x):
    return x.reshape(x.shape[0], -1)[:, :5]


def residual(m, x):
    h = F.relu_(m.norm(m.first(x)))
    return flat(m.second(h) + h)


def squeezed(m, x):
    h = m.first(x)
    h = torch.cat((h, F.relu(h)), dim=1)[:, [0, 3, 1, 6]]
    a, b = h.chunk(2, dim=1)
    return (3 - torch.cat((b, a), 1).mean((2, 3)) / 2) * 0.3


def padded(m, x):
    h = F.pad(x, (1, 2, 0, 1), value=0.5)
    h = F.pad(h, (1, 1, 1, 1), mode="reflect").permute(0, 1, 3, 2)
    return flat(m.first(h)[:, :, 1:-1, ::2])


def pooled(m, x):
    h = F.max_pool2d(m.first(x), 3, 2, padding=1, ceil_mode=True)
    h = F.avg_pool2d(h, 2, stride=1, padding=1)
    return F.adaptive_avg_pool2d(F.adaptive_max_pool2d(h, (3, 2)), 1).flatten(1)


def matrices(m, x):
    h = x.flatten(2)
    h = h @ torch.linspace(-1, 1, 36 * 4).reshape(36, 4)
    h = torch.einsum("bij,jk->bik", h, torch.linspace(0, 1, 12).reshape(4, 3))
    return torch.tanh(-h.flatten(1)) + torch.ones(x.shape[0], 6) * 0.1


def one_dimensional(m, x):
    h = F.leaky_relu(m.first(x.flatten(2)))
    return F.max_pool1d(m.second(h), 2).amax(2)


NETWORKS = {
    "residual": lambda: Wrapped(
        residual, first=conv(2, 4, 3, padding=1), norm=nn.BatchNorm2d(4), second=conv(4, 4, 3, padding="same")
    ),
    "slices": lambda: Wrapped(squeezed, first=conv(2, 4, 3, stride=2, padding=1, groups=2)),
    "padding": lambda: Wrapped(padded, first=conv(2, 3, 3, dilation=2)),
    "pooling": lambda: Wrapped(pooled, first=conv(2, 4, 2)),
    "matrices": lambda: Wrapped(matrices),
    "1d": lambda: Wrapped(one_dimensional, first=nn.Conv1d(2, 3, 4, stride=2), second=nn.ConvTranspose1d(3, 4, 3, 2)),
    "circular": lambda: nn.Sequential(conv(2, 3, 3, padding=1, padding_mode="circular"), nn.GELU(), nn.Flatten()),
    "transposed": lambda: nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, 2, 1, output_padding=1, groups=2), nn.PReLU(4), nn.Flatten()
    ),
    "dropout": lambda: nn.Sequential(nn.Dropout(), nn.Identity(), nn.Flatten(), nn.Linear(72, 4), nn.SELU()),
    "weight norm": lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(72, 4))),
    "tokens": lambda: nn.Sequential(nn.Flatten(2), nn.Linear(36, 3), nn.SiLU(), nn.Flatten(), nn.Linear(6, 3)),
}


def trained(net):
    """The network with batch statistics and slopes that are not those of the start."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1, 1)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.5, 1.5)
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_equals_the_classifier_and_its_bounds_hold_its_values(name):
    target = sp.Classifier(trained(NETWORKS[name]()), mean=(0.4, 0.3), std=(0.5, 0.8))
    images = torch.rand(3, 2, 6, 6)
    network = Network(target, images)
    with target.frozen(), torch.no_grad():
        logits = target(images)
        assert torch.allclose(network(images.double()).float(), logits, atol=1e-5)
        goal = sp.Misclassify(logits.argmax(1))
        moved = (images + 0.05 * (2 * torch.rand(50, 3, 2, 6, 6) - 1)).clamp(0, 1)
        values = torch.stack([target(one) for one in moved]).double()
    own = values.gather(2, goal.classes[None, :, None].expand(50, 3, 1))
    for method in ("ibp", "crown-ibp", "crown", "alpha-crown"):
        found = certify_bounds(network, goal, images, sp.Linf(0.05), method=method)
        rivals = values.gather(2, found.rivals.expand(50, *found.rivals.shape))
        assert bool((own - rivals >= found.lower - 1e-5).all()), method


def test_network_keeps_its_mode_flags_and_weights():
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    target = sp.Classifier(net, mean=0.5)
    network = Network(target, torch.rand(2, 2, 2, 2))
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert target._places == {} or all(type(one) is torch.Tensor for one in target._places.values())
    assert len(network) > 5


def test_network_that_works_in_place_on_its_images_is_captured():
    images = torch.rand(2, 1, 2, 2)
    net = Wrapped(lambda m, x: m.last(x.mul_(2).sub_(1).flatten(1)), last=nn.Linear(4, 3))
    for target in (net, sp.Classifier(net, layout="NHWC"), sp.Classifier(net, mean=0.5)):
        network = Network(target, images)
        with torch.no_grad():
            assert torch.allclose(network(images), network.target(images), atol=1e-6)


def test_graph_follows_the_weights():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    network = Network(net, torch.rand(1, 1, 2, 2))
    images = torch.rand(2, 1, 2, 2)
    before = network(images)
    with torch.no_grad():
        net[1].weight.mul_(2)
        net[1].bias.mul_(2)
        assert torch.allclose(network(images), 2 * before)


REFUSED = {
    "softmax": (lambda m, x: flat(x).softmax(1), "softmax"),
    "product": (lambda m, x: flat(x) * flat(x).flip(1), "a product of two"),
    "division": (lambda m, x: 1 / (1 + flat(x)), "reciprocal"),
    "layer norm": (lambda m, x: F.layer_norm(flat(x), (5,)), "layer_norm"),
    "branch": (lambda m, x: flat(x) if x.sum() > 3 else -flat(x), "cannot be traced"),
    "constant": (lambda m, x: torch.ones(x.shape[0], 3), "do not depend on"),
    "batch mean": (lambda m, x: flat(x) - flat(x).mean(0), "each image"),
    "other rows": (lambda m, x: flat(x).roll(1, 0), "the other images"),
    "half": (lambda m, x: flat(x).half().float(), "a conversion to torch.float16"),
    "two": (lambda m, x: torch.max(flat(x), torch.ones(5)), "maximum of two|maximum"),
    "negative": (lambda m, x: F.elu(flat(x), -1.0), "alpha=-1"),
    "steep": (lambda m, x: F.leaky_relu(flat(x), 2.0), "slope 2"),
    "spatial": (lambda m, x: x + 0.0, "logits"),
    "random": (lambda m, x: flat(x) + torch.rand(5), "."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_bounds_is_refused_by_name(name):
    function, message = REFUSED[name]
    with pytest.raises(TargetError, match=message):
        Network(Wrapped(function), torch.rand(2, 1, 4, 4))


def test_message_names_the_layer_and_its_shape():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.GroupNorm(2, 6), nn.Linear(6, 2))
    with pytest.raises(TargetError, match=r"group_norm.* in 2, shape \(6,\)"):
        Network(net, torch.rand(1, 1, 4, 4))


def test_batch_norm_without_statistics_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2))
    with pytest.raises(TargetError):
        Network(net, torch.rand(2, 1, 2, 2))


@pytest.mark.wrong_types
def test_targets_without_a_certificate_are_refused():
    images = torch.rand(1, 1, 2, 2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(TargetError, match="Classifier"):
        Network(sp.Restricted(sp.Classifier(net), sp.Scores), images)
    with pytest.raises(TargetError, match="random"):
        Network(sp.Classifier(net, stochastic=True), images)
    with pytest.raises(InputError, match="captured for"):
        certify_bounds(Network(net, images), sp.Misclassify(torch.tensor([0])), torch.rand(1, 1, 3, 3), sp.Linf(0.1))
