"""What the attacker may ask, and the ledger that writes down every answer."""

from .attack import Attack, Batch, BatchCoupled, check_ball
from .budget import Budget
from .ledger import Keep, Ledger, Reason
from .oracle import (
    Decisions,
    Decoupled,
    Gradient,
    Gradients,
    Jacobian,
    Jacobians,
    Objective,
    Render,
    Scores,
    margin_objective,
)
from .query_broker import QueryBroker, gradient_of
from .shared import Shared, SharedBatch

__all__ = [
    "Attack",
    "Batch",
    "BatchCoupled",
    "Budget",
    "Decisions",
    "Decoupled",
    "Gradient",
    "Gradients",
    "Jacobian",
    "Jacobians",
    "Keep",
    "Ledger",
    "Objective",
    "QueryBroker",
    "Reason",
    "Render",
    "Scores",
    "Shared",
    "SharedBatch",
    "check_ball",
    "gradient_of",
    "margin_objective",
]  # fmt: skip
