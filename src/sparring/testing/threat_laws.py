"""The laws of masks, radii per row, and inputs that are not images. Each raises AssertionError with what it saw."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Attack
from ..engine import Engine, Outcome
from ..errors import InputError
from ..geometry.region import Region
from ..inputs import Inputs, PointClouds, Unbounded
from ..targets import answered
from ..transforms import Scene
from .attack_laws import require, run_on_case, with_eps
from .cases import Case, draw, filled, linear, small_net

FACTORS = (0.6, 1.4, 1.0)  # of a radius, row by row


def check_masks_and_radii(attack: Attack[Any, Any], case: Case | None = None, *, tolerance: float = 0.0) -> None:
    """Law 10: under a mask and a radius per row, rows together are what each is alone, and nothing else moves.

    Nothing outside a row's mask moves, in what is returned and, unless the attack asks beyond its ball, in what is
    asked about; no example exceeds its row's radius.
    """
    case = case or small_net(3)
    mask, eps = draw("mask", tuple(case.images.shape)) > 0, _radii(attack, case)
    asked: list[Tensor] = []

    def watching(images: Tensor, *context: Any) -> Tensor:
        asked.append(images.detach().clone())
        logits: Tensor = case.module(images, *context)
        return logits

    together = run_on_case(attack, case, mask=mask, eps=eps, engine=Engine(batch_size=2))
    _require_held(attack, together.examples, Region.around(case.images, attack.ball, case.inputs, mask=mask, eps=eps))
    if attack.batch_coupled:
        return
    alone = run_on_case(
        attack, replace(case, module=_Watched(watching)), mask=mask, eps=eps, engine=Engine(batch_size=1)
    )
    gap = float((together.examples - alone.examples).abs().max())
    require(torch.equal(together.success, alone.success), f"{attack.name} under a mask: another success mask")
    require(gap <= tolerance, f"{attack.name} under a mask: examples differ by {gap:g}")
    require(torch.equal(together.passes.forwards, alone.passes.forwards), f"{attack.name} under a mask: other passes")
    _require_region_kept(attack, asked, Region.around(case.images, attack.ball, case.inputs, mask=mask, eps=eps))


class _Watched(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor, *context: Any) -> Tensor:
        outputs: Tensor = self.function(images, *context)
        return outputs


def _radii(attack: Attack[Any, Any], case: Case) -> Tensor:
    """(B,) radii around that of the attack, or around what it needs where it has none."""
    factors = torch.tensor(FACTORS, dtype=case.images.dtype).repeat(len(case.images))[: len(case.images)]
    base = torch.full_like(factors, attack.ball.eps)
    if math.isinf(attack.ball.eps):
        base = run_on_case(attack, case).distance.nan_to_num(posinf=1.0).clamp_min(1e-3)
    return (base * factors).ceil() if attack.ball.p == 0 else base * factors


def _require_held(attack: Attack[Any, Any], examples: Tensor, region: Region) -> None:
    assert region.free is not None
    moved = (examples != region.x) & ~region.free
    require(not bool(moved.any()), f"{attack.name} moved {int(moved.sum())} components outside the mask")
    over = float((region.norm(examples - region.x) - region.eps).max())
    require(over <= 1e-6, f"{attack.name} exceeds the radius of a row by {over:g}")


def _require_region_kept(attack: Attack[Any, Any], asked: list[Tensor], region: Region) -> None:
    """Require that each query, of images of one row, keeps to the mask and the radius of some row."""
    if getattr(attack, "techniques", ()):
        return  # which ask about other images by design
    assert region.free is not None
    for images in asked:
        delta = images[:, None] - region.x
        still = (delta.masked_fill(region.free, 0) == 0).flatten(2).all(2)
        require(bool(still.any()), f"{attack.name} asked about images that moved outside the mask")
        if not attack.queries_outside_ball:
            size = torch.stack([region.norm(each) for each in delta])
            held = still & (size <= region.eps + 1e-6)
            require(bool(held.any(1).all()), f"{attack.name} asked about images beyond the radius of a row")


def check_radii(attack: Attack[Any, Any], case: Case | None = None, *, tolerance: float = 1e-6) -> None:
    """Law 10: a radius per row is what the attack with that ball does on the row."""
    case = case or small_net(3)
    eps = _radii(attack, case)
    together = run_on_case(attack, case, eps=eps)
    for row in range(len(case.images)):
        one = run_on_case(with_eps(attack, float(eps[row])), case.row(row), indices=torch.tensor([row]))
        gap = float((one.examples[0] - together.examples[row]).abs().max())
        require(bool(one.success) == bool(together.success[row]), f"{attack.name}, eps {eps[row]:g}: another success")
        require(gap <= tolerance, f"{attack.name}, eps {eps[row]:g} per row: examples differ by {gap:g}")


class CloudNet(nn.Module):
    """Four classes of point clouds (B, N, 3), whatever the order of their points."""

    def __init__(self) -> None:
        super().__init__()
        self.point, self.cloud = nn.Linear(3, 16).double(), nn.Linear(16, 4).double()

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.cloud(self.point(points).tanh().mean(1))
        return logits


def clouds(count: int = 3) -> Case:
    """Point clouds (B, 12, 3) in [-1, 1]."""
    points = (0.4 * draw("points", (count, 12, 3))).clamp(-0.9, 0.9)
    return _labelled(filled(CloudNet(), "cloud"), points, PointClouds())


class PartialCloudNet(CloudNet):
    """As `CloudNet`, of the points that the context says are present."""

    def forward(self, points: Tensor, context: Scene) -> Tensor:  # type: ignore[override]
        present = context.present
        assert present is not None
        each = self.point(points).tanh() * present[:, :, None]
        logits: Tensor = self.cloud(each.sum(1) / present.sum(1, keepdim=True))
        return logits


def partial_clouds(count: int = 3) -> Case:
    """Point clouds of 7 to 12 points each; the places of the others are zero, and may not move."""
    present = torch.arange(12) < 7 + torch.arange(count)[:, None] * 2 % 6
    points = (0.4 * draw("points", (count, 12, 3))).clamp(-0.9, 0.9) * present[:, :, None]
    module, context = filled(PartialCloudNet(), "cloud").eval(), Scene(present=present)
    with torch.no_grad():
        labels = module(points, context).argmax(1)
    free = present[:, :, None].expand_as(points)
    return Case(module, points, labels, inputs=PointClouds(), context=context, free=free)


def vectors(count: int = 3) -> Case:
    """Ten real numbers (B, 10) without bounds."""
    net = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    return _labelled(filled(net, "vector"), 3 * draw("vectors", (count, 10)), Unbounded(scale=3.0))


def _labelled(module: nn.Module, x: Tensor, inputs: Inputs) -> Case:
    module.eval()
    with torch.no_grad():
        return Case(module, x, module(x).argmax(1), inputs=inputs)


def check_inputs(attack: Attack[Any, Any], case: Case) -> Outcome | None:
    """Law 10: on inputs of another kind an attack runs and obeys, or is refused with the reason.

    Returns what came of it, or None where the attack was refused. In the last row of the case the first components may
    not move.
    """
    asked: list[Tensor] = []
    mask = torch.ones_like(case.images, dtype=torch.bool)
    mask[-1].view(-1)[: mask[-1].numel() // 3] = False
    mask = mask if case.free is None else mask & case.free

    def watching(x: Tensor, *beside: Any) -> Any:
        asked.append(x)
        return case.module(x, *beside)

    try:
        outcome = run_on_case(attack, case, mask=mask, target=case.target_around(watching))
    except InputError as error:
        require(not asked, f"{attack.name} asked before it was refused: {error}")
        return None
    region = Region.around(case.images, attack.ball, case.target.inputs, mask=mask)
    held = region.contains(outcome.examples)
    require(bool(held.all()), f"{attack.name} leaves the {case.target.inputs.plural} that are valid in rows {~held}")
    _require_held(attack, outcome.examples, region)
    with torch.no_grad():
        won = case.goal.margin(answered(case.target, outcome.examples, None, case.context)) > 0
    require(torch.equal(won, outcome.success), f"{attack.name} claims {outcome.success}, measured {won}")
    return outcome


def check_masked_strength(attack: Attack[Any, Any], *, ratio: float = 1.02, classes: int = 4) -> None:
    """Law 12: on a linear model the smallest perturbation under a mask is that of the free components alone."""
    case = linear(classes)
    mask = draw("mask", tuple(case.images.shape)) > 0
    layer = next(m for m in case.module.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        logits, weight = case.module(case.images), layer.weight
        lead = logits.gather(1, case.labels[:, None]) - logits
        slopes = (weight - weight[case.labels][:, None]).view(*lead.shape, *case.images.shape[1:])
    region = Region.around(case.images, attack.ball, mask=mask)
    dual = region.dual_norm_many(slopes)
    best = torch.where(dual > 0, lead / dual, torch.inf).amin(1)
    outcome = run_on_case(attack, case, mask=mask)
    require(bool(outcome.success.all()), f"{attack.name} under a mask failed on {int((~outcome.success).sum())} rows")
    worst = float((outcome.distance / best).max())
    require(worst <= ratio, f"{attack.name} under a mask ends at {worst:.4f} times the optimum; {ratio} is asked")


def check_masked_radius(attack: Attack[Any, Any], *, ratio: float = 1.02) -> None:
    """Law 12, of an attack that spends a radius: under a mask it flips every row at `ratio` times the optimum."""
    case = linear(2)
    mask = draw("mask", tuple(case.images.shape)) > 0
    layer = next(m for m in case.module.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        logits, weight = case.module(case.images), layer.weight
        lead = (logits.gather(1, case.labels[:, None]) - logits).amax(1)
        slope = (weight[1 - case.labels] - weight[case.labels]).view_as(case.images)
    best = lead / Region.around(case.images, attack.ball, mask=mask).dual_norm(slope)
    for factor, expected in ((ratio, True), (1 / 1.02, False)):
        won = run_on_case(attack, case, mask=mask, eps=best * factor).success
        require(bool((won == expected).all()), f"{attack.name} at {factor:.3f} of the masked optimum: {won.tolist()}")
