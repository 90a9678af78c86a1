"""Attacks of a fixed budget that follow the gradient."""

from .apgd import APGD
from .bim import BIM, kurakin_steps
from .fgsm import FGSM
from .mifgsm import MIFGSM
from .nifgsm import NIFGSM
from .pgd import PGD
from .rfgsm import RFGSM, FastFGSM

__all__ = ["APGD", "BIM", "FGSM", "MIFGSM", "NIFGSM", "PGD", "RFGSM", "FastFGSM", "kurakin_steps"]
