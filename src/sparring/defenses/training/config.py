"""How long, how fast, on what: everything about a training that is not its objective or its adversary."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import ConfigError

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class ConfigSection(BaseModel):
    """A table of a plan; what does not fit is a ConfigError that names the field, the value and what was expected."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: ClassVar[str | None] = None  # its name in a plan, where that is not the name of the class

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            place = self.table or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
            raise ConfigError(describe_error(place, error)) from error


def describe_error(where: str, error: ValidationError) -> str:
    """Return the first thing wrong, in a line."""
    first = error.errors()[0]
    place = ".".join([where, *(str(part) for part in first["loc"])])
    return f"{place}={first['input']!r:.80}: {first['msg']}"


class Optimizer(ConfigSection):
    """The optimiser and its rate over the training.

    `schedule`: "constant"; "one-cycle": linear up to `rate` over the first `warmup` of all updates, then linear down
    to 0 (the cyclic rate of Wong et al. 2020); "cosine": warm-up, then half a cosine down to 0; "steps": warm-up, then
    a tenth of the rate after each share of all updates in `milestones`.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["constant", "one-cycle", "cosine", "steps"] = "one-cycle"
    warmup: Fraction = 0.3
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    clip: Annotated[float, Field(gt=0)] | None = None

    def rate_at(self, done: float) -> float:
        """Return the rate after a share `done` of all updates."""
        if self.schedule == "constant":
            return self.rate
        if done < self.warmup:
            return self.rate * done / self.warmup
        if self.schedule == "steps":
            return float(self.rate * 0.1 ** sum(done >= milestone for milestone in self.milestones))
        left = (1 - done) / (1 - self.warmup)
        return self.rate * (left if self.schedule == "one-cycle" else (1 - math.cos(math.pi * left)) / 2)


class Averaging(ConfigSection):
    """A running average of the weights, which is then what is validated and kept.

    "ema": decay * average + (1 - decay) * weights after each update; "swa": the plain mean over all updates (Izmailov
    et al. 2018). Both begin after `start` of all updates, and buffers are averaged too.
    """

    kind: Literal["ema", "swa"] = "ema"
    decay: Fraction = 0.999
    start: Fraction = 0.0


class WeightPerturbation(ConfigSection):
    """Adversarial weight perturbation (Wu et al. 2020, arXiv:2004.05884, eq. 8 and 10), on top of any objective.

    The weights of each layer are moved by gamma |w| g / |g| up the objective before the gradient is taken, and put
    back exactly before the update. Biases and norms are left alone, as by the authors.
    """

    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.005
    warmup: Annotated[float, Field(ge=0)] = 0.0  # epochs without it


class Augment(ConfigSection):
    """Random views of each image, drawn anew each epoch: mirrored left to right; shifted by up to `shift` pixels."""

    flip: bool = False
    shift: Annotated[int, Field(ge=0)] = 0


class TrainingConfig(ConfigSection):
    """How a model is trained: epochs, batch size, seed, optimizer, averaging, precision."""

    table: ClassVar[str | None] = "recipe"

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
    workers: Annotated[int, Field(ge=0)] = 0  # processes that read images


class Validation(ConfigSection):
    """The validation after each epoch, on images held out of the training set.

    `held_out` images are never trained on. The robust accuracy is measured with another attack and another seed than
    training uses, and the best model is the one with the highest. A single-step attack runs beside it: where it is
    withstood and the iterated one is not, the training has overfitted to single steps (catastrophic overfitting, Wong
    et al. 2020), and `collapse` says what then happens: "stop", "rollback" (to the best weights, after which PGD with
    `rescue_steps` takes the adversary's place) or "ignore".
    """

    table: ClassVar[str | None] = "watch"
    held_out: Count = 1000
    steps: Count = 20
    batch_size: Count = 250
    collapse: Literal["stop", "rollback", "ignore"] = "stop"
    rescue_steps: Annotated[int, Field(ge=2)] = 5
    patience: Count | None = None  # epochs without a better one before it stops; None: never
