"""Fit one perturbation or generator to many images and measure it on others: what `sparring fit` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..access import Shared
from ..attacks import Artifact, ArtifactAttack, load_artifact
from ..audit.evaluation.predictions import predict
from ..engine import Engine, Fitted, Outcome, Progress, check_access, fingerprint, fit, run
from ..errors import ConfigError, InputError, RunError
from ..files import check_writable, write_atomically
from ..goals import ClassifyAs, Goal, Misclassify
from ..random import Key
from ..rows import take
from ..zoo import Data, LoadedModel
from .artifacts import SUFFIX, artifact_picture, fooling_rate, prediction_captions
from .output import report_write_errors

SHOWN = 4


@dataclass(frozen=True)
class ArtifactPaths:
    """The files of an artifact and of its picture."""

    artifact: Path

    def __post_init__(self) -> None:
        if self.artifact.suffix != SUFFIX:
            raise ConfigError(f"--out {self.artifact} is no FILE{SUFFIX}; give it that ending")

    @property
    def picture(self) -> Path:
        """Return the path of the picture."""
        return self.artifact.with_suffix(".png")

    def check_free(self) -> None:
        """Raise where a file is there already, or could not be written.

        An artifact without its picture may be that of a fit which was killed: `FitArtifact.finished` tells.
        """
        for path in (self.picture, self.artifact):
            if path.is_symlink() or (path.exists() and not (path == self.artifact and path.is_file())):
                raise RunError(f"{path} exists; choose another --out")
        check_writable(self.artifact, "--out")


@dataclass(frozen=True)
class Split:
    """Positions (N,) int64, rising, of the images that the artifact is fitted on, and of those it is measured on."""

    fitted: Tensor
    held_out: Tensor


def split_images(images: Tensor, held_out: float, seed: int) -> tuple[Split, int]:
    """Split the images by the seed; return the split, and how many were left out as copies of others."""
    if not 0 < held_out < 1:
        raise ConfigError(f"--held-out {held_out:g} is no share of the images; pass one above 0 and below 1, as 0.3")
    seen: dict[bytes, int] = {}
    for place, image in enumerate(images):
        seen.setdefault(hashlib.sha256(image.numpy().tobytes()).digest(), place)
    kept = torch.tensor(list(seen.values()))
    count = round(held_out * len(kept))
    if not 0 < count < len(kept):
        raise InputError(
            f"{len(kept)} different images with --held-out {held_out:g} leave {len(kept) - count} to fit on and "
            f"{count} to measure on; pass more images or another share"
        )
    order = kept[Key(torch.tensor([0]), seed).uniform("held out", (len(kept),))[0].argsort()]
    return Split(order[count:].sort().values, order[:count].sort().values), len(images) - len(kept)


@dataclass(frozen=True)
class FitInputs:
    """The checked inputs of a fit."""

    images: Tensor  # (N, C, H, W)
    goal: Goal  # of every image
    split: Split
    copies: int  # images that are copies of others and take no part
    start: Artifact | None
    start_made: dict[str, Any] | None  # what the file of `start` says of its making


@dataclass
class FitArtifact:
    """Fit one artifact on one model and data set, and measure it on held-out images.

    Args:
        attack: makes the artifact. loaded: the model. data: the images.
        target: the class that every image is to be given; None: any other than on the clean image.
        held_out: share of the images that the artifact is measured on and not fitted to.
        batch_size: images per pass. seed: of the split and of all random draws.
        paths: where the artifact and its picture go.
        checkpoint: a folder that an interrupted fit goes on from. start: an artifact to begin at.
    """

    attack: Shared[Any, Any, Any]
    loaded: LoadedModel
    data: Data
    target: int | None
    held_out: float
    batch_size: int
    seed: int
    paths: ArtifactPaths
    checkpoint: Path | None
    start: Path | None

    def prepare(self) -> FitInputs:
        """Read and split the images, and check that attack, model and images fit together."""
        start, made = (None, None) if self.start is None else self.read_start(self.start)
        check_access(self.attack, self.loaded.target)
        images = torch.cat([chunk.images for chunk in self.data.chunks(self.batch_size)])
        self.attack.ball.check(images)
        parts, copies = split_images(images, self.held_out, self.seed)
        return FitInputs(images, self.goal(images, parts), parts, copies, start, made)

    def mark(self, inputs: FitInputs) -> str:
        """Return the SHA-256 of all that decides on the artifact and its measurement."""
        split = inputs.split.fitted, inputs.split.held_out
        target = self.loaded.target.identity()
        return fingerprint(self.attack, target, inputs.goal, inputs.images, split, self.seed, inputs.start)

    def finished(self, inputs: FitInputs) -> Fitted[Any] | None:
        """Return what an earlier call of this fit, which was killed before it drew its picture, has written.

        Raises: RunError where the file is of another fit.
        """
        path = self.paths.artifact
        if not path.exists():
            return None
        try:
            artifact, made = load_artifact(path)
        except (RunError, InputError) as error:
            raise RunError(f"{path} exists; choose another --out") from error
        if made.get("fit_sha256") != self.mark(inputs):
            raise RunError(f"{path} exists and is of another fit; choose another --out")
        fooled = tuple(made["fooled_by_epoch"])
        return Fitted(artifact, fooled, made["images"], made["forwards"], made["backwards"], made["seconds"], made)

    def run(self, inputs: FitInputs, progress: Callable[[Progress], None] | None = None) -> Fitted[Any]:
        """Fit the artifact and write it, not measured yet; `progress` is called after every step."""
        engine = Engine(self.batch_size, self.seed, checkpoint=self.checkpoint, progress=progress)
        indices, target = inputs.split.fitted, self.loaded.target
        fitted = fit(
            self.attack,
            target,
            take(inputs.goal, indices),
            inputs.images[indices],
            indices=indices,
            start=inputs.start,
            engine=engine,
        )
        self.save(fitted, {}, inputs)
        return fitted

    def measure(self, artifact: Artifact, inputs: FitInputs) -> dict[str, Outcome]:
        """Apply the artifact to the images that it was fitted on, and to those held out."""
        parts = {"fitted on": inputs.split.fitted, "held out": inputs.split.held_out}
        engine, target = Engine(self.batch_size, self.seed), self.loaded.target
        return {
            name: run(
                ArtifactAttack(artifact),
                target,
                take(inputs.goal, indices),
                inputs.images[indices],
                indices=indices,
                engine=engine,
            )
            for name, indices in parts.items()
        }

    def read_start(self, path: Path) -> tuple[Artifact, dict[str, Any]]:
        """Read the artifact to begin at; ConfigError where the attack cannot go on from it."""
        artifact, made = load_artifact(path)
        kind, ball = self.attack.makes, self.attack.ball
        if not isinstance(artifact, kind):
            raise ConfigError(f"--from {path} is a {artifact.kind}, and {self.attack.name} makes a {kind.kind}")
        if type(artifact.ball) is not type(ball) or artifact.ball.eps > ball.eps:
            raise ConfigError(f"--from {path} lies in {artifact.ball}, which is not within the --threat {ball}")
        return artifact, made

    def goal(self, images: Tensor, parts: Split) -> Goal:
        """Return the goal of every image; InputError where no held-out image could show anything."""
        clean = predict(self.loaded.target, images, self.batch_size)
        if self.target is None:
            return Misclassify(clean.predicted)
        goal = ClassifyAs(torch.full_like(clean.predicted, self.target))
        goal.check(clean.outputs, goal)
        if bool((clean.predicted[parts.held_out] == self.target).all()):
            raise InputError(f"every held-out image is of class {self.target} to the model already; pass more images")
        return goal

    def save(self, fitted: Fitted[Any], outcomes: dict[str, Outcome], inputs: FitInputs) -> None:
        """Write the artifact, with what was measured of it."""
        shares = {name: fooling_rate(outcome) for name, outcome in outcomes.items()}
        made = {
            "model": self.loaded.name,
            "data": self.data.name,
            "size": list(inputs.images.shape[1:]),
            "class": self.target,
            "held_out": self.held_out,
            "fooled": {name: [part.count, part.total] for name, part in shares.items()},
            "fit_sha256": self.mark(inputs),
            "fooled_by_epoch": list(fitted.fooled),
            "forwards": fitted.forwards,
            "backwards": fitted.backwards,
            "seconds": fitted.seconds,
        }
        fitted.artifact.save(self.paths.artifact, fitted.made | made)

    def draw(self, artifact: Artifact, outcomes: dict[str, Outcome], inputs: FitInputs) -> None:
        """Write a picture of the first held-out images before and after, whether they fell or not."""
        shown = inputs.images[inputs.split.held_out[:SHOWN]]
        rate = fooling_rate(outcomes["held out"]).share
        parts = (shown, artifact.apply(shown))
        before, after = (predict(self.loaded.target, part, self.batch_size) for part in parts)
        class_names = self.loaded.class_names or self.data.class_names
        captions = prediction_captions(before, class_names), prediction_captions(after, class_names)
        title = (
            f"{self.attack.name} {self.attack.ball} on {self.loaded.name}: fools it on {rate:.1%} of the held-out "
            f"images of {self.data.name}"
        )
        with report_write_errors(self.paths.picture):
            write_atomically(self.paths.picture, artifact_picture(artifact, shown, captions, title))
