"""adv-lib (https://github.com/jeromerony/adversarial-library)."""

from math import inf

from torch import Tensor, nn

from benchmarks import standins

standins.install()

from adv_lib import attacks  # noqa: E402

NORMS = {"L0": 0, "L1": 1, "L2": 2, "Linf": inf}
FIRST_STEP = {"L1": 0.5, "L2": 0.1}  # ALMA's
PROXIMAL = {"L0": 23}  # PDPGD's: the L2/3 norm's, which adv-lib prefers in L0


def pgd(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    return attacks.pgd_linf(net, images, labels, eps, steps=steps, random_init=True, absolute_step_size=step_size)


def carlini_wagner(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, rounds: int, steps: int, rate: float
) -> Tensor:
    return attacks.carlini_wagner_l2(
        net, images, labels, learning_rate=rate, binary_search_steps=rounds, max_iterations=steps
    )


def deepfool(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str = "L2", steps: int, overshoot: float
) -> Tensor:
    return attacks.df(net, images, labels, steps=steps, overshoot=overshoot, norm=NORMS[norm])


def apgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    return attacks.apgd(net, images, labels, eps, inf, n_iter=steps, loss_function="ce")


def apgd_t(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, steps: int) -> Tensor:
    return attacks.apgd_targeted(net, images, labels, eps, inf, n_iter=steps, num_targets=9)


def ddn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return attacks.ddn(net, images, labels, steps=steps, levels=None)


def fmn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return attacks.fmn(net, images, labels, NORMS[norm], steps=steps)


def alma(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    """With the first step and the weight of its averages as in the paper's MNIST settings."""
    weight = 0.5 if steps <= 100 else 0.9
    return attacks.alma(
        net, images, labels, num_steps=steps, distance=norm.lower(), init_lr_distance=FIRST_STEP[norm], α=weight
    )


def fab(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return attacks.fab(net, images, labels, NORMS[norm], n_iter=steps)


def fab_t(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return attacks.fab(net, images, labels, NORMS[norm], n_iter=steps, targeted_restarts=True)


def superdeepfool(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return attacks.sdf(net, images, labels, steps=steps)


def carlini_wagner_linf(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return attacks.carlini_wagner_linf(net, images, labels, max_iterations=steps)


def pdpgd(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, norm: str, steps: int) -> Tensor:
    return attacks.pdpgd(net, images, labels, NORMS[norm], num_steps=steps, proximal_operator=PROXIMAL.get(norm))


def sigma_zero(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int) -> Tensor:
    return attacks.sigma_zero(net, images, labels, num_steps=steps)
