"""An ONNX file twice: as a torch module, which has gradients and bounds, and in onnxruntime, which judges.

What onnxruntime computes on the CPU is what the file means, to others as well; the module is checked against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import TargetError
from .onnx_module import OnnxModule
from .optional_imports import import_optional

AGREEMENT = 1e-3  # by which both may differ, relative to 1 + the largest output: float32 rounds
CHECKED = 16  # random inputs at which they are compared

Vector = NDArray[np.float64]


class OnnxFile:
    """The network of an ONNX file with one input and one output.

    Args:
        content: the file.
        name: of the file, for messages.
        shape: of the input, where the file leaves lengths open.

    Attributes:
        module: the network in torch, in float64.
        sha256: of the content.

    Raises:
        TargetError: what is no ONNX file, or has an operation that is not read, by name.
        AssetError: the package onnx or onnxruntime is missing.
    """

    def __init__(self, content: bytes, name: str, shape: Sequence[int] | None = None) -> None:
        self.name, self.sha256 = name, hashlib.sha256(content).hexdigest()
        runtime = import_optional("onnxruntime", "a network in an ONNX file", "onnx")
        self.module = OnnxModule(content, name, shape).eval()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has errors of its own
            raise TargetError(f"{name} cannot be read as an ONNX model: {error}") from error
        self.kind = np.float64 if self.module.in_kind is torch.float64 else np.float32

    def run(self, x: Vector) -> Vector:
        """Return the outputs (m,) that onnxruntime gives for inputs (n,), rounded to the file's own precision.

        Raises:
            TargetError: onnxruntime fails, or gives outputs of another number.
        """
        shaped = np.asarray(x, self.kind).reshape(self.module.in_shape)
        try:
            (found,) = self.session.run([self.module.out_name], {self.module.in_name: shaped})
        except Exception as error:
            raise TargetError(f"{self.name} failed on an input of shape {list(shaped.shape)}: {error}") from error
        flat: Vector = np.asarray(found, np.float64).ravel()
        if flat.size != self.module.out_size:
            raise TargetError(
                f"{self.name} gives {flat.size} outputs in onnxruntime, and {self.module.out_size} in torch"
            )
        return flat

    def difference(self, low: Vector, high: Vector, seed: int = 0) -> float:
        """Return the largest difference of an output between torch and onnxruntime, at random inputs of a box (n,).

        Raises:
            TargetError: it is too large for float32's rounding, or an output is not finite.
        """
        rng = np.random.default_rng(seed)
        points = low + (high - low) * rng.random((CHECKED, low.size))
        points = points.astype(self.kind).astype(np.float64)
        theirs = np.stack([self.run(one) for one in points])
        with torch.no_grad():
            ours = self.module(torch.from_numpy(points).reshape(-1, *self.module.in_shape)).numpy()
        if not np.isfinite(theirs).all() or not np.isfinite(ours).all():
            raise TargetError(f"{self.name} gives outputs that are not finite for inputs within the bounds")
        gap, largest = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
        if gap > AGREEMENT * (1 + largest):
            raise TargetError(
                f"{self.name}: the outputs of its torch copy differ from onnxruntime's by {gap:.3g} (they reach "
                f"{largest:.3g}), so that a proof would not be of this file; please report it with the file"
            )
        return gap
