"""Answers that wait to be written together.

On a GPU every look at a result waits for the device, and every operation takes as long to start as a layer of a small
network takes to compute. So answers are kept for some steps, and then written by as many operations as one takes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..goals import Verdict

STEPS = 8  # answers that wait at most
NUMBERS = 1 << 24  # in the images of all that wait


def waits(x: Tensor) -> bool:
    """Is it better not to look at each answer?"""
    return x.is_cuda


class Waiting:
    """Answers (Q, ...) for the same rows, and how steep gradients (Q,) of the same rows were."""

    def __init__(self) -> None:
        self.answers: list[tuple[Tensor, Verdict]] = []
        self.peaks: list[Tensor] = []
        self.rows: Tensor | None = None  # of the peaks

    def full_with(self, x: Tensor, verdict: Verdict) -> bool:
        """Add an answer. Is it time to write?"""
        count = len(self.answers) + 1
        full = count == STEPS or (count + 1) * x.numel() > NUMBERS
        self.answers.append((x if full else x.clone(), verdict))  # whoever asked may go on to change its images
        return full

    def taken(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images (k, Q, ...), margins and losses (k, Q) of all answers, which then wait no more."""
        images, verdicts = zip(*self.answers, strict=True)
        self.answers = []
        margins, losses = [one.margin for one in verdicts], [one.loss for one in verdicts]
        return torch.stack(images), torch.stack(margins), torch.stack(losses)

    def held(self, rows: Tensor, peak: Tensor) -> bool:
        """Add how steep the gradients of `rows` were, unless those of other rows or too many wait."""
        if self.peaks and (rows is not self.rows or len(self.peaks) == STEPS):
            return False
        self.rows = rows
        self.peaks.append(peak)
        return True

    def taken_peaks(self) -> tuple[Tensor, Tensor]:
        """The rows (Q,) and all peaks (k, Q), which then wait no more."""
        assert self.rows is not None
        peaks, self.peaks = torch.stack(self.peaks), []
        return self.rows, peaks
