"""adv-lib (https://github.com/jeromerony/adversarial-library)."""

from torch import Tensor, nn

from benchmarks import standins

standins.install()

from adv_lib.attacks import carlini_wagner_l2, df, pgd_linf  # noqa: E402


def pgd(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, eps: float, step_size: float, steps: int
) -> Tensor:
    return pgd_linf(net, images, labels, eps, steps=steps, random_init=True, absolute_step_size=step_size)


def carlini_wagner(
    net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, rounds: int, steps: int, rate: float
) -> Tensor:
    return carlini_wagner_l2(net, images, labels, learning_rate=rate, binary_search_steps=rounds, max_iterations=steps)


def deepfool(net: nn.Module, images: Tensor, labels: Tensor, seed: int, *, steps: int, overshoot: float) -> Tensor:
    return df(net, images, labels, steps=steps, overshoot=overshoot)
