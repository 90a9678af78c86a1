"""Loading of artifacts from untrusted files: nothing in them is executed, and what is malformed is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ...errors import InputError, ThreatError
from ...geometry import L2, Ball, Linf
from ...storage import read_tensors
from .artifact import Artifact
from .generator import PerturbationGenerator
from .patch import Patch
from .perturbation import Perturbation

KINDS: dict[str, type[Artifact]] = {kind.kind: kind for kind in (Patch, Perturbation, PerturbationGenerator)}
BALLS: dict[str, type[Ball]] = {"Linf": Linf, "L2": L2}


def load_artifact(path: Path | str) -> tuple[Artifact, dict[str, Any]]:
    """Load the artifact that `Artifact.save` wrote, and the `made` that was saved with it.

    Raises:
        RunError: where the file cannot be read.
        InputError: where it holds no artifact.
    """
    tensors, values = read_tensors(Path(path), "pass a file that Artifact.save wrote")
    try:
        kind, made = KINDS[values["kind"]], values["made"]
        ball = BALLS[values["ball"]["norm"]](float(values["ball"]["eps"]))
        if not 0 < ball.eps < math.inf or not all(bool(t.isfinite().all()) for t in tensors.values()):
            raise ValueError(f"eps {ball.eps} or a tensor is not finite")
        if not isinstance(made, dict):
            raise TypeError(f"made is a {type(made).__name__}")
        return kind.from_tensors(ball, tensors, values["settings"]), made
    except (ThreatError, LookupError, TypeError, ArithmeticError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is no artifact ({type(error).__name__}: {error}); make it again") from error
