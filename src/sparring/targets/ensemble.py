"""Several models as one (Dong et al. 2018, arXiv:1710.06081, section 3.3).

    logits:         l(x) = sum_k w_k l_k(x)
    probabilities:  l(x) = log sum_k w_k softmax(l_k(x))          sum_k w_k = 1
    losses:         J(x) = sum_k w_k J_k(x), each by the goal of its own member

Each member is given the images in its own size, and normalises them itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..access import Decoupled, Jacobians
from ..errors import GoalError, TargetError
from ..goals import FoolMembers, Goal, MemberOutputs
from ..inputs import Inputs
from ..log_probabilities import log_sum_exp
from ..random import Key
from ..rows import detach, to
from ..shapes import FloatBatch, Logits
from ..tasks import Classification, Detection, Segmentation, Task
from ..transforms import move_places
from .target import Target, answered, check_task
from .wrapped_outputs import valid_rows

FUSED = ("logits", "probabilities", "losses")


def _check_member(member: Any, fuse: str) -> None:
    if not isinstance(member, Target):
        raise TargetError(f"a {type(member).__name__} is no target; wrap it: Ensemble([Classifier(model), ...])")
    if not issubclass(member.access, Jacobians):
        raise TargetError(f"{member.name} grants {member.access.__name__} only and cannot be climbed; leave it out")
    if fuse != "losses" and member.task is not None and not isinstance(member.task, Classification):
        raise TargetError(
            f"fuse={fuse!r} is of classifiers, and {member.name} is of {member.task.name}; pass fuse='losses'"
        )


def _or_nan(outputs: Any, member: Target[Any]) -> Any:
    """Return the outputs of a member with NaN in the rows that its task takes for no answer."""
    if isinstance(outputs, Decoupled):
        raise TargetError(f"{member.name} has the gradients of another model; put the Surrogate around the ensemble")
    if not isinstance(outputs, Tensor):
        return outputs
    valid = valid_rows(outputs, member.task)
    return torch.where(valid.view(-1, *[1] * (outputs.ndim - 1)), outputs, torch.nan)


class Ensemble(Target[Jacobians]):
    """The weighted outputs of `members`; a pass of the ensemble is one pass of each.

    Args:
        members: targets of the same classes, or with "losses" of any task, each with its own normalisation inside.
            They may be on several devices.
        weights: one per member, above 0, summing to 1; None: equal.
        fuse: "logits" (best in the paper), "probabilities" or "losses". Logits and losses count by their scale: a
            member whose logits are ten times as large decides alone. With "losses" the goal is `FoolMembers`, one goal
            for each member, or one goal that serves all of them, and an example has to fool every one.
        sizes: what each member is given: (height, width), bilinear with antialiasing, or None: the images as they are.
    """

    def __init__(
        self,
        members: Sequence[Target[Jacobians]],
        weights: Sequence[float] | None = None,
        fuse: str = "logits",
        sizes: Sequence[tuple[int, int] | None] | None = None,
    ) -> None:
        if not isinstance(members, Sequence):
            raise TargetError(
                f"an ensemble is made of a list, Ensemble([Classifier(model), ...]), not of {members!r:.60}"
            )
        self.members, count = tuple(members), len(members)
        if not count:
            raise TargetError("an ensemble of no members; pass one or more targets")
        if fuse not in FUSED:
            raise TargetError(f"fuse {fuse!r} is unknown; pass one of {', '.join(FUSED)}")
        for member in self.members:
            _check_member(member, fuse)
        kinds = [member.inputs for member in self.members]
        if any(kind != kinds[0] for kind in kinds):
            raise TargetError(f"the members of an ensemble take the same inputs; here: {', '.join(map(repr, kinds))}")
        self.fuse = fuse
        self.weights = tuple(weights) if weights is not None else (1 / count,) * count
        self.sizes = tuple(sizes) if sizes is not None else (None,) * count
        for word, values in (("weights", self.weights), ("sizes", self.sizes)):
            if len(values) != count:
                raise TargetError(f"{len(values)} {word} for {count} members; pass one for each")
        for member, size in zip(self.members, self.sizes, strict=True):
            if size is not None and isinstance(member.task, Detection | Segmentation):
                raise TargetError(
                    f"{member.name} answers with places in images of its own size, and sizes={size} is not that of the "
                    "goal; give it images as they are, or put a transform with restore() before it"
                )
        if not all(weight > 0 for weight in self.weights) or abs(sum(self.weights) - 1) > 1e-6:
            raise TargetError(f"weights {self.weights} are not above 0 with a sum of 1; divide them by their sum")
        self._last: tuple[Any, ...] = ()  # what each member said last, for `check`

    @property
    def access(self) -> type[Jacobians]:
        return Jacobians

    @property
    def name(self) -> str:
        return f"ensemble of {', '.join(member.name for member in self.members)}"

    @property
    def device(self) -> torch.device:
        return self.members[0].device

    @property
    def inputs(self) -> Inputs:
        return self.members[0].inputs

    @property
    def task(self) -> Task | None:
        return None if self.fuse == "losses" else Classification()

    def adapt_goal(self, goal: Goal) -> Goal:
        """Return with fuse="losses" the goal of each member as it has it, by the ensemble's weights.

        Raises: GoalError where a member has another task, or there are more or fewer goals than members.
        """
        if self.fuse != "losses":
            return super().adapt_goal(goal)
        theirs = goal.goals if isinstance(goal, FoolMembers) else (goal,) * len(self.members)
        if len(theirs) != len(self.members):
            raise GoalError(f"{len(theirs)} goals for {len(self.members)} members; pass one for each to FoolMembers")
        for member, one in zip(self.members, theirs, strict=True):
            check_task(member, one)
        adapted = [member.adapt_goal(one) for member, one in zip(self.members, theirs, strict=True)]
        return FoolMembers(*adapted, weights=self.weights)

    @property
    def takes_context(self) -> bool:
        return any(member.takes_context for member in self.members)

    @property
    def stochastic(self) -> bool:
        return any(member.stochastic for member in self.members)

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Logits | MemberOutputs:
        parts = tuple(self._asked(place, images, key, context) for place in range(len(self.members)))
        if self.fuse == "losses":
            self._last = tuple(detach(part) for part in parts)
            return MemberOutputs.of(list(parts))
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            message = ", ".join(f"{m.name} {p.shape[1]}" for m, p in zip(self.members, parts, strict=True))
            raise TargetError(f"the members of an ensemble have the same classes; here: {message}")
        self._last = tuple(part.detach() for part in parts)
        if self.fuse == "logits":
            return torch.stack([w * z for w, z in zip(self.weights, parts, strict=True)]).sum(0)
        shares = [z.log_softmax(1) + math.log(w) for w, z in zip(self.weights, parts, strict=True)]
        return log_sum_exp(torch.stack(shares), 0)

    def _asked(self, place: int, images: FloatBatch, key: Key | None, context: Any) -> Any:
        """The outputs of one member, whose draws are its own."""
        member, size = self.members[place], self.sizes[place]
        if size is not None and tuple(size) != tuple(images.shape[2:]):
            scale = images.new_tensor([size[1] / images.shape[3], size[0] / images.shape[2]])  # of x and of y
            context = move_places(context, lambda points: points * scale.to(points))
            images = interpolate(images, tuple(size), mode="bilinear", antialias=True)
        own_key = None if key is None else to(key.reseeded(place), member.device)
        beside = to(context, member.device) if member.takes_context else None
        outputs = answered(member, images.to(member.device), own_key, beside)
        if self.fuse == "losses":
            return to(_or_nan(outputs, member), images.device)
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise TargetError(f"{member.name} gives no logits (images, classes), which an ensemble fuses")
        return outputs.to(images.device)

    def check(self, outputs: Any) -> None:
        for member, part in zip(self.members, self._last, strict=False):
            member.check(part)

    def identity(self) -> tuple[object, ...]:
        theirs = [part for member in self.members for part in member.identity()]
        return ("ensemble", self.fuse, self.weights, self.sizes, *theirs)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member.frozen())
            yield
