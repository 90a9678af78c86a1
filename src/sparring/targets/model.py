"""Any module or function from inputs to the outputs of a task, with its normalisation inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from copy import copy
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..errors import (
    InputError,
    SparringError,
    TargetError,
    UserCodeError,
    described,
    out_of_memory,
    user_code,
    words_of,
)
from ..hashing import Unidentified
from ..inputs import Images, Inputs
from ..isolation import user_settings
from ..module_identity import module_identity, script_constants
from ..random import Key
from ..shapes import FloatBatch
from ..tasks import Task
from .held_module import check_methods, check_weights, held_still, mended_checkpoints
from .random_layers import Keyed, disable_noise, drawing, keyed_layers
from .target import Target


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """The tensors of outputs that are a tensor or a record; none of outputs of another kind."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif is_dataclass(outputs):
        for field in fields(outputs):
            yield from _tensors(getattr(outputs, field.name))


LAYOUTS = ("NCHW", "NHWC")
OF_SHAPES = re.compile(r"\b(shapes?|sizes?|channels|dimensions?|dims?)\b")  # torch of images that do not fit
OF_MEMORY_LAYOUT = re.compile(r"view size is not compatible")  # of a model, whatever the images


class Model(Target[Jacobians]):
    """A model of any task: its outputs for images (B, C, H, W) in [0, 1], or for `inputs` of another kind.

    Args:
        model: a module, or a function, from normalised images to the outputs of `task`.
        task: what the outputs are: `Verification()`, `Detection()`, `Segmentation()`, or one of your own. A classifier
            is a `Classifier`.
        mean, std: per channel, in units of [0, 1]; the model sees (images - mean) / std.
        layout: the order of axes that the model takes, "NCHW" or "NHWC".
        stochastic: the model draws random numbers, so that its answers differ from call to call. Not needed for
            random layers of ours (`Keyed`), which are found by themselves. For others torch's generators are seeded
            for each query and restored, and the draws of a row then depend on its batch.
        inputs: the kind of inputs, where they are not images in [0, 1]: `PointClouds()`, `Unbounded()`.
        takes_context: the model is called as model(images, context) with the data beside them (`run(..., context=)`).
        name: the name in reports.
        identity: a version or a hash that distinguishes a function from others, since a checkpoint belongs to one
            target. A module needs none: its weights are its identity.

    During an attack (`frozen`) every submodule is in eval mode and no parameter requires a gradient; flags and
    buffers are restored afterwards, also after an exception.

    Raises: TargetError for a model that is not callable, an unknown layout, and outputs that are not those of the task.
    """

    def __init__(
        self,
        model: nn.Module | Callable[..., Any],
        task: Task,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        layout: str = "NCHW",
        stochastic: bool = False,
        inputs: Inputs | None = None,
        takes_context: bool = False,
        name: str | None = None,
        identity: str | None = None,
    ) -> None:
        if isinstance(model, Target):
            raise TargetError(f"{model.name} is a target already; pass it as it is")
        if isinstance(model, type) or not callable(model):
            kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
            raise TargetError(f"{kind} is not a model; pass a torch.nn.Module or a function")
        if layout not in LAYOUTS:
            raise TargetError(f"layout {layout!r} is unknown; pass 'NCHW' or 'NHWC'")
        self._inputs = Images() if inputs is None else inputs
        if not isinstance(self._inputs, Images) and (mean is not None or std is not None or layout != "NCHW"):
            raise TargetError(f"mean, std and layout are of images, and inputs={inputs}; put them into the model")
        if not isinstance(task, Task):
            raise TargetError(f"{task!r} is no task; pass Verification(), Detection(), Segmentation() or your own")
        self.model, self._task, self.layout, self._takes_context = model, task, layout, takes_context
        self._name = str(name or getattr(model, "__name__", type(model).__name__))
        if isinstance(model, nn.Module):
            check_methods(model, self._name)
        self._random, self._keyed = stochastic, keyed_layers(model)
        self._muted: list[Keyed] = []  # random layers that are switched off
        self.given_identity = identity
        self._held: Tensor | None = None  # the first weight, while the model is frozen
        self._still = False  # is it frozen?
        self._places: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._changes_input: bool | None = None  # None: not yet seen
        self._mean, self._std = self._channels("mean", mean), self._channels("std", std)
        self._check_statistics(mean, std)

    @property
    def access(self) -> type[Jacobians]:
        return Jacobians

    @property
    def name(self) -> str:
        return self._name

    @property
    def inputs(self) -> Inputs:
        return self._inputs

    @property
    def task(self) -> Task | None:
        return self._task

    @property
    def takes_context(self) -> bool:
        return self._takes_context

    @property
    def device(self) -> torch.device:
        weight = self._weight()
        return torch.device("cpu") if weight is None else weight.device

    def _weight(self) -> Tensor | None:
        """The first weight, whose device and dtype the images take; looked up anew, since models move."""
        if self._held is not None:
            return self._held
        if not isinstance(self.model, nn.Module):
            return None
        weights = chain(self.model.parameters(), self.model.buffers(), script_constants(self.model))
        return next((weight for weight in weights if weight.is_floating_point()), None)

    def _channels(self, word: str, values: float | Sequence[float] | None) -> Tensor | None:
        if values is None:
            return None
        try:
            column = torch.as_tensor(values, dtype=torch.float64, device="cpu").reshape(-1, 1, 1)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TargetError(f"{word} {values!r:.80} is no number and no list of one per channel") from error
        if not bool(column.isfinite().all()):
            raise TargetError(f"{word} {values!r} is not finite")
        return column

    def _check_statistics(self, mean: Any, std: Any) -> None:
        """Raise TargetError where mean or std cannot be those of images in the valid range."""
        if not isinstance(self._inputs, Images):
            return
        low, high = self._inputs.low, self._inputs.high
        if self._std is not None and not bool((self._std > 0).all()):
            raise TargetError(f"std {std!r} is not positive in every channel")
        for word, values, found, least, most in (
            ("mean", mean, self._mean, low, high),
            ("std", std, self._std, 0.0, high - low),
        ):
            if found is not None and not bool(((found >= least) & (found <= most)).all()):
                cure = "; divide by 255" if (low, high) == (0, 1) and bool((found.abs() <= 255).all()) else ""
                raise TargetError(f"{word} {values!r} is that of no images in [{low:g}, {high:g}]{cure}")

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        weight = self._weight()
        x = images if weight is None else images.to(weight.dtype)
        for word, values in (("mean", self._mean), ("std", self._std)):
            if values is not None and len(values) not in (1, x.shape[1]):
                raise InputError(f"the images have {x.shape[1]} channels and the model's {word} has {len(values)}")
        if self._mean is not None:
            x = x - self._placed("mean", self._mean, x)
        if self._std is not None:
            x = x / self._placed("std", self._std, x)
        given = x if self.layout == "NCHW" else x.permute(0, 2, 3, 1)
        lent = x is images and self._changes_input is not False  # else it has memory of its own, or leaves its input
        x = given.clone(memory_format=torch.contiguous_format) if lent else given.contiguous()
        version = 0 if x.is_inference() else x._version
        with self._drawing(key):
            outputs = self._asked(x, images, context)
        if lent and self._changes_input is None and not torch.compiler.is_compiling():
            changed = not x.is_inference() and x._version != version
            self._changes_input = changed or not torch.equal(x.detach(), given.detach())
        return self._read(outputs, images.shape[0])

    def _read(self, outputs: Any, count: int) -> Any:
        """Return the outputs for goals, made of what the model returned for `count` inputs."""
        self._task.check(outputs, count)
        return outputs

    def check(self, outputs: Any) -> None:
        """Raise TargetError where no number of the outputs is finite."""
        numbers = [one for one in _tensors(outputs) if one.is_floating_point() and one.numel()]
        if any(not bool(one.isfinite().any()) for one in numbers):
            raise TargetError(f"{self.name} returned no finite number for the first inputs; check its weights")

    def _asked(self, x: Tensor, images: FloatBatch, context: Any) -> Any:
        """Call the model; its exceptions, except out of memory, are raised again with a message of one line."""
        try:
            with user_settings(), nullcontext() if self._still else mended_checkpoints(attacked=False):
                return self.model(x, context) if self._takes_context else self.model(x)
        except (SparringError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if out_of_memory(error):
                raise
            shape, told = tuple(images.shape[1:]), words_of(error)
            given = "" if isinstance(error, SystemExit) else f" (given {len(images)} of them, in {x.dtype})"
            if isinstance(error, RuntimeError) and OF_SHAPES.search(told) and not OF_MEMORY_LAYOUT.search(told):
                raise TargetError(f"{self.name} cannot take images of shape {shape}: {told}{given}") from error
            raise UserCodeError(
                f"{self.name}, asked about images of shape {shape}, {described(error)}{given}"
            ) from error

    @property
    def stochastic(self) -> bool:
        return self._random or bool(self._keyed)

    def disable_noise(self) -> Self:
        """Return the same model with its `Keyed` layers switched off, as a naive attacker would have it."""
        twin = copy(self)
        twin._keyed, twin._random, twin._muted = [], False, self._keyed
        return twin

    def _drawing(self, key: Key | None) -> AbstractContextManager[None]:
        """Return the context in which the model draws from `key`."""
        if self._muted:
            return disable_noise(self._muted)
        return nullcontext() if key is None or not self.stochastic else self._drawn(key)

    @contextmanager
    def _drawn(self, key: Key) -> Iterator[None]:
        devices = [key.indices.device] if key.indices.is_cuda else []
        with drawing(self._keyed, key), torch.random.fork_rng(devices, enabled=self._random):
            if self._random:
                seed = int(key.bits("torch", (1,))[0, 0] >> 1)
                _ = torch.manual_seed(seed) if devices else torch.default_generator.manual_seed(seed)
            yield

    def _placed(self, word: str, values: Tensor, x: Tensor) -> Tensor:
        """Mean or std on the device and in the dtype of `x`, kept for the next call."""
        place = (word, x.dtype, x.device)
        if place not in self._places:
            self._places[place] = values.to(x)
        return self._places[place]

    def identity(self) -> tuple[object, ...]:
        """Return kind, name, weights, structure and input format; for a function, the `identity` it was given."""
        own: list[object] = [self.given_identity]
        if isinstance(self.model, nn.Module):
            check_weights(self.model, self.name)
            own += module_identity(self.model)
        elif self.given_identity is None:
            own.append(Unidentified(self.name))
        reads = self._inputs, self.layout, self._task, self._mean, self._std
        return (*super().identity(), *reads, *own)

    def _settle(self, model: nn.Module) -> None:
        """Put the model into the mode in which it is attacked; an exported program, which has one mode, stays in it."""
        with suppress(NotImplementedError), user_code(f"{self.name}.eval()", NotImplementedError):
            model.eval()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        model = self.model
        before, self._still = (self._held, self._still), True
        try:
            with mended_checkpoints(attacked=True), ExitStack() as held:
                if isinstance(model, nn.Module):
                    check_weights(model, self.name)
                    held.enter_context(held_still(model, self._settle))
                    self._held = self._weight()
                yield
        finally:
            self._held, self._still = before
