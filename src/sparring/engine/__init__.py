"""The attack loops `run`, `fit` and `craft`: batches, dropping of finished rows, keyed randomness, checkpoints.

It knows the Attack protocol and no attack.
"""

from .checkpoint import fingerprint
from .craft import craft, crafted
from .fit import Fitted, fit
from .judge import ArtifactJudgement, judge_artifact
from .options import Engine, Progress
from .outcome import Outcome, OutcomeCounts, Passes, remarks, typical_radii
from .run import check_access, check_images, region_of, run

__all__ = [
    "ArtifactJudgement",
    "Engine",
    "Fitted",
    "Outcome",
    "OutcomeCounts",
    "Passes",
    "Progress",
    "check_access",
    "check_images",
    "craft",
    "crafted",
    "fingerprint",
    "fit",
    "judge_artifact",
    "region_of",
    "remarks",
    "run",
    "typical_radii",
]  # fmt: skip
