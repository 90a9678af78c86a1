"""Adversarial training: objectives, the adversary inside the loop, and the validation after each epoch."""

from .adversarial_elbo import AdversarialELBO
from .adversary import Adversary
from .config import Augment, Averaging, Optimizer, TrainingConfig, Validation, WeightPerturbation
from .devices import Devices
from .distillation import Distillation
from .ensemble import EnsembleTraining
from .free import Free
from .goodfellow import Goodfellow
from .grad_align import GradAlign
from .madry import Madry, Plain
from .mart import MART
from .minibatch import Craft, Minibatch
from .multi_threat import Average, Maximum
from .objective import Objective
from .table import table
from .trades import TRADES
from .trainer import Trained, TrainingProgress, train
from .validation import Epoch

__all__ = [
    "MART",
    "TRADES",
    "AdversarialELBO",
    "Adversary",
    "Augment",
    "Average",
    "Averaging",
    "Craft",
    "Devices",
    "Distillation",
    "EnsembleTraining",
    "Epoch",
    "Free",
    "Goodfellow",
    "GradAlign",
    "Madry",
    "Maximum",
    "Minibatch",
    "Objective",
    "Optimizer",
    "Plain",
    "Trained",
    "TrainingConfig",
    "TrainingProgress",
    "Validation",
    "WeightPerturbation",
    "table",
    "train",
]  # fmt: skip
