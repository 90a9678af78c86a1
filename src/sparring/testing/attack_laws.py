"""The laws that every attack must pass. Each raises AssertionError with what it saw."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..access import Attack, Budget, Decisions, Gradients, Jacobians, Keep, Scores
from ..engine import Engine, Outcome, Progress, run
from ..engine.search import Search
from ..errors import AccessError, UserCodeError
from ..geometry.region import Region
from ..rows import flatten
from ..targets import Classifier, Restricted
from .cases import Case, Counting, linear, optimum, saturated, small_net, stairs, unbreakable

LEVELS: tuple[type[Decisions], ...] = (Decisions, Scores, Gradients, Jacobians)
TOLERANCE = 1e-6
MOST_PASSES = 400  # of a row, where a law needs a look at some and not the end
MOST_CALLS = 1000  # of the model within one step


def require(holds: object, message: str) -> None:
    """Raise AssertionError with the message unless `holds`, also under `python -O`."""
    if not bool(holds):
        raise AssertionError(message)


def run_on_case(attack: Attack[Any, Any], case: Case, **options: Any) -> Outcome:
    """Run the attack on a case's images with its goal and context, and return the outcome.

    `options` go to `run`; a `target` among them stands in for the case's own.
    """
    target = options.pop("target", case.target)
    return run(attack, target, case.goal, case.images, context=case.context, **options)


def check_state(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check that the state is a record with one row per example, detached, and that queries fit the images."""
    case = case or unbreakable(5)
    x, goal = case.images, case.goal

    def watching(images: Tensor, *context: Any) -> Tensor:
        like = f"{images.dtype} {tuple(images.shape[1:])}", f"{x.dtype} {tuple(x.shape[1:])}"
        require(like[0] == like[1], f"{attack.name} queries images {like[0]}, and those it was given are {like[1]}")
        outputs: Tensor = case.module(images, *context)
        return outputs

    target = case.target_around(watching)
    region, indices = Region.around(x.clone(), attack.ball, target.inputs), torch.arange(len(x))
    search = Search(attack, target, goal, region, indices, attack.keep, Budget(), Engine(), case.context)
    with target.frozen():
        search.begin(None, whole=None)
        for _ in range(2):
            for name, tensor in flatten(search.state)[0].items() if search.live else ():
                rows = len(tensor) if tensor.ndim else "no"
                require(
                    rows == search.live, f"{attack.name}: {name} of the state has {rows} rows for {search.live} images"
                )
                require(not tensor.requires_grad, f"{attack.name}: {name} of the state requires a gradient; detach it")
            if not search.over:
                search.advance()
            kept = torch.equal(search.broker.region.x, x[search.broker.live])
            require(kept, f"{attack.name}: oracle.region.x was changed in place; clone it")


