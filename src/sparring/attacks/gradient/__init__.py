"""Gradient attacks within a given radius."""

from .apgd import APGD
from .apgd_l1 import L1APGD
from .bim import BIM, kurakin_steps
from .daa import DAADGF, DAABlob
from .fgsm import FGSM
from .mifgsm import MIFGSM
from .msd import MSD
from .nifgsm import NIFGSM
from .orthogonal import OrthogonalPGD
from .pgd import PGD
from .rfgsm import RFGSM, FastFGSM
from .segpgd import SegPGD

__all__ = [
    "APGD", "BIM", "DAADGF", "FGSM", "L1APGD", "MIFGSM", "MSD", "NIFGSM", "PGD", "RFGSM", "DAABlob", "FastFGSM",
    "OrthogonalPGD", "SegPGD", "kurakin_steps",
]  # fmt: skip
