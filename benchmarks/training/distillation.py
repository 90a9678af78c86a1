"""C7: defensive distillation (Papernot et al. 2016), asked through its softmax and through its logits.

The attacks of its time saw the probabilities. Distilled at temperature 100 and used at 1, these are 0 and 1 to the last
bit, and their gradients 0. Whoever asks for the logits meets no defence.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.training.measures import attacked, clean, median
from benchmarks.training.nets import Job, Nets, digits
from sparring import Classifier, Linf
from sparring.access import Attack
from sparring.attacks import FGSM, JSMA, LBFGS, PGD, CarliniWagner, DeepFool
from sparring.defenses.training import Distillation, Plain

TEMPERATURE, COUNT = 100.0, 100
ATTACKS: dict[str, Attack[Any, Any]] = {
    "FGSM 0.25": FGSM(Linf(0.25)),
    "PGD-40 0.25": PGD(Linf(0.25), steps=40),
    "L-BFGS": LBFGS(),
    "DeepFool": DeepFool(),
    "JSMA": JSMA(),
    "C&W L2": CarliniWagner(),
}


class Probabilities(nn.Module):
    """The net with its softmax: what the attacks of 2016 were given."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).softmax(1)


def flat(target: Classifier, count: int = 1000) -> float:
    """Share of digits at which the gradient of the cross-entropy of the softmax is exactly zero."""
    images, labels = digits("mnist")
    x = images[:count].clone().requires_grad_()
    probabilities = Probabilities(target.model)(x) if isinstance(target.model, nn.Module) else None
    assert probabilities is not None
    loss = F.nll_loss(probabilities.clamp_min(torch.finfo(torch.float32).tiny).log(), labels[:count], reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    return float((slope.flatten(1).abs().amax(1) == 0).float().mean())


def measure(nets: Nets) -> dict[str, Any]:
    plain = nets(Job("plain"))
    teacher = nets(Job("teacher", Plain(temperature=TEMPERATURE)))
    distilled = nets(Job("distilled", Distillation(teacher.target, temperature=TEMPERATURE)))
    rows = []
    for name, made in (("plain", plain), ("distilled", distilled)):
        seen = {
            "logits": made.target,
            "softmax": Classifier(Probabilities(made.target.model), classes=10, probabilities=True, name=name),
        }
        for interface, target in seen.items():
            row: dict[str, Any] = {"net": name, "asked": interface, **made.facts(), "clean": clean(target)}
            if interface == "softmax":
                row["zero_gradients"] = flat(made.target)
            for attack, make_plan_attack in ATTACKS.items():
                left, found = attacked(target, make_plan_attack, COUNT)
                row[attack] = {"success": found.attack_success_rate, "left": left, "median": median(found)}
            rows.append(row)
            nets.say(f"  {name}, {interface}: " + ", ".join(f"{a} {row[a]['success']:.0%}" for a in ATTACKS))
    return {"temperature": TEMPERATURE, "count": COUNT, "rows": rows}
