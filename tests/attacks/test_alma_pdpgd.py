"""ALMA and PDPGD: the laws, their formulas, and their rows' independence of scale."""

import math

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks.minimal.alma import ALMA, SmoothDLR, penalty, penalty_derivative
from sparring.attacks.minimal.pdpgd import PDPGD
from sparring.errors import ConfigError, ThreatError
from sparring.goals import SmoothMargin
from sparring.zoo import load_data, load_model

SHORT = {
    "alma l2": ALMA(sp.L2(), steps=12),
    "alma l1": ALMA(sp.L1(), steps=12),
    "pdpgd linf": PDPGD(sp.Linf(), steps=12),
    "pdpgd l2": PDPGD(sp.L2(), steps=12),
    "pdpgd l1": PDPGD(sp.L1(), steps=12),
    "pdpgd l0": PDPGD(sp.L0(), steps=12),
}


def attacked(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


def test_pdpgd_l0_needs_no_more_components_than_the_steepest_ones():
    """On a linear model of two classes the best count is known: the largest gains, one after another."""
    case = testing.linear(2)
    outcome = attacked(PDPGD(sp.L0(), steps=200), case)
    assert outcome.success.all()
    weights = case.module[1].weight.detach()
    for image, label, size in zip(case.images, case.labels, outcome.distance, strict=True):
        way = weights[1 - label] - weights[label]
        gain = (way.abs() * torch.where(way > 0, 1 - image.flatten(), image.flatten())).sort(descending=True).values
        logits = case.module(image[None])[0]
        need = 1 + int((gain.cumsum(0) <= logits[label] - logits[1 - label]).sum())
        assert need <= int(size) <= need + 1


@pytest.mark.parametrize("y", [-2.0, -0.1, 0.0, 0.3, 2.0])
def test_the_slope_of_the_penalty_is_its_derivative(y):
    rho, mu = torch.tensor(1.7).double(), torch.tensor(0.6).double()
    at = torch.tensor(y).double().requires_grad_()
    penalty(at, rho, mu).backward()
    assert float(at.grad) == pytest.approx(float(penalty_derivative(at.detach(), rho, mu)), abs=1e-12)
    assert float(penalty_derivative(torch.zeros(()).double(), rho, mu)) == float(mu)  # what makes mu the multiplier


@pytest.mark.parametrize("ball", [sp.Linf(), sp.L2(), sp.L1(), sp.L0()], ids=str)
def test_prox_minimises_what_it_says(ball):
    """No point near the prox, and none on the way to 0 or to delta, is better."""
    delta = testing.cases.draw("prox", (5, 1, 3, 3))
    weight = torch.tensor([0.05, 0.2, 0.5, 1.0, 9.0]).double()
    found = ball.prox(delta.clone(), weight)

    def price(z):
        return weight * ball.norm(z) + (z - delta).square().flatten(1).sum(1) / 2

    best = price(found)
    for share in torch.linspace(0, 1, 21):
        assert (best <= price(share * delta) + 1e-9).all()
        beside = 0.1 * share * testing.cases.draw(f"near {share}", tuple(delta.shape))
        assert (best <= price(found + beside) + 1e-9).all()
    assert (found[4] == 0).all(), "a price that high leaves nothing"


@pytest.mark.parametrize("attack", [*SHORT.values()], ids=[*SHORT])
def test_the_scale_of_the_logits_does_not_matter(attack):
    """Steps, multipliers and temperatures are all relative to the row's own gap."""
    case = testing.small_net(6)

    class Louder(nn.Module):
        def forward(self, images):
            return 64 * case.module(images)  # a power of two: exact

    plain = attacked(attack, case)
    loud = sp.run(attack, sp.Classifier(Louder()), case.goal, case.images)
    assert torch.equal(plain.success, loud.success)
    assert plain.success.any()
    assert (plain.examples - loud.examples).abs().max() < 1e-4


@pytest.mark.parametrize("attack", [ALMA(sp.L2(), steps=80), PDPGD(sp.L2(), steps=80)], ids=["alma", "pdpgd"])
def test_targeted(attack):
    case = testing.small_net(6)
    goal = sp.ClassifyAs((case.labels + 1) % 4)
    outcome = sp.run(attack, case.target, goal, case.images)
    assert outcome.success.all()
    assert (case.module(outcome.examples).argmax(1) == goal.classes).all()
    untargeted = attacked(attack, case)
    assert (outcome.distance > 0.99 * untargeted.distance).all()


def test_pitfall_21_dlr_of_two_classes_is_the_margin():
    outcome = attacked(ALMA(sp.L2(), steps=60), testing.linear(2))
    assert outcome.success.all()
    goal = sp.Misclassify(torch.tensor([0]))
    assert float(goal.loss_of(torch.tensor([[2.0, -1.0]]), SmoothDLR(torch.ones(1)))) == pytest.approx(-3.0)


def test_the_smooth_margin_lies_above_the_margin_and_falls_to_it():
    logits, labels = 3 * testing.cases.draw("logits", (6, 5)), torch.tensor([0, 1, 2, 3, 4, 0])
    leave, become = sp.Misclassify(labels), sp.ClassifyAs(labels)
    for temperature in (1.0, 0.1, 0.0):
        smooth = SmoothMargin(torch.full((6,), temperature))
        above = leave.loss_of(logits, smooth) - leave.margin(logits)
        assert (above >= -1e-6).all()
        assert (above <= temperature * math.log(4) + 1e-6).all()
        assert torch.equal(become.loss_of(logits, smooth), -leave.loss_of(logits, smooth))
    one = leave.loss_of(logits, SmoothMargin(torch.ones(6)))
    entropy = leave.loss_of(logits, sp.goals.CrossEntropy())
    assert torch.allclose(one, entropy.expm1().log())


@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_never_farther_than_foolbox_at_equal_passes():
    """Foolbox has neither; its DDN (L2) and FMN are the nearest of kin."""
    import foolbox

    loaded = load_model("zoo:mnist-plain")
    chunk = next(iter(load_data("zoo:mnist-heldout", input=loaded.input, limit=24).chunks(24)))
    net, images = loaded.target.model.eval(), chunk.images
    labels = net(images).argmax(1)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    for norm, order, peer, ours in (
        (sp.L2(), 2.0, "DDNAttack", (ALMA(sp.L2(), steps=60), PDPGD(sp.L2(), steps=60))),
        (sp.L1(), 1.0, "L1FMNAttack", (ALMA(sp.L1(), steps=60), PDPGD(sp.L1(), steps=60))),
        (sp.Linf(), torch.inf, "LInfFMNAttack", (PDPGD(sp.Linf(), steps=60),)),
    ):
        found = getattr(foolbox.attacks, peer)(steps=60).run(model, images, labels)
        theirs = torch.linalg.vector_norm((found - images).flatten(1), ord=order, dim=1)
        theirs[net(found).argmax(1) == labels] = torch.inf
        for attack in ours:
            outcome = sp.run(attack, loaded.target, sp.Misclassify(labels), images)
            assert outcome.success.all(), f"{attack.name} in {norm}"
            assert outcome.distance.median() <= 1.03 * theirs.median(), f"{attack.name} in {norm}"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ALMA(sp.Linf()), ThreatError, "ALMA knows L2 and L1, not Linf; use FMN there"),
        (lambda: ALMA(steps=0), ConfigError, "ALMA steps=0; pass an integer >= 1"),
        (lambda: ALMA(lr_reduction=0), ConfigError, "ALMA lr_reduction=0; pass a finite number > 0 and <= 1"),
        (lambda: ALMA(alpha=1.0), ConfigError, "ALMA alpha=1.0; pass a finite number >= 0 and < 1"),
        (lambda: PDPGD(sp.L0(pixels=True)), ThreatError, "PDPGD knows .* L0 of components, not L0"),
        (lambda: PDPGD(sp.L2(), dual_lr=0), ConfigError, "PDPGD dual_lr=0; pass a finite number > 0"),
        (lambda: PDPGD(sp.L2(), temperature=-1), ConfigError, "PDPGD temperature=-1; pass a finite number >= 0"),
    ],
)
def test_senseless_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()
