"""Where the attacked variable lives: callables that render it into images."""

from .additive import Additive
from .tanh_box import from_tanh, to_tanh

__all__ = ["Additive", "from_tanh", "to_tanh"]
