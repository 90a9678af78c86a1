"""`train`: examples, a loss and an update for each minibatch, and a validation after each epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...access import Attack
from ...engine import fingerprint
from ...engine.answers import FEW, Answers, answers_agree, sample_answers
from ...errors import RunError, memory_errors
from ...files import locked
from ...isolation import isolated
from ...random import Key
from ...storage import read_checkpoint, write_tensors
from ...targets import Classifier, TorchModule, as_target
from ...zoo.loaded import LoadedModel
from .adversary import Adversary
from .checks import check_labels, check_parts, check_run, classes_of, model_signature, targets_in, trainable_module
from .config import TrainingConfig, Validation
from .dataset import DataSubset, IndexedData
from .devices import Devices, Processes, launch
from .loading import as_indexed_data
from .log import TrainingLog
from .objective import Objective
from .state import restore_state, training_state, with_prefix
from .update import TrainingStep
from .validation import Epoch, Validator, choose_validation_attacks, has_collapsed, masking_note

CHECK_EVERY = 20  # updates between checks of the clock and of whether the loss is still a number
AT_CHANCE = 0.02  # of what is above chance: a model that gets no more has learned nothing
CHECKPOINT, BEST, LAST = "checkpoint.safetensors", "best.safetensors", "last.safetensors"


@dataclass(frozen=True)
class TrainingProgress:
    """The state of a training; passed to `progress` after every update."""

    update: int
    updates: int
    epoch: int
    epochs: int
    log: tuple[Epoch, ...]


@dataclass(frozen=True)
class Trained:
    """The result of a training. The model itself holds the best weights, in the mode it was in before."""

    log: tuple[Epoch, ...]
    best: Epoch
    last: Epoch
    weights: dict[str, Tensor]  # of the best epoch, on the CPU
    last_weights: dict[str, Tensor]
    stopped: str | None  # why it ended before its last epoch
    chance: float = 0.0  # share of the commonest class among the validation images: what always answering it gives

    @property
    def learned_nothing(self) -> bool:
        """Tell whether the best accuracy is no better than that of always answering the commonest class."""
        return self.chance < 1 and self.best.clean <= self.chance + AT_CHANCE * (1 - self.chance)

    def __str__(self) -> str:
        epoch, best = f"{len(self.log)} epochs", self.best
        robust = "" if math.isnan(best.robust) else f", {best.robust:.1%} under attack"
        radius = "" if best.acr is None else f", average certified radius {best.acr:.3f}"
        radius += "" if best.certified is None else f", {best.certified:.1%} certified"
        message = f"; stopped: {self.stopped}" if self.stopped else ""
        if self.learned_nothing:
            message += f"; it has learned nothing: always answering the commonest class gives {self.chance:.1%}"
        return f"{epoch}, best after {best.epoch}: {best.clean:.1%} clean{robust}{radius} on held-out images{message}"


@isolated()
def train(
    classifier: Classifier | TorchModule | LoadedModel,
    data: Any,
    objective: Objective,
    adversary: Adversary | None = None,
    *,
    config: TrainingConfig | None = None,
    validation: Validation | None = None,
    validation_attacks: tuple[Attack[Any, Any], ...] | None = None,
    devices: Devices | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    values: dict[str, Any] | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> Trained:
    """Train the classifier's model in place; it ends with the weights that were best on the validation images.

    Args:
        classifier: with its mean and std; images in [0, 1] go in. A module alone is a `Classifier` of those.
        data: (images (N, C, H, W), labels (N,)), a data set with `len` and `[i] -> (image, label)`, which is read as
            training goes on, or whatever else `load_data` takes, as "zoo:mnist-train", which is read into memory.
        objective: what is minimised: `Madry()`, `TRADES()`, ...
        adversary: the attacks inside the loop; none for `Plain` and `Distillation`.
        config, validation, devices: how; see there.
        validation_attacks: what the robust accuracy is measured with; by default APGD in each ball of the adversary,
            or PGD where APGD trains.
        out: a folder for checkpoint, log and weights; without one nothing is written.
        resume: go on from the checkpoint in `out`. A training that was killed ends with the same weights, to the bit
            on one machine.
        values: plain values written beside the weights.
        progress: called with a `TrainingProgress` after every update.

    Raises:
        ConfigError, InputError, TargetError, ThreatError: before the first update.
        RunError: a checkpoint that does not belong here, a disk that is full, or a loss that is no number.
    """
    adversary, config, validation = adversary or Adversary(), config or TrainingConfig(), validation or Validation()
    given: Any = as_target(classifier)  # which `check_parts` looks at
    model: Classifier = given
    check_parts(model, objective, adversary)
    memory = f"training of {model.name}", f"with batch_size={config.batch_size}; pass a smaller one"
    images = as_indexed_data(data, model, config.workers)
    with preserved_random_state(), memory_errors(*memory):
        check_run(model, images, objective, adversary, config, validation, devices or Devices())
    if validation_attacks is None:
        validation_attacks = choose_validation_attacks(adversary.attacks, validation.steps)
    folder = None if out is None else Path(out)
    if folder is not None and not resume and (folder / CHECKPOINT).exists():
        raise RunError(f"{folder} holds a training already; pass resume=True to go on with it, or another folder")
    with preserved_random_state(), memory_errors(*memory):
        processes = launch(devices or Devices(), config.precision)
        training = _Training(
            processes, model, images, objective, adversary, config, validation, validation_attacks, folder
        )
        training.values, training.progress = values or {}, progress
        return training.run(resume)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Put the global random state back at the end, whatever is drawn inside."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield


class _Training:
    """One call of `train`, checked, in one of its processes."""

    def __init__(
        self,
        processes: Processes,
        classifier: Classifier,
        images: IndexedData,
        objective: Objective,
        adversary: Adversary,
        config: TrainingConfig,
        validation: Validation,
        attacks: tuple[Attack[Any, Any], ...],
        out: Path | None,
    ) -> None:
        self.processes, self.adversary, self.config, self.validation = processes, adversary, config, validation
        self.classifier, self.model, self.out = classifier, trainable_module(classifier), out
        self.training, self.validation_images = split_validation(images, validation.val_size, config.seed)
        self.flags = [(module, module.training) for module in self.model.modules()]
        full, rest = divmod(len(self.training), config.batch_size)
        normed = any("BatchNorm" in type(module).__name__ for module in self.model.modules())
        whole = rest >= (2 if normed else 1) * processes.count  # a batch norm has no statistics of one image
        self.per_epoch = full + whole
        self.rows = full * config.batch_size + rest * whole  # that an epoch learns from
        self.classes = classes_of(classifier, images)
        self.precision = next(self.model.parameters()).dtype
        self.updates = self.per_epoch * config.epochs
        example, _ = images.at(torch.arange(1))
        self.update = TrainingStep(
            processes, classifier, self.model, objective, adversary, config, self.updates, len(self.training), example
        )
        certify = objective.certifier(self.target, example.to(processes.device))
        self.judge = Validator(self.validation_images, certify, attacks, validation, config.seed, processes)
        how = (objective, adversary, config.model_dump(exclude={"checkpoint_seconds", "workers"}), validation, attacks)
        others = [part for target in (*targets_in(objective), *adversary.sources) for part in target.identity()]
        self.mark = fingerprint(*[repr(part) for part in how], images.identity(), *others, *model_signature(classifier))
        self.t, self.seconds = 0, 0.0
        self.log: list[Epoch] = []
        self.best, self.best_weights = 0, dict[str, Tensor]()
        self.sum = torch.zeros((), dtype=torch.float64, device=processes.device)
        self.stopped: str | None = None
        self.values: dict[str, Any] = {}
        self.progress: Callable[[TrainingProgress], None] | None = None

    @property
    def target(self) -> Classifier:
        """Return the classifier that is validated and kept: of the average of the weights where there is one."""
        if self.update.averaged is None:
            return self.classifier
        shown = copy.copy(self.classifier)
        shown.model = self.update.averaged.model
        return shown

    def run(self, resume: bool) -> Trained:
        if self.out is None or not self.processes.is_first:
            return self._run(resume)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write {self.out}: {error.strerror}; choose another folder") from error
        with locked(self.out, "a training"):
            return self._run(resume)

    def _run(self, resume: bool) -> Trained:
        if resume:
            self._load()
        self.started = self.saved = time.perf_counter()
        self.started -= self.seconds
        log = TrainingLog(self.out, len(self.log)) if self.out is not None and self.processes.is_first else None
        try:
            while self.t < self.updates and self.stopped is None:
                self._epoch()
                self._validate()
                if log is not None:
                    log.write(self.log)
                self._save()
            return self._finished()
        finally:
            if log is not None:
                log.close()
            for module, flag in self.flags:
                module.training = flag
            self.model.zero_grad(set_to_none=True)
            self.model.to(self.precision)

    def _epoch(self) -> None:
        """Train on what is left of the epoch."""
        epoch, place = divmod(self.t, self.per_epoch)
        key = Key(torch.tensor([epoch]), self.config.seed)
        order = key.uniform("order", (len(self.training),), dtype=torch.float64)[0].argsort()
        whole = order.split(self.config.batch_size)[place : self.per_epoch]  # type: ignore[no-untyped-call]
        parts = [self.processes.part(rows) for rows in whole]
        counts = [len(rows) for rows in whole]
        self.update.seed_draws(self.t)
        for (images, labels), rows, count in zip(self.training.batches(parts), parts, counts, strict=True):
            check_labels(labels, self.classes)
            self.sum += self.update(self.t, self.t / self.per_epoch, images, labels, rows, count)
            self.t += 1
            self.update.seed_draws(self.t)  # for what the data set draws, before the update draws
            if self.progress is not None:
                self.progress(self._progress())
            if self.t % CHECK_EVERY == 0 or self.t % self.per_epoch == 0:
                self._must_be_finite()
                due = time.perf_counter() - self.saved > self.config.checkpoint_seconds
                if self.t % self.per_epoch and self.out is not None and self.processes.agreed(due):
                    self._save()

    def _progress(self) -> TrainingProgress:
        epoch = -(-self.t // self.per_epoch)
        return TrainingProgress(self.t, self.updates, epoch, self.config.epochs, tuple(self.log))

    def _must_be_finite(self) -> None:
        if not bool(self.processes.total(self.sum.clone()).isfinite()):
            raise self._lost("the loss is no number")

    def _lost(self, what: str) -> RunError:
        cure = "lower the optimizer's lr or max_grad_norm, and begin again"
        kept = f"; {self.out / BEST} is from before" if self.out is not None and self.best else ""
        return RunError(f"{what} after {self.t} updates; {cure}{kept}")

    def _validate(self) -> None:
        """Judge the model after an epoch, and decide what follows from it."""
        measured: dict[str, Any] = {"single_step": math.nan, "robust": math.nan} | self.judge(self.target)
        epoch = self.t // self.per_epoch
        now = Epoch(
            epoch=epoch,
            updates=self.t,
            loss=float(self.processes.total(self.sum)) / self.rows,
            eps=self.adversary.eps_share(epoch),
            lr=self.update.lr,
            seconds=time.perf_counter() - self.started,
            **measured,
        )
        now = replace(now, note=masking_note(now))
        self.sum.zero_()
        self.log.append(now)
        best = self.log[self.best - 1] if self.best else None
        if best is None or now.score > best.score:
            self.best, self.best_weights = epoch, snapshot(trainable_module(self.target))
            self._keep(BEST, self.best_weights, now)
        elif has_collapsed(now, best.robust) and self.validation.collapse != "ignore":
            self._collapse(now, best)
        elif self.validation.patience is not None and epoch - self.best >= self.validation.patience:
            self.stopped = f"no better epoch since {self.best}"

    def _collapse(self, now: Epoch, best: Epoch) -> None:
        what = (
            f"catastrophic overfitting: {now.single_step:.1%} withstand a single step and {now.robust:.1%} the "
            f"iterated attack, which was {best.robust:.1%} after epoch {best.epoch}"
        )
        if self.validation.collapse == "stop" or self.update.rescue is not None:
            self.stopped = what
        else:
            steps = self.validation.rescue_steps
            what += f"; back to epoch {best.epoch}, from here on with PGD of {steps} steps"
            self.model.load_state_dict(self.best_weights)
            if self.update.averaged is not None:
                self.update.averaged.model.load_state_dict(self.best_weights)
            self.update.forget()
            self.update.rescue = steps
        self.log[-1] = replace(now, note=what)

    def _keep(self, name: str, weights: dict[str, Tensor], epoch: Epoch) -> None:
        if self.out is not None and self.processes.is_first:
            write_tensors(self.out / name, weights, {**self.values, "epoch": epoch.row()})

    def _finished(self) -> Trained:
        last = snapshot(trainable_module(self.target))
        self._keep(LAST, last, self.log[-1])
        self.model.load_state_dict(self.best_weights)
        best = self.log[self.best - 1]
        return Trained(
            tuple(self.log), best, self.log[-1], self.best_weights, last, self.stopped, self.judge.commonest_share()
        )

    def _save(self) -> None:
        """Write the whole state; the first process does."""
        if self.out is None:
            return
        weights = [weight.detach() for weight in self.model.parameters()]
        if not bool(torch.stack(torch._foreach_norm(weights)).isfinite().all()):
            raise self._lost("a weight is no number")
        self.seconds, self.saved = time.perf_counter() - self.started, time.perf_counter()
        whole = self.processes.total(self.sum.clone())
        tensors, values = training_state(self.update)
        if not self.processes.is_first:
            return
        tensors |= {f"best.{name}": value for name, value in self.best_weights.items()} | {"sum": whole}
        tensors |= {f"answers.{name}": value for name, value in self._answers().items()}
        values |= {
            "mark": self.mark,
            "device": self.classifier.device.type,
            "t": self.t,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "best": self.best,
            "log": [epoch.row() for epoch in self.log],
        }
        write_tensors(self.out / CHECKPOINT, tensors, values)

    def _answers(self) -> Answers:
        """Return what the model, as it is, answers to images that are drawn: by it a checkpoint knows its model."""
        shape, device = tuple(self.validation_images.at(torch.arange(1))[0].shape[1:]), self.classifier.device
        key = Key(torch.arange(FEW, device=device), 0)
        with self.classifier.frozen():
            return sample_answers(self.classifier, key.uniform("answers", shape), key)

    def _load(self) -> None:
        path = None if self.out is None else self.out / CHECKPOINT
        if path is None or not path.exists():
            raise RunError(f"there is nothing to go on from in {self.out}: no {CHECKPOINT}; leave out resume")
        stranger = (
            "belongs to another training (other plan, images or seed); go on with the plan it was begun with, or begin "
            "again in another folder"
        )
        tensors, values = read_checkpoint(path, self.mark, "begin again in another folder", stranger)
        restore_state(self.update, tensors, values)
        same_device = values["device"] == self.classifier.device.type
        if not answers_agree(with_prefix(tensors, "answers"), self._answers(), same_device):
            raise RunError(
                f"{path} belongs to another model, which has the same weights and answers otherwise (its code has "
                "changed); restore it, or begin again in another folder"
            )
        self.best_weights = with_prefix(tensors, "best")
        if self.processes.is_first:
            self.sum.copy_(tensors["sum"])
        self.t, self.seconds, self.stopped, self.best = (values[n] for n in ("t", "seconds", "stopped", "best"))
        self.log = [Epoch(**row) for row in values["log"]]


def split_validation(images: IndexedData, val_size: int, seed: int) -> tuple[IndexedData, IndexedData]:
    """Return the images to train on and `val_size` images to validate on, drawn from the seed."""
    order = Key(torch.tensor([0]), seed).uniform("held out", (len(images),), dtype=torch.float64)[0].argsort()
    return DataSubset(images, order[val_size:].sort().values), DataSubset(images, order[:val_size].sort().values)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers, copied to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
