"""`onnx:FILE`: a model in an ONNX file, which answers with scores and gives no gradients."""

from __future__ import annotations

from ...errors import ConfigError
from ...targets import Onnx
from ..loaded import InputSpec, LoadedModel


def onnx_model(name: str, device: str) -> LoadedModel:
    """Return the model of an ONNX file as a target; onnxruntime runs it on the CPU."""
    if device != "cpu":
        raise ConfigError(f"onnx:{name} runs on the CPU only, not on {device!r}; leave --device out")
    target = Onnx(name)
    sides = target.session.shape[1:]
    channels, height, width = sides if target.target.layout == "NCHW" else (sides[2], sides[0], sides[1])
    known = InputSpec(channels, height, width) if channels in (1, 3) and min(height, width) > 0 else None
    return LoadedModel(f"onnx:{name}", target, known, None, name, target.session.sha256)
