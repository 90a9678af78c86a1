"""Random self-ensemble (Liu et al. 2017, arXiv:1712.00673, section 3): noise before each convolution.

    y = conv(x + sigma z),  z standard normal;   answer = mean over n passes of softmax(logits)

The network is trained with its noise, which is on in use too:

    net = add_noise_layers(Net())
    train(Classifier(net), digits, Plain())
    defended = Defended(Classifier(net), votes=10)
"""

from __future__ import annotations

from torch import Tensor, nn

from ..parameters import check_number
from .layer_insertion import InsertedLayer, insert_layers

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class NoiseLayer(InsertedLayer):
    """Add Gaussian noise, x (B, ...) -> x + sigma z, in training and in use.

    Args:
        sigma: standard deviation, in units of what the layer is given.

    Raises: ConfigError.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        check_number(self, "sigma", sigma, 0)
        self.sigma = float(sigma)

    def noisy(self, inputs: Tensor) -> Tensor:
        """Return the inputs (B, ...) with noise."""
        return inputs + self.sigma * self.normal(inputs)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}"


def add_noise_layers(network: nn.Module, sigma_init: float = 0.2, sigma_inner: float = 0.1) -> nn.Module:
    """Return a copy of `network` with noise before each of its convolutions, to be trained.

    Args:
        network: any module; its convolutions are found as modules, in the order in which it lists them.
        sigma_init: before the first (0.2 in the paper).
        sigma_inner: before the others (0.1).

    Raises: TargetError, ConfigError.
    """

    def wrap(convolution: nn.Module, number: int) -> nn.Sequential:
        return nn.Sequential(NoiseLayer(sigma_inner if number else sigma_init), convolution)

    return insert_layers(network, CONVOLUTIONS, NoiseLayer, wrap)
