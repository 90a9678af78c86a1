"""Small models and images on which the laws are tested, made from keys without touching any global state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..geometry import L1, L2, Ball, Linf
from ..goals import Dodge, Goal, Impersonate, Misclassify, MisclassifyPixels, Vanish
from ..inputs import Images, Inputs
from ..random import Key
from ..rows import take
from ..targets import Classifier, Model, Pipeline, Target
from ..tasks import Classification, Detection, Detections, Segmentation, Task, Verification
from ..transforms import ColourCurve, FlowField, RotationTranslation, Scene, Transform


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
    task: Task = Classification()  # noqa: RUF009
    through: Transform | None = None  # what the inputs pass before the module
    context: Any = None  # what lies beside the inputs
    free: Tensor | None = None  # bool like the images: what may move, where it is not all

    @property
    def target(self) -> Target[Jacobians]:
        return self.target_around(self.module)

    def target_around(self, model: Callable[..., Any]) -> Target[Jacobians]:
        """Return the case's target with `model`, a module or a function, in the place of its own."""
        beside = self.context is not None and self.through is None
        around: Target[Jacobians] = (
            Classifier(model, inputs=self.inputs, takes_context=beside)
            if isinstance(self.task, Classification)
            else Model(model, self.task, inputs=self.inputs, takes_context=beside)
        )
        return around if self.through is None else Pipeline(around, self.through)

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
    return Case(module, images, torch.arange(count), Dodge(template, 0.8), task=Verification())


def gallery(count: int = 12) -> Case:
    """Each image shall be taken for one of three other persons."""
    module, images = embedder(count)
    with torch.no_grad():
        cosines = torch.corrcoef(module(images))
        others = module(images)[cosines.argsort(dim=1)[:, :3]]
    return Case(module, images, torch.arange(count), Impersonate(others, 0.5), task=Verification())


class AnchorNet(nn.Module):
    """A detector of 16 anchors, one for each 2x2 pixels of 3x8x8 images, with two classes each."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1))

    def forward(self, images: Tensor) -> Detections:
        """Return boxes (B, 16, 4), logits (B, 16, 2) and that all anchors are present."""
        found = self.head(images).flatten(2).transpose(1, 2)
        place = torch.arange(16)
        middle = 2.0 * torch.stack((place % 4, place // 4), 1).to(found) + 1
        corner, size = middle + 0.5 * found[..., :2].tanh(), 2 + found[..., 2:4].tanh()
        boxes = torch.cat((corner - size / 2, corner + size / 2), dim=2)
        return Detections(boxes, found[..., 4:], torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device))


def detector(count: int = 12) -> Case:
    """In each image two or three anchors find the object of a box, which shall vanish."""
    net = AnchorNet().double()
    module = filled(net, "anchors").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        found = module(images)
        best = found.logits.amax(2)
        row, surest = torch.arange(count), best.argmax(1)
        last = net.head[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias[4:] += 0.1 - float(best[row, surest].min())  # every image has an anchor above 0
        boxes = found.boxes[row, surest]
    return Case(module, images, torch.arange(count), Vanish(boxes), task=Detection())


def segmenter(count: int = 12) -> Case:
    """A net of three classes for each pixel, labelled by itself; a third of each image's pixels shall be wrong."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1))
    module = filled(net.double(), "segmenter").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        labels = module(images).argmax(1)
    return Case(module, images, torch.arange(count), MisclassifyPixels(labels, 1 / 3), task=Segmentation())


def through(transform: Transform, shape: tuple[int, ...], count: int) -> Case:
    """The images of `small_net` as the context, and a variable (B, *shape) of zeros that a transform puts on them."""
    case = small_net(4 * count)
    with torch.no_grad():
        nearest = case.goal.margin(case.module(case.images)).topk(count).indices  # those that the least would change
    case = take(case, nearest)
    variable = torch.zeros(count, *shape, dtype=torch.float64)
    return Case(case.module, variable, case.labels, through=transform, context=Scene(images=case.images))


def flow(count: int = 3) -> Case:
    """Pixels may move by up to two pixels."""
    return through(FlowField(2.0), (2, 8, 8), count)


def rotation(count: int = 3) -> Case:
    """Images may be turned by up to 90 degrees and shifted by up to a quarter of their side."""
    return through(RotationTranslation(90.0, 0.25, padding="border"), (3,), count)


def colour(count: int = 3) -> Case:
    """Each channel may pass a colour curve of four pieces."""
    return through(ColourCurve(3.0), (3, 4), count)


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
