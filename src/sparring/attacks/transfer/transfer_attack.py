"""An attack whose gradients are changed so that its examples transfer to other models.

The first technique is the outermost. The field's names, with MI, NI and BIM from `gradient/`:

    DI-FGSM      TransferAttack(BIM(ball), InputDiversity())
    TI-DI-MI     TransferAttack(MIFGSM(ball), TranslationInvariance(), InputDiversity())
    SI-NI        TransferAttack(NIFGSM(ball), ScaleInvariance())
    VMI, VNI     TransferAttack(MIFGSM(ball), VarianceTuning()), and with NIFGSM
    VNI-SI-TI-DI TransferAttack(NIFGSM(ball), TranslationInvariance(), VarianceTuning(), ScaleInvariance(),
                                InputDiversity())

On a model of one's own run it with `run(..., keep=Keep.HIGHEST_LOSS)`: all steps are taken, and of the iterates, which
are asked about as they are, that of the highest loss comes back. Against a victim behind `Surrogate` it stops at the
first example. Whatever a technique asks about counts as an example if it lies in the ball. Each technique's paper is in
its file; momentum and ensembles (`targets.Ensemble`) are of Dong et al. 2018, arXiv:1710.06081.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...access.attack import check_attacks
from ...errors import ConfigError, InputError
from ...geometry.region import Region
from ...inputs import Images
from ..combine.attack_wrapper import AttackWrapper
from ..combine.sequential import S
from .technique import TransferTechnique
from .technique_chain import TechniqueChain


@dataclass(frozen=True)
class TransferAttackState(Generic[S]):
    """The state of the inner attack, and the memory of the technique that has one."""

    inner: S
    memory: Tensor  # (B, C, H, W); (B, 0) where no technique has a memory


@dataclass(frozen=True, init=False)
class TransferAttack(AttackWrapper[Gradients, TransferAttackState[S]]):
    """Run `attack` with its gradients changed by one or more techniques, the first the outermost.

    Args:
        attack: an attack on gradients: BIM, MIFGSM and NIFGSM in the papers; any other as well.
        techniques: positional; one with a memory (VarianceTuning) comes before one that asks about copies
            (ScaleInvariance).

    Raises ConfigError for an attack on other access, no technique, or techniques in an order that does not work.
    """

    attack: Attack[Gradients, S]
    techniques: tuple[TransferTechnique, ...]

    def __init__(
        self, attack: Attack[Gradients, S], *more: TransferTechnique, techniques: tuple[TransferTechnique, ...] = ()
    ) -> None:
        object.__setattr__(self, "attack", attack)
        object.__setattr__(self, "techniques", (*more, *techniques))
        check_attacks(self, attack)
        if attack.access is not Gradients:
            raise ConfigError(
                f"{attack.name} asks for {attack.access.__name__}; transfer techniques change Gradients: pass MIFGSM"
            )
        if not self.techniques:
            raise ConfigError(f"{attack.name} with no technique is itself; pass one or more, such as InputDiversity()")
        inner = ""
        for technique in self.techniques:
            if not isinstance(technique, TransferTechnique):
                raise ConfigError(f"{technique!r:.80} is no technique; pass them one by one, as InputDiversity()")
            technique.check(attack.ball)
            name = type(technique).__name__
            if technique.has_memory and inner:
                raise ConfigError(f"{name} has a memory for each row; pass it once, and before {inner}")
            inner = inner or (name if technique.uses_copies or technique.has_memory else "")

    def check(self, region: Region) -> None:
        super().check(region)
        for technique in self.techniques:
            if technique.pixel_grid and not isinstance(region.inputs, Images):
                name, kind = type(technique).__name__, region.inputs.plural
                raise InputError(f"{name} needs a grid of pixels, and these are {kind}; pass other techniques")
            technique.check(self.ball, region.x)

    @property
    def state(self) -> Any:
        return TransferAttackState[self.attack.state]  # type: ignore[name-defined]

    @property
    def queries_outside_ball(self) -> bool:
        return self.attack.queries_outside_ball or any(one.queries_outside_ball for one in self.techniques)

    @property
    def total_steps(self) -> int:
        return self.attack.total_steps

    @property
    def name(self) -> str:
        return "-".join([technique.abbreviation for technique in self.techniques] + [self.attack.name])

    def init(self, oracle: Gradients, batch: Batch) -> TransferAttackState[S]:
        x = oracle.region.x
        remembering = any(technique.has_memory for technique in self.techniques)
        memory = torch.zeros_like(x) if remembering else x.new_zeros(len(x), 0)
        chain = TechniqueChain(self.techniques, oracle.key, 0, memory)
        inner = self.attack.init(self._through(chain, oracle), batch)
        return TransferAttackState(inner, chain.memory)

    def _through(self, chain: TechniqueChain, oracle: Gradients) -> Gradients:
        """The oracle of the inner attack; where techniques add gradients up, the sizes of gradients count too."""
        if any(technique.uses_copies or technique.has_memory for technique in self.techniques):
            oracle = oracle.with_loss(oracle.loss.in_sum())
        return oracle.with_gradient_transform(chain)

    def step(self, oracle: Gradients, state: TransferAttackState[S], t: int) -> TransferAttackState[S]:
        chain = TechniqueChain(self.techniques, oracle.key, t + 1, state.memory)
        inner = self.attack.step(self._through(chain, oracle), state.inner, t)
        return TransferAttackState(inner, chain.memory)

    def finish(self, oracle: Gradients, state: TransferAttackState[S]) -> None:
        chain = TechniqueChain(self.techniques, oracle.key, self.total_steps + 1, state.memory)
        self.attack.finish(self._through(chain, oracle), state.inner)

    def done(self, state: TransferAttackState[S]) -> Tensor | None:
        return self.attack.done(state.inner)

    def stuck(self, state: TransferAttackState[S]) -> Tensor | None:
        return self.attack.stuck(state.inner)
