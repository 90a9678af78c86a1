"""The attacks, one paper in one file; `table` and `shared_table` map the names of the command line to their classes."""

from typing import Any

from ..access import Attack, Shared
from .combine import SEA, Auto, AutoAttack, Cascade, Restarts, Rivals, Sweep
from .decision import Boundary, HopSkipJump, SurFree
from .gradient import (
    APGD,
    BIM,
    DAADGF,
    FGSM,
    L1APGD,
    MIFGSM,
    MSD,
    NIFGSM,
    PGD,
    RFGSM,
    DAABlob,
    FastFGSM,
    OrthogonalPGD,
    SegPGD,
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
    DecisionRule,
    DeepFool,
    SigmaZero,
    SuperDeepFool,
)
from .score import NES, SPSA, ZOO, Bandits, SimBA, Square
from .shared import (
    AdvGAN,
    Artifact,
    ArtifactAttack,
    GradientUniversal,
    Patch,
    Perturbation,
    PerturbationGenerator,
    Universal,
    load_artifact,
)
from .transfer import InputDiversity, ScaleInvariance, TransferAttack, TranslationInvariance, VarianceTuning

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
    "msd": MSD,
    "orthogonal-pgd": OrthogonalPGD,
    "segpgd": SegPGD,
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
    "auto": Auto,
    "autoattack": AutoAttack,
    "sea": SEA,
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

shared_table: dict[str, type[Shared[Any, Any, Any]]] = {
    "universal": Universal,
    "universal-gradient": GradientUniversal,
    "advgan": AdvGAN,
}

__all__ = [
    "ALMA", "APGD", "BIM", "DAADGF", "DDN", "EAD", "FAB", "FABT", "FGSM", "FMN", "JSMA", "L1APGD", "LBFGS", "MIFGSM",
    "MSD", "NES", "NIFGSM", "PDPGD", "PGD", "RFGSM", "SEA", "SPSA", "ZOO", "AdvGAN", "Artifact", "ArtifactAttack",
    "Auto", "AutoAttack", "Bandits", "Boundary", "CarliniWagner", "CarliniWagnerL0", "CarliniWagnerLinf", "Cascade",
    "DAABlob", "DecisionRule", "DeepFool", "FastFGSM", "GradientUniversal", "HopSkipJump", "InputDiversity",
    "OrthogonalPGD", "Patch", "Perturbation", "PerturbationGenerator", "Restarts", "Rivals", "ScaleInvariance",
    "SegPGD", "SigmaZero", "SimBA", "Square", "SuperDeepFool", "SurFree", "Sweep", "TransferAttack",
    "TranslationInvariance", "Universal", "VarianceTuning", "kurakin_steps", "load_artifact", "shared_table", "table",
]  # fmt: skip
