"""Attacks whose gradients are made to hold on models that were not climbed: `Transferred(attack, *tricks)`."""

from .diversity import InputDiversity
from .scale import ScaleInvariance
from .transfer import Transferred
from .translation import TranslationInvariance
from .trick import Trick
from .variance import VarianceTuning

__all__ = ["InputDiversity", "ScaleInvariance", "Transferred", "TranslationInvariance", "Trick", "VarianceTuning"]
