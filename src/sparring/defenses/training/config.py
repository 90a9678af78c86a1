"""`TrainingConfig`: epochs, optimiser, data order and all other settings except objective and adversary."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import ConfigError
from ...storage import describe_invalid

Count = Annotated[int, Field(ge=1, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class ConfigSection(BaseModel):
    """A record of settings; raises a ConfigError that names the field, the value and what was expected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    table: ClassVar[str | None] = None  # its name in a plan, where that is not the name of the class

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            place = self.table or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
            raise ConfigError(describe_invalid(error, place)) from error


class Optimizer(ConfigSection):
    """The optimizer, and its learning rate over the training.

    Args:
        name: "sgd", "adam" or "adamw".
        lr: the peak learning rate.
        momentum: of SGD.
        weight_decay: as torch's optimizers take it.
        schedule: "constant"; "one-cycle": linear up to `lr` over the first `warmup` of all updates, then linear down to
            0 (the cyclic learning rate of Wong et al. 2020, arXiv:2001.03994); "cosine": warm-up, then half a cosine
            down to 0; "steps": warm-up, then a tenth after each milestone.
        warmup: share of all updates, in [0, 1).
        milestones: shares of all updates, in [0, 1).
        max_grad_norm: L2 norm that gradients are clipped to; None: no clipping.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["constant", "one-cycle", "cosine", "steps"] = "one-cycle"
    warmup: Fraction = 0.3
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None

    def lr_at(self, done: float) -> float:
        """Return the learning rate after a share `done` of all updates."""
        if self.schedule == "constant":
            return self.lr
        if done < self.warmup:
            return self.lr * done / self.warmup
        if self.schedule == "steps":
            return float(self.lr * 0.1 ** sum(done >= milestone for milestone in self.milestones))
        left = (1 - done) / (1 - self.warmup)
        return self.lr * (left if self.schedule == "one-cycle" else (1 - math.cos(math.pi * left)) / 2)


class Averaging(ConfigSection):
    """Average the weights over the training; the average is then what is validated and kept.

    Args:
        kind: "ema": decay * average + (1 - decay) * weights after each update; "swa": the plain mean over all updates
            (Izmailov et al. 2018, arXiv:1803.05407). Buffers are averaged too.
        decay: of "ema".
        start: share of all updates after which the average begins.
    """

    kind: Literal["ema", "swa"] = "ema"
    decay: Fraction = 0.999
    start: Fraction = 0.0


class WeightPerturbation(ConfigSection):
    """Perturb the weights adversarially (AWP: Wu et al. 2020, arXiv:2004.05884, eq. 8 and 10), under any objective.

    The weights of each layer are moved by gamma |w| g / |g| up the objective before the gradient is taken, and put
    back exactly before the update. Biases and norms are left alone, as by the authors.
    """

    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.005
    warmup: Annotated[float, Field(ge=0)] = 0.0  # epochs without it


class Augment(ConfigSection):
    """Augment each image anew in each epoch.

    Args:
        flip: mirror it left to right with probability 1/2.
        shift: move it by up to so many pixels along each axis; what moves in is black.
    """

    flip: bool = False
    shift: Annotated[int, Field(ge=0, lt=2**31)] = 0


class TrainingConfig(ConfigSection):
    """The settings of a training: everything but objective, adversary and validation.

    Args:
        epochs: passes over the training images.
        batch_size: images per update, over all processes together.
        seed: of the order of the images and of all draws.
        optimizer, averaging, weight_perturbation, augment: see there; None: not used.
        precision: of lightning-fabric: "32-true", "bf16-mixed" or "64-true".
        channels_last: lay out weights and images so; faster for convolutions.
        checkpoint_seconds: least time between two checkpoints within an epoch.
        workers: processes that read images.
    """

    table: ClassVar[str | None] = "training"

    epochs: Count = 10
    batch_size: Count = 128
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    optimizer: Optimizer = Field(default_factory=Optimizer)
    averaging: Averaging | None = None
    weight_perturbation: WeightPerturbation | None = None
    augment: Augment = Field(default_factory=Augment)
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    channels_last: bool = False
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    workers: Annotated[int, Field(ge=0, lt=2**31)] = 0


class SmoothingValidation(ConfigSection):
    """Judge the epochs by the average certified radius (ACR) of randomised smoothing on the held-out images.

    Args:
        sigma: standard deviation of the noise, in units of [0, 1].
        n0, n, alpha: as in `SmoothedClassifier.certify`: draws that select a class, draws that bound its probability,
            probability of error of each certificate.
    """

    table: ClassVar[str | None] = "validation.smoothing"
    sigma: Annotated[float, Field(gt=0)]
    n0: Count = 10
    n: Annotated[int, Field(ge=10, lt=2**31)] = 100
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001


class Validation(ConfigSection):
    """The validation after each epoch, on images held out of the training set.

    The robust accuracy is measured with another attack and another seed than training uses, and the best model is the
    one with the highest. A single-step attack runs beside it: where it is withstood and the iterated one is not, the
    training has overfitted to single steps (catastrophic overfitting, Wong et al. 2020, arXiv:2001.03994).

    Args:
        val_size: images that are never trained on.
        steps: of the iterated attack.
        batch_size: images per pass.
        collapse: what follows catastrophic overfitting: "stop", "rollback" (to the best weights, after which PGD with
            `rescue_steps` takes the adversary's place) or "ignore".
        rescue_steps: of that PGD.
        patience: epochs without a better one after which training stops; None: never.
        smoothing: the best model is then the one with the largest average certified radius; None: not measured.
    """

    table: ClassVar[str | None] = "validation"
    val_size: Count = 1000
    steps: Count = 20
    batch_size: Count = 250
    collapse: Literal["stop", "rollback", "ignore"] = "stop"
    rescue_steps: Annotated[int, Field(ge=2, lt=2**31)] = 5
    patience: Count | None = None
    smoothing: SmoothingValidation | None = None
