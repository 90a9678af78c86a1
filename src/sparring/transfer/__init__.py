"""From one model to another, and from one threat to another.

Who falls to examples made elsewhere, how to make a model to make them on, and what a model withstands that it was not
made for.
"""

from .distilled import Distilled, distilled_advgan
from .generalization import Generalization, attacks_within, generalization, strong
from .matrix import Tally, held_out, margins, transfer
from .started import transfer_then_query
from .substitute import Substitute, train_substitute

__all__ = [
    "Distilled", "Generalization", "Substitute", "Tally", "attacks_within", "distilled_advgan", "generalization",
    "held_out", "margins", "strong", "train_substitute", "transfer", "transfer_then_query",
]  # fmt: skip
