"""AutoAttack by its authors (https://github.com/fra31/auto-attack, packaged as pyautoattack)."""

from math import inf

from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn


def autoattack(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float) -> Tensor:
    attack = AutoAttack(net, norm="Linf", eps=eps, version="standard", device=images.device, seed=seed)
    found, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    return found


def apgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    attack = APGDAttack(net, norm="Linf", eps=eps, n_iter=steps, seed=seed, loss="ce", device=images.device)
    return attack.perturb(images, labels)


def apgd_t(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    attack = APGDAttack_targeted(net, norm="Linf", eps=eps, n_iter=steps, seed=seed, device=images.device)
    return attack.perturb(images, labels)


def fab(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    attack = FABAttack_PT(net, norm=norm, eps=inf, n_iter=steps, seed=seed, device=images.device)
    return attack.perturb(images, labels)
