"""The columns of the matrix: a goal of each task, on inputs of each kind, beside masks, radii, contexts and transforms.

One small body turns inputs of a kind into 16 features, and one head turns those into the outputs of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..goals import Dodge, EvadeIdentification, Goal, Misclassify, MisclassifyPixels, Vanish
from ..inputs import Images, Inputs, PointClouds, Unbounded
from ..random import Key
from ..rows import take
from ..targets import Classifier, Model, Pipeline, Target
from ..tasks import Classification, Detection, Detections, Identification, Segmentation, Task, Verification
from ..transforms import ColourCurve, Detector, FlowField, RotationTranslation, Scene, Transform
from .cases import draw, filled

TASKS: tuple[Task, ...] = (Classification(), Verification(), Identification(), Detection(), Segmentation())
ROWS, CANDIDATES = 3, 48
GAIN = 5.0  # so steep are the models that short searches find something


@dataclass(frozen=True)
class Setting:
    """What is attacked in one cell, and under which threat."""

    module: nn.Module
    x: Tensor
    goal: Goal
    task: Task
    inputs: Inputs = Images()  # noqa: RUF009
    context: Any = None
    transform: Transform | Detector | None = None
    mask: Tensor | None = None
    radii: bool = False  # a radius for each row, around that of the attack

    def target_around(self, model: Callable[..., Any]) -> Target[Jacobians]:
        """Return the target with `model` in the place of the module."""
        beside = self.context is not None and self.transform is None
        around: Target[Jacobians] = (
            Classifier(model, inputs=self.inputs, takes_context=beside)
            if isinstance(self.task, Classification)
            else Model(model, self.task, inputs=self.inputs, takes_context=beside)
        )
        return around if self.transform is None else Pipeline(around, self.transform)


class ImageBody(nn.Module):
    """Images (B, 3, 8, 8), of which every pixel counts."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(96, 16), nn.Tanh())

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        features: Tensor = self.net(GAIN * (x - 0.5))
        return features


class PointBody(nn.Module):
    """Point clouds (B, N, 3), of the points that are present."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Linear(3, 16)

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        each: Tensor = self.point(2 * GAIN * x).tanh()
        if context is None:
            return GAIN * each.mean(1)
        present: Tensor = context.present[:, :, None]
        return GAIN * (each * present).sum(1) / present.sum(1)


class VectorBody(nn.Module):
    """A network from vectors (B, 10) to features (B, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.Tanh())

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        features: Tensor = self.net(GAIN * x / 3)
        return features


class Headed(nn.Module):
    """A body, and the head of a task: 4 classes, 8 dimensions, 3 anchors of 2 classes, or 3 classes of 2x2 pixels."""

    def __init__(self, body: nn.Module, task: Task) -> None:
        super().__init__()
        self.body, self.task = body, task
        sizes = {Classification: 4, Verification: 8, Identification: 8, Detection: 6, Segmentation: 12}
        self.head = nn.Linear(16, sizes[type(task)])

    def forward(self, x: Tensor, *context: Any) -> Any:
        """Return the outputs of the task."""
        numbers = self.head(self.body(x, *context))
        if isinstance(self.task, Segmentation):
            return numbers.view(len(x), 3, 2, 2)
        if not isinstance(self.task, Detection):
            return numbers
        corner = torch.arange(3, device=x.device).to(numbers)[None, :, None].expand(len(x), 3, 2)
        boxes = torch.cat((corner, corner + 3), dim=2)
        return Detections(boxes, numbers.view(len(x), 3, 2), torch.ones(boxes.shape[:2], dtype=torch.bool))


def goal_of(task: Task, outputs: Any, photographs: Any) -> Goal:
    """Return a goal that none of these outputs meets; `photographs` are the outputs of nearly the same inputs."""
    if isinstance(task, Classification):
        return Misclassify(outputs.argmax(1))
    if isinstance(task, Identification):  # among five persons, of whom the first is in the picture
        gallery = torch.stack([photographs.roll(-place, 0) for place in range(5)], 1)
        return EvadeIdentification(gallery, torch.zeros(len(gallery), dtype=torch.long), 0.9)
    if isinstance(task, Verification):
        return Dodge(photographs, 0.9)
    if isinstance(task, Segmentation):
        return MisclassifyPixels(outputs.argmax(1), 0.5)
    return Vanish(outputs.boxes[torch.arange(len(outputs.boxes)), outputs.logits.amax(2).argmax(1)])


