"""The destruction rate: how many adversarial examples printing and photographing undoes (Kurakin et al. 2016).

    d = sum_k C(x_k) (1 - C(x'_k)) C(T(x'_k)) / sum_k C(x_k) (1 - C(x'_k))                 (arXiv:1607.02533, eq. 5)

x_k is a picture, x'_k its adversarial example, T the channel, and C is 1 where the class is right, else 0. A channel
that damages pictures makes d small: what was wrong stays wrong, whoever had made it so. So the paired rate counts only
where the clean picture is right through the same channel,

    d_paired = sum_k C(x_k) (1 - C(x'_k)) C(T(x_k)) C(T(x'_k)) / sum_k C(x_k) (1 - C(x'_k)) C(T(x_k))

and noise of the attack's size, without its direction, is to be sent through the channel as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..intervals import Interval, cluster_bootstrap


@dataclass(frozen=True)
class DestructionRate:
    """What a channel does to adversarial examples and to clean pictures; shares with intervals of 95 %."""

    paper: Interval  # of the examples that deceive digitally: those whose class is right again through the channel
    paired: Interval  # the same, where the clean picture is right through the channel
    survives: Interval  # 1 - paired: still wrong where the clean picture is right, which is the attack's own work
    clean: Interval  # of the clean pictures that are right: those right through the channel

    def values(self) -> dict[str, Any]:
        """Return plain numbers, as JSON has them."""
        return {name: values_of(interval) for name, interval in vars(self).items()}

    def __str__(self) -> str:
        return f"destroyed {self.paper}, paired {self.paired}; clean pictures right through the channel {self.clean}"


def destruction_rate(
    clean_right: Tensor,
    adversarial_right: Tensor,
    clean_right_through: Tensor,
    adversarial_right_through: Tensor,
    *,
    clusters: Tensor | None = None,
) -> DestructionRate:
    """Return the destruction rate of a channel, as in the paper and paired, with intervals over pictures.

    Args:
        clean_right: (N,) bool, C(x): whether the class of each clean picture is right.
        adversarial_right: (N,) bool, C(x'), of its adversarial example.
        clean_right_through: (N,) or (N, draws) bool, C(T(x)): the clean picture through the channel. It is required,
            since the rate alone does not tell an attack that survives from a channel that ruins every picture.
        adversarial_right_through: the same shape, C(T(x')), with the same draws of the channel.
        clusters: (N,) int64, which pictures belong together (one scene, one person); by default each is by itself.

    Several draws for one picture are no independent trials: intervals are of a bootstrap over clusters.

    Raises: InputError where these are no such tensors.
    """
    given = {"clean_right": clean_right, "adversarial_right": adversarial_right}
    through = {"clean_right_through": clean_right_through, "adversarial_right_through": adversarial_right_through}
    for name, value in {**given, **through}.items():
        if not isinstance(value, Tensor) or value.dtype != torch.bool:
            raise InputError(f"{name} is a tensor of bool, and this is {_told(value)}; pass labels == predictions")
    for name, value in given.items():
        if value.ndim != 1 or len(value) != len(clean_right) or len(value) == 0:
            raise InputError(f"{name} is (N,), one entry per picture; got {_told(value)}")
    shape = clean_right_through.shape
    for name, value in through.items():
        if value.ndim not in (1, 2) or value.shape != shape or len(value) != len(clean_right) or value.numel() == 0:
            raise InputError(
                f"{name} is (N,) or (N, draws) for {len(clean_right)} pictures, the same for clean and adversarial "
                f"ones; got {_told(value)}"
            )
    if clusters is not None and (not isinstance(clusters, Tensor) or clusters.shape != clean_right.shape):
        raise InputError(f"clusters is (N,) int64, the cluster of each picture; got {_told(clusters)}")
    right, wrong = clean_right[:, None], ~adversarial_right[:, None]
    clean, undone = (value.view(len(value), -1) for value in through.values())
    deceives = (right & wrong).expand_as(clean)
    of = torch.arange(len(clean_right)) if clusters is None else clusters
    return DestructionRate(
        paper=_share(deceives & undone, deceives, of),
        paired=_share(deceives & clean & undone, deceives & clean, of),
        survives=_share(deceives & clean & ~undone, deceives & clean, of),
        clean=_share(right & clean, right.expand_as(clean), of),
    )


def _share(part: Tensor, whole: Tensor, clusters: Tensor) -> Interval:
    counted, of = (one.sum(1).double().cpu().numpy() for one in (part, whole))
    return cluster_bootstrap(counted, of, clusters.cpu().numpy().astype(np.int64))


def values_of(interval: Interval) -> dict[str, Any]:
    """Return an interval as JSON has it: where nothing was counted there is no value."""
    return {**asdict(interval), "value": interval.value if interval.of else None}


def _told(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
