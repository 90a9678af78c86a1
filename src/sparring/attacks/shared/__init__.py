"""One variable for many images: the attacks that `fit` runs, the artifacts they make, and how these are applied."""

from .advgan import AdvGAN
from .artifact import Artifact
from .artifact_attack import ArtifactAttack
from .generator import PerturbationGenerator
from .load import load_artifact
from .patch import Patch
from .perturbation import Perturbation
from .universal import Universal
from .universal_gradient import GradientUniversal

__all__ = [
    "AdvGAN", "Artifact", "ArtifactAttack", "GradientUniversal", "Patch", "Perturbation", "PerturbationGenerator",
    "Universal", "load_artifact",
]  # fmt: skip
