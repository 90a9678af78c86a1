"""One minibatch: examples, the gradient of the objective, and the step of the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from ...access import Attack
from ...attacks import PGD
from ...engine import Engine
from ...random import Key
from ...targets import Classifier, Trainee
from ..certification import Network
from .adversary import Adversary
from .augmented import augment_images
from .averaged import AveragedModel
from .config import Optimizer, TrainingConfig
from .devices import Processes
from .loss_module import LossModule, WeightPerturber
from .minibatch import Craft, Minibatch
from .objective import Objective


class TrainingStep:
    """Update the weights from one minibatch; holds all that updates change: weights, average, optimizer, memory."""

    def __init__(
        self,
        processes: Processes,
        classifier: Classifier,
        model: nn.Module,
        objective: Objective,
        adversary: Adversary,
        config: TrainingConfig,
        updates: int,
        n_train: int,
        example: Tensor,
    ) -> None:
        self.processes, self.model, self.objective = processes, model, objective
        self.adversary, self.config, self.updates, self.n_train = adversary, config, updates, n_train
        if config.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        step = LossModule(classifier, objective, processes.count, n_train)
        self.step, self.optimizer = processes.fabric.setup(step, make_optimizer(config.optimizer, weights))
        if objective.needs_bounds:
            dtype = next(model.parameters()).dtype
            step.network = Network(classifier, example.to(processes.device, dtype))
        self.still = [module for module in model.modules() if not module.training] if model.training else []
        self.trainee = Trainee(classifier, as_trained=adversary.batch_norm == "train", still=self.still)
        self.averaged = None if config.averaging is None else AveragedModel(model, config.averaging, updates)
        autocast = torch.bfloat16 if config.precision == "bf16-mixed" else None
        self.engine = Engine(config.batch_size // processes.count, config.seed, autocast=autocast)
        self.memory: dict[str, Tensor] = {}
        self.rescue: int | None = None  # steps of the PGD that has taken the adversary's place

    def __call__(self, t: int, epoch: float, images: Tensor, labels: Tensor, rows: Tensor, count: int) -> Tensor:
        """Run update t on this process's part of a minibatch of `count` images; return its sum of losses."""
        config, device = self.config, self.processes.device
        self.seed_draws(t)
        key = Key(rows.to(device), config.seed).reseeded(int(epoch))
        pictures = augment_images(images.to(device), key, config.augment)
        if config.channels_last:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        batch = Minibatch(pictures, labels.to(device), key, self.n_train)
        craft = Craft(
            batch, self.trainee, self._attacks(epoch), self.adversary.sources, self.adversary.keep == "highest_loss", t,
            self.memory, self.engine, self.adversary.eps_share(epoch),
        )  # fmt: skip
        self._set_lr(t)
        self.step.train()
        for module in self.still:
            module.training = False
        loss = torch.zeros((), device=device)
        for _ in range(self.objective.minibatch_replays):
            examples = self.objective.examples(craft)
            loss = self._gradients(batch, examples, count, epoch)
            if config.optimizer.max_grad_norm is not None:
                most = config.optimizer.max_grad_norm
                self.processes.fabric.clip_gradients(self.step, self.optimizer, max_norm=most, error_if_nonfinite=False)
            self.optimizer.step()
            self.objective.after_update(craft, examples)
            self.processes.same_statistics(self.model)
            if self.averaged is not None:
                self.averaged.update(self.model, t)
        return loss * (count / self.processes.count)

    def seed_draws(self, t: int) -> None:
        """Seed the generators that dropout and data sets draw from, for update t.

        Not by `torch.manual_seed`, which on a machine without a GPU notes each call, with its stack, for the day when
        there is one.
        """
        seed = crc32(f"{self.config.seed} {self.processes.rank} {t}".encode())
        torch.default_generator.manual_seed(seed)
        if self.processes.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    @property
    def lr(self) -> float:
        """Return the learning rate of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def forget(self) -> None:
        """Empty the memory of the optimiser and of the objective."""
        self.optimizer.load_state_dict({"state": {}, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.memory.clear()

    def _gradients(self, batch: Minibatch, examples: tuple[Tensor, ...], count: int, epoch: float) -> Tensor:
        """Take the gradient of the objective in the weights, at the weights or at the worst place near them."""
        perturbation = self.config.weight_perturbation
        if perturbation is None or epoch < perturbation.warmup:
            return self._backward(batch, examples, count)
        moved = WeightPerturber(self.model, perturbation.gamma)
        self._backward(batch, examples, count)
        moved.move()
        try:
            return self._backward(batch, examples, count)
        finally:
            moved.put_back()

    def _backward(self, batch: Minibatch, examples: tuple[Tensor, ...], count: int) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        for example in examples:
            example.grad = None
        loss: Tensor = self.step(batch.images, batch.labels, batch.key.indices, batch.key.seed, count, *examples)
        self.processes.fabric.backward(loss)
        return loss.detach()

    def _attacks(self, epoch: float) -> tuple[Attack[Any, Any], ...]:
        attacks = self.adversary.at(epoch)
        if self.rescue is None:
            return attacks
        return tuple(PGD(attack.ball, steps=self.rescue) for attack in attacks)

    def _set_lr(self, t: int) -> None:
        lr = self.config.optimizer.lr_at(t / self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = lr


def make_optimizer(how: Optimizer, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser, fused where every weight allows it."""
    fused = all(weight.device.type in ("cpu", "cuda") and weight.is_floating_point() for weight in weights)
    if how.name == "sgd":
        momentum, decay = how.momentum, how.weight_decay
        return torch.optim.SGD(weights, lr=how.lr, momentum=momentum, weight_decay=decay, fused=fused)
    kind: Callable[..., torch.optim.Optimizer] = torch.optim.Adam if how.name == "adam" else torch.optim.AdamW
    return kind(weights, lr=how.lr, weight_decay=how.weight_decay, fused=fused)
