"""The laws that every `Shared` attack must pass. Each raises AssertionError with what it saw."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..access import Shared
from ..attacks.shared import Artifact, ArtifactAttack
from ..engine import Engine, Fitted, Progress, fit, run
from ..errors import AccessError
from ..goals import Misclassify
from ..targets import Classifier, Restricted
from .attack_laws import LEVELS, TOLERANCE, require, require_unchanged, with_eps
from .cases import Case, Counting, linear, optimum, small_net

Attack = Shared[Any, Any, Artifact]


def fit_on_case(attack: Attack, case: Case, **options: Any) -> Fitted[Artifact]:
    """Fit a shared attack to a case's target, goal and images; `options` go to `fit`."""
    return fit(attack, case.target, case.goal, case.images, **options)


def same(one: Artifact, other: Artifact) -> bool:
    """Are they equal to the bit?"""
    a, b = one.tensors(), other.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def check_shared_feasible(attack: Attack, case: Case | None = None) -> None:
    """Images asked about while it is made, and images moved by the artifact, are in [0, 1] and in the ball."""
    case = case or small_net()
    asked: list[Tensor] = []

    def watching(images: Tensor) -> Tensor:
        asked.append(images.detach().clone())
        logits: Tensor = case.module(images)
        return logits

    made = fit(attack, Classifier(watching), case.goal, case.images).artifact
    unseen = torch.stack([torch.zeros_like(case.images[0]), torch.ones_like(case.images[0]), 1 - case.images[0]])
    for x in (case.images, unseen):
        moved = made.apply(x)
        size = float(attack.ball.norm(moved - x).amax())
        require(size <= attack.ball.eps + TOLERANCE, f"{attack.name} moves an image by {size:g}, and {attack.ball}")
        asked.append(moved)
    everything = torch.cat(asked)
    low, high = float(everything.amin()), float(everything.amax())
    require(low >= -TOLERANCE and high <= 1 + TOLERANCE, f"{attack.name} left the valid range: {low:g} to {high:g}")


def check_shared_passes(attack: Attack, case: Case | None = None) -> None:
    """`Fitted.forwards` and `backwards` are what a counting model saw; won images take no part."""
    case = case or small_net()
    labels = case.labels.clone()
    labels[0] = (labels[0] + 1) % 4
    counting = Counting(case.module)
    made = fit(attack, Classifier(counting), Misclassify(labels), case.images)
    require(made.images == len(labels) - 1, f"{attack.name} was made on {made.images} images of {len(labels) - 1}")
    for name in ("forwards", "backwards"):
        told, seen = getattr(made, name), getattr(counting, name)
        require(told == seen, f"{attack.name} tells of {told} {name} and the model saw {seen}")


def check_shared_access(attack: Attack, case: Case | None = None) -> None:
    """A target that grants less than the attack needs is refused before it is asked anything."""
    case = case or small_net(4)
    for level in LEVELS[: LEVELS.index(attack.access)]:
        counting = Counting(case.module)
        try:
            fit(attack, Restricted(Classifier(counting), level), case.goal, case.images)
        except AccessError:
            require(counting.forwards == 0, f"{attack.name} asked before it was refused")
        else:
            raise AssertionError(f"{attack.name} needs {attack.access.__name__} and ran on {level.__name__}")


def check_shared_resume(attack: Attack, case: Case | None = None) -> None:
    """Interrupted after any step and taken up again equals never having stopped; so does a second call."""
    case = case or small_net()
    whole = fit_on_case(attack, case)
    for stop in (0, 1, 3):
        seen = 0

        def interrupt(progress: Progress, stop: int = stop) -> None:
            nonlocal seen
            seen += 1
            if seen > stop:
                raise KeyboardInterrupt

        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(checkpoint=folder, checkpoint_seconds=-1, progress=interrupt)
            with suppress(KeyboardInterrupt):
                fit_on_case(attack, case, engine=engine)
            again = fit_on_case(attack, case, engine=replace(engine, progress=None))
            more = fit_on_case(attack, case, engine=replace(engine, progress=None))
        where = f"{attack.name} interrupted after step {stop + 1}"
        require(same(again.artifact, whole.artifact), f"{where} ends with another artifact")
        told = (again.forwards, again.backwards, again.fooled)
        require(told == (whole.forwards, whole.backwards, whole.fooled), f"{where} ends with other counts: {told}")
        require(same(more.artifact, whole.artifact), f"{where}, asked a third time, gives another artifact")


def check_shared_seed(attack: Attack, case: Case | None = None) -> None:
    """The same seed gives the same artifact, another seed another."""
    case = case or small_net()
    first = fit_on_case(attack, case, engine=Engine(seed=3)).artifact
    again = fit_on_case(attack, case, engine=Engine(seed=3)).artifact
    require(same(first, again), f"{attack.name}: one seed, two artifacts")
    other = fit_on_case(attack, case, engine=Engine(seed=4)).artifact
    require(not same(first, other), f"{attack.name} does not depend on the seed, not even in the order of the images")


def check_shared_victim(attack: Attack, case: Case | None = None) -> None:
    """Model, images and global random state are as before, also after an exception."""
    case = case or small_net(4)

    def attacks(target: Classifier, images: Tensor) -> None:
        made = fit(attack, target, case.goal, images)
        attached = any(tensor.requires_grad for tensor in made.artifact.tensors().values())
        require(not attached, f"{attack.name} returns an artifact attached to a graph")

    require_unchanged(attack.name, case, attacks)


def check_shared_closed_form(attack: Attack, *, ratio: float = 1.02) -> None:
    """On a linear model of two classes, images of one class: all fall at `ratio` times the farthest, none below the

    nearest divided by 1.02, since the shortest way is the same for all.
    """
    case = linear(2, 16)
    rows = case.labels == 0
    case = Case(case.module, case.images[rows], case.labels[rows])
    best = optimum(case, attack.ball)
    for eps, expected in ((float(best.max()) * ratio, 1.0), (float(best.min()) / 1.02, 0.0)):
        made = fit_on_case(with_eps(attack, eps), case).artifact
        share = run(ArtifactAttack(made), case.target, case.goal, case.images).attack_success_rate
        require(share == expected, f"{attack.name} at eps {eps:g}: {share:.0%} of the linear rows fall")


def check_shared(attack: Attack, case: Case | None = None, *, ratio: float | None = 1.02) -> None:
    """All of them; `ratio` None leaves the closed form out (an artifact that is no perturbation)."""
    check_shared_feasible(attack, case)
    check_shared_passes(attack, case)
    check_shared_access(attack, case)
    check_shared_resume(attack, case)
    check_shared_seed(attack, case)
    check_shared_victim(attack, case)
    if ratio is not None:
        check_shared_closed_form(attack, ratio=ratio)
