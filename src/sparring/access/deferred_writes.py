"""A buffer of answers that are written to the ledger together, so that a GPU is synchronised only every few steps.

On a GPU every read of a result waits for the device, and launching an operation takes as long as computing a layer of a
small network. So answers are buffered for some steps, and then recorded by as many operations as a single one takes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..goals import Verdict

STEPS = 8  # most answers in the buffer
NUMBERS = 1 << 24  # most numbers in the images of the buffer


def defers(x: Tensor) -> bool:
    """Return whether answers for `x` are to be buffered: on a GPU."""
    return x.is_cuda


class DeferredWrites:
    """The buffer: answers (Q, ...) for the same rows, and the largest components (Q,) of gradients of the same rows."""

    def __init__(self) -> None:
        self.answers: list[tuple[Tensor, Verdict]] = []
        self.peaks: list[Tensor] = []
        self.rows: Tensor | None = None  # of the peaks

    def full_with(self, x: Tensor, verdict: Verdict) -> bool:
        """Add an answer, and return whether the buffer is full."""
        count = len(self.answers) + 1
        full = count == STEPS or (count + 1) * x.numel() > NUMBERS
        self.answers.append((x if full else x.clone(), verdict))  # the attack may change its images in place
        return full

    def taken(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (k, Q, ...), margins and losses (k, Q) of all answers, and remove them from the buffer."""
        images, verdicts = zip(*self.answers, strict=True)
        self.answers = []
        margins, losses = [one.margin for one in verdicts], [one.loss for one in verdicts]
        return torch.stack(images), torch.stack(margins), torch.stack(losses)

    def held(self, rows: Tensor, peak: Tensor) -> bool:
        """Add the largest gradient components of `rows`; False where the buffer is full or holds other rows."""
        if self.peaks and (rows is not self.rows or len(self.peaks) == STEPS):
            return False
        self.rows = rows
        self.peaks.append(peak)
        return True

    def taken_peaks(self) -> tuple[Tensor, Tensor]:
        """Return the rows (Q,) and all peaks (k, Q), and remove them from the buffer."""
        assert self.rows is not None
        peaks, self.peaks = torch.stack(self.peaks), []
        return self.rows, peaks
