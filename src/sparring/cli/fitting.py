"""What `sparring fit` does: one perturbation or generator for many images, made on some and measured on others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..access import Shared
from ..attacks import Applied, Artifact, opened
from ..audit.evaluation.predictions import look
from ..audit.records.example_files import write_atomically
from ..engine import Engine, Fitted, Outcome, check_access, fit, run
from ..errors import ConfigError, InputError, RunError
from ..goals import ClassifyAs, Goal, Misclassify
from ..random import Key
from ..zoo import Data, LoadedModel
from .artifacts import SUFFIX, captions, fooling, interval, picture
from .console import complain, say, table
from .folders import written
from .progress import FitWatch

SHOWN = 4
COLUMNS = ["images", "count", "took part", "fooled", "fooling rate", "95 %"]


@dataclass(frozen=True)
class Places:
    """Where the artifact goes, and the picture of it."""

    artifact: Path

    @property
    def picture(self) -> Path:
        return self.artifact.with_suffix(".png")

    def free(self) -> None:
        """Raise where a file is there already, or could not be written."""
        if self.artifact.suffix != SUFFIX:
            raise ConfigError(f"--out {self.artifact} is no FILE{SUFFIX}; give it that ending")
        for path in (self.artifact, self.picture):
            if path.exists() or path.is_symlink():
                raise RunError(f"{path} exists; choose another --out")


@dataclass(frozen=True)
class Split:
    """Positions (N,) int64, rising, of the images to make the artifact on, and of those to measure it on."""

    fitted: Tensor
    held_out: Tensor


def split(images: Tensor, held_out: float, seed: int) -> tuple[Split, int]:
    """A split drawn from the seed, and how many images were left out as copies of others: none is on both sides."""
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


@dataclass
class Fit:
    """An attack on one model and data set, and where its result goes."""

    attack: Shared[Any, Any, Any]
    loaded: LoadedModel
    data: Data
    target: int | None
    held_out: float
    batch_size: int
    seed: int
    places: Places
    checkpoint: Path | None
    start: Path | None

    def run(self) -> None:
        """Make it, measure it, write it down, and print what it does."""
        start, source = (None, None) if self.start is None else self.begun(self.start)
        check_access(self.attack, self.loaded.target)
        images = torch.cat([chunk.images for chunk in self.data.chunks(self.batch_size)])
        self.attack.ball.check(images)
        parts, copies = split(images, self.held_out, self.seed)
        goal = self.goal(images, parts)
        self.announce(parts, copies)
        with written(self.places.artifact):
            self.places.artifact.parent.mkdir(parents=True, exist_ok=True)
        fitted = self.made(images, goal, parts.fitted, start)
        outcomes = {
            "fitted on": self.measured(fitted.artifact, images, goal, parts.fitted),
            "held out": self.measured(fitted.artifact, images, goal, parts.held_out),
        }
        self.tell(fitted, outcomes)
        if source is not None and source.get("images_sha256") != fitted.made["images_sha256"]:
            say(f"{self.start} was made on other images: held-out ones may be among them", "yellow")
        self.save(fitted, outcomes, list(images.shape[1:]))
        self.draw(fitted.artifact, images[parts.held_out[:SHOWN]], fooling(outcomes["held out"]).share)
        say(f"artifact: {self.places.artifact}   picture: {self.places.picture}", "bold")

    def begun(self, path: Path) -> tuple[Artifact, dict[str, Any]]:
        """The artifact to go on from, if the attack can."""
        artifact, made = opened(path)
        kind, ball = self.attack.makes, self.attack.ball
        if not isinstance(artifact, kind):
            raise ConfigError(f"--from {path} is a {artifact.kind}, and {self.attack.name} makes a {kind.kind}")
        if type(artifact.ball) is not type(ball) or artifact.ball.eps > ball.eps:
            raise ConfigError(f"--from {path} lies in {artifact.ball}, which is not within the --threat {ball}")
        return artifact, made

    def goal(self, images: Tensor, parts: Split) -> Goal:
        """For every image; InputError where no held-out image could show anything."""
        clean = look(self.loaded.target, images, self.batch_size)
        if self.target is None:
            return Misclassify(clean.predicted)
        goal = ClassifyAs(torch.full_like(clean.predicted, self.target))
        goal.check(clean.outputs, goal)
        if bool((clean.predicted[parts.held_out] == self.target).all()):
            raise InputError(f"every held-out image is of class {self.target} to the model already; pass more images")
        return goal

    def announce(self, parts: Split, copies: int) -> None:
        say(f"{self.attack!r}")
        say(f"{len(parts.fitted)} images of {self.data.name} to fit on, {len(parts.held_out)} held out")
        if copies:
            say(f"{copies} images are copies of others and take no part")
        if self.data.skipped:
            first = self.data.skipped[0]
            say(f"{len(self.data.skipped)} images could not be read: {first.name}: {first.reason}")
        if self.target is None:
            say("fooled: the model predicts another class than on the clean image, whatever the label")
        else:
            say(f"fooled: the model predicts class {self.target}; images of that class before take no part")

    def made(self, images: Tensor, goal: Goal, ids: Tensor, start: Artifact | None) -> Fitted[Any]:
        try:
            with FitWatch() as watch:
                engine = Engine(self.batch_size, self.seed, checkpoint=self.checkpoint, progress=watch.step)
                target = self.loaded.target
                return fit(self.attack, target, goal.take(ids), images[ids], ids=ids, start=start, engine=engine)
        except KeyboardInterrupt:
            if self.checkpoint is not None:
                complain(f"the same command goes on from {self.checkpoint}")
            raise

    def measured(self, artifact: Artifact, images: Tensor, goal: Goal, ids: Tensor) -> Outcome:
        engine = Engine(self.batch_size, self.seed)
        return run(Applied(artifact), self.loaded.target, goal.take(ids), images[ids], ids=ids, engine=engine)

    def tell(self, fitted: Fitted[Any], outcomes: dict[str, Outcome]) -> None:
        rows: list[list[object]] = []
        for name, outcome in outcomes.items():
            part = fooling(outcome)
            rows.append([name, len(outcome), part.total, part.count, f"{part.share:.1%}", interval(part)])
        table(f"{self.attack.name} {self.attack.ball} on {self.loaded.name}", COLUMNS, rows)
        passes = f"{fitted.forwards:,} images forward, {fitted.backwards:,} backward"
        say(f"{len(fitted.fooled)} of at most {self.attack.epochs} epochs, {passes}, {fitted.seconds:.1f} s")

    def save(self, fitted: Fitted[Any], outcomes: dict[str, Outcome], size: list[int]) -> None:
        shares = {name: fooling(outcome) for name, outcome in outcomes.items()}
        said = {
            "model": self.loaded.name,
            "data": self.data.name,
            "size": size,
            "class": self.target,
            "held_out": self.held_out,
            "fooled": {name: [part.count, part.total] for name, part in shares.items()},
        }
        fitted.artifact.save(self.places.artifact, fitted.made | said)

    def draw(self, artifact: Artifact, shown: Tensor, rate: float) -> None:
        """The first held-out images, whether they fell or not."""
        moved = artifact.apply(shown)
        before, after = (look(self.loaded.target, part, self.batch_size) for part in (shown, moved))
        class_names = self.loaded.class_names or self.data.class_names
        said = captions(before, class_names), captions(after, class_names)
        title = (
            f"{self.attack.name} {self.attack.ball} on {self.loaded.name}: fools it on {rate:.1%} of the held-out "
            f"images of {self.data.name}"
        )
        with written(self.places.picture):
            write_atomically(self.places.picture, picture(artifact, shown, said, title))
