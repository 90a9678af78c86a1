"""Contract tests ("laws") for our attacks and for yours: `check_attack(MyAttack(...))`."""

from .attack_contract import check_attack
from .attack_laws import (
    check_access,
    check_batch_law,
    check_budget,
    check_closed_form,
    check_ends,
    check_feasible,
    check_repeatable,
    check_reported_success,
    check_resume,
    check_state,
    check_target_unchanged,
    check_zero_gradient,
)
from .awkward_models import AwkwardModel, awkward_models, check_awkward_model, check_awkward_models
from .cases import (
    Case,
    Counting,
    colour,
    creation,
    detector,
    flow,
    impersonation,
    linear,
    mislabelling,
    optimum,
    rotation,
    saturated,
    segmenter,
    small_net,
    stairs,
    unbreakable,
    verifier,
)
from .defense_laws import check_defense
from .geometry_laws import check_geometry
from .goal_laws import check_goal
from .region_laws import check_region
from .setting_laws import check_settings
from .shared_laws import check_shared, check_shared_closed_form
from .target_laws import check_target
from .threat_laws import (
    check_inputs,
    check_masked_radius,
    check_masked_strength,
    check_masks_and_radii,
    check_radii,
    clouds,
    partial_clouds,
    vectors,
)
from .transform_laws import check_transform

__all__ = [
    "AwkwardModel",
    "Case",
    "Counting",
    "awkward_models",
    "check_access",
    "check_attack",
    "check_awkward_model",
    "check_awkward_models",
    "check_batch_law",
    "check_budget",
    "check_closed_form",
    "check_defense",
    "check_ends",
    "check_feasible",
    "check_geometry",
    "check_goal",
    "check_inputs",
    "check_masked_radius",
    "check_masked_strength",
    "check_masks_and_radii",
    "check_radii",
    "check_region",
    "check_repeatable",
    "check_reported_success",
    "check_resume",
    "check_settings",
    "check_shared",
    "check_shared_closed_form",
    "check_state",
    "check_target",
    "check_target_unchanged",
    "check_transform",
    "check_zero_gradient",
    "clouds",
    "colour",
    "creation",
    "detector",
    "flow",
    "impersonation",
    "linear",
    "mislabelling",
    "optimum",
    "partial_clouds",
    "rotation",
    "saturated",
    "segmenter",
    "small_net",
    "stairs",
    "unbreakable",
    "vectors",
    "verifier",
]  # fmt: skip
