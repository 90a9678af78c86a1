"""The work of the commands as Python functions: attack a data set, transfer matrices, fit and apply, train.

Nothing here reads a command line or prints: progress goes to an `ExperimentObserver`, results come back as records.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .apply import ApplyArtifact as ApplyArtifact
    from .attack_dataset import AttackDataset as AttackDataset
    from .attack_dataset import AttackTotals as AttackTotals
    from .fit import FitArtifact as FitArtifact
    from .generalization import GeneralizationMatrix as GeneralizationMatrix
    from .generalization import ThreatColumn as ThreatColumn
    from .generalization import ThreatColumns as ThreatColumns
    from .model_set import ModelSet as ModelSet
    from .observer import ExperimentObserver as ExperimentObserver
    from .train import TrainFromPlan as TrainFromPlan
    from .transfer_matrix import TransferMatrix as TransferMatrix

HOMES = {
    "ApplyArtifact": "apply",
    "AttackDataset": "attack_dataset",
    "AttackTotals": "attack_dataset",
    "ExperimentObserver": "observer",
    "FitArtifact": "fit",
    "GeneralizationMatrix": "generalization",
    "ModelSet": "model_set",
    "ThreatColumn": "generalization",
    "ThreatColumns": "generalization",
    "TrainFromPlan": "train",
    "TransferMatrix": "transfer_matrix",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
