"""Adversarial training: objectives, the adversary inside the loop, and the watch over it."""

from .adversary import Adversary
from .devices import Devices
from .judged import Epoch
from .madry import Madry, Plain
from .minibatch import Craft, Minibatch
from .objective import Objective
from .recipe import Augment, Averaging, Optimizer, Recipe, Watch, WeightPerturbation
from .trainer import Progress, Trained, train

__all__ = [
    "Adversary", "Augment", "Averaging", "Craft", "Devices", "Epoch", "Madry", "Minibatch", "Objective", "Optimizer",
    "Plain", "Progress", "Recipe", "Trained", "Watch", "WeightPerturbation", "train",
]  # fmt: skip
