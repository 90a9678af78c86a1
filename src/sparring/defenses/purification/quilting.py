"""Image quilting (Guo et al. 2017, arXiv:1711.00117, section 3; Efros & Freeman 2001, SIGGRAPH).

The image is put together again from patches of clean images, size x size at a grid of overlapping places: at each, one
of the nearest patches of a data base (in L2), picked at random. Where patches overlap, the newer one begins at the path
of least squared difference to what is there already.

Patches whose places do not meet are laid at once: row i, column j in turn 2 i + j, which gives what one after another
gives. Departure: sides that the grid does not cover are mirrored, where the authors leave a rim.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import ConfigError, InputError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_whole
from .checks import check_clean_images
from .min_cut import min_cut
from .padding import mirror_pad

SEARCHED = 1 << 24  # distances in memory at a time


@dataclass(frozen=True, eq=False)
class Quilting(Stage):
    """Assemble images (B, C, H, W) from patches of clean images; stochastic, with the identity as BPDA approximation.

    Args:
        patches: (M, C, size, size) the data base, of the device of the images; see `clean_patches`.
        overlap: of neighbouring patches; half a patch, rounded down, in the authors' code.
        neighbors: of which one is picked; 10 in Athalye et al. 2018, arXiv:1802.00420.

    Raises: ConfigError, InputError.
    """

    patches: Tensor = field(repr=False)
    overlap: int = 2
    neighbors: int = 10

    def __post_init__(self) -> None:
        check_clean_images("Quilting", self.patches)
        if self.patches.shape[2] != self.patches.shape[3]:
            raise InputError(f"Quilting takes square patches, not {tuple(self.patches.shape[2:])}")
        check_whole(self, "overlap", self.overlap, 1, self.size - 1)
        check_whole(self, "neighbors", self.neighbors, 1, len(self.patches))
        if 2 * self.overlap > self.size:
            raise ConfigError(f"Quilting overlap={self.overlap} of patches {self.size} wide; pass at most half of it")

    @property
    def size(self) -> int:
        """Return the width of a patch."""
        return self.patches.shape[2]

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def differentiable(self) -> bool:
        return False

    def identity(self) -> tuple[object, ...]:
        return (*super().identity(), self.patches)

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        if images.shape[1] != self.patches.shape[1]:
            raise InputError(f"Quilting has patches of {self.patches.shape[1]} channels, and images {images.shape[1]}")
        height, width = images.shape[2:]
        stride = self.size - self.overlap
        over = [max(0, self.size - side) + (-max(0, side - self.size)) % stride for side in (height, width)]
        wide = mirror_pad(images, 0, max(over))[:, :, : height + over[0], : width + over[1]]
        wanted = wide.unfold(2, self.size, stride).unfold(3, self.size, stride)  # (B, C, rows, columns, size, size)
        wanted = wanted.permute(0, 2, 3, 1, 4, 5)
        pick = key.integers("pick", wanted.shape[1:3], self.neighbors)
        chosen = self._nearest(wanted.reshape(-1, self.patches[0].numel()), pick.reshape(-1, 1))
        return self._laid(chosen.view(wanted.shape).to(images), wide)[:, :, :height, :width]

    def _nearest(self, queries: Tensor, pick: Tensor) -> Tensor:
        """(Q, C * size * size): for each query one of the `neighbors` nearest patches, which `pick` (Q, 1) says."""
        base = self.patches.to(queries).flatten(1)
        squares = base.square().sum(1)
        found = [
            torch.topk(squares - 2 * part @ base.T, self.neighbors, largest=False).indices
            for part in queries.split(max(1, SEARCHED // len(base)))  # type: ignore[no-untyped-call]
        ]
        return base[torch.cat(found).gather(1, pick).squeeze(1)]

    def _laid(self, tiles: Tensor, like: Tensor) -> Tensor:
        """Return the tiles (B, rows, columns, C, size, size) laid on a canvas of the shape of `like`."""
        size, stride, side = self.size, self.size - self.overlap, like.shape[3]
        rows, columns = tiles.shape[1:3]
        around = torch.arange(size, device=like.device)
        within = (around[:, None] * side + around).flatten()
        canvas = torch.zeros_like(like).flatten(2)
        for turn in range(2 * (rows - 1) + columns):
            row = torch.arange(max(0, -(-(turn - columns + 1) // 2)), min(rows - 1, turn // 2) + 1, device=like.device)
            column = turn - 2 * row
            places = (row * stride * side + column * stride)[:, None] + within  # (T, size * size)
            new = tiles[:, row, column]  # (B, T, C, size, size)
            old = canvas[:, :, places].transpose(1, 2).reshape(new.shape)
            taken = self._taken((new - old).square().sum(2), row > 0, column > 0)[:, :, None]
            canvas[:, :, places] = torch.where(taken, new, old).flatten(3).transpose(1, 2)
        return canvas.view_as(like)

    def _taken(self, error: Tensor, above: Tensor, left: Tensor) -> Tensor:
        """(B, T, size, size) bool: where the new tile covers the old ones, which lie `above` and to the `left` (T,)."""
        steps = torch.arange(self.size, device=error.device)
        cut_left = steps >= min_cut(error[..., : self.overlap])[..., None]
        cut_above = steps[:, None] >= min_cut(error[..., : self.overlap, :].transpose(2, 3))[..., None, :]
        return (cut_left | ~left[:, None, None]) & (cut_above | ~above[:, None, None])


def clean_patches(images: Tensor, patch_size: int = 5, n_patches: int = 1_000_000, seed: int = 0) -> Tensor:
    """Cut patches (n_patches, C, patch_size, patch_size) out of clean `images` (N, C, H, W), at places by the seed.

    Guo et al. have 1,000,000 of 5 x 5.

    Raises: InputError, ConfigError.
    """
    check_clean_images("a data base of patches", images)
    if min(patch_size, n_patches) < 1 or patch_size > min(images.shape[2:]):
        message = f"{n_patches} patches of {patch_size} x {patch_size} from images {tuple(images.shape[2:])}"
        raise ConfigError(f"{message}; pass n_patches of at least 1 and a patch_size that fits the images")
    key = Key(torch.zeros(1, dtype=torch.int64, device=images.device), seed)
    highest = (len(images), images.shape[2] - patch_size + 1, images.shape[3] - patch_size + 1)
    which, row, column = (key.integers(f"patches {axis}", (n_patches,), high)[0] for axis, high in enumerate(highest))
    views = images.unfold(2, patch_size, 1).unfold(3, patch_size, 1)  # (N, C, rows, columns, size, size), no copy
    return views[which, :, row, column]
