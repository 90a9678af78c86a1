"""Parametrisations of a perturbation: callables that map the attacked variable to images."""

from .additive import Additive
from .tanh_box import from_tanh, to_tanh

__all__ = ["Additive", "from_tanh", "to_tanh"]
