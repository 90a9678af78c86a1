"""A classifier: any module or function from images to logits, with its normalisation inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import TargetError
from ..inputs import Inputs
from ..random import Key
from ..shapes import FloatBatch, Logits
from ..tasks import Classification
from ..tasks.task import check_dense
from .model import Model


class Classifier(Model):
    """A classifier: logits (B, K) for images (B, C, H, W) in [0, 1], or for `inputs` of another kind.

    Args:
        model: a module, or a function, from normalised images to logits; a tensor, an object with `.logits`
            or a mapping with "logits" (Hugging Face) is read.
        mean, std: per channel, in units of [0, 1]; the model sees (images - mean) / std.
        layout: the order of axes that the model takes, "NCHW" or "NHWC".
        classes: K; checked against the first outputs when given.
        binary: the model gives one logit per image, positive for class 1; read as logits (0, z).
        probabilities: the model gives probabilities; their logarithm is read.
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
    """

    def __init__(
        self,
        model: nn.Module | Callable[..., Any],
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        layout: str = "NCHW",
        classes: int | None = None,
        binary: bool = False,
        probabilities: bool = False,
        stochastic: bool = False,
        inputs: Inputs | None = None,
        takes_context: bool = False,
        name: str | None = None,
        identity: str | None = None,
    ) -> None:
        super().__init__(
            model,
            Classification(),
            mean=mean,
            std=std,
            layout=layout,
            stochastic=stochastic,
            inputs=inputs,
            takes_context=takes_context,
            name=name,
            identity=identity,
        )
        if binary and classes not in (None, 2):
            raise TargetError(f"a binary model has 2 classes, not {classes}")
        self.classes = 2 if binary else classes
        self.binary, self.probabilities = binary, probabilities
        self._coarse = False  # does the model answer in half precision?

    if TYPE_CHECKING:

        def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Logits:
            """Return the logits (B, K)."""

    def _read(self, outputs: Any, count: int) -> Tensor:
        if not isinstance(outputs, Tensor):
            outputs = outputs.get("logits", outputs) if isinstance(outputs, Mapping) else outputs
            outputs = getattr(outputs, "logits", outputs)
        logits = outputs
        if not isinstance(logits, Tensor):
            several = "; put a module around it whose forward returns model(x)[0]"
            raise TargetError(
                f"the model returned a {type(outputs).__name__}; a classifier returns a tensor of logits, "
                "an object with .logits or a mapping with 'logits'" + several * isinstance(outputs, tuple | list)
            )
        if not logits.is_floating_point():
            raise TargetError(f"the model returned {logits.dtype}; logits are real numbers, as float32")
        check_dense(logits)
        self._coarse = logits.dtype.itemsize < 4
        logits = logits.float() if self._coarse else logits
        if logits.ndim > 2 and all(side == 1 for side in logits.shape[2:]):  # of a network without a linear layer
            logits = logits.flatten(1)
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
        return (self.binary, self.probabilities, *super().identity())

    def check(self, outputs: Tensor) -> None:
        if outputs.shape[1] < 2:
            raise TargetError(
                f"the model returned shape {tuple(outputs.shape)}: {outputs.shape[1]} classes, of which none can be "
                "mistaken for another" + "; for a single-logit model pass binary=True" * outputs.shape[1]
            )
        if self.classes is not None and outputs.shape[1] != self.classes:
            raise TargetError(f"classes={self.classes} was promised, and the model gives {outputs.shape[1]} logits")
        if not bool(outputs.isfinite().any()):
            raise TargetError("the model returned no finite logit for the first images; check its weights")
        outputs = outputs[~outputs.isnan().any(1)]  # other rows are no answers, of either kind
        sums = (outputs.exp() if self.probabilities else outputs).sum(dim=1)
        if not len(sums):
            return
        summed = bool((sums - 1).abs().max() < (2e-2 if self._coarse else 1e-3))
        if bool((sums - 100).abs().max() < 1) and (self.probabilities or bool((outputs >= 0).all())):
            raise TargetError(
                "the model returns percent (every row is >= 0 and sums to 100); return the logits instead, or divide "
                "by 100 and pass Classifier(..., probabilities=True)"
            )
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
