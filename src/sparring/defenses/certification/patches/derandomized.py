"""De-randomised smoothing (Levine & Feizi 2020, arXiv:2002.10733): the votes of all ablated images.

An ablation keeps a band (columns, or rows) or a block of the image and blanks out the rest; bands that leave the image
come in again on the other side. The answer is the class with the most votes, the first of those that are equal. A patch
touches a known number D of ablations, whatever its content: with bands of s and a patch of w columns D = min(w + s - 1,
W). So class c cannot lose where (theorem 1)

    n_c >= n_k + 2 D + [k < c]          for every other class k

which is the "counting" certificate. The votes are known place by place, and those that a patch leaves alone stand; the
"place" certificate asks, for every place of the patch, that c wins though all D ablations there vote for k:

    n_c - a_c(place) >= n_k - a_k(place) + D + [k < c]         a: votes of the ablations that the patch touches

It certifies all that "counting" does, and is tight for a model of which nothing but these votes is known.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....access import Decisions, Decoupled
from ....batching import BATCH_SIZE, map_batches
from ....engine.given import inputs_of
from ....errors import ConfigError
from ....random import Key
from ....shapes import FloatBatch
from ....targets import Target, WrappedTarget
from ....tasks.task import mean_of_probabilities
from .ablation import Ablation
from .certificates import PatchCertificates, access_of, as_classifier, check_fits, check_patch, is_share

CERTIFICATES = ("place", "counting")


class DerandomizedSmoothing(WrappedTarget[Decisions]):
    """`target` asked about every ablation of an image; the class with the most votes is the answer.

    Args:
        target: a classifier that knows images of which only a band or a block is seen; any access suffices.
        size: width of the bands, or side of the blocks, in pixels.
        ablation: "columns", "rows" or "block".
        fill: the value of pixels that are blanked out. None: as in the paper, the target takes 2 C channels, the image
            and 1 minus the image, both 0 where it is blank, so that blank is no value of a pixel.
        threshold: an ablation votes for every class with at least this probability, or for none (0.3 in the paper);
            None: for the class of its largest logit.
        batch_size: ablated images per pass.

    As a target it answers the votes, less k / K for class k, so that its largest output is its class. Around a white
    box it grants gradients, for adaptive attacks: those of the mean probabilities of the ablations.

    Raises: TargetError, ConfigError.
    """

    def __init__(
        self,
        target: Target[Any],
        size: int,
        *,
        ablation: str = "columns",
        fill: float | None = 0.5,
        threshold: float | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        super().__init__(as_classifier("DerandomizedSmoothing", target))
        self.ablation = Ablation(size, ablation, fill)
        if type(batch_size) is not int or batch_size < 1:
            raise ConfigError(f"DerandomizedSmoothing batch_size={batch_size!r}; pass an int >= 1")
        if threshold is not None and not is_share(threshold):
            raise ConfigError(f"DerandomizedSmoothing threshold={threshold!r}; pass a probability or None")
        self.threshold, self.batch_size = threshold, batch_size

    @property
    def access(self) -> type[Any]:
        return access_of(self.target)

    @property
    def name(self) -> str:
        return f"DerandomizedSmoothing({self.ablation.size} {self.ablation.kind}) > {self.target.name}"

    def identity(self) -> tuple[object, ...]:
        return ("de-randomised", self.ablation, self.threshold, *self.target.identity())

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        with torch.no_grad():
            votes = self._votes(images.detach()).flatten(2).sum(2)
            judged = (votes - torch.arange(votes.shape[1], device=images.device) / votes.shape[1]).to(images.dtype)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return judged
        views = [self.target(self.ablation.apply(images, kept)) for kept in self.ablation.kept(images)]
        return Decoupled(judged, mean_of_probabilities(views))

    def check(self, outputs: Any) -> None:
        """Accept the outputs, which are votes."""

    def certify(self, images: Any, patch: int | tuple[int, int], certificate: str = "place") -> PatchCertificates:
        """Return the class of each image (N, C, H, W) in [0, 1], and whether a patch can change it.

        A certificate is exact, without a probability of error.

        Args:
            patch: side, or (height, width), of the largest patch in pixels: an axis-parallel rectangle.
            certificate: "place" or "counting"; see the formulas of this module.

        Raises: InputError, ConfigError, TargetError.
        """
        images = inputs_of(self, images)
        self.inputs.check(images)
        size = check_patch(patch)
        check_fits(size, *images.shape[2:])
        if certificate not in CERTIFICATES:
            raise ConfigError(f"certificate={certificate!r}; pass one of {', '.join(CERTIFICATES)}")
        with torch.inference_mode(False), torch.no_grad(), self.target.frozen():
            parts = images.split(self.batch_size)
            found = [self._certify(self._votes(part), part, size, certificate) for part in parts]
        predicted, certified = (torch.cat(column) for column in zip(*found, strict=True))
        return PatchCertificates(predicted, certified, size)

    def _certify(self, votes: Tensor, images: Tensor, patch: tuple[int, int], how: str) -> tuple[Tensor, Tensor]:
        """Return classes (B,) and certificates (B,) bool, of votes (B, K, h, w) by the place of the ablation."""
        total = votes.flatten(2).sum(2)
        predicted = total.argmax(1)
        grid, band = votes.shape[2:], self.ablation.band(images)
        reach = [min(p + s - 1, n) if n > 1 else 1 for p, s, n in zip(patch, band, grid, strict=True)]
        touched = reach[0] * reach[1]
        if how == "counting":
            stand, most = total[:, :, None], 2 * touched
        else:
            stand, most = total[:, :, None] - _touched_votes(votes, band, patch, reach).flatten(2), touched
        own = predicted[:, None, None].expand(-1, 1, stand.shape[2])
        earlier = torch.arange(total.shape[1], device=votes.device) < predicted[:, None]
        needed = (stand + most + earlier[:, :, None]).scatter(1, own, -1)
        return predicted, (stand.gather(1, own) >= needed).flatten(1).all(1)

    def _votes(self, images: Tensor) -> Tensor:
        """Return (B, K, h, w) int64: whether the ablation at each place votes for each class."""
        kept = self.ablation.kept(images)

        def ask(row: Tensor, place: Tensor) -> Tensor:
            logits: Tensor = self.target(self.ablation.apply(images[row], kept[place][:, None]))
            if self.threshold is not None:
                return logits.softmax(1) >= self.threshold
            return F.one_hot(logits.argmax(1), logits.shape[1]).bool()

        every = torch.arange(len(kept), device=images.device)
        row = torch.arange(len(images), device=images.device).repeat_interleave(len(kept))
        votes = map_batches(ask, row, every.repeat(len(images)), batch_size=self.batch_size)
        return votes.view(len(images), *self.ablation.grid(images), -1).permute(0, 3, 1, 2).long()


def _touched_votes(votes: Tensor, band: tuple[int, int], patch: tuple[int, int], reach: list[int]) -> Tensor:
    """Return the sums of votes (B, K, h, w) over the ablations that a patch touches, for each place of the patch.

    A patch that begins at x touches the ablations that begin at x - band + 1 and the `reach` - 1 that follow, around
    the border.
    """
    for axis, (size, side, count) in enumerate(zip(band, patch, reach, strict=True), start=2):
        length = votes.shape[axis]
        if length > 1:
            start = torch.arange(1 - size, length - side - size + 2, device=votes.device)[:, None]
            index = (start + torch.arange(count, device=votes.device)) % length
            taken = votes.index_select(axis, index.flatten())
            votes = taken.view(*votes.shape[:axis], *index.shape, *votes.shape[axis + 1 :]).sum(axis + 1)
    return votes
