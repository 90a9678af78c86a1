"""Adversarial training: objectives, the adversary inside the loop, and the watch over it."""

from .adversary import Adversary
from .devices import Devices
from .distillation import Distillation
from .ensemble import Ensemble
from .free import Free
from .goodfellow import Goodfellow
from .grad_align import GradAlign
from .judged import Epoch
from .madry import Madry, Plain
from .mart import MART
from .minibatch import Craft, Minibatch
from .objective import Objective
from .recipe import Augment, Averaging, Optimizer, Recipe, Watch, WeightPerturbation
from .several import Average, Maximum
from .table import table
from .trades import TRADES
from .trainer import Progress, Trained, train

__all__ = [
    "MART", "TRADES", "Adversary", "Augment", "Average", "Averaging", "Craft", "Devices", "Distillation", "Ensemble",
    "Epoch", "Free", "Goodfellow", "GradAlign", "Madry", "Maximum", "Minibatch", "Objective", "Optimizer", "Plain",
    "Progress", "Recipe", "Trained", "Watch", "WeightPerturbation", "table", "train",
]  # fmt: skip
