"""MediaPipe's segmenter of persons for self-portraits, as Human carries it: two classes, background and person."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from .tfjs import GraphModel, load_graph_model

SELFIE_SIZE = 256
SELFIE_FILE, SELFIE_OUTPUT = "selfie.json", "segment_add"  # before its sigmoid


class SelfieNet(nn.Module):
    """Photographs (B, 3, 256, 256) in [0, 1], RGB -> logits (B, 2, 256, 256): 0 of background, z of a person."""

    def __init__(self, graph: GraphModel) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> Tensor:
        person = self.graph(images.permute(0, 2, 3, 1))[0].permute(0, 3, 1, 2)
        return F.pad(person, (0, 0, 0, 0, 1, 0))


def load_selfie_net(folder: Path) -> SelfieNet:
    """Load the network from the graph in a folder."""
    return SelfieNet(load_graph_model(folder / SELFIE_FILE, [SELFIE_OUTPUT])).eval()
