"""Adversarial training: objectives, the adversary inside the loop, and the validation after each epoch."""

from .adversarial_elbo import AdversarialELBO
from .adversary import Adversary
from .config import Augment, Averaging, Optimizer, SmoothingValidation, TrainingConfig, Validation, WeightPerturbation
from .consistency import Consistency
from .crown_ibp import CROWNIBP
from .devices import Devices
from .distillation import Distillation
from .ensemble import EnsembleTraining
from .free import Free
from .gaussian import GaussianAugmentation
from .goodfellow import Goodfellow
from .grad_align import GradAlign
from .ibp import IBP
from .initialization import ibp_initialization
from .madry import Madry, Plain
from .mart import MART
from .minibatch import Craft, Minibatch
from .mtl_ibp import MTLIBP
from .multi_threat import Average, Maximum
from .objective import Objective
from .occluded import AblatedTraining, MaskedTraining
from .sabr import SABR
from .smooth_adv import SmoothAdv
from .table import table
from .trades import TRADES
from .trainer import Trained, TrainingProgress, train
from .validation import Epoch

__all__ = [
    "CROWNIBP",
    "IBP",
    "MART",
    "MTLIBP",
    "SABR",
    "TRADES",
    "AblatedTraining",
    "AdversarialELBO",
    "Adversary",
    "Augment",
    "Average",
    "Averaging",
    "Consistency",
    "Craft",
    "Devices",
    "Distillation",
    "EnsembleTraining",
    "Epoch",
    "Free",
    "GaussianAugmentation",
    "Goodfellow",
    "GradAlign",
    "Madry",
    "MaskedTraining",
    "Maximum",
    "Minibatch",
    "Objective",
    "Optimizer",
    "Plain",
    "SmoothAdv",
    "SmoothingValidation",
    "Trained",
    "TrainingConfig",
    "TrainingProgress",
    "Validation",
    "WeightPerturbation",
    "ibp_initialization",
    "table",
    "train",
]  # fmt: skip
