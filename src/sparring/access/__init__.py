"""What an attack may ask of a target (oracles), and the ledger that records every answer."""

from .attack import Attack, Batch, BatchCoupled, check_ball
from .budget import Budget
from .ledger import Keep, Ledger, Reason
from .oracle import (
    ACCESS,
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
from .parameters import (
    Bounds,
    DecayFactor,
    NonNegativeFloat,
    NonNegativeInt,
    OpenFraction,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Probability,
    check_parameters,
)
from .query_broker import QueryBroker, gradient_of
from .shared import Shared, SharedBatch

__all__ = [
    "ACCESS",
    "Attack",
    "Batch",
    "BatchCoupled",
    "Bounds",
    "Budget",
    "DecayFactor",
    "Decisions",
    "Decoupled",
    "Gradient",
    "Gradients",
    "Jacobian",
    "Jacobians",
    "Keep",
    "Ledger",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Objective",
    "OpenFraction",
    "PositiveFloat",
    "PositiveFraction",
    "PositiveInt",
    "Probability",
    "QueryBroker",
    "Reason",
    "Render",
    "Scores",
    "Shared",
    "SharedBatch",
    "check_ball",
    "check_parameters",
    "gradient_of",
    "margin_objective",
]  # fmt: skip
