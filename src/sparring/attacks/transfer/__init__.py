"""Attacks whose examples transfer to other models: `TransferAttack(attack, *techniques)`."""

from .diversity import InputDiversity
from .scale import ScaleInvariance
from .technique import TransferTechnique
from .transfer_attack import TransferAttack
from .translation import TranslationInvariance
from .variance import VarianceTuning

__all__ = [
    "InputDiversity", "ScaleInvariance", "TransferAttack", "TransferTechnique", "TranslationInvariance",
    "VarianceTuning",
]  # fmt: skip
