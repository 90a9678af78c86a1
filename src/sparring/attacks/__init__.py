"""One paper, one file. `table` lists every attack by the name the command line uses."""

from typing import Any

from ..access import Attack
from .combine import Restarts
from .decision import HopSkipJump
from .gradient import BIM, FGSM, PGD, kurakin_steps
from .minimal import CarliniWagner, DeepFool
from .score import Square

table: dict[str, type[Attack[Any, Any]]] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": PGD,
    "carlini-wagner": CarliniWagner,
    "deepfool": DeepFool,
    "square": Square,
    "hopskipjump": HopSkipJump,
}

__all__ = [
    "BIM", "FGSM", "PGD", "CarliniWagner", "DeepFool", "HopSkipJump", "Restarts", "Square", "kurakin_steps",
    "table",
]  # fmt: skip
