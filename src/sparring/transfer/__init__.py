"""Experiments across models and threats: transfer matrices, substitutes, transferred starts, generalisation.

Who falls to examples made elsewhere, how to make a model to make them on, and what a model withstands that it was not
made for.
"""

from .distilled import DistilledAdvGAN, distill_advgan
from .generalization import Generalization, attacks_within, measure_generalization, strong_attack
from .matrix import TransferCounts, goal_margins, leave_one_out, transfer_matrix
from .substitute import Substitute, train_substitute
from .warm_start import transfer_then_query

__all__ = [
    "DistilledAdvGAN",
    "Generalization",
    "Substitute",
    "TransferCounts",
    "attacks_within",
    "distill_advgan",
    "goal_margins",
    "leave_one_out",
    "measure_generalization",
    "strong_attack",
    "train_substitute",
    "transfer_matrix",
    "transfer_then_query",
]  # fmt: skip
