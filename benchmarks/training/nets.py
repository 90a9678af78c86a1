"""Nets that are trained when they are asked for, and found again in their folders afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparring import Classifier
from sparring.defenses.training import (
    Adversary,
    Averaging,
    Epoch,
    Objective,
    Optimizer,
    Plain,
    TrainingConfig,
    Validation,
    train,
)
from sparring.storage import read_tensors
from sparring.zoo import load_data
from sparring.zoo.mnist_net import MnistNet

ADAM = Optimizer(name="adam", lr=2e-3, weight_decay=0.0)
CONFIG = TrainingConfig(epochs=6, optimizer=ADAM, averaging=Averaging(decay=0.999))


@dataclass(frozen=True)
class Job:
    """How one net is made: by default as `MnistNet` learns in six epochs of MNIST's 60,000 training digits."""

    name: str
    objective: Objective = field(default_factory=Plain)
    adversary: Adversary = field(default_factory=Adversary)
    config: TrainingConfig = CONFIG
    validation: Validation = field(default_factory=Validation)
    images: int = 60_000
    width: int = 16
    weights: str = "best"  # or "last": those of the last epoch, whatever the validation says


@dataclass(frozen=True)
class Made:
    """A net, with the log of its training."""

    target: Classifier
    log: tuple[Epoch, ...]
    seconds: float  # of the processor
    sha256: str

    def facts(self) -> dict[str, Any]:
        """What a record says of the training."""
        return {"epochs": len(self.log), "seconds": round(self.seconds, 1), "sha256": self.sha256}


@cache
def digits(name: str) -> tuple[Tensor, Tensor]:
    """All images (N, 1, 28, 28) and labels (N,) of one of the zoo's sets."""
    chunks = list(load_data(f"zoo:{name}", input=None).chunks(10_000))
    return torch.cat([chunk.images for chunk in chunks]), torch.cat([chunk.labels for chunk in chunks])


@dataclass(frozen=True)
class Nets:
    """The folder in which the runs lie."""

    runs: Path
    say: Callable[[str], None] = print

    def __call__(self, job: Job) -> Made:
        """The job's net with its weights; trained if it is not there, taken up again if it was stopped."""
        from time import process_time

        folder, model = self.runs / job.name, MnistNet(job.width)
        weights, target = folder / f"{job.weights}.safetensors", Classifier(model, classes=10, name=job.name)
        if not (folder / "last.safetensors").exists():
            self.say(f"training {job.name}: {job.objective}, {job.config.epochs} epochs of {job.images} images")
            torch.manual_seed(job.config.seed)
            target = Classifier(MnistNet(job.width), classes=10, name=job.name)
            images, labels = digits("mnist-train")
            data = (images[: job.images], labels[: job.images])
            began = process_time()
            options: dict[str, Any] = {"config": job.config, "validation": job.validation, "out": folder}
            options["resume"] = (folder / "checkpoint.safetensors").exists()
            done = train(target, data, job.objective, job.adversary, **options)
            (folder / "seconds").write_text(f"{process_time() - began:.1f}")
            self.say(f"  {done}")
        tensors, _ = read_tensors(weights, "delete the folder to train again")
        target.model.load_state_dict(tensors)
        return Made(target, self.log(folder), float((folder / "seconds").read_text()), checksum(weights))

    def log(self, folder: Path) -> tuple[Epoch, ...]:
        _, values = read_tensors(folder / "checkpoint.safetensors", "delete the folder to train again")
        return tuple(Epoch(**row) for row in values["log"])


def checksum(path: Path) -> str:
    """SHA-256 of the tensors in the file, whatever its header says."""
    digest = hashlib.sha256()
    for name, value in sorted(read_tensors(path, "")[0].items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def ramp(epochs: float) -> tuple[tuple[float, float], ...]:
    """The radius grows over that many epochs."""
    return ((0.0, 0.0), (epochs, 1.0))
