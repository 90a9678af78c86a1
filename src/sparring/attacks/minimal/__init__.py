"""Minimum-norm attacks that use gradients."""

from .alma import ALMA
from .carlini_wagner import CarliniWagner
from .carlini_wagner_l0 import CarliniWagnerL0
from .carlini_wagner_linf import CarliniWagnerLinf
from .ddn import DDN
from .deepfool import DeepFool
from .ead import EAD, DecisionRule
from .fab import FAB, FABT
from .fmn import FMN
from .jsma import JSMA
from .lbfgs import LBFGS
from .pdpgd import PDPGD
from .sigma_zero import SigmaZero
from .superdeepfool import SuperDeepFool

__all__ = [
    "ALMA", "DDN", "EAD", "FAB", "FABT", "FMN", "JSMA", "LBFGS", "PDPGD", "CarliniWagner", "CarliniWagnerL0",
    "CarliniWagnerLinf", "DecisionRule", "DeepFool", "SigmaZero", "SuperDeepFool",
]  # fmt: skip
