"""Maps from the variable of an attack to its inputs."""

from .additive import Additive
from .tanh_box import from_tanh, to_tanh

__all__ = ["Additive", "from_tanh", "to_tanh"]
