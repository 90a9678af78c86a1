"""Our attacks beside Foolbox's and ART's, on the same net and digits."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.goals import LogOdds
from sparring.zoo import load_data, load_model

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own
ART_STEPS, ART_ASKS_PER_STEP = 200, 3  # ART's Square asks for a decision and for two losses in each step


@dataclass(frozen=True)
class Digits:
    """A plain net in float64 with frozen parameters, and digits that it classifies right."""

    net: nn.Module
    images: Tensor
    labels: Tensor

    def first(self, number: int) -> tuple[Tensor, Tensor]:
        return self.images[:number], self.labels[:number]

    def starts(self, number: int) -> Tensor:
        """For each of the first digits, another digit's image: a start that wins."""
        other = [int((self.labels != label).nonzero()[0]) for label in self.labels[:number]]
        return self.images[other]


class Recording(nn.Module):
    """Keeps every batch of images it is asked about, and counts them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(images.detach().clone())
        logits: Tensor = self.net(images)
        return logits

    @property
    def forwards(self) -> int:
        return sum(map(len, self.asked))


@pytest.fixture(scope="session")
def digits() -> Digits:
    loaded = load_model("zoo:mnist-plain")
    chunk = next(iter(load_data("zoo:mnist-heldout", input=loaded.input, limit=100).chunks(100)))
    net = deepcopy(loaded.target.model).double().eval().requires_grad_(False)
    images, labels = chunk.images.double(), chunk.labels
    assert isinstance(net, nn.Module)
    assert labels is not None
    right = net(images).argmax(1) == labels
    return Digits(net, images[right], labels[right])


@pytest.fixture
def foolbox() -> ModuleType:
    """A fixture rather than an import at the top, so that the module's warnings stay inside the test."""
    import foolbox

    return foolbox


def distances(images: Tensor, found: Tensor) -> Tensor:
    """(N,) L2 distances."""
    return (found - images).flatten(1).norm(dim=1)


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (net(images).argmax(1) == labels).double().mean().item()


def model(foolbox: ModuleType, net: torch.nn.Module) -> object:
    return foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")


