"""What the attacker may ask, and the ledger that writes down every answer."""

from .attack import Attack, Batch, Interacting, check_ball
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
from .shared import Portion, Shared

__all__ = [
    "Attack",
    "Batch",
    "Budget",
    "Decisions",
    "Decoupled",
    "Gradient",
    "Gradients",
    "Interacting",
    "Jacobian",
    "Jacobians",
    "Keep",
    "Ledger",
    "Objective",
    "Portion",
    "QueryBroker",
    "Reason",
    "Render",
    "Scores",
    "Shared",
    "check_ball",
    "gradient_of",
    "margin_objective",
]  # fmt: skip
