"""AdvGAN against a black box through a distilled student (Xiao et al. 2018, arXiv:1801.02610, section 3.3).

Static distillation trains a student f on the victim's answers b(x) and then G against f. Dynamic distillation
alternates, so that f learns what b says where G goes:

    G_i = argmin_G AdvGAN(G; f_{i-1}), from G_{i-1}
    f_i = argmin_f E H(f(x), b(x)) + H(f(x + G_i(x)), b(x + G_i(x))), from f_{i-1}

Departures: f_i learns from everything the victim was ever asked, not from the last G alone, since it has been paid for;
the last f is not trained again, as no G would follow; where the budget does not suffice for all x + G_i(x), a random
choice is asked about. Of a victim that grants decisions only, b are labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..access import Decisions, Scores
from ..attacks.shared.advgan import AdvGAN
from ..attacks.shared.generator import PerturbationGenerator
from ..engine import Engine, fit
from ..errors import BudgetError, ConfigError, InputError
from ..goals import Goal
from ..random import Key
from ..targets import Classifier, Target
from .distill import batch_slices, query_labels, query_probabilities, train_student


@dataclass(frozen=True)
class DistilledAdvGAN:
    """The result of `distill_advgan`."""

    artifact: PerturbationGenerator
    target: Classifier  # the student
    queries: int  # images that the victim was asked about
    agreement: float  # share of them on which the student names the victim's class
    fooled: tuple[float, ...]  # by epoch: share of the images that fell on the student


def distill_advgan(
    victim: Target[Decisions],
    net: nn.Module,
    attack: AdvGAN,
    goal: Goal,
    x: Tensor,
    *,
    budget: int,
    rounds: int = 4,
    dynamic: bool = True,
    epochs: int = 10,
    lr: float = 1e-3,
    batch_size: int = 128,
    engine: Engine | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> DistilledAdvGAN:
    """Make a generator for `victim`, which answers and gives no gradients.

    Both ways train as long: the static one trains the student and then the generator for all rounds in one go.

    Args:
        victim: a classifier; each image asked about is one query. The softmax of its outputs is learned where it
            grants scores, the label where it grants decisions only.
        net: the student, from images (B, C, H, W) in [0, 1] to logits of the victim's classes; trained in place.
        attack: its epochs are those of one round.
        goal: one row per image, judged on the student during the attack.
        x: (N, C, H, W) the attacker's own images in [0, 1].
        budget: queries in all.
        rounds: of training the student, then the generator.
        dynamic: ask about the generated images too, after every round but the last.
        epochs, lr: of the student's Adam, in each round, on all that was answered so far.
        engine: the seed, and how `fit` runs; its checkpoint is not used, as a fit is made in every round.
        progress: called after every round with the round, the queries spent and the student's agreement.

    Raises:
        BudgetError: where `x` alone is more than the budget, before the first query.
    """
    engine = replace(engine or Engine(), checkpoint=None)
    if len(x) == 0 or x.ndim != 4:
        raise InputError(f"a student learns from images (N, C, H, W); got shape {tuple(x.shape)}")
    if min(rounds, epochs, batch_size) < 1 or not lr > 0:
        counts = f"rounds={rounds}, epochs={epochs}, batch_size={batch_size}"
        raise ConfigError(f"distillation {counts}, lr={lr}; pass counts of at least 1 and an lr above 0")
    if len(x) > budget:
        raise BudgetError(f"{len(x)} images cost {len(x)} queries, and the budget is {budget}; pass fewer images")
    ask = query_probabilities if issubclass(victim.access, Scores) else query_labels
    if not dynamic:
        attack, epochs, rounds = replace(attack, epochs=attack.epochs * rounds), epochs * rounds, 1
    device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
    student = Classifier(net, name=f"student of {victim.name}")
    own = images = x.detach().to(device)
    answers = ask(victim, images, batch_size)
    artifact, fooled = None, list[float]()
    for number in range(rounds):
        key = Key(torch.tensor([number]), engine.seed)
        agreement = train_student(net, images, answers, epochs, lr, batch_size, key)
        fitted = fit(attack, student, goal, own, start=artifact, engine=engine)
        artifact, fooled = fitted.artifact, fooled + list(fitted.fooled)
        if progress is not None:
            progress(number + 1, len(images), agreement)
        left = budget - len(images)
        if number + 1 < rounds and left > 0:
            chosen = key.uniform("reservoir", (len(own),))[0].argsort()[:left].sort().values.to(device)
            fresh = torch.cat([artifact.apply(own[chosen[part]]) for part in batch_slices(len(chosen), batch_size)])
            images, answers = torch.cat((images, fresh)), torch.cat((answers, ask(victim, fresh, batch_size)))
    assert artifact is not None
    return DistilledAdvGAN(artifact, student, len(images), agreement, tuple(fooled))
