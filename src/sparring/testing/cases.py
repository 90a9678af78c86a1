"""Small tasks on which the laws are tried: made from keys, without touching any global state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..geometry import L1, L2, Ball, Linf
from ..goals import Goal, Misclassify
from ..random import Key
from ..targets import Classifier


def draw(lane: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """A standard normal tensor that is the same on every machine."""
    return Key(torch.zeros(1, dtype=torch.long), 7).normal(lane, shape, dtype=dtype)[0]


@dataclass(frozen=True)
class Case:
    """A module with images and labels that it gets right."""

    module: nn.Module
    images: Tensor  # (N, C, H, W) float64
    labels: Tensor  # (N,)

    @property
    def target(self) -> Classifier:
        return Classifier(self.module)

    @property
    def goal(self) -> Goal:
        return Misclassify(self.labels)


def _filled(module: nn.Module, lane: str) -> nn.Module:
    for i, parameter in enumerate(module.parameters()):
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        with torch.no_grad():
            parameter.copy_(draw(f"{lane} {i}", tuple(parameter.shape)) / fan**0.5)
    return module


def small_net(count: int = 12) -> Case:
    """A convolutional net of four classes in float64 on 3x8x8 images, labelled by itself."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 16), nn.Tanh(), nn.Linear(16, 4)
    )
    module = _filled(net.double(), "net").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        return Case(module, images, module(images).argmax(1))


def linear(classes: int, count: int = 8) -> Case:
    """A linear model whose nearest boundary is known in closed form.

    The images are close to mid-grey, where all classes meet, so that the valid range does not cut the
    shortest way in any norm.
    """
    layer = nn.Linear(48, classes).double()
    module = _filled(nn.Sequential(nn.Flatten(), layer), "linear")
    with torch.no_grad():
        layer.bias.copy_(-0.5 * layer.weight.sum(1))
    offsets = 0.05 * draw("points", (16 * count, 3, 4, 4))
    with torch.no_grad():
        logits = module(0.5 + offsets)
        top = logits.topk(2, dim=1).values
        clear = (top[:, 0] - top[:, 1]).topk(count).indices  # rows that do not lie on a boundary already
        return Case(module, 0.5 + offsets[clear], logits[clear].argmax(1))


def optimum(case: Case, ball: Ball) -> Tensor:
    """(N,) distance to the nearest boundary of the `linear` case: lead over the dual norm of the weights."""
    layer = next(m for m in case.module.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        logits = case.module(case.images)
    lead = logits.gather(1, case.labels[:, None]) - logits
    slopes = layer.weight.detach()[case.labels][:, None] - layer.weight.detach()
    order = {Linf: 1.0, L2: 2.0, L1: torch.inf}[type(ball)]
    dual = torch.linalg.vector_norm(slopes, ord=order, dim=2)
    return torch.where(dual > 0, lead / dual, torch.inf).amin(1)


class Counting(nn.Module):
    """Counts the images that pass forward and the rows that pass backward; `calls` and `fail_at` for faults."""

    def __init__(self, module: nn.Module, fail_at: int | None = None) -> None:
        super().__init__()
        self.module, self.fail_at = module, fail_at
        self.forwards = self.backwards = self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.fail_at is not None and self.calls > self.fail_at:
            raise ZeroDivisionError("planted failure")
        self.forwards += len(x)
        outputs: Tensor = self.module(x)
        if outputs.requires_grad:
            outputs.register_hook(self._count)  # type: ignore[no-untyped-call]
        return outputs

    def _count(self, grad: Tensor) -> None:
        self.backwards += len(grad)
