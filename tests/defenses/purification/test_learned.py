"""What learns: denoisers, HGD, the generator of Defense-GAN; and Defense-GAN's search where its answer is known."""

import math

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import FGSM, PGD
from sparring.defenses.purification import (
    HGD,
    DefenseGAN,
    Denoiser,
    DenoisingAutoencoder,
    FitConfig,
    UNet,
    VAEGenerator,
    fit_denoiser,
    fit_generator,
    fit_hgd,
    load_weights,
    save_weights,
)
from sparring.errors import ConfigError, InputError, RunError, TargetError
from sparring.random import Key
from sparring.transforms import apply_with_bpda

QUICK = FitConfig(epochs=3, batch_size=16, lr=3e-3)


def key(count, seed=0):
    return Key(torch.arange(count), seed)


def bars(count, side=12, channels=1):
    """Images of one bright bar, of class 0 where it stands and 1 where it lies."""
    keys = key(count)
    place, lying = keys.integers("place", (), side - 3), keys.integers("lying", (), 2)
    along = torch.arange(side)
    bar = ((along >= place[:, None] + 1) & (along < place[:, None] + 3)).float() * 0.8 + 0.1
    images = torch.where(lying[:, None, None] > 0, bar[:, :, None], bar[:, None, :])
    return images[:, None].expand(-1, channels, side, side).contiguous(), lying


def reader():
    """A classifier of bars: does the brightness vary more from row to row, or from column to column?"""

    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(40.0))

        def forward(self, x):
            lying, standing = x.mean((1, 3)).var(1), x.mean((1, 2)).var(1)
            return self.scale * torch.stack((standing, lying), 1)

    return sp.Classifier(Read(), classes=2)


def fresh(make, seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return make()


def test_a_denoiser_learns_to_take_noise_away():
    images, _ = bars(160)
    stage = Denoiser(fresh(lambda: DenoisingAutoencoder(1, 8)))
    told = []
    log = fit_denoiser(
        stage, images[:128], sigma=0.4, config=FitConfig(12, 8, 1e-2), progress=lambda *news: told.append(news)
    )
    unseen = images[128:]
    noisy = (unseen + 0.4 * key(32).normal("n", (1, 12, 12))).clamp(0, 1)
    with torch.no_grad():
        cleaned = stage(noisy, key(32))
    assert (cleaned - unseen).square().mean() < 0.6 * (noisy - unseen).square().mean()
    assert log[-1] < 0.5 * log[0]
    assert told == [(epoch + 1, 12, loss) for epoch, loss in enumerate(log)]
    assert not stage.module.training


@pytest.mark.parametrize("size", [(12, 12), (13, 10), (5, 7)])
@pytest.mark.parametrize("make", [DenoisingAutoencoder, UNet])
def test_the_networks_keep_the_shape_of_any_image(make, size):
    net = fresh(lambda: make(3, 4)).eval()
    assert net(torch.zeros(2, 3, *size)).shape == (2, 3, *size)


def test_hgd_begins_as_the_identity_and_is_led_by_the_logits():
    images, labels = bars(96)
    target, stage = reader(), HGD(fresh(lambda: UNet(1, 4, 1)))
    with torch.no_grad():
        assert torch.equal(stage(images, key(96)), images)
    attacks = (FGSM(sp.Linf(0.15)), PGD(sp.Linf(0.1), steps=4))
    before = sp.craft(attacks[0], target, sp.Misclassify(labels), images)
    log = fit_hgd(stage, target, images, labels, attacks, config=FitConfig(8, 16, 1e-2))
    with torch.no_grad():
        clean = target(images)
        off = (target(before) - clean).abs().mean()
        left = (target(stage(before, key(96))) - clean).abs().mean()
    assert log[-1] < 0.7 * log[0]
    assert left < 0.5 * off


def test_hgd_is_led_by_features_that_are_asked_for():
    images, labels = bars(32)
    stage, asked = HGD(fresh(lambda: UNet(1, 4, 1))), []

    def features(x):
        asked.append(x.shape[1:])
        return x.mean((2, 3))

    fit_hgd(stage, reader(), images, labels, [FGSM(sp.Linf(0.1))], features=features, config=QUICK)
    assert set(asked) == {(1, 12, 12)}


def learned(name):
    """Fit one of the networks; what was trained, and what it was led by."""
    images, labels = bars(32)
    if name == "denoiser":
        stage = Denoiser(fresh(lambda: DenoisingAutoencoder(1, 4)))
        return fit_denoiser(stage, images, config=QUICK), stage.module, nn.Identity()
    if name == "hgd":
        stage, target = HGD(fresh(lambda: UNet(1, 4, 1))), reader()
        attacks = [PGD(sp.Linf(0.1), steps=2)]
        return fit_hgd(stage, target, images, labels, attacks, config=QUICK), stage.module, target.model
    generator = fresh(lambda: VAEGenerator(1, (12, 12), 4, 4))
    return fit_generator(generator, images, config=QUICK), generator, nn.Identity()


@pytest.mark.parametrize("name", ["denoiser", "hgd", "generator"])
def test_a_fit_repeats_itself_and_leaves_nothing_behind(name):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    log, net, guide = learned(name)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    again, twin, _ = learned(name)
    assert log == again
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True))
    assert not net.training
    assert all(weight.grad is None for weight in net.parameters())
    assert all(weight.requires_grad and weight.grad is None for weight in guide.parameters())
    assert all(float(weight.detach()) == 40.0 for weight in guide.parameters())


