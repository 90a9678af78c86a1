"""Layers whose weights are drawn anew, and their conversion (Blundell et al. 2015, arXiv:1505.05424, section 3.2).

    w = mu + exp(s) z,   z standard normal,      q = N(mu, exp(2 s)),   prior N(0, s_0^2)

    KL(q || prior) = sum over weights of  log(s_0) - s + (exp(2 s) + mu^2) / (2 s_0^2) - 1/2

with the log standard deviation s of Liu et al. 2019 (Adv-BNN, arXiv:1810.01279) where Blundell et al. have a softplus.
The sum runs over all weights and biases: a mean would make the prior as many times weaker.

    net = make_bayesian(Net())
    train(Classifier(net), digits, AdversarialELBO(), Adversary((PGD(ball),), batch_norm="train"))
    defended = Defended(Classifier(net), votes=20)   # the predictive mean over 20 draws of the weights
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...errors import TargetError
from ...random import Key
from ...targets.random_layers import Keyed
from ..parameters import check_number
from ..randomization.layer_insertion import insert_layers

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NEVER_CALLED = (nn.modules.linear.NonDynamicallyQuantizableLinear,)  # attention reads its weights, and calls it not


class BayesianLayer(Keyed):
    """A layer with Gaussian weights around those of `layer`, which are the means; one draw is one layer.

    In eval mode, called with a key, each image has weights of its own: its answer does not depend on its batch. In
    train mode, or without a key, one draw serves the whole batch, as in the paper, which takes a fraction of the time;
    with a key it is drawn from the key's seed, so that each step of an attack inside the training has a new one. A
    layer at several places of a network, or called several times in a pass, has the same weights at all of them.
    Switched off (`disable_noise`), the layer has its mean weights.

    Args:
        layer: a linear or convolutional layer, whose weights become parameters of this one as they are.
        prior_std: s_0, standard deviation of the prior.
        init_std: standard deviation of all weights at the beginning.

    Raises: ConfigError, TargetError.
    """

    def __init__(self, layer: nn.Module, prior_std: float = 0.1, init_std: float = 0.05) -> None:
        super().__init__()
        check_number(self, "prior_std", prior_std, 0, above=True)
        check_number(self, "init_std", init_std, 0, above=True)
        if not isinstance(layer, LAYERS):
            known = ", ".join(kind.__name__ for kind in LAYERS)
            raise TargetError(f"a {type(layer).__name__} has no Gaussian weights; pass one of {known}")
        if isinstance(layer, nn.modules.lazy.LazyModuleMixin) and layer.has_uninitialized_params():
            raise TargetError(f"{type(layer).__name__} has seen no input, and no weights; call the network once")
        own = dict(layer.named_parameters(recurse=False))
        if own.keys() != dict(layer.named_parameters()).keys() or "weight" not in own:
            raise TargetError(
                f"the weights of this {type(layer).__name__} are made of others (a parametrization, as weight norm); "
                "remove it first: torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
            )
        self.prior_std, self.init_std = float(prior_std), float(init_std)
        self.layer = layer
        self.names = tuple(own)
        for name, mean in own.items():
            self.register_parameter(f"{name}_log_std", nn.Parameter(torch.empty_like(mean, requires_grad=False)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all standard deviations to `init_std`; the means are reset by the layer inside."""
        with torch.no_grad():
            for name in self.names:
                self._log_std(name).fill_(math.log(self.init_std))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's outputs for `inputs` (B, ...), with weights that are drawn."""
        if self.silent:
            outputs: Tensor = self.layer(inputs)
            return outputs
        if self.key is None or self.training:
            drawn: Tensor = functional_call(self.layer, self.draw_weights(), (inputs,))
            return drawn
        count = len(self.key.indices)
        if len(inputs) != count:
            raise TargetError(
                f"a {type(self.layer).__name__} with random weights is given {len(inputs)} rows for {count} images, "
                "and cannot tell which image a row belongs to; leave images in the first axis"
            )
        return vmap(self._of_one_image)(self.draw_weights(), inputs)

    def draw_weights(self) -> dict[str, Tensor]:
        """Return the weights by name: one draw, or with a key in eval mode (B, ...), one for each image."""
        drawn = {}
        for name, mean in self._means():
            std, key = self._log_std(name).exp(), self.key
            if key is None:
                drawn[name] = mean + std * torch.randn_like(mean)
                continue
            if self.training:
                key = Key(torch.zeros_like(key.indices[:1]), key.seed)
            noise = key.normal(f"{self.stream}.{name}", mean.shape, dtype=mean.dtype)
            drawn[name] = mean + std * (noise[0] if self.training else noise)
        return drawn

    def kl_divergence(self) -> Tensor:
        """Return KL(q || prior), a scalar: the sum over all weights of the layer."""
        total = self._log_std("weight").new_zeros(())
        for name, mean in self._means():
            s = self._log_std(name)
            ratio = (s.exp().square() + mean.square()) / (2 * self.prior_std**2)
            total = total + (math.log(self.prior_std) - s + ratio - 0.5).sum()
        return total

    def extra_repr(self) -> str:
        return f"prior_std={self.prior_std:g}"

    def _means(self) -> list[tuple[str, Tensor]]:
        return [(name, getattr(self.layer, name)) for name in self.names]

    def _log_std(self, name: str) -> Tensor:
        log_std: Tensor = getattr(self, f"{name}_log_std")
        return log_std

    def _of_one_image(self, weights: dict[str, Tensor], image: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.layer, weights, (image[None],))
        return outputs[0]


def make_bayesian(network: nn.Module, prior_std: float = 0.1, init_std: float = 0.05) -> nn.Module:
    """Return a copy of `network` in which the weights of every linear and convolutional layer are Gaussian.

    The means are the network's own weights: of a trained network, the training goes on from them. Other layers (batch
    norm, ...) stay as they are, and so does the output projection inside `nn.MultiheadAttention`, whose weights torch
    reads without calling it.

    Args:
        network: any module; layers are found as modules.
        prior_std: s_0; 0.1 and 0.08 in the authors' code.
        init_std: standard deviation of all weights at the beginning.

    Raises: TargetError, ConfigError.
    """

    def wrap(layer: nn.Module, number: int) -> nn.Module:
        return layer if isinstance(layer, NEVER_CALLED) else BayesianLayer(layer, prior_std, init_std)

    return insert_layers(network, LAYERS, BayesianLayer, wrap)


def kl_divergence(network: nn.Module) -> Tensor:
    """Return KL(q || prior) of a network, a scalar in nats: the sum over all its `BayesianLayer`s.

    Raises: TargetError where it has none.
    """
    parts = [layer.kl_divergence() for layer in network.modules() if isinstance(layer, BayesianLayer)]
    if not parts:
        raise TargetError(f"{type(network).__name__} has no random weights; pass make_bayesian(network)")
    return torch.stack(parts).sum()
