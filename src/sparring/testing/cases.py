"""Small models and images on which the laws are tested, made from keys without touching any global state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..geometry import L1, L2, Ball, Linf
from ..goals import Create, Dodge, Goal, Impersonate, Misclassify, MisclassifyPixels, Mislabel, Vanish
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
    transform: Transform | None = None  # applied to the inputs before the module
    context: Any = None  # the context of the inputs
    free: Tensor | None = None  # bool like the images: the components that may move; None: all

    @property
    def target(self) -> Target[Jacobians]:
        return self.target_around(self.module)

    def target_around(self, model: Callable[..., Any]) -> Target[Jacobians]:
        """Return the case's target with `model`, a module or a function, in the place of its own."""
        beside = self.context is not None and self.transform is None
        around: Target[Jacobians] = (
            Classifier(model, inputs=self.inputs, takes_context=beside)
            if isinstance(self.task, Classification)
            else Model(model, self.task, inputs=self.inputs, takes_context=beside)
        )
        return around if self.transform is None else Pipeline(around, self.transform)

    @property
    def goal(self) -> Goal:
        """The goal of the case, by default `Misclassify(labels)`."""
        return Misclassify(self.labels) if self.wanted is None else self.wanted

    def row(self, index: int) -> Case:
        """Return the case with one of its images."""
        return take(self, torch.tensor([index]))


def filled(module: nn.Module, stream: str) -> nn.Module:
    """Fill the weights from keys, scaled by their fan-in."""
    for i, parameter in enumerate(module.parameters()):
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        with torch.no_grad():
            parameter.copy_(draw(f"{stream} {i}", tuple(parameter.shape)) / fan**0.5)
    return module


def small_net(count: int = 12) -> Case:
    """Return a convolutional net of four classes in float64, and 3x8x8 images with its predictions as labels."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 16), nn.Tanh(), nn.Linear(16, 4)
    )
    module = filled(net.double(), "net").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        return Case(module, images, module(images).argmax(1))


def saturated(count: int = 12) -> Case:
    """Return `small_net` with images of which many pixels are 0 or 1, and most others near these."""
    case = small_net(count)
    images = (0.5 + 0.6 * draw("saturated", (count, 3, 8, 8))).clamp(0, 1)
    with torch.no_grad():
        return Case(case.module, images, case.module(images).argmax(1))


class Certain(nn.Module):
    """A module whose logit of class 0 is raised so far that no other class ever leads; gradients stay what they are."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images)
        return torch.cat((logits[:, :1] + 100, logits[:, 1:]), dim=1)


def unbreakable(count: int = 3) -> Case:
    """Return `saturated` with a model of one class: an attack makes all of its steps on every row."""
    case = saturated(count)
    return Case(Certain(case.module), case.images, torch.zeros_like(case.labels))


