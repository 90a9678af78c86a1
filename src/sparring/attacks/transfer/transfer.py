"""An attack whose gradients go through tricks that make its examples hold on other models too.

The first trick is the outermost. The field's names, with MI, NI and the plain iteration from `gradient/`:

    DI-FGSM      Transferred(BIM(ball), InputDiversity())
    TI-DI-MI     Transferred(MIFGSM(ball), TranslationInvariance(), InputDiversity())
    SI-NI        Transferred(NIFGSM(ball), ScaleInvariance())
    VMI, VNI     Transferred(MIFGSM(ball), VarianceTuning()), and with NIFGSM
    VNI-SI-TI-DI Transferred(NIFGSM(ball), TranslationInvariance(), VarianceTuning(), ScaleInvariance(),
                             InputDiversity())

On a model of one's own run it to its end, `run(..., keep=Keep.HIGHEST_LOSS)`: iterates are asked about as they
are, the last one always, and of those the worst for that model comes back. Against a victim behind `Surrogate` it
stops at the first example. Whatever a trick asks about counts as an example where it lies in the ball. Each trick's
paper is in its file; momentum and ensembles (`targets.Ensemble`) are of Dong et al. 2018, arXiv:1710.06081.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradient, Gradients, Objective, Render
from ...errors import ConfigError, InputError
from ...geometry.region import Region
from ...goals import Climb
from ...inputs import Images
from ...random import Key
from ..combine.around import Around
from ..combine.rounds import S
from .trick import Question, Remembered, Trick, through


@dataclass(frozen=True)
class Transfer(Generic[S]):
    """The state of the attack inside, and what a trick remembers."""

    inner: S
    memory: Tensor  # (B, C, H, W); (B, 0) where none remembers


@dataclass
class Tricked:
    """How gradients are asked in one step of the attack inside: by way of the tricks."""

    attack: Transferred[Any]
    key: Key
    step: int
    memory: Tensor  # written down for the next step

    def __call__(
        self,
        oracle: Gradients,
        variable: Tensor,
        render: Render | None,
        objective: Objective | None,
        loss: Climb | None,
        rows: Tensor | None,
    ) -> Gradient:
        ask, key, memory, region = partial(_plainly, oracle), self.key, self.memory, oracle.region
        for trick in reversed(self.attack.tricks):
            ask = partial(trick, ask)
        if rows is not None:
            key, memory, region = replace(key, indices=key.indices[rows]), memory[rows], region.take(rows)
        question = Question(variable.detach(), objective, loss, rows, key, self.step, region, memory)
        images = question.images if render is None else render(question.images)
        answer = ask(question) if render is None else through(ask, question, render)
        if isinstance(answer, Remembered) and rows is None:
            self.memory = answer.memory
        return replace(answer, images=images)


def _plainly(oracle: Gradients, question: Question) -> Gradient:
    objective, loss, rows = question.objective, question.loss, question.rows
    return oracle.gradient(question.images, objective=objective, loss=loss, rows=rows)


@dataclass(frozen=True, init=False)
class Transferred(Around[Gradients, Transfer[S]]):
    """`attack` with its gradients through `tricks`, the first the outermost.

    Args:
        attack: of gradients: BIM, MIFGSM and NIFGSM in the papers; any other as well.
        tricks: a trick that remembers (VarianceTuning) comes before one that asks about copies (ScaleInvariance).
    """

    attack: Attack[Gradients, S]
    tricks: tuple[Trick, ...]

    def __init__(self, attack: Attack[Gradients, S], *more: Trick, tricks: tuple[Trick, ...] = ()) -> None:
        object.__setattr__(self, "attack", attack)
        object.__setattr__(self, "tricks", (*more, *tricks))
        if attack.access is not Gradients:
            raise ConfigError(f"{attack.name} asks for {attack.access.__name__}; tricks change Gradients: pass MIFGSM")
        if not self.tricks:
            raise ConfigError(f"{attack.name} with no trick is itself; pass one or more, such as InputDiversity()")
        repeated = ""
        for trick in self.tricks:
            trick.check(attack.ball)
            if trick.remembers and repeated:
                raise ConfigError(f"{type(trick).__name__} remembers row by row; pass it once, and before {repeated}")
            repeated = repeated or (type(trick).__name__ if trick.repeats or trick.remembers else "")

    def check(self, region: Region) -> None:
        super().check(region)
        for trick in self.tricks:
            if trick.pixel_grid and not isinstance(region.inputs, Images):
                name, kind = type(trick).__name__, region.inputs.plural
                raise InputError(f"{name} needs a grid of pixels, and these are {kind}; pass other tricks")
            trick.check(self.ball, region.x)

    @property
    def state(self) -> Any:
        return Transfer[self.attack.state]  # type: ignore[name-defined]

    @property
    def queries_outside_ball(self) -> bool:
        return self.attack.queries_outside_ball or any(trick.queries_outside_ball for trick in self.tricks)

    @property
    def total_steps(self) -> int:
        return self.attack.total_steps

    @property
    def name(self) -> str:
        return "-".join([trick.short for trick in self.tricks] + [self.attack.name])

    def init(self, oracle: Gradients, batch: Batch) -> Transfer[S]:
        x = oracle.region.x
        remembering = any(trick.remembers for trick in self.tricks)
        tricked = Tricked(self, oracle.key, 0, torch.zeros_like(x) if remembering else x.new_zeros(len(x), 0))
        inner = self.attack.init(self._through(tricked, oracle), batch)
        return Transfer(inner, tricked.memory)

    def _through(self, tricked: Tricked, oracle: Gradients) -> Gradients:
        """The oracle for the attack inside; where tricks add gradients up, their sizes count too."""
        if any(trick.repeats or trick.remembers for trick in self.tricks):
            oracle = oracle.with_loss(oracle.loss.in_sum())
        return oracle.asked_through(tricked)

    def step(self, oracle: Gradients, state: Transfer[S], t: int) -> Transfer[S]:
        tricked = Tricked(self, oracle.key, t + 1, state.memory)
        inner = self.attack.step(self._through(tricked, oracle), state.inner, t)
        return Transfer(inner, tricked.memory)

    def finish(self, oracle: Gradients, state: Transfer[S]) -> None:
        tricked = Tricked(self, oracle.key, self.total_steps + 1, state.memory)
        self.attack.finish(self._through(tricked, oracle), state.inner)

    def done(self, state: Transfer[S]) -> Tensor | None:
        return self.attack.done(state.inner)

    def stuck(self, state: Transfer[S]) -> Tensor | None:
        return self.attack.stuck(state.inner)
