"""PatchCleanser (Xiang, Mahloujifar & Mittal 2022, arXiv:2108.09135): double masking around any classifier.

Masks cover every place of a patch. The class of most one-masked images is the answer, unless a mask with another class
keeps this class under every second mask: then the first mask covered the patch, and its class is the answer.

An image whose two-masked versions, by every pair of masks, all have one class c is certified for c (theorem 1): with
a patch, the mask that covers it still gives c, also beside every second mask, and no other mask can hold another class
beside it.
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
from .certificates import PatchCertificates, access_of, as_classifier, check_fits, check_patch, is_share
from .masks import covering_masks


class PatchCleanser(WrappedTarget[Decisions]):
    """`target` behind double masking: a classifier that no patch of a given size moves where it is certified.

    Args:
        target: a classifier of images; any access suffices. It should give the right class under two masks.
        patch: side, or (height, width), of the largest patch in pixels: an axis-parallel rectangle.
        masks_per_axis: at most so many masks along each side (6 in the paper).
        fill: the value of masked pixels.
        batch_size: masked images per pass.

    As a target it answers 1 for its class and -1 for the others. Around a white box it grants gradients, for adaptive
    attacks: those of the mean probabilities of the one-masked images. An answer costs up to M + M^2 passes of the
    target with M masks, and M where they agree; a certificate M (M + 1) / 2.

    Raises: TargetError, ConfigError.
    """

    def __init__(
        self,
        target: Target[Any],
        patch: int | tuple[int, int],
        *,
        masks_per_axis: int = 6,
        fill: float = 0.5,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        super().__init__(as_classifier("PatchCleanser", target))
        for word, value in (("masks_per_axis", masks_per_axis), ("batch_size", batch_size)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"PatchCleanser {word}={value!r}; pass an int >= 1")
        if not is_share(fill):
            raise ConfigError(f"PatchCleanser fill={fill!r}; pass a value of pixels, in [0, 1]")
        self.patch, self.masks_per_axis = check_patch(patch), masks_per_axis
        self.fill, self.batch_size = float(fill), batch_size

    @property
    def access(self) -> type[Any]:
        return access_of(self.target)

    @property
    def name(self) -> str:
        return f"PatchCleanser({self.patch[0]}x{self.patch[1]}) > {self.target.name}"

    def identity(self) -> tuple[object, ...]:
        return ("patch-cleanser", self.patch, self.masks_per_axis, self.fill, *self.target.identity())

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        masks = self._masks(images)
        with torch.no_grad():
            predicted, classes, _ = self._predict(images.detach(), masks)
            judged = torch.full((len(images), classes), -1.0, dtype=images.dtype, device=images.device)
            judged = judged.scatter(1, predicted[:, None], 1.0)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return judged
        return Decoupled(judged, mean_of_probabilities([self.target(self._masked(images, mask)) for mask in masks]))

    def check(self, outputs: Any) -> None:
        """Accept the outputs, which are classes."""

    def certify(self, images: Any) -> PatchCertificates:
        """Return the defence's class of each image (N, C, H, W) in [0, 1], and whether it is certified.

        A certificate is exact, without a probability of error: it rests on the target's answers to finitely many
        masked images.

        Raises: InputError, ConfigError, TargetError.
        """
        images = inputs_of(self, images)
        self.inputs.check(images)
        masks = self._masks(images)
        with torch.inference_mode(False), torch.no_grad(), self.target.frozen():
            parts = [self._certify(part, masks) for part in images.split(self.batch_size)]
        predicted, certified = (torch.cat(column) for column in zip(*parts, strict=True))
        return PatchCertificates(predicted, certified, self.patch)

    def _certify(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return classes (B,) and whether all two-masked images have them (B,)."""
        predicted, _, certified = self._predict(images, masks)
        rows = certified.nonzero().squeeze(1)
        first, second = torch.triu_indices(len(masks), len(masks), 1, device=images.device)
        row, a = _pairs(rows, first)
        agree = self._classes(images, masks, row, a, _pairs(rows, second)[1]) == predicted[row]
        return predicted, certified.index_put((rows,), agree.view(len(rows), len(first)).all(1))

    def _predict(self, images: Tensor, masks: Tensor) -> tuple[Tensor, int, Tensor]:
        """Return the classes (B,) by double masking, the number of classes, and whether one mask always suffices."""
        every = torch.arange(len(masks), device=images.device)
        row, mask = _pairs(torch.arange(len(images), device=images.device), every)
        one = self._classes(images, masks, row, mask, mask).view(len(images), len(masks))
        classes = self.target(self._masked(images[:1], masks[0])).shape[1]
        majority = F.one_hot(one, classes).sum(1).argmax(1)
        minority = one != majority[:, None]
        row, mask = minority.nonzero(as_tuple=True)
        pair, other = _pairs(torch.arange(len(row), device=images.device), every)
        two = self._classes(images, masks, row[pair], mask[pair], other).view(len(row), len(masks))
        holds = torch.zeros_like(minority).index_put((row, mask), (two == one[row, mask][:, None]).all(1))
        first = holds.int().argmax(1, keepdim=True)
        predicted = torch.where(holds.any(1), one.gather(1, first).squeeze(1), majority)
        return predicted, classes, ~minority.any(1)

    def _classes(self, images: Tensor, masks: Tensor, row: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the target's classes (Q,) of images[row] under the masks `first` and `second`."""

        def ask(row: Tensor, first: Tensor, second: Tensor) -> Tensor:
            outputs: Tensor = self.target(self._masked(images[row], (masks[first] | masks[second])[:, None]))
            return outputs.argmax(1)

        if len(row) == 0:  # no model is asked about no images
            return row
        return map_batches(ask, row, first, second, batch_size=self.batch_size)

    def _masked(self, images: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, self.fill, images)

    def _masks(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        check_fits(self.patch, height, width)
        return covering_masks(height, width, self.patch, self.masks_per_axis).to(images.device)


def _pairs(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return each of `rows` with each of `columns`, row by row."""
    return rows.repeat_interleave(len(columns)), columns.repeat(len(rows))
