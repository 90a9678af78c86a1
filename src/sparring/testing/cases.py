"""Small tasks on which the laws are tried: made from keys, without touching any global state."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ..geometry import L1, L2, Ball, Linf
from ..goals import Climb, Goal, LogOdds, Misclassify, Terms
from ..inputs import Images, Inputs
from ..random import Key
from ..rows import take
from ..targets import Classifier


def draw(stream: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """A standard normal tensor that is the same on every machine."""
    return Key(torch.zeros(1, dtype=torch.long), 7).normal(stream, shape, dtype=dtype)[0]


@dataclass(frozen=True)
class Case:
    """A module with images on which a goal is not met: by default, with labels that it gets right."""

    module: nn.Module
    images: Tensor  # (N, C, H, W) float64, or inputs of another kind
    labels: Tensor  # (N,)
    wanted: Goal | None = None
    inputs: Inputs = Images()  # noqa: RUF009

    @property
    def target(self) -> Classifier:
        return Classifier(self.module, inputs=self.inputs)

    @property
    def goal(self) -> Goal:
        """The goal of the case; without one, to leave the labels."""
        return Misclassify(self.labels) if self.wanted is None else self.wanted

    def row(self, index: int) -> Case:
        """The case of one of its images."""
        return take(self, torch.tensor([index]))


def filled(module: nn.Module, stream: str) -> nn.Module:
    """Fill the weights from keys, scaled by their fan-in."""
    for i, parameter in enumerate(module.parameters()):
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        with torch.no_grad():
            parameter.copy_(draw(f"{stream} {i}", tuple(parameter.shape)) / fan**0.5)
    return module


def small_net(count: int = 12) -> Case:
    """A convolutional net of four classes in float64 on 3x8x8 images, labelled by itself."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 16), nn.Tanh(), nn.Linear(16, 4)
    )
    module = filled(net.double(), "net").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        return Case(module, images, module(images).argmax(1))


def saturated(count: int = 12) -> Case:
    """As `small_net`, on images of which many pixels are at 0 or 1, and most others near them."""
    case = small_net(count)
    images = (0.5 + 0.6 * draw("saturated", (count, 3, 8, 8))).clamp(0, 1)
    with torch.no_grad():
        return Case(case.module, images, case.module(images).argmax(1))


@dataclass(frozen=True)
class Dodge(Goal):
    """An embedding (B, D) is no longer taken for the person of `template` (B, D): their cosine is below `threshold`."""

    template: Tensor
    threshold: float
    loss: Climb = field(default_factory=LogOdds)

    def __len__(self) -> int:
        return len(self.template)

    def terms(self, outputs: Tensor) -> Terms:
        return Terms((self.threshold - cosine_similarity(outputs, self.template, dim=1))[:, None])


@dataclass(frozen=True)
class Impersonate(Goal):
    """An embedding (B, D) is taken for some person of the gallery (B, N, D): one cosine is above `threshold`."""

    gallery: Tensor
    threshold: float
    loss: Climb = field(default_factory=LogOdds)

    def __len__(self) -> int:
        return len(self.gallery)

    def terms(self, outputs: Tensor) -> Terms:
        return Terms(cosine_similarity(outputs[:, None], self.gallery, dim=2) - self.threshold)


@dataclass(frozen=True)
class Vanish(Goal):
    """No anchor near the object still finds it: all scores (B, N) where `near` (B, N) bool are below `threshold`."""

    near: Tensor
    threshold: float = 0.0
    loss: Climb = field(default_factory=LogOdds)

    def __len__(self) -> int:
        return len(self.near)

    def terms(self, outputs: Tensor) -> Terms:
        return Terms((self.threshold - outputs).masked_fill(~self.near, torch.inf), every=True)


def embedder(count: int) -> tuple[nn.Module, Tensor]:
    """A net like that of `small_net` from images to embeddings (B, 8), of mean 0 and deviation 1 on its images."""
    last = nn.Linear(16, 8)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 16), nn.Tanh(), last)
    module = filled(net.double(), "embedder").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        embedded = module(images)
        deviation = embedded.std(0)
        last.weight.div_(deviation[:, None])
        last.bias.sub_(embedded.mean(0)).div_(deviation)
    return module, images


def verifier(count: int = 12) -> Case:
    """Each image is taken for the person of another photograph, and shall not be."""
    module, images = embedder(count)
    with torch.no_grad():
        template = module(images + 0.03 * draw("photograph", tuple(images.shape)))
    return Case(module, images, torch.arange(count), Dodge(template, 0.8))


def gallery(count: int = 12) -> Case:
    """Each image shall be taken for one of three other persons."""
    module, images = embedder(count)
    with torch.no_grad():
        cosines = torch.corrcoef(module(images))
        others = module(images)[cosines.argsort(dim=1)[:, :3]]
    return Case(module, images, torch.arange(count), Impersonate(others, 0.5))


def detector(count: int = 12) -> Case:
    """The outputs are scores of eight anchors, of which two or three find an object, which shall vanish."""
    module, images = embedder(count)
    with torch.no_grad():
        rank = module(images).argsort(dim=1, descending=True).argsort(dim=1)
    return Case(module, images, torch.arange(count), Vanish(rank < 2 + torch.arange(count)[:, None] % 2))


def linear(classes: int, count: int = 8) -> Case:
    """A linear model whose nearest boundary is known in closed form.

    The images are close to mid-grey, where all classes meet, so that the valid range does not cut the
    shortest way in any norm.
    """
    layer = nn.Linear(48, classes).double()
    module = filled(nn.Sequential(nn.Flatten(), layer), "linear")
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