def check_ends(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check that a step makes a limited number of queries, also where no row is ever won."""
    case, calls = case or unbreakable(), 0

    def watching(images: Tensor, *context: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > MOST_CALLS:
            raise RuntimeError("too many queries")
        outputs: Tensor = case.module(images, *context)
        return outputs

    def new_step(progress: Progress) -> None:
        nonlocal calls
        calls = 0

    engine, limit = Engine(progress=new_step), Budget(forwards=20 * MOST_PASSES)
    with suppress(Exception):  # of another kind: the other checks say more of it
        run_on_case(attack, case, target=case.target_around(watching), engine=engine, budget=limit)
    require(calls <= MOST_CALLS, f"{attack.name} makes more than {MOST_CALLS} queries in one step")


def check_repeatable(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check that a second run queries and returns what the first did, and that no global generator is used."""
    for one in (case,) if case is not None else (small_net(4), unbreakable()):
        first, second = _queries_and_examples(attack, one), _queries_and_examples(attack, one)
        same = len(first) == len(second) and all(map(torch.equal, first, second))
        require(same, f"{attack.name}: a second run does not repeat the first")


def _queries_and_examples(attack: Attack[Any, Any], case: Case) -> list[Tensor]:
    """Return the images that a run queries, and its examples."""
    seen: list[Tensor] = []

    def watching(images: Tensor, *context: Any) -> Tensor:
        seen.append(images.detach().clone())
        outputs: Tensor = case.module(images, *context)
        return outputs

    before = _global_random_state()
    target = case.target_around(watching)
    outcome = run_on_case(attack, case, target=target, budget=Budget(forwards=MOST_PASSES))
    require(before == _global_random_state(), f"{attack.name}: the global random state has moved")
    return [*seen, outcome.examples]


def _global_random_state() -> tuple[bytes, object, str]:
    """Return the states of the generators of torch, Python and numpy."""
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002


def check_zero_gradient(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check that on a model whose gradient is zero everywhere only images without NaN are queried."""
    case = case or stairs()
    broken = 0

    def watching(images: Tensor, *context: Any) -> Tensor:
        nonlocal broken
        broken += int((~images.isfinite()).flatten(1).any(1).sum())
        outputs: Tensor = case.module(images, *context)
        return outputs

    run_on_case(attack, case, target=case.target_around(watching), budget=Budget(forwards=MOST_PASSES))
    require(broken == 0, f"{attack.name} queries {broken} images with NaN or infinity where the gradient is zero")


def check_batch_law(attack: Attack[Any, Any], case: Case | None = None, *, tolerance: float = 1e-9) -> None:
    """Check law 1: a batch of N gives what N batches of one give, with compaction on and off, within `tolerance`."""
    case = case or small_net()
    together = run_on_case(attack, case)
    for size, compact in ((1, True), (7, True), (64, False), (7, False)):
        other = run_on_case(attack, case, engine=Engine(batch_size=size, compact=compact))
        gap = float((other.examples - together.examples).abs().max())
        where = f"{attack.name} at batch size {size}, compaction {compact}"
        require(torch.equal(other.success, together.success), f"{where}: another success mask")
        require(gap <= tolerance, f"{where}: examples differ by {gap:g}")
        if compact:
            require(torch.equal(other.passes.forwards, together.passes.forwards), f"{where}: other passes")


def check_feasible(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check law 2: every image queried and returned is in the ball and in [0, 1], to 1e-6.

    A minimum-norm attack may query outside a finite ball. By default the images are near 0 and 1, so that both the
    ball and the range are active constraints, and so they are on a model that never fails, where every step is made. An
    image without an example comes back as it was.
    """
    for one in (case,) if case is not None else (saturated(), unbreakable()):
        for row in range(1 if case is not None else min(3, len(one.images))):
            _check_feasible_row(attack, one.row(row))


def _check_feasible_row(attack: Attack[Any, Any], one: Case) -> None:
    asked: list[Tensor] = []

    def watching(images: Tensor, *context: Any) -> Tensor:
        asked.append(images.detach().clone())
        logits: Tensor = one.module(images, *context)
        return logits

    outcome = run_on_case(attack, one, target=one.target_around(watching), budget=Budget(forwards=MOST_PASSES))
    same = torch.equal(outcome.examples, one.images) or bool(outcome.success.any())
    require(same, f"{attack.name} found nothing, and its input was changed in place")
    everything = torch.cat([*asked, outcome.examples])
    held = outcome.examples if attack.queries_outside_ball else everything
    below, above = (bound - everything for bound in one.inputs.range_like(one.images))
    require(below.amax() <= TOLERANCE, f"{attack.name} left the valid range below, by {below.amax():g}")
    require(above.amin() >= -TOLERANCE, f"{attack.name} left the valid range above, by {-above.amin():g}")
    size = attack.ball.norm(held - one.images)
    require(size.amax() <= attack.ball.eps + TOLERANCE, f"{attack.name} left {attack.ball}: {size.amax():g}")


def check_reported_success(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check law 3: reported success and distance equal those measured again on the returned examples."""
    case = case or small_net()
    outcome = run_on_case(attack, case)
    with torch.no_grad():
        won = case.goal(case.target(outcome.examples)).margin > 0
    require(torch.equal(won, outcome.success), f"{attack.name} claims {outcome.success.sum()}, measured {won.sum()}")
    size = attack.ball.norm(outcome.examples - case.images)
    gap = (size - outcome.distance)[outcome.success].abs()
    require(not len(gap) or gap.max() < 1e-9, f"{attack.name} claims sizes off by {gap.max() if len(gap) else 0:g}")


def check_budget(attack: Attack[Any, Any], case: Case | None = None, *, limit: int = 7) -> None:
    """Check law 4: no row exceeds its budget, and `Outcome.passes` equals what a counting model saw."""
    case = case or small_net(4)
    for budget in (Budget(), Budget(forwards=limit), Budget(forwards=limit, backwards=limit - 2), Budget(forwards=0)):
        for row in range(len(case.images)):
            counting = Counting(case.module)
            one = replace(case.row(row), module=counting)
            spent = run_on_case(attack, one, budget=budget).passes
            forwards, backwards, checks = int(spent.forwards), int(spent.backwards), int(spent.checks)
            require(
                forwards + checks == counting.forwards,
                f"{attack.name} reports {forwards}+{checks} forward passes, the model saw {counting.forwards}",
            )
            require(
                backwards == counting.backwards,
                f"{attack.name} reports {backwards} backward passes, the model saw {counting.backwards}",
            )
            over = (budget.forwards is not None and forwards > budget.forwards) or (
                budget.backwards is not None and backwards > budget.backwards
            )
            require(not over, f"{attack.name} spent {forwards} and {backwards} passes of {budget}")


def check_access(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check law 5: a target that grants less access than the attack needs is refused before the first query."""
    case = case or small_net(4)
    for level in LEVELS[: LEVELS.index(attack.access)]:
        counting = Counting(case.module)
        try:
            run(attack, Restricted(case.target_around(counting), level), case.goal, case.images)
        except AccessError:
            require(counting.forwards == 0, f"{attack.name} asked before it was refused")
        else:
            raise AssertionError(f"{attack.name} needs {attack.access.__name__} and ran on {level.__name__}")


def check_resume(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check law 6: a run that is interrupted after any step and resumed gives what an uninterrupted run gives."""
    case = case or small_net(6)
    whole = run_on_case(attack, case, engine=Engine(batch_size=4))
    for stop in (1, 2, 5):
        seen = 0

        def interrupt(progress: Progress, stop: int = stop) -> None:
            nonlocal seen
            seen += 1
            if seen > stop:
                raise KeyboardInterrupt

        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(batch_size=4, checkpoint=folder, checkpoint_seconds=-1, progress=interrupt)
            with suppress(KeyboardInterrupt):
                run_on_case(attack, case, engine=engine)
            again = run_on_case(attack, case, engine=replace(engine, progress=None))
        where = f"{attack.name} interrupted after step {stop}"
        require(torch.equal(again.examples, whole.examples), f"{where} ends with other examples")
        for name in ("forwards", "backwards", "checks"):
            same = torch.equal(getattr(again.passes, name), getattr(whole.passes, name))
            require(same, f"{where} ends with another count of {name}")
        require(torch.equal(again.reason, whole.reason), f"{where} ends with other reasons")


def check_target_unchanged(attack: Attack[Any, Any], case: Case | None = None) -> None:
    """Check law 7: model, images and global random state are unchanged, also after an exception."""
    case = case or small_net(4)

    def attacks(target: Classifier, images: Tensor) -> None:
        outcome = run(attack, target, case.goal, images)
        require(not outcome.examples.requires_grad, f"{attack.name} returns examples attached to a graph")

    require_unchanged(attack.name, case, attacks)


def require_unchanged(name: str, case: Case, attacks: Callable[[Classifier, Tensor], None]) -> None:
    """Require that `attacks(target, images)` changes no model, image or random state, also after an exception."""
    victim = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), case.module).double()
    victim.train()
    case.module.eval()
    first = next(case.module.parameters())
    first.requires_grad_(False)
    last = list(case.module.parameters())[-1]
    last.grad = torch.ones_like(last)
    victim[0].eval()
    victim[0].weight.requires_grad_(True)
    for fail_at in (None, 0, 2):
        wrapped = Counting(victim, fail_at)
        images, generator, before = case.images.clone(), torch.get_rng_state(), module_snapshot(victim)
        try:
            attacks(Classifier(wrapped), images)
        except UserCodeError:
            require(fail_at is not None, f"{name} failed by itself")
        where = name if fail_at is None else f"{name} after an exception"
        for part, value in module_snapshot(victim).items():
            old = before[part]
            same = torch.equal(value, old) if isinstance(value, Tensor) and isinstance(old, Tensor) else value == old
            require(same, f"{where}: {part} of the model has changed")
        require(torch.equal(images, case.images) and not images.requires_grad, f"{where}: the images have changed")
        require(torch.equal(torch.get_rng_state(), generator), f"{where}: the global random state has moved")
    first.requires_grad_(True)
    last.grad = None


def module_snapshot(module: nn.Module) -> dict[str, object]:
    """Return everything of a module that an attack could change."""
    state: dict[str, object] = {f"state {k}": v.clone() for k, v in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        state[f"requires_grad of {name}"] = parameter.requires_grad
        state[f"grad of {name}"] = None if parameter.grad is None else parameter.grad.clone()
    for name, part in module.named_modules():
        state[f"training of {name}"] = part.training
        state[f"hooks of {name}"] = (len(part._forward_hooks), len(part._backward_hooks))
    return state


def check_closed_form(attack: Attack[Any, Any], *, ratio: float = 1.02, classes: int = 4) -> None:
    """Check law 8: on a linear model of `classes` a minimum-norm attack comes within `ratio` of the optimum.

    Pass two classes for an attack that stays at the first boundary it reaches, which may not be the nearest.

    An attack at a fixed radius must succeed on every row at `ratio` times the optimal radius, and on none at the
    optimum divided by 1.02. It is tested with two classes, since with more the gradient of the cross-entropy is not
    the direction of the nearest boundary.
    """
    case = linear(classes if attack.keep is Keep.SMALLEST else 2)
    best = optimum(case, attack.ball)
    if attack.keep is Keep.SMALLEST:
        outcome = run_on_case(attack, case)
        require(outcome.success.all(), f"{attack.name} failed on {int((~outcome.success).sum())} linear rows")
        worst = float((outcome.distance / best).max())
        require(worst <= ratio, f"{attack.name} ends at {worst:.4f} times the optimum; {ratio} is asked")
        require(float((outcome.distance / best).min()) > 0.999, f"{attack.name} is below the optimum: wrong distances")
        return
    for row in range(len(best)):
        one = case.row(row)
        for factor, expected in ((ratio, True), (1 / 1.02, False)):
            eps = float(best[row]) * factor
            won = bool(run_on_case(with_eps(attack, eps), one).success)
            require(won == expected, f"{attack.name} at {factor:.3f} of the optimum: success is {won}")


def with_eps(attack: Any, eps: float) -> Any:
    """Return the attack with another radius; in a wrapper, that of the inner attack."""
    if hasattr(attack, "attack"):
        return replace(attack, attack=with_eps(attack.attack, eps))
    return replace(attack, ball=replace(attack.ball, eps=eps))
