"""The laws that every target must pass."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Gradients
from ..engine import fingerprint
from ..errors import SparringError
from ..goals import DetectorOutputs, without_penalty
from ..random import Key
from ..rows import flatten, take
from ..targets import Target, answered
from .attack_laws import module_snapshot, require


def check_target(
    target: Target[Any],
    x: Tensor,
    context: Any = None,
    *,
    other: Target[Any] | None = None,
    modules: tuple[nn.Module, ...] = (),
    tolerance: float = 1e-9,
) -> None:
    """Law 11, of a target on `x` (B, ...) of its inputs with the `context` beside them; AssertionError says what broke.

    (1) `inputs` take x, and refuse NaN, integers, half precision, no rows, values above their range and another number
    of axes. (2) Outputs have one row per input and are those of `task`. (3) A row does not depend on its batch, to
    `tolerance`; the same question has the same answer, with the same key where answers are random, and another key
    another one; no global generator moves and x stays as it is. (4) While `frozen`, `modules` are in eval mode and ask
    for no gradient; afterwards they are as before, also after an exception. (5) `identity` is the same each time, and
    the same in the fingerprint; that of `other`, a target of other weights, is another. (6) A target that grants
    gradients has one with respect to x.
    """
    _check_inputs(target, x)
    _check_frozen(target, modules)
    _check_identity(target, other)
    with target.frozen():
        _check_answers(target, x, context, tolerance)
        if issubclass(target.access, Gradients):
            _check_gradient(target, x, context)


def _check_inputs(target: Target[Any], x: Tensor) -> None:
    inputs = target.inputs
    inputs.check(x)
    wrong = {"NaN": x.clone(), "integers": x.long(), "half precision": x.half(), "no rows": x[:0]}
    wrong["NaN"][-1].view(-1)[0] = torch.nan
    high = torch.as_tensor(inputs.range_like(x)[1], dtype=x.dtype)
    if bool(high.isfinite().all()):
        wrong["values above the range"] = (x + 1).maximum(high + 1)
    if inputs.axes is not None and inputs.axes > 2:
        wrong["other numbers of axes"] = x.flatten(1)
    for word, one in wrong.items():
        taken = False
        with suppress(SparringError):
            inputs.check(one)
            taken = True
        require(not taken, f"{target.name}: {inputs} takes {word}")


class _Planted(Exception):
    """Raised on purpose."""


def _check_frozen(target: Target[Any], modules: tuple[nn.Module, ...]) -> None:
    before = [module_snapshot(module) for module in modules]
    for planted in (False, True):
        with suppress(_Planted), target.frozen():
            for module in modules:
                asking = [name for name, one in module.named_parameters() if one.requires_grad]
                require(not asking, f"{target.name}: frozen, and {asking} still ask for a gradient")
                trained = [name or "the module" for name, one in module.named_modules() if one.training]
                require(not trained, f"{target.name}: frozen, and {trained} are in training mode")
            if planted:
                raise _Planted
        for module, old in zip(modules, before, strict=True):
            for part, value in module_snapshot(module).items():
                same = torch.equal(value, old[part]) if isinstance(value, Tensor) else value == old[part]  # type: ignore[arg-type]
                require(same, f"{target.name}: {part} has changed after frozen()")


def _check_identity(target: Target[Any], other: Target[Any] | None) -> None:
    mark = fingerprint(*target.identity())
    require(mark == fingerprint(*target.identity()), f"{target.name}: its identity changes from call to call")
    with target.frozen():
        require(mark == fingerprint(*target.identity()), f"{target.name}: its identity changes while it is frozen")
    if other is not None:
        require(mark != fingerprint(*other.identity()), f"{target.name}: other weights have the same identity")


def _check_answers(target: Target[Any], x: Tensor, context: Any, tolerance: float) -> None:
    name, before, generator = target.name, x.clone(), torch.get_rng_state()
    key = Key(torch.arange(len(x), device=x.device), 5)
    rows = torch.arange(len(x), device=x.device).flip(0)[:-1]
    with torch.no_grad():
        whole = answered(target, x, key, context)
        again, fresh = answered(target, x, key, context), answered(target, x, key.reseeded(1), context)
        part = answered(target, x[rows], take(key, rows), take(context, rows))
    require(torch.equal(torch.get_rng_state(), generator), f"{name}: the global random state has moved")
    require(torch.equal(x, before), f"{name}: the inputs have changed")
    for path, tensor in flatten(whole)[0].items():
        require(tensor.ndim > 0 and len(tensor) == len(x), f"{name}: {path} has not one row per input")
    if target.task is not None:
        inside = without_penalty(whole)
        target.task.check(inside.outputs if isinstance(inside, DetectorOutputs) else inside, len(x))
    target.check(whole)
    require(_gap(whole, again) == 0, f"{name}: the same question has another answer; nothing may be drawn but by key")
    if target.stochastic:
        require(_gap(whole, fresh) > 0, f"{name} says that it is stochastic, and another key changes nothing")
    gap = _gap(take(whole, rows), part)
    require(gap <= tolerance, f"{name}: rows alone differ by {gap:g} from rows together")


def _check_gradient(target: Target[Any], x: Tensor, context: Any) -> None:
    variable, key = x.clone().requires_grad_(), Key(torch.arange(len(x), device=x.device), 5)
    with torch.enable_grad():
        outputs = answered(target, variable, key, context)
        real = [one for one in flatten(outputs)[0].values() if one.requires_grad]
        require(real, f"{target.name} grants gradients, and its outputs have none")
        total = torch.stack([one[one.isfinite()].sum() for one in real]).sum()
        (grad,) = torch.autograd.grad(total, variable, allow_unused=True)
    require(grad is not None, f"{target.name} grants gradients, and its outputs do not depend on the inputs")
    require(grad.isfinite().all(), f"{target.name}: a gradient that is not finite")


def _gap(one: Any, other: Any) -> float:
    """The largest difference of two answers; infinite where their kinds or shapes differ."""
    first, second = flatten(one)[0], flatten(other)[0]
    if first.keys() != second.keys() or any(first[path].shape != second[path].shape for path in first):
        return float("inf")
    gaps = [(first[path].double() - second[path].double()).nan_to_num().abs() for path in first]
    return max((float(gap.max()) for gap in gaps if gap.numel()), default=0.0)
