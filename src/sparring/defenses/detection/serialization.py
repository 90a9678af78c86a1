"""Fitted detectors from files: tensors and plain values, of which nothing is executed when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...engine import fingerprint
from ...errors import ConfigError, InputError, TargetError
from ...random import Key
from ...storage import read_tensors
from ...targets import Target
from ..fitting import FitConfig
from .detector import DetectorEstimator
from .fitted import FitMetadata, FittedDetector
from .table import table
from .threshold import Threshold


def load_detector(
    path: Path | str, *, target: Target[Any] | None = None, detector: DetectorEstimator | None = None
) -> FittedDetector:
    """Read a fitted detector from a file.

    Args:
        path: what `FittedDetector.save` wrote.
        target: the model that the detector was fitted on, where it reads one.
        detector: the detector, where it has parameters that no file holds (squeezers).

    Raises:
        RunError, InputError: where it cannot be read, or is no detector.
        TargetError: where the target is missing or another.
        ConfigError: where the detector must be given.
    """
    tensors, values = read_tensors(Path(path), "pass a file that FittedDetector.save wrote")
    try:
        kinds = {kind.__name__: kind for kind in table.values()}
        kind, marked = kinds[values["detector"]], values["target"]
        shape = tuple(int(size) for size in values["shape"])
        record = _detector(kind, values["parameters"], detector)
        if marked is not None:
            _check_target(target, marked, kind.__name__)
        metadata = FitMetadata(tensors.pop("seen"), tuple(values["attacks"]), shape)
        limit = None if values["threshold"] is None else Threshold(**values["threshold"])
        known = target if marked is not None else None
        parts = {name: _built(name, how, tensors, record, shape, known) for name, how in values["fields"].items()}
        fitted = kind.fitted(detector=record, target=known, metadata=metadata, threshold=limit, **parts)
        _tried(fitted)
        return fitted
    except (LookupError, TypeError, ArithmeticError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is no detector ({type(error).__name__}: {error}); fit it again") from error


def _built(
    name: str,
    how: Any,
    tensors: dict[str, Tensor],
    detector: DetectorEstimator,
    shape: tuple[int, ...],
    target: Target[Any] | None,
) -> Any:
    place = target.device if target is not None else torch.device("cpu")
    if "plain" in how:
        return tuple(how["plain"]) if isinstance(how["plain"], list) else how["plain"]
    if "tensor" in how:
        return tensors[name].to(place)
    if "tensors" in how:
        return tuple(tensors[f"{name}.{number}"].to(place) for number in range(int(how["tensors"])))
    state = {key.removeprefix(f"{name}."): part for key, part in tensors.items() if key.startswith(f"{name}.")}
    net = detector.network(name, shape, target)
    net.to(next(part.dtype for part in state.values() if part.is_floating_point()))
    net.load_state_dict(state)
    return net.to(place).eval().requires_grad_(False)


def _detector(
    kind: type[DetectorEstimator], parameters: dict[str, Any], given: DetectorEstimator | None
) -> DetectorEstimator:
    if given is not None:
        if type(given) is not kind:
            raise ConfigError(f"the file holds a {kind.__name__}, not a {type(given).__name__}")
        return given
    made: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, dict) and "given" in value:
            raise ConfigError(f"{kind.__name__} {name} is in no file: pass detector={kind.__name__}({name}=...)")
        made[name] = FitConfig(**value["fit_config"]) if isinstance(value, dict) else value
        made[name] = tuple(value) if isinstance(value, list) else made[name]
    detector = kind(**made)
    detector.check()
    return detector


def _check_target(target: Target[Any] | None, mark: str, name: str) -> None:
    if target is None:
        raise TargetError(f"{name} reads the model that it was fitted on: pass target=Classifier(model)")
    if fingerprint(*target.identity()) != mark:
        raise TargetError(f"{name} was fitted on another model than {target.name}, or on other weights of it")


def _tried(fitted: FittedDetector) -> None:
    """A score of a gray image, whatever it is: tensors of a foreign file need not fit together."""
    tensors = [part for value in vars(fitted).values() for part in (value if isinstance(value, tuple) else (value,))]
    if not all(bool(part.isfinite().all()) for part in tensors if isinstance(part, Tensor)):
        raise ValueError("a tensor is not finite")
    place = fitted.target.device if fitted.target is not None else torch.device("cpu")
    gray = torch.full((1, *fitted.metadata.shape), 0.5, device=place)
    with torch.no_grad():
        fitted.differentiable_score(gray, Key(torch.zeros(1, dtype=torch.long, device=place), 0))
