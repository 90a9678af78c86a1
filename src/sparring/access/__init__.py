"""What the attacker may ask, and the ledger that writes down every answer."""

from .attack import Attack, Batch, Interacting
from .budget import Budget
from .desk import Desk, gradient_of
from .ledger import Keep, Ledger, Reason
from .oracle import (
    Decisions,
    Gradient,
    Gradients,
    Jacobian,
    Jacobians,
    Objective,
    Paired,
    Render,
    Scores,
    margin_objective,
)
from .shared import Portion, Shared

__all__ = [
    "Attack", "Batch", "Budget", "Decisions", "Desk", "Gradient", "Gradients", "Interacting",
    "Jacobian", "Jacobians", "Keep", "Ledger", "Objective", "Paired", "Portion", "Reason", "Render",
    "Scores", "Shared", "gradient_of", "margin_objective",
]  # fmt: skip
