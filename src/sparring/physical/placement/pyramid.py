"""Sampling of a picture at any scale without aliasing: a pyramid of halved pictures (Williams 1983, mip maps).

Between pixels of a level, and between levels, values are interpolated. A pixel of the result that covers a square of
k x k pixels of the picture reads levels log2 k, each of whose pixels is the mean of its square: every pixel counts.
Plain bilinear sampling reads 2 x 2 neighbours, however small the picture is shown, so that most pixels have no
gradient and the result aliases.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad


def build_atlas(picture: Tensor) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """Return all levels of pictures (B, C, h, w) one below the other, and of each its first row, height and width."""
    levels = [picture]
    while max(levels[-1].shape[2:]) > 1:
        last = levels[-1]
        even = pad(last, (0, last.shape[3] % 2, 0, last.shape[2] % 2), mode="replicate")
        levels.append(avg_pool2d(even, 2))
    width, places, row = picture.shape[3], [], 0
    for level in levels:
        places.append((row, level.shape[2], level.shape[3]))
        row += level.shape[2]
    return torch.cat([pad(level, (0, width - level.shape[3])) for level in levels], 2), places


def sample_pyramid(picture: Tensor, columns: Tensor, rows: Tensor, footprint: Tensor) -> Tensor:
    """Return (B, C, H, W): pictures (B, C, h, w) at places (B, H, W), in pixels, (0, 0) the corner of the first.

    `footprint` (B, H, W) is the side of the square of the picture that a pixel of the result covers. Beyond the
    border the last pixel is repeated.
    """
    atlas, places = build_atlas(picture)
    size = picture.new_tensor([atlas.shape[3], atlas.shape[2]])
    table = picture.new_tensor(places)
    wanted = footprint.clamp_min(1).log2().clamp_max(len(places) - 1)
    lower = wanted.detach().floor()
    made = None
    for level, weight in ((lower, 1 - (wanted - lower)), (lower + 1, wanted - lower)):
        top, height, width = table[level.long().clamp_max(len(places) - 1)].unbind(3)
        shrink = torch.exp2(-level)
        x = torch.minimum((columns * shrink).clamp_min(0.5), width - 0.5)
        y = torch.minimum((rows * shrink).clamp_min(0.5), height - 0.5) + top
        grid = torch.stack((x, y), 3) / size * 2 - 1
        read = grid_sample(atlas, grid, mode="bilinear", padding_mode="border", align_corners=False)
        made = read * weight[:, None] if made is None else made + read * weight[:, None]
    assert made is not None
    return made
