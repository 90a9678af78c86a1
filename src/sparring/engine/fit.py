"""`fit`: one variable for many images - a universal perturbation, a generator - made on a data set, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..access import Attack, Budget, Decisions, Keep, Ledger, QueryBroker, Shared, SharedBatch
from ..errors import ConfigError, InputError, ThreatError, memory_errors
from ..geometry.region import Region
from ..goals import Goal
from ..inputs import Images
from ..isolation import isolated
from ..random import Key
from ..rows import flatten, outside_inference, rebuild, take, to
from ..storage import read_checkpoint, write_tensors
from ..targets import Target, answered, check_context, check_task
from .checkpoint import fingerprint, identity_of
from .options import Engine, Progress
from .run import check_access, check_images, check_indices, goal_like, region_of, run

A = TypeVar("A", bound=Decisions)
R = TypeVar("R")


@dataclass(frozen=True)
class Fitted(Generic[R]):
    """The result of `fit`: the artifact, its success by epoch, and the passes it took."""

    artifact: R
    fooled: tuple[float, ...]  # by epoch: share of the images on which a query met the goal
    images: int  # images used: those on which the goal was not met before
    forwards: int  # images passed forward, the evaluation of the clean images included
    backwards: int
    seconds: float
    made: dict[str, Any]  # provenance: attack, target, data, seed

    def __str__(self) -> str:
        share = f"{self.fooled[-1]:.1%} of {self.images} images fell in the last of {len(self.fooled)} epochs"
        passes = f"{self.forwards} images forward, {self.backwards} backward"
        return f"{self.made['attack']}: {share}, {passes}, {self.seconds:.1f} s"


@isolated()
def fit(
    attack: Shared[A, Any, R],
    target: Target[A],
    goal: Goal,
    x: Tensor,
    *,
    indices: Tensor | None = None,
    mask: Tensor | None = None,
    eps: Tensor | None = None,
    start: R | None = None,
    context: Any = None,
    engine: Engine | None = None,
) -> Fitted[R]:
    """Fit the artifact of `attack` to the images `x` (N, C, H, W) in [0, 1]; `goal` has one row per image.

    Images on which the goal is met already are left out. The order of the images is drawn from the engine's seed,
    anew in each epoch. With `engine.checkpoint` an interrupted fit resumes and ends with the same artifact.
    `engine.batch_size` is used for the evaluation of the clean images only, `attack.batch_size` for every step.

    Args:
        indices: (N,) int64, the images' positions in their data set, which key their randomness; 0 to N - 1 by default.
        mask: bool, like `x` or broadcast over it: where the pixels of each image may move.
        eps: (N,) a radius for each image, which bounds its perturbation during the fit.
        start: an artifact of the same attack to go on from.
        context: what lies beside the images, as in `run`.

    Raises:
        InputError, ThreatError, TargetError, GoalError, AccessError: before the first step.
        RunError: a checkpoint that cannot be read or written, or a batch too large for the memory.
    """
    engine = engine or Engine()
    x, context = outside_inference(x), outside_inference(context)
    mask, eps = outside_inference(mask), outside_inference(eps)
    check_access(attack, target)
    check_images(x, goal)
    check_task(target, goal)
    check_context(target, context, len(x))
    kind = target.inputs
    if not isinstance(kind, Images) or (kind.low, kind.high) != (0, 1):
        raise InputError(
            f"{attack.name} fits what moves images in [0, 1], and {target.name} takes {kind}; for one "
            "variable on many images pass run() an OverScenes target"
        )
    region = region_of(attack, target, x, mask, eps)
    if not attack.uses_region and (mask is not None or eps is not None):
        raise ThreatError(f"{attack.name} knows no mask and no radius per row; use Universal there")
    if start is not None and not isinstance(start, attack.makes):
        raise ConfigError(f"{attack.name} makes a {attack.makes.__name__} and goes on from one, not from {start!r:.60}")
    places = torch.arange(len(x)) if indices is None else check_indices(indices, len(x))
    cure = f"with batch_size={attack.batch_size}; pass a smaller one"
    with target.frozen(), memory_errors(attack.name, cure):
        fitting = _Fitting(
            attack, target, target.adapt_goal(goal_like(goal, x, target)), region, places, engine, context
        )
        return fitting.made(start)


class _Fitting:
    """One call of `fit`, whose arguments are checked."""

    def __init__(
        self,
        attack: Shared[Any, Any, Any],
        target: Target[Any],
        goal: Goal,
        region: Region,
        indices: Tensor,
        engine: Engine,
        context: Any,
    ) -> None:
        self.attack, self.target, self.engine, self.context = attack, target, engine, context
        self.goal, self.region, self.indices = goal, region, indices
        self.t, self.seconds = 0, 0.0
        self.fell, self.passes, self.fooled = 0, [0, 0], list[float]()
        self.state: Any = None

    def made(self, start: Any) -> Fitted[Any]:
        path, mark = None, ""
        if self.engine.checkpoint is not None:
            path = Path(self.engine.checkpoint) / "fit.safetensors"
            data = (self.goal, self.x, self.region.eps, self.region.free, self.indices, start, self.context)
            mark = fingerprint(self.attack, self.engine.seed, *data, *identity_of(self.target))
        clock = time.perf_counter()
        self._leave_out_what_is_won()
        self.state = self.attack.init(self._region(torch.arange(1)).x, self.engine.seed, start)
        if path is not None and path.exists():
            self._load(path, mark)
            clock -= self.seconds
        written = time.perf_counter()
        while not self._over:
            self._advance()
            if self.engine.progress is not None:
                self.engine.progress(self._progress())
            if path is not None and (self._over or time.perf_counter() - written > self.engine.checkpoint_seconds):
                self.seconds = time.perf_counter() - clock
                self._save(path, mark)
                written = time.perf_counter()
        return Fitted(
            artifact=self.attack.artifact(self.state),
            fooled=tuple(self.fooled),
            images=len(self.x),
            forwards=self.passes[0],
            backwards=self.passes[1],
            seconds=time.perf_counter() - clock,
            made=self._made(mark),
        )

    @property
    def x(self) -> Tensor:
        """The images that take part."""
        return self.region.x

    @property
    def _per_epoch(self) -> int:
        return -(-len(self.x) // self.attack.batch_size)

    @property
    def _steps(self) -> int:
        return self._per_epoch * self.attack.epochs

    @property
    def _over(self) -> bool:
        if self.t >= self._steps:
            return True
        between = self.t % self._per_epoch == 0 and self.t > 0
        return between and self.attack.done(self.state, self.fooled[-1])

    def _region(self, rows: Tensor) -> Region:
        return self.region.take(rows.to(self.x.device)).to(self.target.device)

    def _beside(self, rows: Tensor) -> Any:
        """Return the context of these rows, on the target's device."""
        return to(take(self.context, rows), self.target.device)

    def _answer(self, images: Tensor, key: Key | None = None, context: Any = None) -> Any:
        with self.engine.precision(self.target.device):
            return answered(self.target, images, key, context)

    def _leave_out_what_is_won(self) -> None:
        standing: list[Tensor] = []
        device = self.target.device
        for first in range(0, len(self.x), self.engine.batch_size):
            rows = torch.arange(first, min(first + self.engine.batch_size, len(self.x)))
            goal = take(self.goal, rows.to(device))
            with torch.no_grad():
                key = Key(self.indices[rows].to(device), self.engine.seed)
                outputs = answered(self.target, self._region(rows).x, key, self._beside(rows))
                if not standing:
                    self.target.check(outputs)
                    goal.check(outputs, self.goal)
                standing.append(goal.margin(outputs) <= 0)
        kept = torch.cat(standing)
        self.passes[0] += len(kept)
        if not bool(kept.any()):
            raise InputError("the goal is met on every image before the attack: there is nothing to make it on")
        self.goal, self.indices = take(self.goal, kept), self.indices[kept.cpu()]
        self.region, self.context = self.region.take(kept.to(self.x.device)), take(self.context, kept.cpu())

    def _advance(self) -> None:
        attack, device = self.attack, self.target.device
        epoch, place = divmod(self.t, self._per_epoch)
        order = Key(torch.tensor([epoch]), self.engine.seed).uniform("order", (len(self.x),))[0].argsort()
        rows = order[place * attack.batch_size : (place + 1) * attack.batch_size]
        region, goal = self._region(rows), take(self.goal, rows.to(device))
        key = Key(self.indices[rows].to(device), self.engine.seed).reseeded(epoch)
        ledger = Ledger(region, Keep.FIRST, Budget())
        theirs, random = key.reseeded(self.t), self.target.stochastic
        beside, draws = self._beside(rows), self.target.draws
        broker = QueryBroker(self._answer, goal, ledger, self.engine.batch_size, False, theirs, random, draws, beside)
        batch = SharedBatch(region.x, key, self._attacked(goal, key, region, beside))
        self.state = attack.step(attack.access(broker), self.state, batch, self.t / self._steps)
        ledger.settle()
        self.fell += int(ledger.won.sum())
        self._count(ledger.forwards, ledger.backwards)
        self.t += 1
        if self.t % self._per_epoch == 0:
            self.fooled.append(self.fell / len(self.x))
            self.fell = 0

    def _attacked(
        self, goal: Goal, key: Key, region: Region, context: Any
    ) -> Callable[[Attack[Any, Any], Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the function `SharedBatch.attacked`, which runs an ordinary attack on rows of the batch."""

        def attacked(attack: Attack[Any, Any], images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            engine = replace(self.engine, checkpoint=None, progress=None, seed=key.seed)
            mask = None if region.free is None else region.free[rows]
            indices = key.indices[rows].cpu()
            aim, beside = take(goal, rows), take(context, rows)
            found = run(attack, self.target, aim, images, indices=indices, mask=mask, context=beside, engine=engine)
            self._count(found.passes.forwards + found.passes.checks, found.passes.backwards)
            return found.examples, found.success

        return attacked

    def _count(self, forwards: Tensor, backwards: Tensor) -> None:
        self.passes = [self.passes[0] + int(forwards.sum()), self.passes[1] + int(backwards.sum())]

    def _progress(self) -> Progress:
        done = min((self.t % self._per_epoch) * self.attack.batch_size, len(self.x))
        return Progress(self.attack.name, len(self.x), done, self.attack.batch_size, len(self.x), self.t, self._steps)

    def _made(self, mark: str) -> dict[str, Any]:
        return {
            "attack": repr(self.attack),
            "goal": type(self.goal).__name__,
            "target": self.target.name,
            "target_sha256": fingerprint(*self.target.identity()),
            "images": len(self.x),
            "images_sha256": fingerprint(self.x),
            "seed": self.engine.seed,
            "call_sha256": mark,
        }

    def _save(self, path: Path, mark: str) -> None:
        tensors, plain = flatten(self.state, "state")
        counts = {"t": self.t, "fell": self.fell, "passes": self.passes, "fooled": self.fooled, "seconds": self.seconds}
        write_tensors(path, tensors, {"mark": mark, "plain": plain, **counts})

    def _load(self, path: Path, mark: str) -> None:
        stranger = "belongs to another fit (other attack, target, goal, images or seed); use another checkpoint folder"
        tensors, values = read_checkpoint(path, mark, "delete it to begin again", stranger)
        tensors = {name: value.to(self.target.device) for name, value in tensors.items()}
        self.state = rebuild(self.attack.state, tensors, values["plain"], "state")
        self.t, self.fell, self.passes = values["t"], values["fell"], values["passes"]
        self.fooled, self.seconds = values["fooled"], values["seconds"]
