"""One paper, one file. `table` lists every attack by the name the command line uses."""

from typing import Any

from ..access import Attack
from .combine import Cascade, Restarts, Rivals, Sweep, auto, autoattack
from .decision import Boundary, HopSkipJump, SurFree
from .gradient import (
    APGD,
    BIM,
    DAADGF,
    FGSM,
    L1APGD,
    MIFGSM,
    NIFGSM,
    PGD,
    RFGSM,
    DAABlob,
    FastFGSM,
    kurakin_steps,
)
from .minimal import (
    ALMA,
    DDN,
    EAD,
    FAB,
    FABT,
    FMN,
    JSMA,
    LBFGS,
    PDPGD,
    CarliniWagner,
    CarliniWagnerL0,
    CarliniWagnerLinf,
    DeepFool,
    Rule,
    SigmaZero,
    SuperDeepFool,
)
from .score import NES, SPSA, ZOO, Bandits, SimBA, Square
from .transfer import InputDiversity, ScaleInvariance, Transferred, TranslationInvariance, VarianceTuning

table: dict[str, type[Attack[Any, Any]]] = {
    "fgsm": FGSM,
    "r-fgsm": RFGSM,
    "fast-fgsm": FastFGSM,
    "bim": BIM,
    "pgd": PGD,
    "mi-fgsm": MIFGSM,
    "ni-fgsm": NIFGSM,
    "daa-blob": DAABlob,
    "daa-dgf": DAADGF,
    "apgd": APGD,
    "apgd-l1": L1APGD,
    "l-bfgs": LBFGS,
    "carlini-wagner": CarliniWagner,
    "carlini-wagner-l0": CarliniWagnerL0,
    "carlini-wagner-linf": CarliniWagnerLinf,
    "ead": EAD,
    "jsma": JSMA,
    "deepfool": DeepFool,
    "superdeepfool": SuperDeepFool,
    "fab": FAB,
    "fab-margin": FABT,
    "ddn": DDN,
    "fmn": FMN,
    "alma": ALMA,
    "pdpgd": PDPGD,
    "sigma-zero": SigmaZero,
    "sweep": Sweep,
    "square": Square,
    "nes": NES,
    "spsa": SPSA,
    "bandits": Bandits,
    "simba": SimBA,
    "zoo": ZOO,
    "hopskipjump": HopSkipJump,
    "boundary": Boundary,
    "surfree": SurFree,
}

__all__ = [
    "ALMA", "APGD", "BIM", "DAADGF", "DDN", "EAD", "FAB", "FABT", "FGSM", "FMN", "JSMA", "L1APGD", "LBFGS", "MIFGSM",
    "NES", "NIFGSM", "PDPGD", "PGD", "RFGSM", "SPSA", "ZOO", "Bandits", "Boundary", "CarliniWagner",
    "CarliniWagnerL0", "CarliniWagnerLinf", "Cascade", "DAABlob", "DeepFool", "FastFGSM", "HopSkipJump",
    "InputDiversity", "Restarts", "Rivals", "Rule", "ScaleInvariance", "SigmaZero", "SimBA", "Square",
    "SuperDeepFool", "SurFree", "Sweep", "Transferred", "TranslationInvariance", "VarianceTuning", "auto",
    "autoattack", "kurakin_steps", "table",
]  # fmt: skip
