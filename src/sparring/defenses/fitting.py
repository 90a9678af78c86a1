"""Fit the networks of defences: Adam on a mean over minibatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ConfigError, RunError
from ..isolation import isolated
from .parameters import check_number, check_whole

EpochProgress = Callable[[int, int, float], None]  # epoch, epochs, mean loss


@dataclass(frozen=True)
class FitConfig:
    """The settings by which a network of a defence is fitted.

    Args:
        epochs: over the images.
        batch_size: images per update.
        lr: learning rate of Adam; it falls to 0 on half a cosine.
        seed: of the order of the images and of all that is drawn.

    Raises: ConfigError.
    """

    epochs: int = 5
    batch_size: int = 128
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "epochs", self.epochs, 1)
        check_whole(self, "batch_size", self.batch_size, 1)
        check_number(self, "lr", self.lr, 0, above=True)
        check_whole(self, "seed", self.seed, 0)


@isolated()
def minimize_loss(
    modules: Sequence[nn.Module],
    count: int,
    loss: Callable[[Tensor], Tensor],
    config: FitConfig,
    progress: EpochProgress | None = None,
) -> tuple[float, ...]:
    """Minimize the mean of `loss(rows)` over the rows 0 to count - 1, in an order drawn for each epoch.

    Returns: the mean loss of each epoch.

    Raises: ConfigError where nothing can be trained, RunError where the loss is no number.

    The modules are in train mode meanwhile and in eval mode afterwards. `loss` draws from the generators of torch,
    which are seeded here and put back.
    """
    weights = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    if not weights:
        raise ConfigError("the network has no weight that asks for a gradient; call requires_grad_(True)")
    for module in modules:
        module.train()
    log: list[float] = []
    devices = [weights[0].device] if weights[0].is_cuda else []
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(config.seed)
            optimizer = torch.optim.Adam(weights, lr=config.lr)
            updates = config.epochs * -(-count // config.batch_size)
            falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
            for epoch in range(config.epochs):
                log.append(_epoch(count, loss, config, optimizer, falling, weights[0].device))
                if progress is not None:
                    progress(epoch + 1, config.epochs, log[-1])
    finally:
        for module in modules:
            module.eval()
            module.zero_grad(set_to_none=True)
    return tuple(log)


def _epoch(
    count: int,
    loss: Callable[[Tensor], Tensor],
    config: FitConfig,
    optimizer: torch.optim.Optimizer,
    falling: torch.optim.lr_scheduler.LRScheduler,
    device: torch.device,
) -> float:
    """Return one pass over the rows; the mean loss."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    for rows in torch.randperm(count).to(device).split(config.batch_size):  # type: ignore[no-untyped-call]
        optimizer.zero_grad(set_to_none=True)
        value = loss(rows)
        torch.autograd.backward(value)
        optimizer.step()
        falling.step()
        total += value.detach() * len(rows)
    mean = float(total) / count
    if mean != mean or mean in (float("inf"), float("-inf")):
        raise RunError(f"the loss is {mean}; lower the lr, now {config.lr:g}, and begin again")
    return mean