def setting(task: Task, body: nn.Module, x: Tensor, inputs: Inputs, context: Any = None) -> Setting:
    """Return the setting with those of the candidates that lie nearest to being won, and are not."""
    module = Headed(body, task).double().eval()
    filled(module, f"{task.name} {type(body).__name__}")
    with torch.no_grad():
        module.head.bias.zero_()  # which would decide alone
    beside = () if context is None else (context,)
    with torch.no_grad():
        near = x + 0.02 * inputs.scale * draw("photographs", tuple(x.shape))
        outputs, photographs = module(x, *beside), module(near, *beside)
        if isinstance(task, Detection):
            module.head.bias.add_(0.1 - outputs.logits.amax((1, 2)).amin())  # every input has an anchor above 0
            outputs = module(x, *beside)
        goal = goal_of(task, outputs, photographs)
        margin = goal.margin(outputs)
    nearest = margin.masked_fill(margin > 0, -torch.inf).topk(ROWS).indices
    return Setting(module, x[nearest], take(goal, nearest), task, inputs, take(context, nearest))


def images(task: Task) -> Setting:
    """Images in [0, 1]."""
    x = 0.5 + 0.15 * draw("images", (CANDIDATES, 3, 8, 8)).clamp(-2.5, 2.5)
    return setting(task, ImageBody(), x, Images())


def points(task: Task) -> Setting:
    """Clouds of 12 points in [-1, 1]."""
    x = (0.4 * draw("points", (CANDIDATES, 12, 3))).clamp(-0.9, 0.9)
    return setting(task, PointBody(), x, PointClouds())


def partial_clouds(task: Task) -> Setting:
    """Clouds of 7 to 12 points; which are present is the context, and only those may move."""
    present = torch.arange(12) < 7 + torch.arange(CANDIDATES)[:, None] * 2 % 6
    x = (0.4 * draw("points", (CANDIDATES, 12, 3))).clamp(-0.9, 0.9) * present[:, :, None]
    made = setting(task, PointBody(), x, PointClouds(), Scene(present=present))
    return replace(made, mask=made.context.present[:, :, None].expand_as(made.x))


def vectors(task: Task) -> Setting:
    """Ten real numbers without bounds."""
    return setting(task, VectorBody(), 3 * draw("vectors", (CANDIDATES, 10)), Unbounded(scale=3.0))


def masks(task: Task) -> Setting:
    """Images of each of which another half of the components may move."""
    made = images(task)
    return replace(made, mask=draw("mask", tuple(made.x.shape)) > 0)


def radii(task: Task) -> Setting:
    """Images with a radius each."""
    return replace(images(task), radii=True)


def transformed_setting(transform: Transform | Detector, x: Tensor) -> Callable[[Task], Setting]:
    """Return the settings of a variable that a transform puts on images."""

    def made(task: Task) -> Setting:
        plain = images(task)
        return replace(plain, x=x, transform=transform, context=Scene(images=plain.x))

    return made


class Brightness(Detector):
    """Rejects what is brighter than most images."""

    def alarm(self, images: Tensor, key: Key) -> Tensor:
        """Return the mean above 0.53."""
        return (images.flatten(1).mean(1) - 0.53) * 50


def rejecting(task: Task) -> Setting:
    """Images behind a detector, whose alarm has to stay silent too."""
    return replace(images(task), transform=Brightness())


def zeros(*shape: int) -> Tensor:
    """A variable that changes nothing yet."""
    return torch.zeros(ROWS, *shape, dtype=torch.float64)


COLUMNS: dict[str, Callable[[Task], Setting]] = {
    "images": images,
    "points": points,
    "partial clouds": partial_clouds,
    "vectors": vectors,
    "mask per row": masks,
    "eps per row": radii,
    "detector": rejecting,
    "flow": transformed_setting(FlowField(2.0), zeros(2, 8, 8)),
    "rotation": transformed_setting(RotationTranslation(90.0, 0.25, padding="border"), zeros(3)),
    "colour curve": transformed_setting(ColourCurve(3.0), zeros(3, 4)),
}


def settings() -> Iterator[tuple[str, Task, Setting]]:
    """Yield every column with every task."""
    for column, make in COLUMNS.items():
        for task in TASKS:
            yield column, task, make(task)
