"""Attack and defence of deep vision models, and how much of a defence is real.

The public words. Nothing is defined here, and nothing is imported before it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import attacks as attacks
    from . import defenses as defenses
    from . import experiments as experiments
    from . import lidar as lidar
    from . import physical as physical
    from . import rows as rows
    from . import targets as targets
    from . import tasks as tasks
    from . import transfer as transfer
    from . import transforms as transforms
    from .access import Budget as Budget
    from .access import Decisions as Decisions
    from .access import Gradients as Gradients
    from .access import Jacobians as Jacobians
    from .access import Keep as Keep
    from .access import Reason as Reason
    from .access import Scores as Scores
    from .audit import audit as audit
    from .defenses import train as train
    from .engine import Engine as Engine
    from .engine import Fitted as Fitted
    from .engine import Outcome as Outcome
    from .engine import craft as craft
    from .engine import fit as fit
    from .engine import judge_artifact as judge_artifact
    from .engine import run as run
    from .geometry import L0 as L0
    from .geometry import L1 as L1
    from .geometry import L2 as L2
    from .geometry import Linf as Linf
    from .goals import ClassifyAs as ClassifyAs
    from .goals import Misclassify as Misclassify
    from .inputs import Bounded as Bounded
    from .inputs import Images as Images
    from .inputs import PointClouds as PointClouds
    from .inputs import Unbounded as Unbounded
    from .targets import Classifier as Classifier
    from .targets import Model as Model
    from .targets import Pipeline as Pipeline
    from .targets import Restricted as Restricted
    from .targets import Verifier as Verifier
    from .transforms import Scene as Scene
    from .zoo import load_data as load_data

__version__ = "0.1.0"

_HOMES = {
    "access": ("Budget", "Decisions", "Gradients", "Jacobians", "Keep", "Reason", "Scores"),
    "audit": ("audit",),
    "defenses": ("train",),
    "engine": ("Engine", "Fitted", "Outcome", "craft", "fit", "judge_artifact", "run"),
    "geometry": ("L0", "L1", "L2", "Linf"),
    "goals": ("ClassifyAs", "Misclassify"),
    "inputs": ("Bounded", "Images", "PointClouds", "Unbounded"),
    "targets": ("Classifier", "Model", "Pipeline", "Restricted", "Verifier"),
    "transforms": ("Scene",),
    "zoo": ("load_data",),
}
_ROOMS = (
    "attacks",
    "biometrics",
    "defenses",
    "error_rates",
    "experiments",
    "goals",
    "lidar",
    "physical",
    "rows",
    "segmentation_metrics",
    "targets",
    "tasks",
    "testing",
    "transfer",
    "transforms",
    "zoo",
    "errors",
)
_HOME = {name: room for room, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__", "attacks"])


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'sparring' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
