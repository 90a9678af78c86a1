"""Randomised smoothing (Cohen, Rosenfeld & Kolter 2019, arXiv:1902.02918): `SmoothedClassifier`.

    g(x) = argmax_c  P( f(x + sigma z) = c ),      z standard normal

whatever f is. Its certificates are of g: the classifier in use is the smoothed one (`predict`, `deployed`), not f.

    smoothed = SmoothedClassifier(Classifier(net), sigma=0.25)          net learned from images with such noise
    smoothed = SmoothedClassifier(Pipeline(Classifier(net), Denoiser(module)), 0.25)      net did not (Salman et al.
                                                                                          2020, arXiv:2003.01908)
    certificates = smoothed.certify(images)
    run(attack, smoothed.deployed(votes=100).adaptive_view(draws=8), goal, images)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ....access import Jacobians
from ....engine import Engine
from ....engine.arguments import as_engine, as_indices
from ....engine.checkpoint import kept_checkpoint
from ....engine.given import inputs_of
from ....errors import ConfigError, TargetError
from ....rows import outside_inference
from ....scalars import plain_number
from ....targets import Defended, Pipeline, Target, as_target
from ....tasks import Classification
from ...randomization import InputNoise
from .certificates import ABSTAIN, SmoothingCertificates, SmoothingPredictions, check_alpha, check_certificates
from .confidence import binomial_test
from .counts import ClassCounts


@dataclass(frozen=True)
class SmoothedClassifier:
    """The classifier that answers the class that `target` takes most often under Gaussian noise.

    Args:
        target: a classifier of images in [0, 1], of any access; also one behind a denoiser, a remote one, or one whose
            answers are random. Only the classes of its answers are used.
        sigma: the noise's standard deviation, in units of [0, 1].

    The images given are checked to lie in [0, 1]. Their noisy copies do not, and are not clipped: everything from there
    on (normalisation, a denoiser's clipping, the bytes that a remote model is sent) is part of f, and no certificate
    depends on what it does.

    Raises: TargetError, ConfigError.
    """

    target: Target[Any]
    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))
        if not isinstance(self.target.task, Classification):
            raise TargetError(f"only a classifier is smoothed: pass Classifier(model), not {self.target!r:.80}")
        sigma = plain_number(self.sigma)
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < math.inf:
            raise ConfigError(f"SmoothedClassifier sigma={sigma!r}; pass a number above 0")
        object.__setattr__(self, "sigma", sigma)
        self.once()  # what cannot stand behind noise is refused here

    def once(self) -> Pipeline[Any]:
        """Return the target behind its noise, of which each answer is that of one draw."""
        return Pipeline(self.target, InputNoise(self.sigma))

    def predict(
        self,
        images: Any,
        n: int = 1000,
        alpha: float = 0.001,
        *,
        indices: Tensor | None = None,
        engine: Engine | None = None,
    ) -> SmoothingPredictions:
        """Return g's class of each image, or `ABSTAIN` (Cohen et al. 2019, PREDICT).

        Args:
            images: (N, C, H, W) in [0, 1].
            n: draws per image.
            alpha: the probability that a class is returned that is not g's, for each image.
            indices: (N,) int64, the images' positions in their data set, which key their noise; 0 to N - 1 by default.
            engine: batch size (draws per pass), seed, checkpoint folder, progress.

        Raises: InputError, ConfigError before the first draw; TargetError, RunError.
        """
        alpha, n = check_alpha(alpha), as_draws("n", n)
        least = math.ceil(math.log2(2 / alpha))  # n of n have the p-value 2 / 2^n
        if n < least:
            raise ConfigError(
                f"n={n} draws abstain at alpha={alpha:g}, even where all of them agree; pass n >= {least}, or a "
                "larger alpha"
            )
        ((counts,), _) = self._count(images, (n,), indices, engine)
        top = counts[:, :-1].topk(min(2, counts.shape[1] - 1))
        most = top.values[:, 0]
        p_value = torch.from_numpy(binomial_test(most.numpy(), top.values.sum(1).numpy()))
        predicted = torch.where((p_value <= alpha) & (most > counts[:, -1]), top.indices[:, 0], ABSTAIN)
        return SmoothingPredictions(predicted, p_value, counts[:, :-1], alpha)

    def certify(
        self,
        images: Any,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        *,
        bound: str = "two-class",
        indices: Tensor | None = None,
        engine: Engine | None = None,
    ) -> SmoothingCertificates:
        """Return a class and its certified L2 radius for each image, or abstain (Cohen et al. 2019, CERTIFY).

        Args:
            images: (N, C, H, W) in [0, 1].
            n0: draws that select the class.
            n: further draws that bound its probability; the radius is at most sigma Phi^-1(alpha^(1/n)).
            alpha: the probability of error of each certificate; for that of all, see `SmoothingCertificates.joint`.
            bound: "two-class" or "all-class", to be chosen before the draws are seen.
            indices, engine: as in `predict`.

        Raises: InputError, ConfigError before the first draw; TargetError, RunError.
        """
        alpha, n0, n = check_alpha(alpha), as_draws("n0", n0), as_draws("n", n)
        check_certificates(n, alpha, bound)
        check = partial(check_certificates, n, alpha, bound)
        (selection, estimate), dimension = self._count(images, (n0, n), indices, engine, check)
        selected = selection.argmax(1)
        selected = torch.where(selected == selection.shape[1] - 1, ABSTAIN, selected)
        return SmoothingCertificates(selected, estimate[:, :-1], n, float(self.sigma), dimension, alpha, bound)

    def deployed(self, votes: int = 100) -> Pipeline[Any]:
        """Return the smoothed classifier as a target: the class of most of `votes` draws.

        Around a white box it is a `Defended`, with a naive and an adaptive view for attacks and audits.
        """
        target, noise = self.target, InputNoise(self.sigma)
        if issubclass(target.access, Jacobians):
            return Defended(target, noise, votes=votes, fuse="majority")
        if isinstance(target, Defended) and target.votes == 1:
            return Defended(target.target, noise, *target.parts, votes=votes, fuse="majority")
        return Pipeline(target, noise, votes=votes, fuse="majority")

    def soft(self, draws: int = 8) -> Pipeline[Any]:
        """Return the target that answers the log of the mean softmax over `draws` draws.

        The gradient of its cross-entropy is that of SmoothAdv's attack (Salman et al. 2019, arXiv:1906.04584, eq. 8),
            grad_x  -log( mean_i  F(x + sigma z_i)_y ),
        where EOT in `deployed().adaptive_view(draws)` ascends the mean of the draws' losses.
        """
        return Pipeline(self.target, InputNoise(self.sigma), votes=draws, fuse="probabilities")

    def _count(
        self,
        images: Any,
        sizes: tuple[int, ...],
        indices: Tensor | None,
        engine: Engine | None,
        check: Callable[[int], None] | None = None,
    ) -> tuple[tuple[Tensor, ...], int]:
        """Return (N, K + 1) counts for each group of draws, and the number of components of an image.

        `check` is called with the number K of classes before the first draw.
        """
        pipeline, engine = self.once(), as_engine(engine)
        images = outside_inference(inputs_of(pipeline, images))
        pipeline.inputs.check(images)
        if engine.autocast is not None:
            raise ConfigError(f"engine autocast={engine.autocast}: what is certified is the model in use; leave it out")
        places = as_indices(indices, len(images))
        with torch.inference_mode(False), kept_checkpoint(engine), pipeline.frozen():
            return ClassCounts(pipeline, images, places, sizes, engine)(check).unbind(), images[0].numel()


def as_draws(word: str, given: Any) -> int:
    """Return a number of draws; ConfigError where it is no whole number from 1."""
    value = plain_number(given)
    if type(value) is not int or value < 1:
        raise ConfigError(f"{word}={given!r} draws; pass an int >= 1")
    return value
