"""`train`: examples, a loss, an update - and a look at what it is worth after each epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...access import Attack
from ...attacks import PGD
from ...engine import Engine, fingerprint
from ...errors import ConfigError, InputError, RunError, TargetError
from ...random import Key
from ...storage import read, write
from ...targets import Classifier, Trainee
from .adversary import Adversary, between
from .augmented import augmented
from .averaged import Averaged
from .devices import Devices, launched
from .judged import Epoch, Judge, collapsed, watchers
from .log import Log
from .minibatch import Craft, Minibatch
from .objective import Objective
from .recipe import Optimizer, Recipe, Watch
from .source import Part, Source, source
from .state import flattened, put_into, refill, tensors_of, under
from .step import Perturbed, Step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOOK_EVERY = 20  # updates between looks at the clock and at whether the loss is still a number
CHECKPOINT, BEST, LAST = "checkpoint.safetensors", "best.safetensors", "last.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a training stands; passed to `progress` after every update."""

    update: int
    updates: int
    epoch: int
    epochs: int
    log: tuple[Epoch, ...]


@dataclass(frozen=True)
class Trained:
    """What came of a training. The model itself holds the best weights, in the mode it was in before."""

    log: tuple[Epoch, ...]
    best: Epoch
    last: Epoch
    weights: dict[str, Tensor]  # the best by the watch, on the CPU
    last_weights: dict[str, Tensor]
    stopped: str | None  # why it ended before its last epoch

    def __str__(self) -> str:
        epoch, best = f"{len(self.log)} epochs", self.best
        robust = "" if math.isnan(best.robust) else f", {best.robust:.1%} under attack"
        told = f"; stopped: {self.stopped}" if self.stopped else ""
        return f"{epoch}, best after {best.epoch}: {best.clean:.1%} clean{robust} on held-out images{told}"


