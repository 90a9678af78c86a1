"""Noise before each convolution: where it is put, what it draws, training with it, and its expected gradient."""

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.defenses.randomization import NoiseLayer, add_noise_layers, networks
from sparring.defenses.training import Adversary, Averaging, Madry, Optimizer, Plain, TrainingConfig, Validation, train
from sparring.errors import ConfigError, TargetError
from sparring.random import Key
from sparring.targets import Defended
from sparring.targets.pipeline import INSIDE
from sparring.testing.cases import small_net


class Small(nn.Module):
    """Three convolutions, one of them at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.block = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.again = self.block[1]
        self.last = nn.Linear(4 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.block(self.first(x))).flatten(1))


def seeded(make) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make()


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def pictures(count: int = 100) -> tuple[Tensor, Tensor]:
    """Brighter on the left or on the right."""
    labels = key_of(count).integers("label", (), 2)
    images = 0.2 + 0.2 * key_of(count).uniform("picture", (1, 6, 6))
    images[labels == 1, :, :, :3] += 0.5
    images[labels == 0, :, :, 3:] += 0.5
    return images, labels


def test_noise_stands_before_each_convolution_of_a_copy() -> None:
    net = seeded(Small).eval()
    noisy = add_noise_layers(net, 0.3, 0.05)
    assert not any(isinstance(module, NoiseLayer) for module in net.modules())
    layers = [module for module in noisy.modules() if isinstance(module, NoiseLayer)]
    assert [layer.sigma for layer in layers] == [0.3, 0.05]
    assert isinstance(noisy.first[0], NoiseLayer)
    assert isinstance(noisy.first[1], nn.Conv2d)
    assert noisy.block[1] is noisy.again
    assert not any(module.training for module in noisy.modules())
    assert noisy.first[1].weight is not net.first.weight
    x = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(sp.Classifier(noisy).disable_noise()(x), net(x))
        assert not torch.equal(sp.Classifier(noisy)(x, key_of(3)), net(x))


def test_the_papers_sigmas_are_the_defaults_and_a_lone_convolution_is_wrapped() -> None:
    wrapped = add_noise_layers(nn.Conv2d(1, 1, 1))
    assert [type(module) for module in wrapped] == [NoiseLayer, nn.Conv2d]
    assert wrapped[0].sigma == 0.2
    assert add_noise_layers(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)))[1][0].sigma == 0.1


def test_noise_has_its_standard_deviation_with_and_without_a_key() -> None:
    layer, zeros = NoiseLayer(0.4), torch.zeros(300, 50, dtype=torch.float64)
    target = sp.Classifier(layer)
    with torch.random.fork_rng([]):
        drawn = [target(zeros, key_of(300)), target(zeros)]
    for noise in drawn:
        assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.4 / 15_000**0.5)
        assert float(noise.std()) == pytest.approx(0.4, rel=0.02)


def test_what_a_row_draws_does_not_depend_on_its_batch() -> None:
    target, x = sp.Classifier(add_noise_layers(small_net().module)), small_net(6).images
    before = torch.get_rng_state()
    with torch.no_grad():
        whole = target(x, key_of(6))
        parts = [target(x[i : i + 1], Key(torch.tensor([i]), 3)) for i in range(6)]
        assert torch.equal(whole, target(x, key_of(6)))  # the same key, the same draws
    assert torch.allclose(whole, torch.cat(parts), atol=1e-12)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_that_is_used_twice_in_a_pass_draws_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = NoiseLayer(1.0)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat((self.noise(x), self.noise(x)), 1)

    target, zeros = sp.Classifier(Twice()), torch.zeros(50, 40, dtype=torch.float64)
    drawn = target(zeros, key_of(50))
    first, second = drawn.chunk(2, 1)
    assert abs(float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])) < 0.1
    assert torch.equal(drawn, target(zeros, key_of(50)))


def test_autograd_goes_through() -> None:
    case = small_net(1)
    target = sp.Classifier(add_noise_layers(case.module))
    with target.frozen():
        assert torch.autograd.gradcheck(lambda x: target(x, key_of(1)), (case.images.requires_grad_(),), fast_mode=True)


SMALL = TrainingConfig(epochs=2, batch_size=10, optimizer=Optimizer(name="adam", lr=0.01, weight_decay=0.0))
LOOK = Validation(val_size=10, steps=2, batch_size=10)
PGD2 = Adversary((sp.attacks.PGD(sp.Linf(0.05), steps=2),))


def learn(objective=None, adversary: Adversary | None = None, config: TrainingConfig = SMALL, **options) -> nn.Module:
    net = add_noise_layers(seeded(Small))
    train(sp.Classifier(net), pictures(80), objective or Plain(), adversary, config=config, validation=LOOK, **options)
    return net


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_network_learns_with_its_noise() -> None:
    net = learn()
    assert same(net, learn())
    images, labels = pictures(200)
    defended = Defended(sp.Classifier(net), votes=5)
    assert float((defended(images[80:], key_of(120)).argmax(1) == labels[80:]).float().mean()) > 0.9


@pytest.mark.parametrize("averaging", [None, Averaging(decay=0.5)])
def test_adversarial_training_attacks_it_with_its_noise(averaging: Averaging | None) -> None:
    config = SMALL.model_copy(update={"averaging": averaging, "epochs": 1})
    net = learn(Madry(), PGD2, config)
    assert same(net, learn(Madry(), PGD2, config))
    assert not same(net, learn(config=config))


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path) -> None:
    def stop(progress) -> None:
        if progress.update == 9:
            raise KeyboardInterrupt

    config = SMALL.model_copy(update={"checkpoint_seconds": 0.0})
    with pytest.raises(KeyboardInterrupt):
        learn(config=config, out=tmp_path, progress=stop)
    assert same(learn(config=config, out=tmp_path, resume=True), learn(config=config))


@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_the_expected_gradient_is_that_of_foolbox() -> None:
    """Its wrapper takes the mean of logits; of a loss linear in them the gradient is the mean of ours."""
    import eagerpy as ep
    import foolbox
    from foolbox.models import ExpectationOverTransformationWrapper

    case, draws, indices = small_net(5), 4, torch.arange(5)
    victim = sp.Classifier(add_noise_layers(case.module))

    class Linear(sp.goals.LogitClimb):
        def of_logits(self, logits: Tensor, classes: Tensor, every: bool) -> Tensor:
            return -logits.gather(1, classes[:, None]).squeeze(1)

    class Numbered(nn.Module):
        """The same draws, one after the other."""

        def __init__(self) -> None:
            super().__init__()
            self.asked = 0

        def forward(self, x: Tensor) -> Tensor:
            key = Key(indices, 0).at(torch.zeros(5, dtype=torch.long)).reseeded(self.asked)
            self.asked += 1
            return victim(x, key.reseeded(INSIDE))

    with victim.frozen():
        wrapped = foolbox.PyTorchModel(Numbered().eval(), bounds=(0, 1), device="cpu")
        model = ExpectationOverTransformationWrapper(wrapped, n_steps=draws)

        def loss(x: ep.Tensor) -> ep.Tensor:
            logits = ep.astensor(model(x.raw))
            return -logits[range(5), case.labels.tolist()].sum()

        _, theirs = ep.value_and_grad(loss, ep.astensor(case.images))
    seen: list[Tensor] = []

    class Once(sp.attacks.FGSM):
        def step(self, oracle, state, t):
            seen.append(oracle.gradient(case.images, loss=Linear()).grad)
            return super().step(oracle, state, t)

    sp.run(Once(sp.Linf(0.1)), Defended(victim).adaptive_view(draws), case.goal, case.images)
    assert torch.allclose(seen[0], theirs.raw, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseLayer(-0.1), "sigma=-0.1; pass a number >= 0"),
        (lambda: NoiseLayer(float("inf")), "sigma=inf"),
        (lambda: NoiseLayer(True), "sigma=True"),
        (lambda: add_noise_layers(nn.Linear(2, 2)), "Linear has no Conv1d or Conv2d or Conv3d module"),
        (lambda: add_noise_layers(add_noise_layers(nn.Conv2d(1, 1, 1))), "has NoiseLayers already"),
        (lambda: add_noise_layers(lambda x: x), "into a torch.nn.Module only, not into a function"),
        (lambda: add_noise_layers(nn.Conv2d(1, 1, 1), sigma_init=-1), "sigma=-1"),
    ],
)
def test_bad_input_is_told_at_the_door(make, message: str) -> None:
    with pytest.raises((ConfigError, TargetError), match=message):
        make()


def test_the_table_names_it() -> None:
    assert networks["self-ensemble"] is add_noise_layers
