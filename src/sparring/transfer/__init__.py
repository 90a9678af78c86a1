"""From one model to another, and from one threat to another.

Who falls to examples made elsewhere, how to make a model to make them on, and what a model withstands that it was not
made for.
"""

from .distilled import Distilled, distilled_advgan
from .generalization import Generalization, attacks_within, generalization, strong
from .matrix import TransferCounts, leave_one_out, margins, transfer
from .substitute import Substitute, train_substitute
from .warm_start import transfer_then_query

__all__ = [
    "Distilled", "Generalization", "Substitute", "TransferCounts", "attacks_within", "distilled_advgan",
    "generalization", "leave_one_out", "margins", "strong", "train_substitute", "transfer", "transfer_then_query",
]  # fmt: skip
