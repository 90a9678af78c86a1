"""A model in an ONNX file, run by onnxruntime on the CPU: scores, no gradients."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..access import Scores
from ..errors import ConfigError, InputError, TargetError
from ..random import Key
from ..shapes import FloatBatch, Logits
from .classifier import Classifier
from .optional_imports import import_optional
from .target import Restricted

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class Session:
    """The file as a function of images; a model whose first axis is fixed is asked that many at a time."""

    def __init__(self, file: Path, output: str | None) -> None:
        runtime = import_optional("onnxruntime", "an ONNX model", "onnx")
        if not file.is_file():
            raise ConfigError(f"{file} does not exist; name an ONNX file, as onnx:FILE")
        content = file.read_bytes()
        self.file, self.sha256 = file, hashlib.sha256(content).hexdigest()
        try:
            self.session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has errors of its own
            raise TargetError(f"{file} cannot be read as an ONNX model: {error}") from error
        sent, given = self.session.get_inputs(), [one.name for one in self.session.get_outputs()]
        if len(sent) != 1 or sent[0].type not in KINDS or len(sent[0].shape) != 4:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in sent)
            raise TargetError(f"{file} takes {found}; a model of images takes one float tensor of 4 axes")
        if (output or given[0]) not in given or (output is None and len(given) > 1):
            raise ConfigError(f"the outputs of {file} are {', '.join(given)}; name one as output=")
        self.name, self.kind, self.output = sent[0].name, KINDS[sent[0].type], output or given[0]
        self.shape = tuple(side if isinstance(side, int) else -1 for side in sent[0].shape)

    def __call__(self, images: FloatBatch, key: Key | None = None) -> Logits:
        array = images.detach().cpu().numpy().astype(self.kind)
        if any(want not in (-1, have) for want, have in zip(self.shape[1:], array.shape[1:], strict=True)):
            raise InputError(
                f"{self.file} takes images of shape {list(self.shape[1:])}, and these are {list(array.shape[1:])}; "
                "resize them, or pass layout= 'NCHW' or 'NHWC' as the model was exported"
            )
        size = self.shape[0] if self.shape[0] > 0 else max(1, len(array))
        parts = []
        for start in range(0, len(array), size):
            part = array[start : start + size]
            whole = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            parts.append(self._answer(whole)[: len(part)])
        return torch.from_numpy(np.concatenate(parts))

    def _answer(self, images: Any) -> Any:
        try:
            (scores,) = self.session.run([self.output], {self.name: images})
        except Exception as error:
            raise TargetError(f"{self.file} failed on images of shape {list(images.shape)}: {error}") from error
        return scores


class Onnx(Restricted[Scores]):
    """Scores of the model in an ONNX file, for images (B, C, H, W) in [0, 1]; the extra `onnx` brings onnxruntime.

    Args:
        file: the model; input name, type and shape are read from it.
        mean, std, classes, probabilities, name: as for `Classifier`.
        layout: the order of axes, "NCHW" or "NHWC"; None reads it off the model's shape, where that tells.
        output: the name of the output to read, where there are several.
    """

    target: Classifier

    def __init__(
        self,
        file: Path | str,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        layout: str | None = None,
        classes: int | None = None,
        probabilities: bool = False,
        output: str | None = None,
        name: str | None = None,
    ) -> None:
        self.session = Session(Path(file).expanduser(), output)
        shown = Classifier(
            self.session,
            mean=mean,
            std=std,
            layout=layout or _layout(self.session.shape),
            classes=classes,
            probabilities=probabilities,
            name=name or Path(file).stem,
            identity=f"{self.session.sha256} {self.session.output}",
        )
        super().__init__(shown, Scores)

    @property
    def classes(self) -> int | None:
        """The number of classes that was given for the model."""
        return self.target.classes

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Logits:
        scores: Tensor = self.target(images)
        return scores.to(images.dtype)


def _layout(shape: tuple[int, ...]) -> str:
    """NHWC where the last axis alone can be the channels."""
    return "NHWC" if shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4) else "NCHW"
