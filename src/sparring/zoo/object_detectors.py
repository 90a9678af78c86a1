"""Object detectors of COCO's 80 classes, as graphs of TensorFlow.js.

CenterNet on a MobileNetV3 (512 x 512), from Human; NanoDet-m (416 x 416), from Human's other models. Both take
photographs of any size, which are squeezed to that of the network, as Human does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..targets import ObjectDetector
from ..targets.object_detection import CenterNetHead, DistributionHead
from .tfjs import GraphModel, load_graph_model

CENTERNET_SIZE = 512
CENTERNET_OUTPUTS = ("tower_0/CenternetHead/centernet_cls_output/BiasAdd", "tower_0/wh")
CENTERNET_SUPPRESSION: dict[str, Any] = {"score_threshold": 0.3, "iou_threshold": 0.4, "grid_columns": 128}
NANODET_SIZE = 416
NANODET_OUTPUTS = tuple(
    f"PartitionedCall/onnx_tf_prefix_Split_{number}{port}" for number in (153, 164, 175) for port in ("", ":1")
)
NANODET_BINS = 11
NANODET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
NANODET_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)
NANODET_SUPPRESSION: dict[str, Any] = {"score_threshold": 0.35, "iou_threshold": 0.6}


class CenterNet(nn.Module):
    """Images (B, 3, 512, 512) of 0 to 255 -> logits (B, 80, 128, 128), distances (B, 4, 128, 128) in pixels."""

    def __init__(self, graph: GraphModel) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(one.permute(0, 3, 1, 2) for one in self.graph(images.permute(0, 2, 3, 1)))


class NanoDet(nn.Module):
    """Normalised images (B, 3, 416, 416), blue first -> maps (B, 80 + 44, h, w) of the strides 8, 16 and 32."""

    def __init__(self, graph: GraphModel) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> list[Tensor]:
        found = self.graph(images)
        return [torch.cat(found[place : place + 2], dim=1) for place in range(0, len(found), 2)]


def load_centernet(folder: Path, name: str = "centernet") -> ObjectDetector:
    """Load the detector from Human's graph in a folder."""
    network = CenterNet(load_graph_model(folder / "centernet.json", CENTERNET_OUTPUTS)).eval()
    return ObjectDetector(network, CenterNetHead(), CENTERNET_SIZE, scale=255, name=name, **CENTERNET_SUPPRESSION)


def load_nanodet(folder: Path, name: str = "nanodet") -> ObjectDetector:
    """Load the detector from the graph in a folder."""
    network = NanoDet(load_graph_model(folder / "nanodet.json", NANODET_OUTPUTS)).eval()
    head = DistributionHead(bins=NANODET_BINS, classes_first=True)
    return ObjectDetector(
        network, head, NANODET_SIZE, mean=NANODET_MEAN, std=NANODET_STD, bgr=True, name=name, **NANODET_SUPPRESSION
    )
