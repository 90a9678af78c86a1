"""`trained:DIR`: the best weights of a `sparring train` run, loaded into the model that its plan names.

`trained:DIR/last.safetensors` is another weights file of the folder. A folder may come from a stranger, so no Python
file that its plan names is run, but for the one that the zoo's own plans name: the caller names it,
`trained:DIR@FILE.py:FACTORY`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ...errors import ConfigError, RunError, TargetError
from ...hashing import file_sha256
from ...targets import Classifier
from .. import python_file
from ..catalog import PLAN_NETWORKS
from ..loaded import LoadedModel
from ..spec_paths import with_path

SCHEME = "trained"
PLAN, BEST = "plan.toml", "best.safetensors"
ELSEWHERE = ("http", "https", "onnx")  # no modules


def trained_model(name: str, device: str, load: Callable[..., LoadedModel]) -> LoadedModel:
    """Return the model of a training's folder, under the folder's name; `load` loads the network by its spec."""
    where, factory = split_trained_spec(name)
    weights = where if where.suffix == ".safetensors" else where / BEST
    if not weights.parent.is_dir():
        raise ConfigError(f"{SCHEME}:{name}: there is no folder {weights.parent}; name one that `sparring train` made")
    spec = architecture(weights.parent) if factory is None else factory
    if not weights.is_file():
        raise RunError(f"{weights} is not there; the folder of a training has it after the first epoch")
    loaded = load(spec, device=device)
    target = loaded.target
    if not isinstance(target, Classifier) or not isinstance(target.model, nn.Module):
        raise TargetError(f"{SCHEME}:{name}: {spec} is no module that could take weights; name the model of the plan")
    fill_weights(target.model, weights, spec)
    shown = copy(target)
    shown._name = weights.parent.resolve().name
    return replace(loaded, name=f"{SCHEME}:{name}", target=shown, source=str(weights), sha256=file_sha256(weights))


def split_trained_spec(name: str) -> tuple[Path, str | None]:
    """Return the folder or weights file, and FILE.py:FACTORY where it is given."""
    where, _, factory = name.rpartition("@")
    if where and python_file.split_factory(factory) is not None:
        return Path(where).expanduser(), factory
    return Path(name).expanduser(), None


def architecture(folder: Path) -> str:
    """Return the MODEL that gives the network; a training that went on from another has the other's."""
    first, seen = folder, {folder.resolve()}
    while True:
        spec = planned_model(folder)
        scheme, _, rest = spec.partition(":")
        if scheme in ELSEWHERE:
            raise TargetError(f"{folder / PLAN} names {spec}, which is no module; {SCHEME}: loads trainings only")
        if scheme != SCHEME:
            if python_file.split_factory(spec) is not None and not is_own_file(spec):
                raise ConfigError(refusal_message(folder, first, spec))
            return spec
        where, factory = split_trained_spec(rest)
        if factory is not None:
            raise ConfigError(refusal_message(folder, first, factory))
        folder = where.parent if where.suffix == ".safetensors" else where
        if folder.resolve() in seen:
            raise ConfigError(f"{first / PLAN} goes on from itself; the plan of a training names another MODEL")
        seen.add(folder.resolve())


def is_own_file(spec: str) -> bool:
    """Tell whether FILE.py:FACTORY names the networks that the plans of the zoo are of, which are no stranger's."""
    named = python_file.split_factory(spec)
    return named is not None and named[0].resolve() == PLAN_NETWORKS.resolve()


def refusal_message(folder: Path, first: Path, spec: str) -> str:
    """Say that the Python file of a plan is not run, and what to write to run it."""
    return (
        f"{folder / PLAN} names {spec}, and a Python file is not run because a folder says so; if you trust the file, "
        f"write {SCHEME}:{first}@{spec}"
    )


def planned_model(folder: Path) -> str:
    """Return the MODEL that the folder's plan names, with its path; nothing else of the plan is read."""
    path = folder / PLAN
    if not path.is_file():
        raise RunError(f"{path} is not there; name a folder that `sparring train` made")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    model, begun_in = table.get("model"), table.get("folder", str(folder))
    if not isinstance(model, str):
        raise ConfigError(f"{path} names no model; write it as model = 'zoo:NAME'")
    return with_path(model, Path(begun_in) if isinstance(begun_in, str) else folder)


def fill_weights(model: nn.Module, weights: Path, spec: str) -> None:
    """Load the weights; TargetError where names or shapes are not the model's."""
    tensors = read_trained_weights(weights)
    own = model.state_dict()
    for word, names in (("lacks", own.keys() - tensors.keys()), ("has besides", tensors.keys() - own.keys())):
        if names:
            raise TargetError(f"{weights} {word} {', '.join(sorted(names)[:3])}: these are no weights of {spec}")
    for name, value in own.items():
        if value.shape != tensors[name].shape:
            there, here = tuple(tensors[name].shape), tuple(value.shape)
            raise TargetError(f"{weights}: {name} has shape {there}, and {spec} wants {here}; name the trained model")
    model.load_state_dict(tensors)
    model.eval()


def read_trained_weights(weights: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file; RunError where it is none."""
    try:
        with safe_open(str(weights), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read {weights}: {error}; name a folder that `sparring train` made") from error
