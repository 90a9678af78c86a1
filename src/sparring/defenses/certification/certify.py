"""`certify_bounds`: lower bounds of what an attack has to push below 0, by intervals or linear relaxations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Goal
from ...targets import Classifier
from .concretize import InputSet
from .graph import Network, Weights, as_classifier
from .intervals import Interval, propagate_intervals
from .linear_bounds import (
    MEMORY,
    Coefficients,
    Relaxed,
    default_slopes,
    dual_slopes,
    in_portions,
    lower_bounds,
    relax,
    relaxed_intervals,
)
from .optimized_slopes import SlopeSearch, optimized_bounds, optimized_intervals
from .specifications import Specification, check_goal, specification

Method = Literal["ibp", "crown-ibp", "crown", "alpha-crown", "wong-kolter"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class MarginBounds:
    """Lower bounds that hold in the whole region of each image.

    Args:
        lower: (B, K - 1) for `Misclassify` those of z_y - z_k, for `ClassifyAs` those of z_k - z_t.
        rivals: (B, K - 1) int64, the class k of each, in rising order.
        every: whether all must be positive for a proof (`Misclassify`) or one (`ClassifyAs`).
        method: which bounds they are.
    """

    lower: Tensor
    rivals: Tensor
    every: bool
    method: str

    @property
    def margin(self) -> Tensor:
        """The lower bound (B,) of what is to be proven: it is proven where this is positive, beyond rounding."""
        return self.lower.amin(1) if self.every else self.lower.amax(1)

    @property
    def worst_logits(self) -> Tensor:
        """Logits (B, K), first 0 for the class and then -lower for its rivals: their cross-entropy with class 0 is the
        loss of certified training (Gowal et al. 2018), for `Misclassify`.
        """
        return worst_logits(self.lower)


def worst_logits(lower: Tensor) -> Tensor:
    """Return (B, K) from lower bounds (B, K - 1): 0 for the class, first, and -lower for its rivals."""
    return torch.cat((torch.zeros_like(lower[:, :1]), -lower), dim=1)


def certify_bounds(
    target: Classifier | nn.Module | Network,
    goal: Goal,
    images: Tensor,
    ball: Ball,
    *,
    method: Method = "crown",
    mask: Tensor | None = None,
    eps: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    search: SlopeSearch | None = None,
    memory: float = MEMORY,
) -> MarginBounds:
    """Return lower bounds, in the ball around each image, of what an attack has to push below 0.

    Args:
        target: a classifier, a module from images in [0, 1] to logits, or a `Network` made of one, which saves tracing
            it again. It is taken in eval mode.
        goal: `Misclassify(labels)` or `ClassifyAs(targets)`.
        images: (B, ...) inputs within the valid range.
        ball: Linf, L2 or L1 with a radius.
        method: "ibp" (intervals), "crown-ibp" (linear relaxation, with the intervals' bounds of activations), "crown"
            (with its own), "alpha-crown" (slopes optimised for each bound), "wong-kolter" (the dual of 2018, of ReLU).
        mask, eps: where images may change, and a radius for each, as in `run`.
        dtype: of the computation. The bounds hold up to its rounding.
        search: how the slopes of alpha-crown are optimised.
        memory: MB that the coefficients of one pass may take; bounds are computed in portions that fit.

    "ibp", "crown-ibp", "crown" and "wong-kolter" are differentiable with respect to the weights, in grad mode.

    Raises:
        TargetError, InputError, ThreatError, GoalError, ConfigError: an argument that does not fit, with the cure.
    """
    if method not in METHODS:
        raise ConfigError(f"method {method!r} is unknown; pass one of {', '.join(METHODS)}")
    network, region = checked(target, goal, images, ball, mask, eps)
    inputs = InputSet.of(region, dtype)
    weights = network.weights(dtype)
    wanted = specification(goal, network.classes, dtype, images.device)
    lower = margin_bounds(network, weights, inputs, wanted, method, search, memory)
    return MarginBounds(lower, wanted.rivals, wanted.every, method)


def margin_bounds(
    network: Network,
    weights: Weights,
    inputs: InputSet,
    wanted: Specification,
    method: str,
    search: SlopeSearch | None = None,
    memory: float = MEMORY,
) -> Tensor:
    """Return the lower bounds (B, K - 1) of a specification by one method."""
    if method == "alpha-crown" and torch.is_grad_enabled():  # which ascends slopes, and has no gradient in the weights
        weights = {name: value.detach() for name, value in weights.items()}
        with torch.no_grad():
            return margin_bounds(network, weights, inputs, wanted, method, search, memory)
    last, rule = len(network) - 1, dual_slopes if method == "wong-kolter" else default_slopes
    if method == "alpha-crown" and search is not None and search.intermediate:
        intervals = optimized_intervals(network, weights, inputs, search, memory)
    elif method in ("ibp", "crown-ibp"):
        intervals = propagate_intervals(network, weights, inputs)
    else:
        intervals = relaxed_intervals(network, weights, inputs, rule, memory=memory)
    merged = Relaxed(network, weights, inputs, intervals, {}).bound_affinely(last, wanted.functions)
    if method == "ibp":
        return merged
    relaxed = relax(network, weights, inputs, intervals, rule)
    lower = in_portions(lower_bounds, relaxed, last, wanted.functions, memory)
    if method == "wong-kolter":
        return lower
    if method == "alpha-crown":

        def optimized(relaxed: Relaxed, start: int, coefficients: Coefficients) -> Tensor:
            return optimized_bounds(relaxed, start, coefficients, search).least

        best = in_portions(optimized, relaxed, last, wanted.functions, memory, with_gradients=True)
        lower = torch.maximum(lower, best)
    return torch.maximum(lower, merged)


def checked(
    target: Classifier | nn.Module | Network,
    goal: Goal,
    images: Tensor,
    ball: Ball,
    mask: Tensor | None,
    eps: Tensor | None,
) -> tuple[Network, Region]:
    """Return the network and the region of the images, all arguments checked."""
    check_goal(goal)
    classifier = target.target if isinstance(target, Network) else as_classifier(target)
    classifier.inputs.check(images)
    region = Region.around(images, ball, classifier.inputs, mask=mask, eps=eps)
    InputSet.of(region, images.dtype)  # which checks ball and radii
    network = target if isinstance(target, Network) else Network(classifier, images)
    if tuple(images.shape[1:]) != network.nodes[0].shape:
        raise InputError(
            f"images have shape {tuple(images.shape[1:])}, and the network was captured for {network.nodes[0].shape}; "
            "capture it anew: Network(target, images)"
        )
    count = len(goal)
    if count != len(images):
        raise InputError(f"the goal has {count} classes for {len(images)} images; pass one for each")
    with classifier.frozen(), torch.no_grad():
        logits = classifier(images[:1])
        classifier.check(logits)
        goal.check(logits, goal)
    return network, region


def row_intervals(intervals: list[Interval], row: int) -> list[Interval]:
    """Return the intervals of one image, as a batch of one."""
    return [Interval(one.low[row : row + 1], one.high[row : row + 1]) for one in intervals]
