"""Validation between epochs: accuracy without an attack, under a single step, and under an iterated attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...access import Attack
from ...attacks import APGD, FGSM, L1APGD, PGD, SigmaZero
from ...engine import Engine, run
from ...geometry import L0, L1, Ball
from ...goals import Margin, Misclassify
from ...rows import take
from ...targets import Classifier
from ..certification import SmoothedClassifier
from .config import Validation
from .dataset import IndexedData
from .devices import Processes
from .objective import Certifier

SEED = 7919  # added to the training's: the held-out images are attacked from other starting points
COLLAPSED, APART, FAR_APART = 0.5, 0.25, 0.5


@dataclass(frozen=True)
class Epoch:
    """One line of the log. Accuracies are shares of the validation images; NaN where nothing attacks."""

    epoch: int
    updates: int
    loss: float  # mean over the epoch's rows
    clean: float  # accuracy
    single_step: float  # accuracy after one step of FGSM
    robust: float  # accuracy after FGSM and every validation attack
    eps: float  # share of the full radius
    lr: float
    seconds: float  # since the beginning
    note: str = ""
    acr: float | None = None  # average certified radius, in units of [0, 1]; None: not measured
    certified: float | None = None  # share certified for their label; None: the objective has no certificates

    def row(self) -> dict[str, Any]:
        """Return the fields by name, as the log holds them."""
        return asdict(self)

    @property
    def score(self) -> float:
        """Return what the best epoch is chosen by: the first of ACR, certified, robust and clean that is measured."""
        measured = (value for value in (self.acr, self.certified, self.robust) if value is not None)
        return next((value for value in measured if not math.isnan(value)), self.clean)


def choose_validation_attacks(attacks: Sequence[Attack[Any, Any]], steps: int) -> tuple[Attack[Any, Any], ...]:
    """Return an attack for each ball of the training attacks, of another kind than those that train."""
    balls = dict.fromkeys(ball for attack in attacks for ball in getattr(attack, "balls", (attack.ball,)))
    return tuple(validation_attack(ball, steps, {type(attack) for attack in attacks}) for ball in balls)


def validation_attack(ball: Ball, steps: int, training: set[type[Attack[Any, Any]]]) -> Attack[Any, Any]:
    """Return the attack of `steps` steps that validates within `ball`, none of the `training` kinds."""
    if isinstance(ball, L0):
        return SigmaZero(ball, steps=steps) if PGD in training else PGD(ball, steps=steps)
    if isinstance(ball, L1):
        return PGD(ball, steps=steps) if L1APGD in training else L1APGD(ball, steps=steps)
    return PGD(ball, steps=steps) if APGD in training else APGD(ball, steps=steps)


@dataclass(frozen=True)
class Validator:
    """Measure a model on the validation images."""

    images: IndexedData
    certify: Certifier | None
    attacks: tuple[Attack[Any, Any], ...]
    validation: Validation
    seed: int
    processes: Processes

    def __call__(self, target: Classifier) -> dict[str, float]:
        """Return the measured fields of an `Epoch`: shares of the held-out images, and the average certified radius.

        `single_step` and `robust` are missing without attacks, `acr` without smoothing, `certified` without
        certificates.
        """
        mine = self.processes.part(torch.arange(len(self.images)))
        counts = torch.zeros(5, dtype=torch.float64)
        for rows in mine.split(self.validation.batch_size) if len(mine) else ():  # type: ignore[no-untyped-call]
            images, labels = self.images.at(rows)
            there, wanted = images.to(target.device), labels.to(target.device)
            counts[:3] += self._standing(target, there, wanted, rows)
            counts[3] += self._certified_radii(target, images, labels, rows)
            if self.certify is not None:
                counts[4] += int(self.certify(there, wanted).sum())
        shares = (self.processes.total(counts.to(target.device)).cpu() / len(self.images)).tolist()
        measured = {"clean": True, "single_step": bool(self.attacks), "robust": bool(self.attacks)}
        measured |= {"acr": self.validation.smoothing is not None, "certified": self.certify is not None}
        return {name: share for (name, asked), share in zip(measured.items(), shares, strict=True) if asked}

    def _certified_radii(self, target: Classifier, images: Tensor, labels: Tensor, rows: Tensor) -> float:
        """Return the sum of the certified radii of the rows that are certified for their label."""
        how = self.validation.smoothing
        if how is None:
            return 0.0
        smoothed = SmoothedClassifier(target, how.sigma)
        engine = Engine(self.validation.batch_size, self.seed + SEED)
        found = smoothed.certify(images, how.n0, how.n, how.alpha, indices=rows, engine=engine)
        return found.average_radius(labels) * len(rows)

    def commonest_share(self) -> float:
        """Return the share of the commonest class among the held-out images."""
        parts = torch.arange(len(self.images)).split(self.validation.batch_size)  # type: ignore[no-untyped-call]
        labels = torch.cat([self.images.at(rows)[1].cpu() for rows in parts])
        return float(labels.bincount().max()) / len(labels)

    def _standing(self, target: Classifier, images: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        engine = Engine(self.validation.batch_size, self.seed + SEED)
        with target.frozen(), torch.no_grad():
            right = target(images).argmax(1) == labels
        counts = [int(right.sum()), 0, 0]
        standing = right.nonzero().squeeze(1)
        for place, attack in enumerate(self.attacks):
            goal = Misclassify(labels, Margin())
            if place == 0:
                single = run(FGSM(attack.ball), target, goal, images, engine=engine)
                standing = single.robust.nonzero().squeeze(1)
                counts[1] = len(standing)
            if len(standing):
                indices = rows[standing.cpu()]
                found = run(attack, target, take(goal, standing), images[standing], indices=indices, engine=engine)
                standing = standing[found.robust]
        counts[2] = len(standing) if self.attacks else 0
        return torch.tensor(counts, dtype=torch.float64)


def masking_note(now: Epoch) -> str:
    """Return a note where single steps are withstood at the full radius and iterated attacks are not; else ''."""
    if now.eps < 1 or not now.single_step - now.robust > FAR_APART:
        return ""
    return (
        f"{now.single_step:.1%} withstand a single step and {now.robust:.1%} the iterated attack: the training may "
        "only have made the gradient at the image useless"
    )


def has_collapsed(now: Epoch, best: float) -> bool:
    """Tell whether single steps are withstood and iterated attacks no longer; `best` is the best robust accuracy."""
    return now.robust < COLLAPSED * best and now.single_step - now.robust > APART
