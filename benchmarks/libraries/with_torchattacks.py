"""torchattacks (https://github.com/Harry24k/adversarial-attacks-pytorch)."""

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
