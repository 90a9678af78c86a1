"""Attacks of a fixed budget that follow the gradient."""

from .bim import BIM, kurakin_steps
from .fgsm import FGSM
from .pgd import PGD

__all__ = ["BIM", "FGSM", "PGD", "kurakin_steps"]