def train(
    classifier: Classifier,
    data: Any,
    objective: Objective,
    adversary: Adversary | None = None,
    *,
    recipe: Recipe | None = None,
    watch: Watch | None = None,
    watch_attacks: tuple[Attack[Any, Any], ...] | None = None,
    devices: Devices | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    values: dict[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train the classifier's model in place; it ends with the weights that were best on held-out training images.

    Args:
        classifier: with its mean and std; images in [0, 1] go in.
        data: (images (N, C, H, W), labels (N,)), or a data set with `len` and `[i] -> (image, label)`.
        objective: what is minimised: `Madry()`, `TRADES()`, ...
        adversary: the attacks inside the loop; none for `Plain` and `Distillation`.
        recipe, watch, devices: how; see there.
        watch_attacks: what the robust accuracy is measured with; by default APGD in each ball of the adversary, or PGD
            where APGD trains.
        out: a folder for checkpoint, log and weights; without one nothing is written.
        resume: go on from the checkpoint in `out`. A training that was killed ends with the same weights, to the bit
            on one machine.
        values: plain values written beside the weights.

    Raises:
        ConfigError, InputError, TargetError, ThreatError: before the first update.
        RunError: a checkpoint that does not belong here, a disk that is full, or a loss that is no number.
    """
    adversary, recipe, watch = adversary or Adversary(), recipe or Recipe(), watch or Watch()
    check(classifier, objective, adversary)
    images = source(data, recipe.workers)
    chosen = watchers(adversary.attacks, watch.steps) if watch_attacks is None else watch_attacks
    folder = None if out is None else Path(out)
    with torch.inference_mode(False), torch.enable_grad(), own_draws():
        fabric = launched(devices or Devices(), recipe.precision)
        training = _Training(fabric, classifier, images, objective, adversary, recipe, watch, chosen, folder)
        training.values, training.progress = values or {}, progress
        return training.run(resume)


def check(classifier: Classifier, objective: Objective, adversary: Adversary) -> None:
    """Raise where the parts do not fit together."""
    if not any(weight.requires_grad for weight in module_of(classifier).parameters()):
        raise TargetError(f"{classifier.name} has no weight that asks for a gradient; call requires_grad_(True)")
    least, most = objective.attacks
    if not least <= len(adversary.attacks) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        name = type(objective).__name__
        raise ConfigError(f"{name} works with {wanted} attacks, and the adversary has {len(adversary.attacks)}")


@contextmanager
def own_draws() -> Iterator[None]:
    """The global random state as it was before, whatever is drawn inside."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield


class _Training:
    """One call of `train`, checked, in one of its processes."""

    def __init__(
        self,
        fabric: Fabric,
        classifier: Classifier,
        images: Source,
        objective: Objective,
        adversary: Adversary,
        recipe: Recipe,
        watch: Watch,
        attacks: tuple[Attack[Any, Any], ...],
        out: Path | None,
    ) -> None:
        self.fabric, self.objective, self.adversary = fabric, objective, adversary
        self.recipe, self.watch, self.attacks, self.out = recipe, watch, attacks, out
        self.training, self.held_out = split(images, watch.held_out, recipe.seed)
        self.images = images
        self.place, self.places = fabric.global_rank, fabric.world_size
        if recipe.batch_size < self.places:
            few = f"batch_size={recipe.batch_size} is less than one image for each of {self.places} processes"
            raise ConfigError(few)
        model = module_of(classifier)
        self.flags = [(module, module.training) for module in model.modules()]
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.step, self.optimizer = fabric.setup(
            Step(classifier, objective, self.places), made(recipe.optimizer, weights)
        )
        self.classifier, self.model = classifier, model
        self.trainee = Trainee(classifier, as_trained=adversary.batch_norm == "train")
        self.averaged = None if recipe.averaging is None else Averaged(model, recipe.averaging, self.updates)
        self.judge = Judge(self.held_out, attacks, watch, recipe.seed, (self.place, self.places), self._total)
        autocast = torch.bfloat16 if recipe.precision == "bf16-mixed" else None
        self.engine = Engine(recipe.batch_size, recipe.seed, autocast=autocast)
        self.t, self.seconds, self.rescued = 0, 0.0, False
        self.log: list[Epoch] = []
        self.best, self.best_weights = 0, dict[str, Tensor]()
        self.memory: dict[str, Tensor] = {}
        self.sum = torch.zeros((), dtype=torch.float64, device=fabric.device)
        self.stopped: str | None = None
        self.values: dict[str, Any] = {}
        self.progress: Callable[[Progress], None] | None = None

    @property
    def per_epoch(self) -> int:
        return -(-len(self.training) // self.recipe.batch_size)

    @property
    def updates(self) -> int:
        return self.per_epoch * self.recipe.epochs

    @property
    def target(self) -> Classifier:
        """What is validated and kept: the average of the weights where there is one."""
        if self.averaged is None:
            return self.classifier
        shown = copy.copy(self.classifier)
        shown.model = self.averaged.model
        return shown

    def run(self, resume: bool) -> Trained:
        mark = self._mark()
        if resume:
            self._load(mark)
        started = time.perf_counter() - self.seconds
        writing = self.out is not None and self.fabric.is_global_zero
        log = Log(self.out, len(self.log)) if writing and self.out is not None else None
        saved = time.perf_counter()
        try:
            while self.t < self.updates and self.stopped is None:
                for images, labels, rows in self._minibatches():
                    self._update(images, labels, rows)
                    self.t += 1
                    if self.progress is not None:
                        self.progress(self._progress())
                    if self.t % self.per_epoch == 0 or self.t % LOOK_EVERY == 0:
                        self._must_be_finite()
                    if self.t % self.per_epoch == 0:
                        break
                    due = time.perf_counter() - saved > self.recipe.checkpoint_seconds
                    if self.t % LOOK_EVERY == 0 and self.out is not None and self._agreed(due):
                        self.seconds = time.perf_counter() - started
                        self._save(mark)
                        saved = time.perf_counter()
                self._epoch_done(started)
                if log is not None:
                    log.write(self.log)
                self.seconds = time.perf_counter() - started
                self._save(mark)
                saved = time.perf_counter()
            return self._finished()
        finally:
            if log is not None:
                log.close()
            for module, flag in self.flags:
                module.training = flag

    def _minibatches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """This process's parts of what is left of the epoch, with their positions."""
        epoch, place = divmod(self.t, self.per_epoch)
        key = Key(torch.tensor([epoch]), self.recipe.seed)
        order = key.uniform("order", (len(self.training),), dtype=torch.float64)[0].argsort()
        whole = order.split(self.recipe.batch_size)[place:]  # type: ignore[no-untyped-call]
        self.rows = [len(rows) for rows in whole]
        parts = [rows.tensor_split(self.places)[self.place] for rows in whole]
        self.first = self.t
        for (images, labels), rows in zip(self.training.batches(parts), parts, strict=True):
            yield images, labels, rows

    def _update(self, images: Tensor, labels: Tensor, rows: Tensor) -> None:
        recipe, device, count = self.recipe, self.fabric.device, self.rows[self.t - self.first]
        if count < self.places:
            return  # a last minibatch with fewer images than processes
        epoch = self.t / self.per_epoch
        torch.manual_seed(Key(torch.tensor([self.place]), recipe.seed).reseeded(self.t).seed)
        key = Key(rows.to(device), recipe.seed).reseeded(int(epoch))
        pictures = augmented(images.to(device), key, recipe.augment)
        if recipe.channels_last:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        batch = Minibatch(pictures, labels.to(device), key)
        craft = Craft(
            batch, self.trainee, self._attacks(epoch), self.adversary.sources, self.adversary.keep == "worst", self.t,
            self.memory, self.engine,
        )  # fmt: skip
        self._set_rate()
        self.step.train()
        for _ in range(self.objective.replays):
            examples = self.objective.examples(craft)
            loss = self._slopes(batch, examples, count, epoch)
            if recipe.optimizer.clip is not None:
                self.fabric.clip_gradients(self.step, self.optimizer, max_norm=recipe.optimizer.clip)
            self.optimizer.step()
            self.objective.learned(craft, examples)
            if self.averaged is not None:
                self.averaged.update(self.model, self.t)
        self.sum += loss * (count / self.places)

    def _slopes(self, batch: Minibatch, examples: tuple[Tensor, ...], count: int, epoch: float) -> Tensor:
        """The gradient of the objective in the weights, where the weights are or at the worst place near them."""
        perturbation = self.recipe.weight_perturbation
        if perturbation is None or epoch < perturbation.warmup:
            return self._backward(batch, examples, count)
        moved = Perturbed(self.model, perturbation.gamma)
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
        loss = self.step(batch.images, batch.labels, batch.key.ids, batch.key.seed, count, *examples)
        self.fabric.backward(loss)
        detached: Tensor = loss.detach()
        return detached

    def _attacks(self, epoch: float) -> tuple[Attack[Any, Any], ...]:
        attacks = self.adversary.at(epoch)
        if not self.rescued:
            return attacks
        return tuple(PGD(attack.ball, steps=self.watch.rescue_steps) for attack in attacks)

    def _set_rate(self) -> None:
        rate = self.recipe.optimizer.rate_at(self.t / self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _progress(self) -> Progress:
        epoch = -(-self.t // self.per_epoch)
        return Progress(self.t, self.updates, epoch, self.recipe.epochs, tuple(self.log))

    def _total(self, values: Tensor) -> Tensor:
        if self.places == 1:
            return values
        summed: Tensor = self.fabric.all_reduce(values, reduce_op="sum")  # type: ignore[assignment]
        return summed

    def _agreed(self, due: bool) -> bool:
        """The first process's clock decides for all."""
        return due if self.places == 1 else bool(self.fabric.broadcast(due))

    def _must_be_finite(self) -> None:
        if not bool(self._total(self.sum).isfinite()):
            last = f"; {self.out} holds the last good state" if self.out is not None else ""
            raise RunError(f"the loss is no number after {self.t} updates; lower the optimizer's rate or clip{last}")

    def _epoch_done(self, started: float) -> None:
        epoch = self.t // self.per_epoch
        clean, single, robust = self.judge(self.target)
        share = self.adversary.strength
        now = Epoch(
            epoch=epoch,
            updates=self.t,
            loss=float(self._total(self.sum)) / len(self.training),
            clean=clean,
            single_step=single,
            robust=robust,
            eps=1.0 if not share else self._share(epoch),
            rate=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - started,
        )
        self.sum.zero_()
        self.log.append(now)
        best = self.log[self.best - 1] if self.best else None
        if best is None or now.score > best.score:
            self.best, self.best_weights = epoch, snapshot(module_of(self.target))
            self._keep(BEST, self.best_weights, now)
        elif collapsed(now, best.robust) and self.watch.collapse != "ignore":
            self._collapse(now, best)
        elif self.watch.patience is not None and epoch - self.best >= self.watch.patience:
            self.stopped = f"no better epoch since {self.best}"

    def _share(self, epoch: float) -> float:
        return between(self.adversary.strength, epoch)

    def _collapse(self, now: Epoch, best: Epoch) -> None:
        what = (
            f"catastrophic overfitting: {now.single_step:.1%} withstand a single step and {now.robust:.1%} the "
            f"iterated attack, which was {best.robust:.1%} after epoch {best.epoch}"
        )
        if self.watch.collapse == "stop" or self.rescued:
            self.stopped = what
        else:
            what += f"; back to epoch {best.epoch}, from here on with PGD of {self.watch.rescue_steps} steps"
            self._restore(self.model, self.best_weights)
            if self.averaged is not None:
                self._restore(self.averaged.model, self.best_weights)
            self.optimizer.load_state_dict({"state": {}, "param_groups": self.optimizer.state_dict()["param_groups"]})
            self.rescued = True
        self.log[-1] = Epoch(**{**asdict(now), "note": what})

    @staticmethod
    def _restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
        model.load_state_dict(weights)

    def _keep(self, name: str, weights: dict[str, Tensor], epoch: Epoch) -> None:
        if self.out is not None and self.fabric.is_global_zero:
            write(self.out / name, weights, {**self.values, "epoch": epoch.row()})

    def _finished(self) -> Trained:
        last = snapshot(module_of(self.target))
        self._keep(LAST, last, self.log[-1])
        self._restore(self.model, self.best_weights)
        best = self.log[self.best - 1]
        return Trained(tuple(self.log), best, self.log[-1], self.best_weights, last, self.stopped)

    def _mark(self) -> str:
        """What a checkpoint belongs to: the images, and everything that decides what comes of them."""
        how = (self.objective, self.adversary, self.recipe.model_dump(exclude={"checkpoint_seconds", "workers"}))
        return fingerprint(*[repr(part) for part in (*how, self.watch, self.attacks)], self.images.identity())

    def _save(self, mark: str) -> None:
        if self.out is None:
            return
        memory = {f"memory.{name}": self._gathered(value) for name, value in self.memory.items()}
        if not self.fabric.is_global_zero:
            return
        tensors, plain = flattened(self.optimizer)
        tensors |= tensors_of(self.model, "model") | memory | {"sum": self.sum}
        tensors |= {f"best.{name}": value for name, value in self.best_weights.items()}
        if self.averaged is not None:
            tensors |= tensors_of(self.averaged.model, "average")
        values = {
            "mark": mark,
            "t": self.t,
            "seconds": self.seconds,
            "rescued": self.rescued,
            "stopped": self.stopped,
            "best": self.best,
            "averaged": 0 if self.averaged is None else self.averaged.count,
            "log": [epoch.row() for epoch in self.log],
            "optimizer": plain,
        }
        write(self.out / CHECKPOINT, tensors, values)

    def _gathered(self, value: Tensor) -> Tensor:
        """The parts of all processes, one after the other."""
        if self.places == 1:
            return value
        whole: Tensor = self.fabric.all_gather(value)  # type: ignore[assignment]
        return whole.flatten(0, 1)

    def _load(self, mark: str) -> None:
        path = None if self.out is None else self.out / CHECKPOINT
        if path is None or not path.exists():
            raise RunError(f"there is nothing to go on from in {self.out}: no {CHECKPOINT}; leave out resume")
        tensors, values = read(path, "begin again in another folder")
        if values.get("mark") != mark:
            raise RunError(
                f"{path} belongs to another training (other plan, images or seed); go on with the plan it was "
                "begun with, or begin again in another folder"
            )
        put_into(self.model, tensors, "model")
        if self.averaged is not None:
            put_into(self.averaged.model, tensors, "average")
            self.averaged.count = values["averaged"]
        refill(self.optimizer, tensors, values["optimizer"])
        self.best_weights = under(tensors, "best")
        for name, value in under(tensors, "memory").items():
            self.memory[name] = value.tensor_split(self.places)[self.place].to(self.fabric.device)
        self.sum.copy_(tensors["sum"])
        self.t, self.seconds, self.rescued = values["t"], values["seconds"], values["rescued"]
        self.stopped, self.best = values["stopped"], values["best"]
        self.log = [Epoch(**row) for row in values["log"]]


def made(how: Optimizer, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser, fused where every weight allows it."""
    fused = all(weight.device.type in ("cpu", "cuda") and weight.is_floating_point() for weight in weights)
    if how.name == "sgd":
        return torch.optim.SGD(
            weights, lr=how.rate, momentum=how.momentum, weight_decay=how.weight_decay, fused=fused
        )
    kind = torch.optim.Adam if how.name == "adam" else torch.optim.AdamW
    return kind(weights, lr=how.rate, weight_decay=how.weight_decay, fused=fused)


def split(images: Source, held_out: int, seed: int) -> tuple[Source, Source]:
    """A part to train on and a part to watch, drawn from the seed."""
    if held_out >= len(images):
        raise InputError(f"watch.held_out={held_out} of {len(images)} images leaves none to train on; hold out fewer")
    order = Key(torch.tensor([0]), seed).uniform("held out", (len(images),), dtype=torch.float64)[0].argsort()
    return Part(images, order[held_out:].sort().values), Part(images, order[:held_out].sort().values)


def module_of(classifier: Classifier) -> nn.Module:
    """The module that is trained; TargetError where there is none."""
    model = classifier.model if isinstance(classifier, Classifier) else None
    if not isinstance(model, nn.Module):
        raise TargetError(f"only a Classifier around a torch.nn.Module can be trained, not {classifier!r:.60}")
    return model


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, copied to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