def classifier(net: nn.Module) -> object:
    """The net as ART wants it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def test_pgd_visits_the_same_iterates(foolbox: ModuleType, digits: Digits) -> None:
    images, labels = digits.first(16)
    theirs, ours = Recording(digits.net).eval(), Recording(digits.net).eval()
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.01, steps=20, random_start=False)
    last = attack.run(model(foolbox, theirs), images, labels, epsilon=0.1)
    sp.run(
        sp.attacks.PGD(sp.Linf(0.1), steps=20, step_size=0.01, random_start=False),
        sp.Classifier(ours),
        sp.Misclassify(labels, LogOdds()),  # the direction of the cross-entropy, which Foolbox ascends
        images,
        engine=sp.Engine(compact=False),
    )
    visited = [asked for asked in ours.asked if len(asked) == len(images)][1:]  # the first is the clean look
    expected = [*theirs.asked, last]
    assert len(theirs.asked) == 20
    for step, (one, other) in enumerate(zip(visited, expected, strict=False)):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0, msg=f"iterate {step}")
    assert len(visited) >= len(expected)


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_pgd_from_the_image_leaves_no_digit_that_foolbox_breaks(
    foolbox: ModuleType, digits: Digits, eps: float
) -> None:
    images, labels = digits.first(100)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=eps / 16, steps=40, random_start=False)
    found = attack.run(model(foolbox, digits.net), images, labels, epsilon=eps)
    broken = digits.net(found).argmax(1) != labels
    pgd = sp.attacks.PGD(sp.Linf(eps), steps=40, step_size=eps / 16, random_start=False)
    outcome = sp.run(pgd, sp.Classifier(digits.net), sp.Misclassify(labels), images)
    assert 0.05 < float(broken.double().mean()) < 0.95, "the comparison says nothing where all fall or none does"
    assert bool((outcome.success >= broken).all())


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_pgd_from_a_random_start_leaves_the_same_robust_accuracy(
    foolbox: ModuleType, digits: Digits, eps: float
) -> None:
    images, labels = digits.first(100)
    torch.manual_seed(0)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=eps / 10, steps=40, random_start=True)
    theirs = accuracy(digits.net, attack.run(model(foolbox, digits.net), images, labels, epsilon=eps), labels)
    pgd = sp.attacks.PGD(sp.Linf(eps), steps=40, step_size=eps / 10)
    outcome = sp.run(pgd, sp.Classifier(digits.net), sp.Misclassify(labels, LogOdds()), images)
    assert 0.05 < theirs < 0.95, "the comparison says nothing where all fall or none does"
    assert outcome.robust_accuracy == pytest.approx(theirs, abs=0.05)


def test_carlini_wagner_is_as_near(foolbox: ModuleType, digits: Digits) -> None:
    images, labels = digits.first(12)
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=100, stepsize=0.05)
    theirs = distances(images, attack.run(model(foolbox, digits.net), images, labels))

    def ours(**settings: float) -> Tensor:
        carlini_wagner = sp.attacks.CarliniWagner(binary_search_steps=9, steps=100, learning_rate=0.05, **settings)
        return sp.run(carlini_wagner, sp.Classifier(digits.net), sp.Misclassify(labels), images).distance

    as_in_the_paper = ours(initial_const=1e-3, warm_start=False, tolerance=0, abort_early=0.9999) / theirs
    assert 0.9 < float(as_in_the_paper.median()) < 1.01
    assert float(as_in_the_paper.max()) < 1.15
    found = ours()
    assert float(found.median()) <= float(theirs.median())
    by_default = found / theirs
    assert float(by_default.median()) <= 1.0
    assert float(by_default.max()) < 1.1


def test_deepfool_walks_as_far(foolbox: ModuleType, digits: Digits) -> None:
    images, labels = digits.first(40)
    attack = foolbox.attacks.L2DeepFoolAttack(steps=50, overshoot=0.02)
    theirs = distances(images, attack.run(model(foolbox, digits.net), images, labels))
    deepfool = sp.attacks.DeepFool(steps=50, overshoot=0.02)
    outcome = sp.run(deepfool, sp.Classifier(digits.net), sp.Misclassify(labels), images)
    assert bool(outcome.success.all())
    ratio = outcome.distance / theirs
    assert float(ratio.median()) == pytest.approx(1.0, abs=0.01)
    assert float(ratio.min()) > 0.8
    assert float(ratio.max()) < 1.2


def test_ddn_is_as_near(foolbox: ModuleType, digits: Digits) -> None:
    images, labels = digits.first(40)
    attack = foolbox.attacks.DDNAttack(steps=100, init_epsilon=1.0, gamma=0.05)
    theirs = distances(images, attack.run(model(foolbox, digits.net), images, labels))
    ddn = sp.attacks.DDN(steps=100, loss=LogOdds())
    ours = sp.run(ddn, sp.Classifier(digits.net), sp.Misclassify(labels), images).distance
    assert 0.97 < float((ours / theirs).median()) < 1.01
    assert float((ours / theirs).max()) < 1.1


@pytest.mark.parametrize(("norm", "order"), [("Linf", torch.inf), ("L2", 2.0), ("L1", 1.0)])
def test_fmn_is_as_near(foolbox: ModuleType, digits: Digits, norm: str, order: float) -> None:
    images, labels = digits.first(40)
    attack = getattr(foolbox.attacks, f"{norm.upper() if norm != 'Linf' else 'LInf'}FMNAttack")(steps=100)
    found = attack.run(model(foolbox, digits.net), images, labels)
    theirs = torch.linalg.vector_norm((found - images).flatten(1), ord=order, dim=1)
    theirs[digits.net(found).argmax(1) == labels] = torch.inf  # Foolbox returns what it failed on unchanged
    fmn = sp.attacks.FMN(getattr(sp, norm)(), steps=100)
    outcome = sp.run(fmn, sp.Classifier(digits.net), sp.Misclassify(labels), images)
    assert bool(outcome.success.all())
    assert float(outcome.distance.median()) <= 1.02 * float(theirs.median())


def test_hopskipjump_is_as_near_at_equal_queries(foolbox: ModuleType, digits: Digits) -> None:
    images, labels = digits.first(12)
    starts, counted = digits.starts(12), Recording(digits.net).eval()
    attack = foolbox.attacks.HopSkipJumpAttack(steps=8, initial_gradient_eval_steps=50, max_gradient_eval_steps=500)
    torch.manual_seed(0)
    found = attack.run(model(foolbox, counted), images, labels, starting_points=starts)
    theirs, queries = distances(images, found).median(), counted.forwards // len(images)
    outcome = sp.run(
        sp.attacks.HopSkipJump(sp.L2(), steps=8, init_num_evals=50, max_num_evals=500, starting_pool=starts),
        sp.Classifier(digits.net),
        sp.Misclassify(labels),
        images,
        budget=sp.Budget(forwards=queries),
    )
    assert bool(outcome.success.all())
    assert int(outcome.passes.forwards.max()) <= queries
    assert 0.5 * theirs <= outcome.distance.median() <= 1.05 * theirs


def test_apgd_leaves_the_same_robust_accuracy(digits: Digits) -> None:
    from art.attacks.evasion import AutoProjectedGradientDescent

    images, labels, net = *digits.first(60), deepcopy(digits.net).float()
    images = images.float()
    np.random.seed(0)  # noqa: NPY002 - ART draws from it
    attack = AutoProjectedGradientDescent(
        classifier(net), norm=np.inf, eps=0.08, eps_step=0.16, max_iter=40, nb_random_init=1, loss_type="cross_entropy",
        batch_size=60, verbose=False,
    )  # fmt: skip
    found = attack.generate(images.numpy(), y=labels.numpy())
    theirs = accuracy(net, torch.from_numpy(found), labels)
    apgd = sp.attacks.APGD(sp.Linf(0.08), steps=40)
    outcome = sp.run(apgd, sp.Classifier(net), sp.Misclassify(labels), images)
    assert 0.05 < theirs < 0.95, "the comparison says nothing where all fall or none does"
    assert outcome.robust_accuracy <= theirs + 0.034  # two digits


@pytest.mark.parametrize("eps", [0.1, 0.15])
def test_square_succeeds_as_often(digits: Digits, eps: float) -> None:
    from art.attacks.evasion import SquareAttack

    images, labels, net = *digits.first(50), deepcopy(digits.net).float()
    images = images.float()
    np.random.seed(0)  # noqa: NPY002 - ART draws from it
    attack = SquareAttack(classifier(net), norm=np.inf, eps=eps, max_iter=ART_STEPS, p_init=0.8, verbose=False)
    found = attack.generate(images.numpy(), y=labels.numpy())
    theirs = 1 - accuracy(net, torch.from_numpy(found), labels)

    def ours(queries: int) -> float:
        square, budget = sp.attacks.Square(sp.Linf(eps), n_queries=queries), sp.Budget(forwards=queries)
        outcome = sp.run(square, sp.Classifier(net), sp.Misclassify(labels), images, budget=budget)
        assert int(outcome.passes.forwards.max()) <= queries
        return outcome.attack_success_rate

    assert 0.05 < theirs < 0.99, "the comparison says nothing where none or all fall"
    assert ours(ART_STEPS) == pytest.approx(theirs, abs=0.12)
    assert ours(ART_STEPS * ART_ASKS_PER_STEP) >= theirs
