"""From one model to another: who falls to examples made elsewhere, and how to make a model to make them on."""

from .distilled import Distilled, distilled_advgan
from .matrix import Tally, held_out, transfer
from .started import transfer_then_query
from .substitute import Substitute, train_substitute

__all__ = [
    "Distilled", "Substitute", "Tally", "distilled_advgan", "held_out",
    "train_substitute", "transfer", "transfer_then_query",
]  # fmt: skip
