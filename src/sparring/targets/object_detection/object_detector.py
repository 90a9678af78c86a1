"""`ObjectDetector`: a network with a head as a target, from pixels to `Detections`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError, TargetError
from ...tasks import Detection, Detections, Objects
from ..model import Model
from .head import Head, tensors_in

GRAY = 114 / 255  # of the border of a letterbox, as in YOLO


class ObjectDetector(Model):
    """An object detector: images (B, 3, H, W) in [0, 1] -> `Detections`, boxes in pixels of the given images.

        detector = ObjectDetector(yolo.model, DistributionHead(), 640, letterbox=True)     # Ultralytics' YOLOv8
        goal = Vanish.all_of(detector.detect(images).of_class(0), score_threshold=detector.task.score_threshold)
        run(PGD(Linf(8 / 255)), detector, goal, images)

    Images are resized differentiably, normalised, passed through the network and read by the head; boxes are brought
    back.

    Args:
        network: a module from images to what the head reads. What predicts, with suppression and without gradients
            (Ultralytics' `YOLO`, `AutoShape`), is refused with the module inside it named.
        head: how its answer is read.
        size: side, or (rows, columns), that images are resized to; None: as they are.
        letterbox: keep the proportions and fill up with gray; False: squeeze both sides to `size`.
        mean, std: per channel, in units of [0, 1].
        scale: what pixels in [0, 1] are multiplied by after that: 255 for a network that takes bytes.
        bgr: the network takes blue first.
        as_list: the network takes a list of images (3, H, W), as torchvision's do.
        name: the name in reports.
        detection: settings of `tasks.Detection`: `score_threshold`, `iou_threshold`, `max_detections`, ...

    Raises: TargetError for a network that has no gradients or answers with something else, ConfigError for settings.
    """

    def __init__(
        self,
        network: nn.Module,
        head: Head,
        size: int | tuple[int, int] | None = None,
        *,
        letterbox: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float = 1.0,
        bgr: bool = False,
        as_list: bool = False,
        name: str | None = None,
        **detection: Any,
    ) -> None:
        _check_network(network)
        if not isinstance(head, Head):
            raise TargetError(
                f"head={head!r:.60} reads nothing; pass a Head, as YOLOHead(anchors) or DistributionHead()"
            )
        sides = (size, size) if isinstance(size, int) else size
        if sides is not None and (len(sides) != 2 or not all(isinstance(one, int) and one > 0 for one in sides)):
            raise ConfigError(f"size={size!r:.40}; pass a side in pixels, (rows, columns), or None")
        if letterbox and sides is None:
            raise ConfigError("letterbox=True fills up to a size; pass size=")
        try:
            task = Detection(head=head.name, objectness=head.objectness, **{**head.suppression, **detection})
        except TypeError as error:
            raise ConfigError(f"{error}; the settings are those of tasks.Detection") from error
        module = DetectorModule(network, head, sides, letterbox, mean, std, scale, bgr, as_list)
        super().__init__(module, task, name=name or type(network).__name__)
        self.module = module

    @property
    def task(self) -> Detection:
        assert isinstance(self._task, Detection)
        return self._task

    def detect(self, images: Tensor, score_threshold: float | None = None) -> Objects:
        """Return what the detector answers for images (B, 3, H, W) after non-maximum suppression, the surest first."""
        return self.task.decode(self.predict(images), score_threshold)


class DetectorModule(nn.Module):
    """The module of an `ObjectDetector`: resizing, normalisation, network, head, and boxes brought back."""

    def __init__(
        self,
        network: nn.Module,
        head: Head,
        size: tuple[int, int] | None,
        letterbox: bool,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        scale: float,
        bgr: bool,
        as_list: bool,
    ) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.size, self.letterbox, self.scale, self.bgr, self.as_list = size, letterbox, scale, bgr, as_list
        self.mean, self.std = _channels("mean", mean), _channels("std", std)

    def forward(self, images: Tensor) -> Detections:
        """Return the detections in images (B, 3, H, W) in [0, 1]."""
        x, zoom, shift = self._fitted(images)
        for values, apply in ((self.mean, torch.sub), (self.std, torch.div)):
            if values is not None:
                x = apply(x, x.new_tensor(values).view(1, -1, 1, 1))
        x = x * self.scale
        if self.bgr:
            x = x.flip(1)
        with self._opened():
            raw = self.network(list(x) if self.as_list else x)
        if torch.is_grad_enabled() and x.requires_grad and not any(one.requires_grad for one in tensors_in(raw)):
            raise TargetError(
                f"{type(self.network).__name__} computes without gradients (torch.no_grad, a predict(), or suppression "
                "inside it): pass the network itself, or attack it as Restricted(target, 'scores')"
            )
        found: Detections = self.head(raw, (x.shape[2], x.shape[3]))
        boxes = (found.boxes - shift.to(found.boxes)) / zoom.to(found.boxes)
        return replace(found, boxes=boxes)

    def _fitted(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images in the network's size, with the zoom and the shift (4,) of x1, y1, x2, y2 that this was."""
        height, width = images.shape[2:]
        if self.size is None:
            return images, images.new_ones(4), images.new_zeros(4)
        rows, columns = self.size
        if self.letterbox:
            ratio = min(rows / height, columns / width)
            inner = (max(round(height * ratio), 1), max(round(width * ratio), 1))
        else:
            inner = self.size
        x = images if inner == (height, width) else _resized(images, inner)
        top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
        if self.letterbox:
            x = F.pad(x, (left, columns - inner[1] - left, top, rows - inner[0] - top), value=GRAY)
        zoom = images.new_tensor([inner[1] / width, inner[0] / height] * 2)
        return x, zoom, images.new_tensor([left, top] * 2)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Let candidates pass the network's own suppression, where the head asks for it, and put it back."""
        wanted = self.head.loosened(self.network)
        before = [(holder, name, getattr(holder, name)) for holder, name, _ in wanted]
        try:
            for holder, name, value in wanted:
                setattr(holder, name, value)
            yield
        finally:
            for holder, name, value in before:
                setattr(holder, name, value)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images resized bilinearly, with anti-aliasing where a side becomes shorter."""
    shrinks = size[0] < images.shape[2] or size[1] < images.shape[3]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)


def _channels(word: str, values: Sequence[float] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    found = tuple(float(value) for value in values)
    if len(found) not in (1, 3) or (word == "std" and min(found) <= 0):
        raise ConfigError(f"{word}={values!r:.60}; pass one number per channel, in units of [0, 1]")
    return found


def _check_network(network: object) -> None:
    """Raise TargetError for what is no module, or predicts without gradients."""
    inside = getattr(network, "model", None)
    if callable(getattr(network, "predict", None)) and isinstance(inside, nn.Module):
        raise TargetError(
            f"{type(network).__name__} predicts with suppression and without gradients; pass the network inside it: "
            "ObjectDetector(yolo.model, ...)"
        )
    if type(network).__name__ == "AutoShape" and isinstance(inside, nn.Module):
        raise TargetError("AutoShape prepares images outside of torch and suppresses; pass the network: .model.model")
    if not isinstance(network, nn.Module):
        raise TargetError(f"a {type(network).__name__} is no torch.nn.Module; wrap a function in one")