def test_the_generator_comes_near_unseen_images():
    images, _ = bars(256)
    generator = fresh(lambda: VAEGenerator(1, (12, 12), 6, 8))
    fit_generator(generator, images[:224], config=FitConfig(20, 16, 1e-2))
    stage = DefenseGAN(generator, 6, steps=60, restarts=3, lr=10.0)
    unseen = images[224:]
    found = stage(unseen, key(32))
    nearest_gray = (unseen - unseen.mean((1, 2, 3), keepdim=True)).square().mean()
    assert (found - unseen).square().mean() < 0.25 * nearest_gray


class Plane(nn.Module):
    """G(z) = base + A z: the nearest image is a projection."""

    def __init__(self, dimensions=3, side=4):
        super().__init__()
        basis = Key(torch.arange(1), 0).normal("A", (side * side, dimensions), dtype=torch.float64)[0]
        self.basis, self.side = nn.Parameter(torch.linalg.qr(basis).Q), side

    def forward(self, z):
        return 0.5 + 0.1 * (z @ self.basis.T).view(-1, 1, self.side, self.side)


def test_on_a_plane_the_search_ends_at_the_projection():
    images = 0.3 + 0.4 * key(5).uniform("x", (1, 4, 4), dtype=torch.float64)
    plane = Plane()
    found = DefenseGAN(plane, 3, steps=400, restarts=2, lr=400.0)(images, key(5))
    shift = (images - 0.5).flatten(1)
    wanted = 0.5 + shift @ plane.basis @ plane.basis.T
    assert torch.allclose(found.flatten(1), wanted, rtol=0, atol=1e-6)
    assert not found.requires_grad
    assert plane.basis.grad is None


def test_of_several_starts_the_best_counts():
    class Waves(nn.Module):
        """One-dimensional, with a valley about every second unit of z."""

        def __init__(self):
            super().__init__()
            self.one = nn.Parameter(torch.ones(1))

        def forward(self, z):
            wave = 0.5 + 0.2 * torch.sin(3 * z) + 0.05 * z
            return (self.one * wave).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    images = torch.full((40, 1, 2, 2), 0.77)
    distances = {
        restarts: (DefenseGAN(Waves(), 1, 60, restarts, lr=1.0)(images, key(40)) - images).abs().amax((1, 2, 3))
        for restarts in (1, 8)
    }
    assert distances[8].mean() < 0.5 * distances[1].mean()


