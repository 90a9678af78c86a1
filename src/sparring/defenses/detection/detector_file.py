"""Fitted detectors to files: tensors and plain values. `serialization` reads them back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from ...engine import fingerprint
from ...storage import write_tensors
from ..fitting import FitConfig

if TYPE_CHECKING:
    from .fitted import FittedDetector

SAME = ("detector", "target", "metadata", "threshold")
PlainValue = bool | int | float | str | None


def save_detector(fitted: FittedDetector, path: Path) -> Path:
    """Write the detector to a file and return its path; see `FittedDetector.save`."""
    tensors: dict[str, Tensor] = {"seen": fitted.metadata.seen}
    values: dict[str, Any] = {}
    for f in fields(fitted):
        if f.name not in SAME:
            held, values[f.name] = _taken_apart(f.name, getattr(fitted, f.name))
            tensors |= held
    parameters = {f.name: _plain(getattr(fitted.detector, f.name)) for f in fields(cast(Any, fitted.detector))}
    about = {
        "detector": type(fitted.detector).__name__,
        "parameters": parameters,
        "attacks": fitted.metadata.attacks,
        "shape": fitted.metadata.shape,
        "threshold": vars(fitted.threshold) if fitted.threshold else None,
        "target": fingerprint(*fitted.target.identity()) if fitted.target is not None else None,
        "fields": values,
    }
    write_tensors(path, tensors, about)
    return path


def _taken_apart(name: str, value: Any) -> tuple[dict[str, Tensor], Any]:
    """Tensors by name, and how to put the field together again."""
    if isinstance(value, Tensor):
        return {name: value}, {"tensor": name}
    if isinstance(value, nn.Module):
        return {f"{name}.{key}": part for key, part in value.state_dict().items()}, {"network": name}
    if isinstance(value, tuple) and any(isinstance(part, Tensor) for part in value):
        return {f"{name}.{place}": part for place, part in enumerate(value)}, {"tensors": len(value)}
    return {}, {"plain": value}


def _plain(value: Any) -> Any:
    """Return a parameter as a file holds it."""
    if isinstance(value, FitConfig):
        return {"fit_config": vars(value)}
    if isinstance(value, tuple) and all(isinstance(part, PlainValue) for part in value):
        return list(value)
    return value if isinstance(value, PlainValue) else {"given": type(value).__name__}
