"""BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047) as Human carries it: the surest face of an image.

The net sees 256 x 256 pixels and answers for 896 anchors: two at each place of a 16 x 16 grid, six of an 8 x 8 grid.
Each has a logit, a box and six points, in pixels from the anchor: both eyes, nose, mouth, both ears.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, InputError
from .tfjs import GraphModel, load_graph_model

PIXELS = 256
GRIDS = ((16, 2), (8, 6))  # places along a side, anchors at each
LOGITS_AND_BOXES = ("Identity", "Identity_1", "Identity_2", "Identity_3")
EYE, OTHER_EYE, MOUTH = 0, 1, 3


class BlazeFace(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> landmarks (B, 3, 2) of the surest face of each, and (B,) bool: is there one?

    Args:
        graph: the net, with the outputs LOGITS_AND_BOXES.
        margin: what is added to each side, as a share of the longer one, by repeating the border: a face that fills the
            whole picture is found by what surrounds it.
        threshold: the probability from which it is a face.

    Landmarks are x, y in pixels of the image: the eye on the left of the picture, the other, the middle of the mouth.
    """

    anchors: Tensor

    def __init__(self, graph: GraphModel, margin: float = 0.2, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 <= margin <= 1 or not 0 < threshold < 1:
            raise ConfigError(f"BlazeFace margin={margin}, threshold={threshold}; pass shares")
        self.graph, self.margin, self.threshold = graph, margin, threshold
        self.register_buffer("anchors", _anchors())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise InputError(f"faces are looked for in images (N, 3, H, W); got {tuple(images.shape)}")
        images = images.to(self.anchors.dtype)
        height, width = images.shape[2:]
        pad = round(self.margin * max(height, width))
        side = max(height, width) + 2 * pad
        framed = F.pad(images, (pad, pad, pad, pad), mode="replicate")
        framed = F.pad(framed, (0, side - framed.shape[3], 0, side - framed.shape[2]))
        small = F.interpolate(framed, (PIXELS, PIXELS), mode="bilinear", antialias=True) * 2 - 1
        first, second, first_boxes, second_boxes = self.graph(small.expand(-1, 3, -1, -1).permute(0, 2, 3, 1))
        logits = torch.cat((first, second), dim=1).squeeze(2)
        boxes = torch.cat((first_boxes, second_boxes), dim=1)
        surest, place = logits.max(1)
        rows = torch.arange(len(images), device=images.device)
        points = boxes[rows, place, 4:].reshape(-1, 6, 2) + self.anchors[place][:, None]
        landmarks = points[:, [EYE, OTHER_EYE, MOUTH]] * (side / PIXELS) - pad
        return landmarks, surest.sigmoid() >= self.threshold


def load_blaze_face(folder: Path, margin: float = 0.2, threshold: float = 0.5) -> BlazeFace:
    """Load the detector from Human's graph in a folder."""
    return BlazeFace(load_graph_model(folder / "blazeface.json", LOGITS_AND_BOXES), margin, threshold).eval()


def _anchors() -> Tensor:
    """Return the middles (896, 2) of the anchors as x, y in pixels, in the order of the net's answers."""
    anchors = []
    for places, count in GRIDS:
        middles = (torch.arange(places) + 0.5) * (PIXELS / places)
        down, across = torch.meshgrid(middles, middles, indexing="ij")
        anchors.append(torch.stack((across, down), dim=2).reshape(-1, 1, 2).expand(-1, count, 2).reshape(-1, 2))
    return torch.cat(anchors)
