"""Iterated local search (Lourenço, Martin & Stützle 2003) for counterexamples that gradient ascent does not reach.

Two walkers of each image climb toward its two nearest rivals by sign steps. Then each is kicked again and again: in
several copies a tenth of the components is drawn anew, uniformly in the box; the copy with the largest margin climbs;
the walker moves there unless the margin fell. After some rounds only the better walker of an image goes on. Now and
then a copy is polished: small sign steps along a running mean of the gradients, which follow ridges.

Only for regions that are boxes: in other norms few components are far from their input, and kicks do not help.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...geometry.region import Region
from ...goals import Goal
from ...random import Key
from ...rows import join, take
from ...targets import Classifier

WALKERS = 2
FIRST_STEPS, FIRST_SIZE = 20, 2.0  # of the first climb; the size of its first step in radii
STEPS, SIZE = 10, 0.25  # of the others
COPIES, SHARE = 6, 0.1  # that are kicked, and the share of components that are drawn anew
RACE = 12  # rounds with two walkers
POLISH, POLISH_STEPS, MEMORY_OF_GRADIENTS = 30, 40, 0.8
COARSEST, FINEST = 0.05, 0.0005  # steps of polishing, in radii


@dataclass(frozen=True)
class Walkers:
    """Some walkers, one a row.

    Args:
        image: (W,) int64, the image of each.
        number: (W,) int64, which walker of its image it is.
        x: (W, ...) where it stands.
        margin: (W,) of the goal there.
        rose: (W,) bool, whether that rose since it was polished.
    """

    image: Tensor
    number: Tensor
    x: Tensor
    margin: Tensor
    rose: Tensor

    def __len__(self) -> int:
        return len(self.image)


class LocalSearch:
    """A search for inputs in boxes at which a goal is met, for several images at once.

    Args:
        classifier, goal, region: of B images; the region is a box.
        key: of the images.
        stop: when the clock (time.monotonic) shows it, what is known is returned.

    Attributes:
        examples: (B, ...) the input of the largest margin among those met, the image itself where there is none.
        margin: (B,) of the examples; -inf where there is none.
    """

    def __init__(self, classifier: Classifier, goal: Goal, region: Region, key: Key, stop: float) -> None:
        assert region.box is not None
        self.classifier, self.goal, self.region, self.key, self.stop = classifier, goal, region, key, stop
        self.low, self.high = region.box
        self.examples, self.margin = region.x.clone(), torch.full_like(region.eps, -torch.inf)

    def run(self, rounds: int) -> Tensor:
        """Search; return (B,) bool, for which images an input was found."""
        with self.classifier.frozen():
            walkers = self._start()
            for number in range(rounds):
                walkers = self._left(walkers, number)
                if not len(walkers) or time.monotonic() > self.stop:
                    break
                walkers = self._kicked(walkers, number)
                if (number + 1) % POLISH == 0:
                    walkers = self._polished(walkers)
        return self.margin > 0

    # the search

    def _start(self) -> Walkers:
        """Two climbs of each walker from draws in the box, of which the better one counts."""
        x, device = self.region.x, self.region.x.device
        with torch.no_grad():
            _, rivals = self.goal.terms(self.classifier(x)).nearest(WALKERS)
        image = torch.arange(len(x), device=device).repeat_interleave(WALKERS)
        number = torch.arange(WALKERS, device=device).repeat(len(x))
        rival = rivals[image, number.clamp(max=rivals.shape[1] - 1)]
        best = None
        for turn in range(2):
            drawn = self._key(image, number).uniform("start", x.shape[1:], turn, x.dtype)
            start = self.low[image] + drawn * (self.high - self.low)[image]
            found, margin = self._climbed(start, image, FIRST_STEPS, FIRST_SIZE, rival)
            now = Walkers(image, number, found, margin, torch.ones_like(image, dtype=torch.bool))
            best = now if best is None else _better(best, now)
        assert best is not None
        return best

    def _left(self, walkers: Walkers, number: int) -> Walkers:
        """The walkers of images without an example; after the race the better one of each."""
        kept = ~(self.margin > 0)[walkers.image]
        if number == RACE:
            most = torch.full_like(self.margin, -torch.inf)
            most = most.scatter_reduce(0, walkers.image, walkers.margin, "amax")
            first = torch.full_like(walkers.image, len(walkers))[: len(most)]
            places = torch.arange(len(walkers), device=kept.device)
            best = walkers.margin == most[walkers.image]
            first = first.scatter_reduce(0, walkers.image[best], places[best], "amin")
            kept = kept & (first[walkers.image] == places)
        return take(walkers, kept)

    def _kicked(self, walkers: Walkers, number: int) -> Walkers:
        """Each walker where it stands, or where it climbs to from the best of its kicked copies."""
        shape, count, image = walkers.x.shape[1:], len(walkers), walkers.image
        drawn = self._key(image, walkers.number).uniform("kick", (COPIES, *shape), number, walkers.x.dtype)
        low, high = self.low[image][:, None], self.high[image][:, None]
        copies = torch.where(drawn < SHARE, low + drawn / SHARE * (high - low), walkers.x[:, None])
        margin = self._margins(copies.flatten(0, 1), image.repeat_interleave(COPIES)).view(count, COPIES)
        chosen = copies[torch.arange(count, device=image.device), margin.argmax(1)]
        x, found = self._climbed(chosen, image, STEPS, SIZE)
        rose = walkers.rose | (found > walkers.margin)
        return replace(_better(walkers, replace(walkers, x=x, margin=found)), rose=rose)

    def _polished(self, walkers: Walkers) -> Walkers:
        """Look for examples near walkers that rose; they themselves stay."""
        now = take(walkers, walkers.rose)
        if len(now):
            mean, x = torch.zeros_like(now.x), now.x
            for step in range(POLISH_STEPS):
                _, grad = self._slopes(x, now.image)
                length = grad.flatten(1).abs().sum(1).clamp(min=torch.finfo(grad.dtype).tiny)
                mean = MEMORY_OF_GRADIENTS * mean + grad / self._rowwise(length)
                size = COARSEST * (FINEST / COARSEST) ** (step / (POLISH_STEPS - 1))
                x = self._moved(x, mean.sign(), now.image, size)
            self._margins(x, now.image)
        return replace(walkers, rose=torch.zeros_like(walkers.rose))

    def _climbed(
        self, x: Tensor, image: Tensor, steps: int, size: float, rival: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the best point of a climb by sign steps, whose sizes fall on a cosine, and its margin."""
        best, most = x, torch.full_like(x.flatten(1)[:, 0], -torch.inf)
        for step in range(steps):
            margin, grad = self._slopes(x, image, rival)
            best, most = self._higher(best, most, x, margin)
            x = self._moved(x, grad.sign(), image, size * (1 + math.cos(math.pi * step / steps)) / 2)
        return self._higher(best, most, x, self._margins(x, image))

    def _higher(self, best: Tensor, most: Tensor, x: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
        better = margin > most
        return torch.where(self._rowwise(better), x, best), torch.where(better, margin, most)

    def _moved(self, x: Tensor, direction: Tensor, image: Tensor, size: float) -> Tensor:
        radius = self._rowwise(self.region.eps[image].to(x.dtype))
        return torch.clamp(x + size * radius * direction, self.low[image], self.high[image])

    def _key(self, image: Tensor, number: Tensor) -> Key:
        """Return the key of walkers."""
        return Key(WALKERS * self.key.indices[image] + number, self.key.seed)

    def _rowwise(self, values: Tensor) -> Tensor:
        return values.view(-1, *[1] * (self.region.x.ndim - 1))

    # questions

    @torch.no_grad()
    def _margins(self, x: Tensor, image: Tensor) -> Tensor:
        """Return the margins (W,) at points of images, and remember those that meet the goal."""
        margin = take(self.goal, image).margin(self.classifier(x)).to(self.margin.dtype)
        self._remember(x, image, margin)
        return margin

    def _slopes(self, x: Tensor, image: Tensor, rival: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the margins (W,), and the gradients of them, or of the conditions of the rivals (W,)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            terms = take(self.goal, image).terms(self.classifier(x))
            margin = terms.margin
            climbed = margin if rival is None or terms.every else terms.values.gather(1, rival[:, None])[:, 0]
            (grad,) = torch.autograd.grad(climbed.sum(), x)
        margin = margin.detach().to(self.margin.dtype)
        self._remember(x.detach(), image, margin)
        return margin, grad

    def _remember(self, x: Tensor, image: Tensor, margin: Tensor) -> None:
        met = (margin > 0).nonzero().flatten()
        if len(met):
            for place in met[margin[met].argsort()].tolist():  # the largest last
                row = image[place]
                if margin[place] > self.margin[row]:
                    self.examples[row], self.margin[row] = x[place], margin[place]


def _better(one: Walkers, other: Walkers) -> Walkers:
    """Each of the first walkers, or the second where its margin is no smaller."""
    rows = (other.margin >= one.margin).long() * len(one) + torch.arange(len(one), device=one.image.device)
    return take(join([one, other]), rows)
