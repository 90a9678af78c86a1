"""torchattacks (https://github.com/Harry24k/adversarial-attacks-pytorch)."""

from math import inf

from torch import Tensor, nn

from benchmarks import standins

standins.install()

import torchattacks  # noqa: E402


def pgd(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    return torchattacks.PGD(net, eps=eps, alpha=step_size, steps=steps, random_start=True)(images, labels)


def carlini_wagner(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, rounds: int, steps: int, rate: float
) -> Tensor:
    """It has no search over the constant: all steps are spent at its default constant of 1."""
    return torchattacks.CW(net, c=1, kappa=0, steps=rounds * steps, lr=rate)(images, labels)


def square(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    eps: float,
    steps: int,
    first_fraction: float,
) -> Tensor:
    attack = torchattacks.Square(
        net, norm="Linf", eps=eps, n_queries=steps, n_restarts=1, p_init=first_fraction, seed=seed
    )
    return attack(images, labels)


def apgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    return torchattacks.APGD(net, eps=eps, steps=steps, seed=seed, loss="ce")(images, labels)


def apgd_t(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    return torchattacks.APGDT(net, eps=eps, steps=steps, seed=seed, n_classes=10)(images, labels)


def autoattack(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float) -> Tensor:
    """Its cascade gives APGD, APGD-T and FAB-T ten steps each, whatever the paper says."""
    return torchattacks.AutoAttack(net, eps=eps, n_classes=10, seed=seed)(images, labels)


def fab(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return torchattacks.FAB(net, norm=norm, eps=inf, steps=steps, seed=seed)(images, labels)


def ead(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    norm: str,
    rounds: int,
    steps: int,
    rate: float,
    beta: float,
) -> Tensor:
    kind = torchattacks.EADL1 if norm == "L1" else torchattacks.EADEN
    return kind(net, lr=rate, binary_search_steps=rounds, max_iterations=steps, beta=beta)(images, labels)


def jsma(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, gamma: float) -> Tensor:
    """Its target is the class after the label, which is therefore everybody's."""
    return torchattacks.JSMA(net, theta=1.0, gamma=gamma)(images, labels)