class Stairs(nn.Module):
    """A module of its inputs in 256 levels, whose gradient is exactly zero everywhere."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.module((images * 255).round() / 255)
        return outputs


def stairs(count: int = 3) -> Case:
    """Return `small_net` without a gradient."""
    case = small_net(count)
    return Case(Stairs(case.module), case.images, case.labels)


def embedder(count: int) -> tuple[nn.Module, Tensor]:
    """Return a net from images to embeddings (B, 8) with mean 0 and standard deviation 1, and its images."""
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
    """Return a case of verification: each image matches a template of the same person and must no longer match."""
    module, images = embedder(count)
    with torch.no_grad():
        template = module(images + 0.03 * draw("photograph", tuple(images.shape)))
    return Case(module, images, torch.arange(count), Dodge(template, 0.8), task=Verification())


def impersonation(count: int = 12) -> Case:
    """Return a case of verification: each image must match one of three other persons."""
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
    """Return a case of detection: two or three anchors find the object of a box, which must vanish."""
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


def mislabelling(count: int = 12) -> Case:
    """Return a case of detection: the object of a box, of the class that it is found as, must be found as the other."""
    case = detector(4 * count)
    with torch.no_grad():
        best = case.module(case.images).logits.amax(1).mean(0)
        assert isinstance(case.module, AnchorNet)
        last = case.module.head[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias[5:] += best[0] - best[1]  # both classes are found
        found = case.module(case.images)
        row, surest = torch.arange(4 * count), found.logits.amax(2).argmax(1)
        goal = Mislabel(found.boxes[row, surest], found.logits[row, surest].argmax(1))
        margin = goal.margin(found)
    nearest = margin.masked_fill(margin > 0, -torch.inf).topk(count).indices
    return Case(case.module, case.images[nearest], torch.arange(count), take(goal, nearest), task=Detection())


def creation(count: int = 12) -> Case:
    """Return a case of detection: an object must be found in that quarter of the image where none is."""
    case = detector(4 * count)
    corner = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]], dtype=torch.float64)
    quarters = torch.cat((corner, corner + 4), dim=1)
    with torch.no_grad():
        found = case.module(case.images)
        best = torch.stack(
            [Create(quarter.expand(4 * count, 4)).margin(found) for quarter in quarters], 1
        )  # of the rows and quarters that are not won yet, those that are nearest to it
    free = best.masked_fill(best > 0, -torch.inf)
    rows = free.amax(1).topk(count).indices
    goal = Create(quarters[free[rows].argmax(1)])
    return Case(case.module, case.images[rows], torch.arange(count), goal, task=Detection())


def segmenter(count: int = 12) -> Case:
    """Return a case of segmentation: a third of each image's pixels must get a wrong class."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1))
    module = filled(net.double(), "segmenter").eval()
    images = 0.5 + 0.15 * draw("images", (count, 3, 8, 8)).clamp(-2.5, 2.5)
    with torch.no_grad():
        labels = module(images).argmax(1)
    return Case(module, images, torch.arange(count), MisclassifyPixels(labels, 1 / 3), task=Segmentation())


def transformed_case(transform: Transform, shape: tuple[int, ...], count: int) -> Case:
    """Return a case whose variable (B, *shape), zero at first, is put on the images of `small_net` by a transform."""
    case = small_net(4 * count)
    with torch.no_grad():
        nearest = case.goal.margin(case.module(case.images)).topk(count).indices  # those nearest to the boundary
    case = take(case, nearest)
    variable = torch.zeros(count, *shape, dtype=torch.float64)
    return Case(case.module, variable, case.labels, transform=transform, context=Scene(images=case.images))


def flow(count: int = 3) -> Case:
    """Return a case in which a flow field moves pixels by up to two pixels."""
    return transformed_case(FlowField(2.0), (2, 8, 8), count)


def rotation(count: int = 3) -> Case:
    """Return a case in which images are rotated by up to 90 degrees and shifted by up to a quarter of their side."""
    return transformed_case(RotationTranslation(90.0, 0.25, padding="border"), (3,), count)


def colour(count: int = 3) -> Case:
    """Return a case in which each channel passes through a colour curve of four pieces."""
    return transformed_case(ColourCurve(3.0), (3, 4), count)


def linear(classes: int, count: int = 8) -> Case:
    """Return a linear model whose nearest decision boundary is known in closed form.

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
    """Return the distance (N,) to the boundary of the `linear` case: logit difference over dual norm of the weights."""
    layer = next(m for m in case.module.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        logits = case.module(case.images)
    lead = logits.gather(1, case.labels[:, None]) - logits
    slopes = layer.weight.detach()[case.labels][:, None] - layer.weight.detach()
    order = {Linf: 1.0, L2: 2.0, L1: torch.inf}[type(ball)]
    dual = torch.linalg.vector_norm(slopes, ord=order, dim=2)
    return torch.where(dual > 0, lead / dual, torch.inf).amin(1)


class Counting(nn.Module):
    """A module that counts images passed forward and rows passed backward; it raises after `fail_at` calls."""

    def __init__(self, module: nn.Module, fail_at: int | None = None) -> None:
        super().__init__()
        self.module, self.fail_at = module, fail_at
        self.forwards = self.backwards = self.calls = 0

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        self.calls += 1
        if self.fail_at is not None and self.calls > self.fail_at:
            raise ZeroDivisionError("planted failure")
        self.forwards += len(x)
        outputs: Tensor = self.module(x, *context)
        if outputs.requires_grad:
            outputs.register_hook(self._count)  # type: ignore[no-untyped-call]
        return outputs

    def _count(self, grad: Tensor) -> None:
        self.backwards += len(grad)
