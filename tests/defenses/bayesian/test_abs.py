"""Analysis by synthesis: bounds and inference of linear-Gaussian models in closed form, laws, training, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import sparring as sp
from sparring.defenses.bayesian import ABS, ClassVAE, fit_class_vae
from sparring.defenses.fitting import FitConfig
from sparring.defenses.purification import BitDepth
from sparring.errors import ConfigError, InputError, TargetError
from sparring.random import Key
from sparring.targets import Defended
from sparring.testing import check_target

CLASSES, SHAPE, LATENT, SIGMA = 3, (1, 3, 4), 2, 0.4
PIXELS = math.prod(SHAPE)


def normal(stream: str, *shape: int) -> Tensor:
    return Key(torch.zeros(1, dtype=torch.int64), 4).normal(stream, shape, dtype=torch.float64)[0]


class LinearGaussian(ClassVAE):
    """x = A_y z + b_y + sigma n, with the exact posterior of z as its encoder."""

    def __init__(self) -> None:
        super().__init__(CLASSES, SHAPE, LATENT, sigma=SIGMA)
        self.double()
        self.slope = 0.3 * normal("slope", CLASSES, PIXELS, LATENT)
        self.offset = 0.5 + 0.1 * normal("offset", CLASSES, PIXELS)
        for word in ("slope", "offset"):
            self.register_buffer(word, self.__dict__.pop(word))
        # orthogonal columns, so that the posterior is diagonal
        self.slope.copy_(torch.linalg.qr(self.slope)[0] * torch.tensor([0.9, 0.5], dtype=torch.float64))

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.slope.transpose(1, 2) + self.offset[:, None]

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        precision = self.slope.square().sum(1) / SIGMA**2 + 1
        mean = (images - self.offset[:, None]) @ self.slope / SIGMA**2 / precision[:, None]
        return mean, (-0.5 * precision.log())[:, None].expand_as(mean)

    def evidence(self, images: Tensor) -> Tensor:
        """log p(x | y) (K, N), exactly."""
        eye = torch.eye(PIXELS, dtype=torch.float64)
        found = []
        for slope, offset in zip(self.slope, self.offset, strict=True):
            found.append(MultivariateNormal(offset, slope @ slope.T + SIGMA**2 * eye).log_prob(images))
        return torch.stack(found)


def pictures(count: int = 6) -> Tensor:
    return Key(torch.arange(count), 2).uniform("pictures", SHAPE, dtype=torch.float64)


def sigma_points() -> Tensor:
    """(2 LATENT, LATENT): the mean over them is the expectation under a standard normal, of any quadratic."""
    axes = math.sqrt(LATENT) * torch.eye(LATENT, dtype=torch.float64)
    return torch.cat((axes, -axes))


def test_bound_with_the_exact_posterior_is_the_evidence() -> None:
    vae, flat = LinearGaussian(), pictures().flatten(1)
    images = flat.expand(CLASSES, -1, -1)
    bounds = [vae.elbo(images, point.expand(CLASSES, len(flat), LATENT)) for point in sigma_points()]
    torch.testing.assert_close(torch.stack(bounds).mean(0), vae.evidence(flat), rtol=1e-10, atol=1e-10)


def test_bound_with_another_posterior_is_below_by_its_divergence() -> None:
    class Moved(LinearGaussian):
        def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_std = super().encode(images)
            return mean + 0.2, log_std + 0.3

    vae, exact, flat = Moved(), LinearGaussian(), pictures().flatten(1)
    images = flat.expand(CLASSES, -1, -1)
    bounds = [vae.elbo(images, point.expand(CLASSES, len(flat), LATENT)) for point in sigma_points()]
    _, log_std = exact.encode(images)
    divergence = ((2 * torch.tensor(0.3)).exp() - 1) / 2 - 0.3 + 0.02 * (-2 * log_std).exp()
    expected = exact.evidence(flat) - divergence.sum(2)
    torch.testing.assert_close(torch.stack(bounds).mean(0), expected, rtol=1e-6, atol=1e-6)


def exact_bounds(vae: LinearGaussian, flat: Tensor) -> Tensor:
    """(N, K) max_z -|x - A z - b|^2 / (2 sigma^2) - |z|^2 / 2 = -(x - b)^T (A A^T + sigma^2)^-1 (x - b) / 2."""
    eye = torch.eye(PIXELS, dtype=torch.float64)
    away = flat[:, None] - vae.offset
    inverse = torch.linalg.inv(vae.slope @ vae.slope.transpose(1, 2) + SIGMA**2 * eye)
    return -torch.einsum("nkp,kpq,nkq->nk", away, inverse, away) / 2


@pytest.mark.parametrize("starts", [1, 3])
def test_inference_finds_the_exact_maximum(starts: int) -> None:
    vae = LinearGaussian()
    model = ABS(vae, n_samples=200, starts=starts, steps=400, lr=0.02, temperature=2.0).double()
    expected = exact_bounds(vae, pictures().flatten(1))
    torch.testing.assert_close(model(pictures()), expected / 2, rtol=1e-4, atol=1e-4)
    bounds, images = model.explain(pictures())
    torch.testing.assert_close(bounds, expected, rtol=1e-4, atol=1e-4)
    mean, _ = vae.encode(pictures().flatten(1).expand(CLASSES, -1, -1))
    torch.testing.assert_close(images.flatten(2), vae.decode(mean).transpose(0, 1), rtol=0, atol=0.02)


@pytest.mark.parametrize("gradient", ["envelope", "unrolled"])
def test_gradient_through_the_inference_is_that_of_the_exact_maximum(gradient: str) -> None:
    vae = LinearGaussian()
    model = ABS(vae, n_samples=50, starts=2, steps=300, lr=0.02, gradient=gradient, temperature=1.0).double()
    x = pictures().requires_grad_()
    exact = pictures().flatten(1).requires_grad_()
    (found,) = torch.autograd.grad(model(x).square().sum(), x)
    (expected,) = torch.autograd.grad(exact_bounds(vae, exact).square().sum(), exact)
    cosine = torch.cosine_similarity(found.flatten(1), expected)
    assert bool((cosine > 0.999).all())
    torch.testing.assert_close(found.flatten(1), expected, rtol=0.05, atol=0.05)


def test_unrolled_gradient_is_that_of_the_steps_taken() -> None:
    vae = LinearGaussian()
    few = ABS(vae, n_samples=20, steps=3, lr=0.1, gradient="unrolled").double()
    assert torch.autograd.gradcheck(few, pictures(2).requires_grad_(), eps=1e-7, atol=1e-5, rtol=1e-3)
    x = pictures(2).requires_grad_()
    envelope = ABS(vae, n_samples=20, steps=3, lr=0.1).double()
    slopes = [torch.autograd.grad(model(x).sum(), x)[0] for model in (few, envelope)]
    assert not torch.allclose(*slopes)  # three steps have not converged


def seeded_vae(dtype: torch.dtype = torch.float64) -> ClassVAE:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return ClassVAE(CLASSES, SHAPE, LATENT, hidden=5, sigma=SIGMA).to(dtype).eval()


@pytest.mark.parametrize("gradient", ["envelope", "unrolled"])
def test_law_of_targets(gradient: str) -> None:
    model = ABS(seeded_vae(), n_samples=30, starts=2, steps=5, gradient=gradient).eval()
    other = ABS(LinearGaussian(), n_samples=30, starts=2, steps=5).eval()
    target = sp.Classifier(model)
    assert not target.stochastic
    check_target(target, pictures(), other=sp.Classifier(other), modules=(model,))


def test_it_answers_the_same_without_gradients() -> None:
    model = ABS(seeded_vae(), n_samples=30, steps=5)
    expected = model(pictures()).detach()
    with torch.no_grad():
        assert torch.equal(model(pictures()), expected)
    with torch.inference_mode():
        assert torch.equal(sp.Classifier(model)(pictures()), expected)


def test_other_settings_are_another_target() -> None:
    vae = seeded_vae()
    marks = [sp.Classifier(ABS(vae, n_samples=30, steps=steps)).identity()[-1] for steps in (5, 6)]
    assert marks[0] != marks[1]


def stripes(count: int = 90) -> tuple[Tensor, Tensor]:
    """Each class has its own bright row, of a brightness of its own."""
    key = Key(torch.arange(count), 9)
    labels = torch.arange(count) % CLASSES
    images = 0.1 * key.uniform("picture", SHAPE)
    images[torch.arange(count), 0, labels] += 0.4 + 0.4 * key.uniform("bright", (1,))
    return images, labels


def test_training_and_classification() -> None:
    vae = seeded_vae(torch.float32)
    images, labels = stripes()
    keep = (labels != 2) | (torch.arange(len(labels)) < 20)  # fewer of the last class
    random = torch.get_rng_state()
    log = fit_class_vae(vae, images[keep], labels[keep], config=FitConfig(epochs=150, batch_size=15, lr=1e-2))
    assert torch.equal(torch.get_rng_state(), random)
    assert log[-1] < log[0]
    model = ABS(vae, n_samples=50, steps=10)
    assert float((model(images).argmax(1) == labels).float().mean()) > 0.97
    _, own = model.explain(images)
    nearest = (own - images[:, None]).flatten(2).norm(dim=2)
    assert torch.equal(nearest.argmin(1), labels)
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.4)), sp.Classifier(model), sp.Misclassify(labels[:12]), images[:12])
    assert float(outcome.success.float().mean()) > 0.9


def test_binary_abs_sees_black_and_white() -> None:
    model = ABS(seeded_vae(), n_samples=30, steps=5)
    defended = Defended(sp.Classifier(model), BitDepth(1))
    x = pictures()
    torch.testing.assert_close(defended(x), model((x > 0.5).double()))
    assert torch.equal(defended(x), defended((x - 0.5).sign() * 0.3 + 0.5))
    goal = sp.Misclassify(defended(x).argmax(1))
    view = defended.adaptive_view()
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.5), steps=20), view, goal, x)
    assert float(outcome.success.float().mean()) > 0.5
    assert not bool(outcome.zero_gradient.any())


def test_refusals() -> None:
    vae = seeded_vae()
    for given in (
        {"n_samples": 0}, {"starts": 2001}, {"steps": -1}, {"lr": 0}, {"max_latent": -1}, {"temperature": 0},
        {"gradient": "implicit"},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(given))):
            ABS(vae, **given)
    with pytest.raises(TargetError, match="built around a ClassVAE"):
        ABS(torch.nn.Linear(2, 2))
    with pytest.raises(TargetError, match=r"is of images \(1, 3, 4\)"):
        sp.Classifier(ABS(vae))(torch.rand(2, 1, 4, 4))
    for given in ({"classes": 0}, {"latent_dim": 0}, {"hidden": 0}, {"sigma": 0}, {"shape": (1, 0, 4)}):
        with pytest.raises(ConfigError, match=next(iter(given))):
            ClassVAE(**({"classes": 3, "shape": SHAPE} | given))
    images, labels = stripes(9)
    for wrong, told in (
        ((images[:, :, :2], labels), "is of images"),
        ((images, labels[:4]), "labels have shape"),
        ((images, labels.float()), "labels have shape"),
        ((images, labels + 1), "labels must be 0 to 2"),
        ((images, labels - 1), "labels must be 0 to 2"),
        ((images, labels.clamp(max=1)), "1 classes have no image"),
        ((images * 255, labels), r"in \[0, 1\]"),
    ):
        with pytest.raises(InputError, match=told):
            fit_class_vae(seeded_vae(torch.float32), *wrong)