def test_weights_go_into_a_file_and_come_back(tmp_path):
    net, other = fresh(lambda: UNet(1, 4, 1)), fresh(lambda: UNet(1, 4, 1), seed=1)
    path = save_weights(net, tmp_path / "unet.safetensors")
    load_weights(other, path)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    assert not other.training
    with pytest.raises(RunError, match=r"holds the weights of a UNet, which do not fit this UNet; make it with"):
        load_weights(UNet(3, 4, 1), path)
    with pytest.raises(RunError, match="pass a file that save_weights wrote"):
        load_weights(net, tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("fit", ["denoiser", "hgd", "generator"])
@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(0, 1, 12, 12), r"nothing to learn from: \(0, 1, 12, 12\)"),
        (torch.full((4, 1, 12, 12), math.nan), "outside it or NaN; pass clean images"),
        (torch.full((4, 1, 12, 12), 1.5), r"takes images in \[0, 1\]"),
        (torch.zeros(4, 12, 12), r"\(N, C, H, W\) in \[0, 1\]; got torch.float32 \(4, 12, 12\)"),
        (torch.zeros(4, 1, 12, 12, dtype=torch.uint8), "got torch.uint8"),
    ],
)
def test_images_that_nothing_can_be_learned_from(fit, images, said):
    labels = torch.zeros(len(images), dtype=torch.int64)
    calls = {
        "denoiser": lambda: fit_denoiser(Denoiser(DenoisingAutoencoder(1, 2)), images),
        "hgd": lambda: fit_hgd(HGD(UNet(1, 2, 1)), reader(), images, labels, [FGSM(sp.Linf(0.1))]),
        "generator": lambda: fit_generator(VAEGenerator(1, (12, 12), 2, 2), images),
    }
    with pytest.raises(InputError, match=said):
        calls[fit]()


def test_bad_input():
    images, labels = bars(8)
    with pytest.raises(InputError, match=r"one label per image; got \(4,\) for 8"):
        fit_hgd(HGD(UNet(1, 2, 1)), reader(), images, labels[:4], [FGSM(sp.Linf(0.1))])
    with pytest.raises(ConfigError, match="pass at least one attack"):
        fit_hgd(HGD(UNet(1, 2, 1)), reader(), images, labels, [])
    with pytest.raises(InputError, match=r"makes \(8, 8\), and the images are \(12, 12\)"):
        fit_generator(VAEGenerator(1, (8, 8), 2, 2), images)
    with pytest.raises(InputError, match="a generator takes 3 channels, and these images have 1"):
        fit_generator(VAEGenerator(3, (12, 12), 2, 2), images)
    with pytest.raises(ConfigError, match=r"Denoiser sigma=0; pass a number above 0"):
        fit_denoiser(Denoiser(DenoisingAutoencoder(1, 2)), images, sigma=0)
    with pytest.raises(ConfigError, match=r"FitConfig epochs=0; pass an int >= 1"):
        FitConfig(epochs=0)
    with pytest.raises(ConfigError, match=r"FitConfig lr=nan; pass a number above 0"):
        FitConfig(lr=math.nan)
    with pytest.raises(ConfigError, match="no weight that asks for a gradient"):
        fit_denoiser(Denoiser(DenoisingAutoencoder(1, 2).requires_grad_(False)), images)
    with pytest.raises(RunError, match=r"the loss is (nan|inf); lower the lr, now 1e\+30"):
        fit_denoiser(Denoiser(fresh(lambda: DenoisingAutoencoder(1, 2))), images, config=FitConfig(6, 4, 1e30))
    with pytest.raises(TargetError, match=r"gives \(8, 2, 12, 12\) for images \(8, 1, 12, 12\)"):
        Denoiser(nn.Conv2d(1, 2, 1))(images, key(8))
    with pytest.raises(TargetError, match=r"makes \(1, 8, 8\), and images are \(1, 12, 12\)"):
        DefenseGAN(VAEGenerator(1, (8, 8), 2, 2), 2, steps=1)(images, key(8))
    with pytest.raises(TargetError, match=r"DefenseGAN is built around a torch\.nn\.Module, not a str"):
        DefenseGAN("net", 2)


def test_autograd_goes_through_a_denoiser():
    net, x = fresh(lambda: nn.Conv2d(1, 1, 3, padding=1)).double(), bars(2)[0].double().requires_grad_()
    for residual in (False, True):
        stage = Denoiser(net, residual)
        (slope,) = torch.autograd.grad(apply_with_bpda(stage, x, key(2)).sum(), x)
        (wanted,) = torch.autograd.grad((x * residual + net(x)).clamp(0, 1).sum(), x)
        assert torch.equal(slope, wanted)
