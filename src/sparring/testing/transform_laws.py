"""The laws that every transform must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..random import Key
from ..rows import flatten, take
from ..tasks import Classification, Detection, Detections, Segmentation, Task, Verification
from ..transforms import Transform, transform_with_bpda
from .attack_laws import require
from .cases import draw

STEP = 1e-6
BPDA = "set differentiable = False and give differentiable_approximation"
Ask = Callable[[Tensor, Key, Any], Tensor]


def check_transform(
    transform: Transform, x: Tensor, context: Any = None, *, tolerance: float = 1e-9, slope: float = 1e-4
) -> None:
    """The laws of a transform on `x` (B, ...) float64 of its inputs, with a `context`; AssertionError says what broke.

    (1) Finite, one row per input, in the inputs' dtype; so is the context, which stays a record of its kind. (2) What
    comes of a row does not depend on its batch, to `tolerance`; the same key gives the same answer, and another key
    another one exactly where `stochastic` is declared; no global generator moves, and x and context stay as they are.
    (3) Where `differentiable` is declared, the gradient is that of a difference quotient, to `slope` (choose x away
    from kinks) unless it is said not to be exact; otherwise the forward pass is exact, bit for bit, its approximation
    has the right shape and a gradient that is not zero throughout. (4) `restore` gives outputs of the tasks that it
    serves, row by row.
    """

    def ask(x: Tensor, key: Key, context: Any) -> Tensor:
        return transform.apply(x, key, context)[0]

    check_answers(transform.name, ask, x, transform.stochastic, tolerance, context)
    _check_context(transform, x, context, tolerance)
    _check_slope(transform, x, context, slope)
    _check_restore(transform, x, context, tolerance)


def key_of(x: Tensor) -> Key:
    """Return the key that the laws ask with."""
    return Key(torch.arange(len(x)), 5)


def check_answers(name: str, ask: Ask, x: Tensor, stochastic: bool, tolerance: float, context: Any = None) -> None:
    """Laws 1 and 2 of what answers with a row per input: an alarm, or a transform."""
    key, before, generator = key_of(x), x.clone(), torch.get_rng_state()
    beside = {path: tensor.clone() for path, tensor in flatten(context)[0].items()}
    with torch.no_grad():
        whole = ask(x, key, context)
        again, other = ask(x, key, context), ask(x, key.reseeded(1), context)
        rows = torch.tensor([len(x) - 1, 0])
        part = ask(x[rows], take(key, rows), take(context, rows))
        single = ask(x.float(), key, in_float32(context))
    require(
        torch.equal(torch.get_rng_state(), generator),
        f"{name}: the global random state has moved; draw from the key: key.normal('noise', shape)",
    )
    require(torch.equal(x, before), f"{name}: the images have changed in place; clone them first")
    for path, tensor in flatten(context)[0].items():
        require(
            torch.equal(tensor, beside[path]), f"{name}: {path} of the context has changed in place; clone it first"
        )
    require(
        len(whole) == len(x) and bool(whole.isfinite().all()),
        f"{name}: not one finite row per image; return a tensor with a row for each, without NaN or infinity",
    )
    require(whole.dtype == x.dtype, f"{name}: {x.dtype} comes out as {whole.dtype}; return images.dtype")
    require(single.dtype == torch.float32, f"{name}: float32 comes out as {single.dtype}; return images.dtype")
    require(
        torch.equal(whole, again),
        f"{name}: the same key gives another answer; draw from the key, and keep no state between calls",
    )
    changed = not torch.equal(whole, other)
    cure = "set stochastic = True" if changed else "leave stochastic False, or draw from the key"
    words = f"{name} declares stochastic={stochastic}, and another key changes it: {changed}"
    require(changed == stochastic, f"{words}; {cure}")
    gap = float((whole[rows] - part).abs().max())
    require(gap <= tolerance, f"{name}: a row alone differs by {gap:g} from the row in its batch; compute row by row")


def in_float32(record: Any) -> Any:
    """Return the record with its real tensors in float32."""
    if isinstance(record, Tensor):
        return record.float() if record.is_floating_point() else record
    if not is_dataclass(record) or isinstance(record, type):
        return record
    return replace(record, **{name: in_float32(value) for name, value in vars(record).items()})


def _check_context(transform: Transform, x: Tensor, context: Any, tolerance: float) -> None:
    name, key = transform.name, key_of(x)
    with torch.no_grad():
        made = transform.apply(x, key, context)[1]
        again = transform.apply(x, key, context)[1]
    require(type(made) is type(context), f"{name}: a context {type(context).__name__} became {type(made).__name__}")
    rows = _some(len(x))
    with torch.no_grad():
        turned = transform.apply(x[rows], take(key, rows), take(context, rows))[1]
    for path, tensor in flatten(made)[0].items():
        require(len(tensor) == len(x), f"{name}: {path} of the context has {len(tensor)} rows for {len(x)} inputs")
        require(torch.equal(tensor, flatten(again)[0][path]), f"{name}: the same key gives another {path}")
        require(_gap(tensor[rows], flatten(turned)[0][path]) <= tolerance, f"{name}: {path} depends on other rows")


def _check_slope(transform: Transform, x: Tensor, context: Any, slope: float) -> None:
    key, name = key_of(x), transform.name
    variable = x.clone().requires_grad_()
    with torch.enable_grad():
        out = transform_with_bpda(transform, variable, key, context)[0]
    with torch.no_grad():
        exact = transform.apply(x, key, context)[0]
    require(
        torch.equal(out, exact),
        f"{name}: under attack another forward pass than its own; leave apply_approximation to the backward pass",
    )
    weights = draw("weights", tuple(out.shape))
    require(
        out.requires_grad,
        f"{name}: no gradient comes through it, nor through its approximation; {BPDA}",
    )
    (grad,) = torch.autograd.grad(out, variable, weights)
    check_gradient(name, grad)
    if not (transform.differentiable and transform.exact_gradient):
        return
    way = draw("way", tuple(x.shape))
    with torch.no_grad():
        ahead, behind = (transform.apply(x + side * STEP * way, key, context)[0] for side in (1, -1))
    measured = ((ahead - behind) * weights).flatten(1).sum(1) / (2 * STEP)
    told = (grad * way).flatten(1).sum(1)
    gap = float(((measured - told).abs() / (1 + measured.abs())).max())
    require(
        gap <= slope,
        f"{name}: the gradient is off by {gap:g} from a difference quotient; {BPDA}",
    )


def check_gradient(name: str, grad: Tensor) -> None:
    """Require a gradient that is finite and not zero throughout."""
    require(grad.isfinite().all(), f"{name}: a gradient that is not finite; look for a root or a quotient at zero")
    require(
        bool((grad != 0).any()),
        f"{name}: a gradient of exactly zero; {BPDA}",
    )


def _check_restore(transform: Transform, x: Tensor, context: Any, tolerance: float) -> None:
    key, name, rows = key_of(x), transform.name, _some(len(x))
    seen = transform.apply(x, key, context)[0]
    size = tuple(seen.shape[2:]) if seen.ndim == 4 else (4, 4)
    for task, outputs in _outputs(len(x), size):
        if transform.tasks is not None and not isinstance(task, transform.tasks):
            continue
        restored = transform.restore(outputs, key, context)
        task.check(restored, len(x))
        turned = transform.restore(take(outputs, rows), take(key, rows), take(context, rows))
        for path, tensor in flatten(restored)[0].items():
            gap = _gap(tensor[rows], flatten(turned)[0][path])
            require(gap <= tolerance, f"{name}: restored {path or 'outputs'} of {task.name} depend on other rows")


def _outputs(count: int, size: tuple[int, ...]) -> list[tuple[Task, Any]]:
    """Outputs of every task for inputs of this size."""
    boxes = torch.cat((draw("corners", (count, 7, 2)), draw("ends", (count, 7, 2)) + 9), dim=2)
    present = torch.arange(7).expand(count, 7) < 5
    return [
        (Classification(), draw("logits", (count, 5))),
        (Verification(), draw("embeddings", (count, 5))),
        (Segmentation(), draw("maps", (count, 3, *size))),
        (Detection(), Detections(boxes, draw("anchors", (count, 7, 2)), present)),
    ]


def _some(count: int) -> Tensor:
    """All rows but the first, in another order."""
    return torch.arange(count).flip(0)[: max(1, count - 1)]


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
