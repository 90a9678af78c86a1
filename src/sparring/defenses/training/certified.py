"""What the objectives of certified training have in common: the loss of the worst logits, and certified validation.

    L_ver(x, y) = J( zbar(x), y ),     zbar_k = -( lower bound of z_y - z_k in the region around x ),   zbar_y = 0

(Gowal et al. 2018, arXiv:1810.12715, eq. 10; Wong & Kolter 2018.) The bounds are computed in the weights' precision. A
batch norm normalises in them by the statistics of the minibatch that passes beside them: the clean one in IBP and
CROWN-IBP (as Zhang et al. 2020 and Shi et al. 2021, arXiv:2103.17268, do), the adversarial one in SABR and MTL-IBP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import ConfigError
from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Misclassify
from ...targets import Classifier
from ..certification import Network, certify_bounds
from ..certification.certify import Method, worst_logits
from ..certification.concretize import check_ball
from ..certification.training_bounds import TrainingBounds, training_bounds
from .minibatch import Minibatch, Net
from .objective import Certifier, Objective, cross_entropy

Statistics = dict[str, Tensor]


@dataclass(frozen=True)
class CertifiedObjective(Objective):
    """Base class of the objectives that take bounds of the worst logits in `ball`: Linf in the papers, L2 and L1 too.

    The radius grows from 0 to that of `ball` as the adversary's `eps_schedule` says. Epochs are judged by the share of
    held-out images that bounds certify in the whole ball, in the weights' precision.
    """

    ball: Ball

    def __post_init__(self) -> None:
        check_ball(self.ball)
        self.ball.bounded(type(self).__name__)

    @property
    def needs_bounds(self) -> bool:
        return True

    @property
    def validation_method(self) -> Method:
        """Return the bounds by which epochs are judged."""
        return "ibp"

    def check_images(self, classifier: Classifier, images: Tensor) -> None:
        self.ball.check(images)
        Network(classifier, images)

    def certifier(self, target: Classifier, images: Tensor) -> Certifier:
        network = Network(target, images)

        @torch.no_grad()
        def certify(images: Tensor, labels: Tensor) -> Tensor:
            goal, method = Misclassify(labels), self.validation_method
            return certify_bounds(network, goal, images, self.ball, method=method, dtype=images.dtype).margin > 0

        return certify

    def bounds(
        self, batch: Minibatch, centres: Tensor, eps: Tensor, statistics: Statistics, *, crown: bool = False
    ) -> TrainingBounds:
        """Return lower bounds (B, K - 1) of the margins of the labels in balls of radii `eps` (B,) around `centres`."""
        network = network_of(batch)
        with torch.autocast(centres.device.type, enabled=False):  # whose roundings would be wider than small radii
            region = Region.around(centres, self.ball, network.target.inputs, eps=eps)
            return training_bounds(network, region, batch.labels, crown=crown, statistics=statistics)


def recorded_pass(net: Net, batch: Minibatch, images: Tensor) -> tuple[Tensor, Statistics]:
    """Return the logits (B, K) of images, and the statistics that batch norms normalised them by."""
    with recorded_statistics(batch) as statistics:
        return net(images), statistics


def worst_cross_entropy(lower: Tensor) -> Tensor:
    """Return (B,) the cross-entropy of the worst logits, from lower bounds (B, K - 1) of the margins."""
    logits = worst_logits(lower)
    return cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def network_of(batch: Minibatch) -> Network:
    """Return the graph of the model; ConfigError for a minibatch without one."""
    if batch.network is None:
        raise ConfigError("certified training needs Minibatch(network=Network(classifier, images))")
    return batch.network


@contextmanager
def recorded_statistics(batch: Minibatch) -> Iterator[Statistics]:
    """Record mean and variance by which batch norms in train mode normalise inside, under their buffers' names."""
    statistics: Statistics = {}
    handles = [
        module.register_forward_pre_hook(_recorder(statistics, f"{name}.".lstrip(".")))
        for name, module in normalising(batch)
    ]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


def normalising(batch: Minibatch) -> list[tuple[str, nn.Module]]:
    """Return the batch norms that normalise by their minibatch now, with their names in the model."""
    model = network_of(batch).target.model
    modules = model.named_modules(remove_duplicate=False) if isinstance(model, nn.Module) else ()
    return [(name, module) for name, module in modules if isinstance(module, _BatchNorm) and module.training]


def _recorder(statistics: Statistics, prefix: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0], axes, correction=0)
        statistics[f"{prefix}running_mean"], statistics[f"{prefix}running_var"] = mean, variance

    return record
