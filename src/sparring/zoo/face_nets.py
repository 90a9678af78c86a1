"""Networks that embed faces: aligned crops (B, 3, H, W) in [0, 1], RGB -> one vector per face.

`DlibFaceNet` is dlib's ResNet for face recognition (King 2017, dlib_face_recognition_resnet_model_v1) as face-api.js
has it, with weights of 8 bits: 128 numbers, compared by their distance. `FaceResNet` is the MobileNet of HSE that Human
carries as a graph: 1,024 numbers, compared by their cosine. `MobileFace` is the net of that name (becauseofAI), of
faces turned upright as ArcFace has them: 256 numbers, compared by their cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import TargetError
from .tfjs import GraphModel, load_graph_model, read_weights
from .tfjs.manifest import read_json

DLIB_SIZE, DLIB_DIMENSIONS = 150, 128
DLIB_MEAN = (122.782, 117.001, 104.298)
DLIB_MANIFEST = "face_recognition_model-weights_manifest.json"
STAGES = ((32, False, 3), (64, True, 4), (128, True, 3), (256, True, 3))  # channels, halves at its start, blocks
FACERES_SIZE = 224
FACERES_FILE, FACERES_OUTPUT = "faceres.json", "global_pooling/Mean"
MOBILEFACE_SIZE = 112
MOBILEFACE_FILE, MOBILEFACE_OUTPUT = "mobileface.json", "batchnorm0/add_1"
FACERES_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red


class ResidualBlock(nn.Module):
    """Two convolutions around a skip connection; one that halves pools the skip, and adds channels of zeros to it."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.halves:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return F.relu(x + y)


class DlibFaceNet(nn.Module):
    """Faces (B, 3, 150, 150) in [0, 1], RGB -> embeddings (B, 128); of one person where the distance is below 0.6.

    The scale that follows each convolution in the original is part of its weights here.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        blocks: dict[str, ResidualBlock] = {}
        inputs = 32
        for channels, halves, count in STAGES:
            first = [f"conv{channels}_down"] if halves else []
            names = [*first, *(f"conv{channels}_{number + 1}" for number in range(count - halves))]
            for name in names:
                blocks[name] = ResidualBlock(inputs, channels, halves=name in first)
                inputs = channels
        blocks["conv256_down_out"] = ResidualBlock(inputs, inputs, halves=True)
        self.blocks = nn.ModuleDict(blocks)
        self.fc = nn.Linear(inputs, DLIB_DIMENSIONS, bias=False)
        self.register_buffer("mean", torch.tensor(DLIB_MEAN).reshape(3, 1, 1) / 255)

    def forward(self, faces: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(faces - self.mean)), 3, 2)
        for block in self.blocks.values():
            x = block(x)
        embeddings: Tensor = self.fc(x.mean((2, 3)))
        return embeddings


class FaceResNet(nn.Module):
    """Faces (B, 3, 224, 224) in [0, 1], RGB -> embeddings (B, 1024), none of whose numbers is negative."""

    mean: Tensor

    def __init__(self, graph: GraphModel) -> None:
        super().__init__()
        self.graph = graph
        self.register_buffer("mean", torch.tensor(FACERES_MEAN))

    def forward(self, faces: Tensor) -> Tensor:
        blue_first = faces.permute(0, 2, 3, 1).flip(3) * 255 - self.mean
        embeddings: Tensor = self.graph(blue_first)[0]
        return embeddings


class MobileFace(nn.Module):
    """Faces (B, 3, 112, 112) in [0, 1], RGB, aligned to `ARCFACE_TEMPLATE` -> embeddings (B, 256)."""

    def __init__(self, graph: GraphModel) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, faces: Tensor) -> Tensor:
        embeddings: Tensor = self.graph(faces.permute(0, 2, 3, 1) * 255)[0]
        return embeddings


def load_dlib_face_net(folder: Path) -> DlibFaceNet:
    """Load the network from face-api.js's manifest and its shard in a folder.

    Raises: TargetError where they are not those of this network.
    """
    weights = read_weights(read_json(folder / DLIB_MANIFEST), folder)
    state = {"fc.weight": _weight(weights, "fc").T, **_scaled(weights, "conv32_down", "stem")}
    net = DlibFaceNet()
    for name in net.blocks:
        for conv in ("conv1", "conv2"):
            state |= _scaled(weights, f"{name}/{conv}", f"blocks.{name}.{conv}")
    try:
        net.load_state_dict({"mean": net.mean, **state})
    except RuntimeError as error:
        raise TargetError(f"the weights in {folder} are not those of the network: {error}") from error
    return net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def load_face_res_net(folder: Path) -> FaceResNet:
    """Load the network from Human's graph in a folder."""
    return FaceResNet(load_graph_model(folder / FACERES_FILE, [FACERES_OUTPUT])).eval()


def load_mobile_face(folder: Path) -> MobileFace:
    """Load the network from Human's graph in a folder."""
    return MobileFace(load_graph_model(folder / MOBILEFACE_FILE, [MOBILEFACE_OUTPUT])).eval()


def _scaled(weights: Mapping[str, Tensor], name: str, place: str) -> dict[str, Tensor]:
    """Return weight and bias of a convolution together with the scale behind it, s (W x + b) + t, in float64."""
    kernel, bias, scale, shift = (
        _weight(weights, f"{name}/{part}").double()
        for part in ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
    )
    if kernel.ndim != 4 or scale.ndim != 1 or len(scale) != kernel.shape[3]:
        raise TargetError(f"the weights of {name} have shapes {tuple(kernel.shape)} and {tuple(scale.shape)}")
    kernel = (kernel * scale).permute(3, 2, 0, 1)
    return {f"{place}.weight": kernel.float(), f"{place}.bias": (bias * scale + shift).float()}


def _weight(weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise TargetError(f"the weights lack {name!r}")
    return weights[name]
