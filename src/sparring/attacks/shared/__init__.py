"""One variable for many images: what `fit` makes, and how it is applied."""

from .advgan import AdvGAN
from .applied import Applied
from .artifact import Artifact
from .generator import Generated
from .opened import opened
from .perturbation import Perturbation
from .universal import Universal
from .universal_gradient import GradientUniversal

__all__ = ["AdvGAN", "Applied", "Artifact", "Generated", "GradientUniversal", "Perturbation", "Universal", "opened"]
