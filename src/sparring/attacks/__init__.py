"""One paper, one file. `table` lists every attack by the name the command line uses."""

from typing import Any

from ..access import Attack
from .combine import Cascade, Restarts, Rivals
from .decision import HopSkipJump
from .gradient import APGD, BIM, FGSM, MIFGSM, NIFGSM, PGD, RFGSM, FastFGSM, kurakin_steps
from .minimal import DDN, FMN, CarliniWagner, DeepFool
from .score import Square

table: dict[str, type[Attack[Any, Any]]] = {
    "fgsm": FGSM,
    "r-fgsm": RFGSM,
    "fast-fgsm": FastFGSM,
    "bim": BIM,
    "pgd": PGD,
    "mi-fgsm": MIFGSM,
    "ni-fgsm": NIFGSM,
    "apgd": APGD,
    "carlini-wagner": CarliniWagner,
    "deepfool": DeepFool,
    "ddn": DDN,
    "fmn": FMN,
    "square": Square,
    "hopskipjump": HopSkipJump,
}

__all__ = [
    "APGD", "BIM", "DDN", "FGSM", "FMN", "MIFGSM", "NIFGSM", "PGD", "RFGSM", "CarliniWagner", "Cascade", "DeepFool",
    "FastFGSM", "HopSkipJump", "Restarts", "Rivals", "Square", "kurakin_steps", "table",
]  # fmt: skip
