"""Whose image each row sent through a net is, and after how many of them it first fell.

A library is run a second time for this, unmeasured and with the same seed: to look at every row takes longer than the
net itself.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from benchmarks.judging import ORDERS, TOLERANCE

NEVER = -1


@dataclass(frozen=True)
class Queries:
    """Rows sent for an image up to the first that the net gets wrong inside the ball, that row among them.

    Args:
        queries_to_success: the median over the images that fell; None where none did, or images cannot be told apart.
        queries_to_success_of_all: the median over all images, one that stands counting as infinite; None where that
            makes it infinite.
    """

    queries_to_success: float | None = None
    queries_to_success_of_all: float | None = None


class TracedNet(nn.Module):
    """Gives each row to the image that is nearest, in Linf or else in L2.

    A row nearer to an image than half the way from it to any other is nearer to it than to any other (triangle
    inequality). Where one row is not, in either norm, `certain` is False for good. `asked` counts rows, `first` is the
    count with the first one that fell, or NEVER.
    """

    def __init__(self, net: nn.Module, images: Tensor, labels: Tensor, norm: str, eps: float) -> None:
        super().__init__()
        self.net = net
        self.images, self.labels, self.order, self.eps = images.flatten(1), labels, ORDERS[norm], eps
        self.reach = {p: torch.cdist(self.images, self.images, p=p).fill_diagonal_(inf).amin(1) / 2 for p in (inf, 2.0)}
        self.certain = True
        self.asked = torch.zeros_like(labels)
        self.first = torch.full_like(labels, NEVER)
        self._last = {len(labels): torch.arange(len(labels), device=labels.device)}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        if self.certain:
            self._note(images.detach().flatten(1).to(self.images.dtype), logits.detach().argmax(1))
        return logits

    def _note(self, rows: Tensor, classes: Tensor) -> None:
        owners = self._owners(rows)
        size = torch.linalg.vector_norm(rows - self.images[owners], self.order, dim=1)
        inside = (size <= self.eps + TOLERANCE) & (rows.amin(1) >= -TOLERANCE) & (rows.amax(1) <= 1 + TOLERANCE)
        fell = inside & (classes != self.labels[owners])
        for image in owners[fell & (self.first[owners] == NEVER)].unique():
            own = owners == image
            self.first[image] = self.asked[image] + 1 + fell[own].nonzero()[0, 0]
        self.asked += torch.bincount(owners, minlength=len(self.asked))

    def _owners(self, rows: Tensor) -> Tensor:
        """(Q,) images; most often those of the last call of as many rows, which costs less to confirm."""
        owners = self._last.get(len(rows))
        if owners is None or not bool(self._sure(rows, owners).all()):
            owners = self._nearest(rows, inf)
            doubtful = ~self._sure(rows, owners)
            owners[doubtful] = self._nearest(rows[doubtful], 2.0)
            self.certain &= bool(self._sure(rows, owners).all())
            self._last[len(rows)] = owners
        return owners

    def _nearest(self, rows: Tensor, p: float) -> Tensor:
        return torch.cat([torch.cdist(piece, self.images, p=p).argmin(1) for piece in rows.split(1000)])

    def _sure(self, rows: Tensor, owners: Tensor) -> Tensor:
        moved = rows - self.images[owners]
        within = (torch.linalg.vector_norm(moved, p, dim=1) < reach[owners] for p, reach in self.reach.items())
        return torch.stack(tuple(within)).any(0)

    def queries(self, fallen: Tensor) -> Queries:
        """Of the images (N,) bool that fell by the answer that came back; one whose rows all stood took all of them."""
        if not self.certain or not bool(fallen.any()):
            return Queries()
        taken = torch.where(self.first == NEVER, self.asked, self.first).double()
        of_all = torch.where(fallen, taken, inf).median().item()  # torch's: the lower of two middles
        return Queries(taken[fallen].median().item(), None if of_all == inf else of_all)
