"""`fit`: one variable for many images - a universal perturbation, a generator - made on a data set, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..access import Attack, Budget, Decisions, Keep, Ledger, QueryBroker, Shared, SharedBatch
from ..errors import ConfigError, InputError, RunError, ThreatError, memory_errors
from ..geometry.region import Region
from ..goals import Goal
from ..inputs import Images
from ..isolation import isolated
from ..random import Key
from ..rows import flatten, outside_inference, rebuild, take, to
from ..storage import read_checkpoint, write_tensors
from ..targets import Target, TorchModule, answered, as_target, check_context, check_task
from ..zoo.loaded import LoadedModel
from .answers import FEW, Answers, answers_agree, sample_answers
from .arguments import as_engine, as_indices, as_radii, as_tensor
from .checkpoint import OTHER_ANSWERS, fingerprint, identity_of, kept_checkpoint
from .given import goal_and_inputs
from .options import Engine, Progress
from .run import check_access, check_images, goal_like, region_of, run

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
    target: Target[A] | TorchModule | LoadedModel,
    goal: Any,
    x: Any = None,
    *,
    indices: Tensor | None = None,
    mask: Tensor | None = None,
    eps: Tensor | float | None = None,
    start: R | None = None,
    context: Any = None,
    engine: Engine | None = None,
) -> Fitted[R]:
    """Fit the artifact of `attack` to the images `x` (N, C, H, W) in [0, 1]; `goal` has one row per image.

    Images on which the goal is met already are left out. The order of the images is drawn from the engine's seed,
    anew in each epoch. With `engine.checkpoint` an interrupted fit resumes and ends with the same artifact.
    `engine.batch_size` is used for the evaluation of the clean images only, `attack.batch_size` for every step.

    Args:
        goal, x: what counts as success, and the images; in all the forms that `run` takes.
        indices: (N,) int64, the images' positions in their data set, which key their randomness; 0 to N - 1 by default.
        mask: bool, like `x` or broadcast over it: where the pixels of each image may move.
        eps: (N,) a radius for each image, which bounds its perturbation during the fit.
        start: an artifact of the same attack to go on from.
        context: what lies beside the images, as in `run`.

    Raises:
        InputError, ThreatError, TargetError, GoalError, AccessError: before the first step.
        RunError: a checkpoint that cannot be read or written, or a batch too large for the memory.
    """
    engine, target = as_engine(engine), as_target(target)
    check_access(attack, target, Shared)
    goal, x = goal_and_inputs(target, goal, x)
    x, mask, context = (outside_inference(as_tensor(given)) for given in (x, mask, context))
    check_images(x, goal)
    check_task(target, goal)
    check_context(target, context, len(x))
    kind = target.inputs
    if not isinstance(kind, Images) or (kind.low, kind.high) != (0, 1):
        raise InputError(
            f"{attack.name} fits what moves images in [0, 1], and {target.name} takes {kind}; for one "
            "variable on many images pass run() an OverScenes target"
        )
    region = region_of(attack, target, x, mask, outside_inference(as_radii(eps, len(x))))
    if not attack.uses_region and (mask is not None or eps is not None):
        raise ThreatError(f"{attack.name} knows no mask and no radius per row; use Universal there")
    if start is not None and not isinstance(start, attack.makes):
        raise ConfigError(f"{attack.name} makes a {attack.makes.__name__} and goes on from one, not from {start!r:.60}")
    places = as_indices(indices, len(x))
    cure = f"with batch_size={attack.batch_size}; pass a smaller one"
    with kept_checkpoint(engine), target.frozen(), memory_errors(attack.name, cure):
        fitting = _Fitting(
            attack, target, target.adapt_goal(goal_like(goal, x, target)), region, places, engine, context
        )
        return fitting.made(start)


@dataclass(frozen=True)
class _Fit:
    """What the steps so far have come to; replaced as a whole, so that an interruption finds it consistent."""

    state: Any
    passes: tuple[int, int]  # forward and backward
    t: int = 0  # steps done
    fell: int = 0  # images that fell in this epoch
    fooled: tuple[float, ...] = ()  # by epoch


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
        self.seconds = 0.0
        self.passes = [0, 0]  # so far, those of the present step included

    def made(self, start: Any) -> Fitted[Any]:
        path, mark = None, ""
        if self.engine.checkpoint is not None:
            path = Path(self.engine.checkpoint) / "fit.safetensors"
            data = (self.goal, self.x, self.region.eps, self.region.free, self.indices, start, self.context)
            how = self.engine.seed, self.engine.autocast
            mark = fingerprint(self.attack, *how, *data, *identity_of(self.target))
        clock = time.perf_counter()
        first = self._region(torch.arange(min(FEW, len(self.x))))
        asked = first.x, Key(self.indices[:FEW].to(self.target.device), self.engine.seed), self._beside(slice(0, FEW))
        self._leave_out_what_is_won()
        self.at = _Fit(self.attack.init(self._region(torch.arange(1)).x, self.engine.seed, start), (self.passes[0], 0))
        if path is None:
            self._go_on(lambda: None)
        else:
            answers = self._load(path, mark, asked) if path.exists() else sample_answers(self.target, *asked)
            clock -= self.seconds

            def save() -> None:
                self.seconds = time.perf_counter() - clock
                self._save(path, mark, answers)

            self._go_on(save)
        return Fitted(
            artifact=self.attack.artifact(self.at.state),
            fooled=self.at.fooled,
            images=len(self.x),
            forwards=self.at.passes[0],
            backwards=self.at.passes[1],
            seconds=time.perf_counter() - clock,
            made=self._made(mark),
        )

    def _go_on(self, save: Callable[[], None]) -> None:
        """Step until the fit is over; `save` is called now and then, at the end, and before an error leaves."""
        saved, written = self.at.t, time.perf_counter()
        try:
            while not self._over:
                self._advance()
                if self.engine.progress is not None:
                    self.engine.progress(self._progress())
                if self._over or time.perf_counter() - written > self.engine.checkpoint_seconds:
                    save()
                    saved, written = self.at.t, time.perf_counter()
        except BaseException:
            if self.at.t > saved:
                with suppress(RunError):
                    save()
            raise

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
        if self.at.t >= self._steps:
            return True
        between = self.at.t % self._per_epoch == 0 and self.at.t > 0
        return between and self.attack.done(self.at.state, self.at.fooled[-1])

    def _region(self, rows: Tensor) -> Region:
        return self.region.take(rows.to(self.x.device)).to(self.target.device)

    def _beside(self, rows: Tensor | slice) -> Any:
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
        now, self.passes = self.at, [*self.at.passes]
        epoch, place = divmod(now.t, self._per_epoch)
        order = Key(torch.tensor([epoch]), self.engine.seed).uniform("order", (len(self.x),))[0].argsort()
        rows = order[place * attack.batch_size : (place + 1) * attack.batch_size]
        region, goal = self._region(rows), take(self.goal, rows.to(device))
        key = Key(self.indices[rows].to(device), self.engine.seed).reseeded(epoch)
        ledger = Ledger(region, Keep.FIRST, Budget())
        theirs, random = key.reseeded(now.t), self.target.stochastic
        beside, draws = self._beside(rows), self.target.draws
        broker = QueryBroker(self._answer, goal, ledger, self.engine.batch_size, False, theirs, random, draws, beside)
        batch = SharedBatch(region.x, key, self._attacked(goal, key, region, beside))
        state = attack.step(attack.access(broker), now.state, batch, now.t / self._steps)
        ledger.settle()
        fell, t, fooled = now.fell + int(ledger.won.sum()), now.t + 1, now.fooled
        self._count(ledger.forwards, ledger.backwards)
        if t % self._per_epoch == 0:
            fell, fooled = 0, (*fooled, fell / len(self.x))
        self.at = _Fit(state, (self.passes[0], self.passes[1]), t, fell, fooled)

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
        t, count, size = self.at.t, len(self.x), self.attack.batch_size
        return Progress(self.attack.name, count, min((t % self._per_epoch) * size, count), size, count, t, self._steps)

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

    def _save(self, path: Path, mark: str, answers: Answers) -> None:
        now = self.at
        tensors, plain = flatten(now.state, "state")
        tensors |= {f"answers.{name}": value for name, value in answers.items()}
        counts = {"t": now.t, "fell": now.fell, "passes": now.passes, "fooled": now.fooled, "seconds": self.seconds}
        write_tensors(path, tensors, {"mark": mark, "plain": plain, "device": self.target.device.type, **counts})

    def _load(self, path: Path, mark: str, asked: tuple[Tensor, Key, Any]) -> Answers:
        stranger = "belongs to another fit (other attack, target, goal, images or seed); use another checkpoint folder"
        tensors, values = read_checkpoint(path, mark, "delete it to begin again", stranger)
        answers = {name.removeprefix("answers."): one for name, one in tensors.items() if name.startswith("answers.")}
        now = sample_answers(self.target, *asked, twice=False)
        if not answers_agree(answers, now, values["device"] == self.target.device.type):
            raise RunError(f"{path} {OTHER_ANSWERS}; use another checkpoint folder")
        tensors = {name: value.to(self.target.device) for name, value in tensors.items()}
        state = rebuild(self.attack.state, tensors, values["plain"], "state")
        forwards, backwards = values["passes"]
        self.at = _Fit(state, (forwards, backwards), values["t"], values["fell"], tuple(values["fooled"]))
        self.seconds = values["seconds"]
        return answers
