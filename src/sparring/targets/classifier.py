"""A classifier: any module or function from images to logits, with its normalisation inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..errors import InputError, SparringError, TargetError, UserCodeError, described, out_of_memory
from ..inputs import Images, Inputs
from ..random import Key
from .random_layers import Keyed, disable_noise, drawing, keyed_layers
from .target import Target, Unidentified

LAYOUTS = ("NCHW", "NHWC")
OF_SHAPES = re.compile(r"\b(shapes?|sizes?|channels|dimensions?|dims?)\b")  # torch of images that do not fit


class Classifier(Target[Jacobians]):
    """Logits (B, K) for images (B, C, H, W) in [0, 1], or for `inputs` of another kind.

    Args:
        model: a module, or a function, from normalised images to logits; a tensor, an object with `.logits`
            or a mapping with "logits" (Hugging Face) is read.
        mean, std: per channel, in units of [0, 1]; the model sees (images - mean) / std.
        layout: the order of axes that the model wants, "NCHW" or "NHWC".
        classes: K; checked against the first outputs when given.
        binary: the model gives one logit per image, positive for class 1; read as logits (0, z).
        probabilities: the model gives probabilities; their logarithm is read.
        stochastic: the model draws random numbers, so that each answer is another. `Keyed` layers are seen untold;
            for others torch's generators are seeded at each question and put back, and what a row draws then depends
            on its batch.
        inputs: what the model takes, where it is no images in [0, 1]: `PointClouds()`, `Unbounded()`.
        name: what reports call it.
        identity: what tells a function from others, as a version or a hash: a checkpoint belongs to one target, and
            the weights that tell a module from others are not seen in a function.

    During an attack (`frozen`) every submodule is in eval mode and no parameter asks for a gradient; flags and
    buffers are restored afterwards, also after an exception.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        layout: str = "NCHW",
        classes: int | None = None,
        binary: bool = False,
        probabilities: bool = False,
        stochastic: bool = False,
        inputs: Inputs | None = None,
        name: str | None = None,
        identity: str | None = None,
    ) -> None:
        if not callable(model):
            raise TargetError(f"a {type(model).__name__} is not a model; pass a torch.nn.Module or a function")
        if layout not in LAYOUTS:
            raise TargetError(f"layout {layout!r} is unknown; pass 'NCHW' or 'NHWC'")
        self._inputs = Images() if inputs is None else inputs
        if not isinstance(self._inputs, Images) and (mean is not None or std is not None or layout != "NCHW"):
            raise TargetError(f"mean, std and layout are of images, and inputs={inputs}; put them into the model")
        if binary and classes not in (None, 2):
            raise TargetError(f"a binary model has 2 classes, not {classes}")
        self.model, self.layout, self.binary, self.probabilities = model, layout, binary, probabilities
        self.classes = 2 if binary else classes
        self._random, self._keyed = stochastic, keyed_layers(model)
        self._muted: list[Keyed] = []  # random layers that are to be silent
        self.given_identity = identity
        self._name = str(name or getattr(model, "__name__", type(model).__name__))
        self._held: Tensor | None = None  # the first weight, while the model is frozen
        self._places: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._mean, self._std = self._channels("mean", mean), self._channels("std", std)
        if self._std is not None and not bool((self._std > 0).all()):
            raise TargetError(f"std {std!r} is not positive in every channel")

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
    def device(self) -> torch.device:
        weight = self._weight()
        return torch.device("cpu") if weight is None else weight.device

    def _weight(self) -> Tensor | None:
        """The first weight, whose device and dtype the images take; looked up anew, since models move."""
        if self._held is not None:
            return self._held
        if not isinstance(self.model, nn.Module):
            return None
        weights = chain(self.model.parameters(), self.model.buffers())
        return next((weight for weight in weights if weight.is_floating_point()), None)

    def _channels(self, word: str, values: float | Sequence[float] | None) -> Tensor | None:
        if values is None:
            return None
        column = torch.as_tensor(values, dtype=torch.float64).reshape(-1, 1, 1)
        if not bool(column.isfinite().all()):
            raise TargetError(f"{word} {values!r} is not finite")
        return column

    def __call__(self, images: Tensor, key: Key | None = None) -> Tensor:
        weight = self._weight()
        x = images if weight is None else images.to(weight.dtype)
        for word, values in (("mean", self._mean), ("std", self._std)):
            if values is not None and len(values) not in (1, x.shape[1]):
                raise InputError(f"the images have {x.shape[1]} channels and the model's {word} has {len(values)}")
        if self._mean is not None:
            x = x - self._placed("mean", self._mean, x)
        if self._std is not None:
            x = x / self._placed("std", self._std, x)
        version = None if images.is_inference() else images._version
        with self._drawing(key):
            outputs = self._asked(x if self.layout == "NCHW" else x.permute(0, 2, 3, 1), images)
        if version is not None and images._version != version:
            raise TargetError(f"{self.name} changes its input in place; let its first layer work on x.clone()")
        return self._logits(outputs, images.shape[0])

    def _asked(self, x: Tensor, images: Tensor) -> Any:
        """What the model returns; what it raises is told in one line, out of memory apart."""
        try:
            return self.model(x)
        except SparringError:
            raise
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                raise
            shape = tuple(images.shape[1:])
            if isinstance(error, RuntimeError) and OF_SHAPES.search(str(error)):
                raise TargetError(f"{self.name} cannot take images of shape {shape}: {error}") from error
            raise UserCodeError(f"{self.name}, asked about images of shape {shape}, {described(error)}") from error

    @property
    def stochastic(self) -> bool:
        return self._random or bool(self._keyed)

    def disable_noise(self) -> Classifier:
        """The same model with its `Keyed` layers passing on what they are given: one who knows of no noise has this."""
        twin = copy(self)
        twin._keyed, twin._random, twin._muted = [], False, self._keyed
        return twin

    def _drawing(self, key: Key | None) -> AbstractContextManager[None]:
        """Whatever the model draws is from `key`."""
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

    def _logits(self, outputs: Any, count: int) -> Tensor:
        if isinstance(outputs, Mapping):
            outputs = outputs.get("logits", outputs)
        logits = getattr(outputs, "logits", outputs)
        if not isinstance(logits, Tensor):
            raise TargetError(
                f"the model returned a {type(outputs).__name__}; a classifier returns a tensor of logits, "
                "an object with .logits or a mapping with 'logits'"
            )
        if not logits.is_floating_point():
            raise TargetError(f"the model returned {logits.dtype}; logits are real numbers, as float32")
        if self.binary:
            single = logits.reshape(count, -1)
            if single.shape[1] != 1:
                raise TargetError(f"binary=True wants one logit per image, and the model gives {single.shape[1]}")
            rest = 1 - single if self.probabilities else torch.zeros_like(single)
            logits = torch.cat((rest, single), dim=1)
        if logits.ndim != 2 or logits.shape[0] != count:
            raise TargetError(
                f"the model returned shape {tuple(logits.shape)} for {count} images; logits are (images, classes)"
                + ("; for a single-logit model pass binary=True" if logits.ndim == 1 else "")
            )
        if self.probabilities:
            logits = logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
        return logits

    def identity(self) -> tuple[object, ...]:
        """The weights too; a function is told by the identity that it was given."""
        own: list[object] = [self.given_identity]
        if isinstance(self.model, nn.Module):
            own += [part for name, value in sorted(self.model.state_dict().items()) for part in (name, value)]
        elif self.given_identity is None:
            own.append(Unidentified(self.name))
        reads = self._inputs, self.layout, self.binary, self.probabilities, self._mean, self._std
        return (*super().identity(), *reads, *own)

    def check(self, outputs: Tensor) -> None:
        if self.classes is not None and outputs.shape[1] != self.classes:
            raise TargetError(f"classes={self.classes} was promised, and the model gives {outputs.shape[1]} logits")
        if not bool(outputs.isfinite().any()):
            raise TargetError("the model returned no finite logit for the first images; check its weights")
        sums = (outputs.exp() if self.probabilities else outputs).sum(dim=1)
        summed = bool((sums - 1).abs().max() < 1e-3)
        if self.probabilities and not summed:
            raise TargetError(
                f"probabilities=True was promised, and a row sums to {float(sums[(sums - 1).abs().argmax()]):g}; "
                "leave it out for a model that returns logits"
            )
        if not self.probabilities and summed and bool((outputs >= 0).all()):
            raise TargetError(
                "the model returns probabilities (every row is >= 0 and sums to 1), which hide gradients; "
                "return the logits instead, or pass Classifier(..., probabilities=True)"
            )

    def _settle(self, model: nn.Module) -> None:
        """The mode that the model is attacked in."""
        model.eval()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        model = self.model
        if not isinstance(model, nn.Module):
            yield
            return
        training = [(module, module.training) for module in model.modules()]
        wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        buffers = [
            (module, name, buffer, None if buffer is None else buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
        ]
        try:
            self._settle(model)
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            self._held = self._weight()
            yield
        finally:
            self._held = None
            for module, flag in training:
                module.training = flag
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)
            with torch.no_grad():
                for module, name, buffer, before in buffers:
                    module._buffers[name] = buffer  # a forward may have put another in its place
                    if buffer is None or before is None:
                        continue
                    if buffer.is_cuda or not torch.equal(buffer, before):  # on a GPU each look would wait for it
                        buffer.copy_(before)
