"""A classifier: any module or function from images to logits, with its normalisation inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..errors import InputError, TargetError
from .target import Target

LAYOUTS = ("NCHW", "NHWC")


class Classifier(Target[Jacobians]):
    """Logits (B, K) for images (B, C, H, W) in [0, 1].

    Args:
        model: a module, or a function, from normalised images to logits; a tensor, an object with `.logits`
            or a mapping with "logits" (Hugging Face) is read.
        mean, std: per channel, in units of [0, 1]; the model sees (images - mean) / std.
        layout: the order of axes that the model wants, "NCHW" or "NHWC".
        classes: K; checked against the first outputs when given.
        binary: the model gives one logit per image, positive for class 1; read as logits (0, z).
        probabilities: the model gives probabilities; their logarithm is read.
        name: what reports call it.

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
        name: str | None = None,
    ) -> None:
        if not callable(model):
            raise TargetError(f"a {type(model).__name__} is not a model; pass a torch.nn.Module or a function")
        if layout not in LAYOUTS:
            raise TargetError(f"layout {layout!r} is unknown; pass 'NCHW' or 'NHWC'")
        if binary and classes not in (None, 2):
            raise TargetError(f"a binary model has 2 classes, not {classes}")
        self.model, self.layout, self.binary, self.probabilities = model, layout, binary, probabilities
        self.classes = 2 if binary else classes
        tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
        floating = [t for t in tensors if t.is_floating_point()]
        self._dtype = floating[0].dtype if floating else None
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._name = str(name or getattr(model, "__name__", type(model).__name__))
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
    def device(self) -> torch.device:
        return self._device

    def _channels(self, word: str, values: float | Sequence[float] | None) -> Tensor | None:
        if values is None:
            return None
        column = torch.as_tensor(values, dtype=self._dtype or torch.float32, device=self._device).reshape(-1, 1, 1)
        if not bool(column.isfinite().all()):
            raise TargetError(f"{word} {values!r} is not finite")
        return column

    def __call__(self, images: Tensor) -> Tensor:
        x = images if self._dtype is None else images.to(self._dtype)
        for word, values in (("mean", self._mean), ("std", self._std)):
            if values is not None and len(values) not in (1, x.shape[1]):
                raise InputError(f"the images have {x.shape[1]} channels and the model's {word} has {len(values)}")
        if self._mean is not None:
            x = x - self._mean.to(x.dtype)
        if self._std is not None:
            x = x / self._std.to(x.dtype)
        return self._logits(self.model(x if self.layout == "NCHW" else x.permute(0, 2, 3, 1)), len(images))

    def _logits(self, outputs: Any, count: int) -> Tensor:
        if isinstance(outputs, Mapping):
            outputs = outputs.get("logits", outputs)
        logits = getattr(outputs, "logits", outputs)
        if not isinstance(logits, Tensor):
            raise TargetError(
                f"the model returned a {type(outputs).__name__}; a classifier returns a tensor of logits, "
                "an object with .logits or a mapping with 'logits'"
            )
        if self.binary:
            single = logits.reshape(count, -1)
            if single.shape[1] != 1:
                raise TargetError(f"binary=True wants one logit per image, and the model gives {single.shape[1]}")
            logits = torch.cat((torch.zeros_like(single), single), dim=1)
        if logits.ndim != 2 or len(logits) != count:
            raise TargetError(
                f"the model returned shape {tuple(logits.shape)} for {count} images; logits are (images, classes)"
                + ("; for a single-logit model pass binary=True" if logits.ndim == 1 else "")
            )
        if self.probabilities:
            logits = logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
        return logits

    def check(self, outputs: Tensor) -> None:
        if self.classes is not None and outputs.shape[1] != self.classes:
            raise TargetError(f"classes={self.classes} was promised, and the model gives {outputs.shape[1]} logits")
        if not bool(outputs.isfinite().any()):
            raise TargetError("the model returned no finite logit for the first images; check its weights")
        sums = outputs.sum(dim=1)
        likely = bool((outputs >= 0).all()) and bool((sums - 1).abs().max() < 1e-3)
        if likely and not self.probabilities:
            raise TargetError(
                "the model returns probabilities (every row is >= 0 and sums to 1), which hide gradients; "
                "return the logits instead, or pass Classifier(..., probabilities=True)"
            )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        model = self.model
        if not isinstance(model, nn.Module):
            yield
            return
        training = [(module, module.training) for module in model.modules()]
        wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
        try:
            model.eval()
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, flag in training:
                module.training = flag
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)
            with torch.no_grad():
                for buffer, before in buffers:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)
