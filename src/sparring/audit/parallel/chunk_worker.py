"""What a worker holds, what it is handed, and what it gives back: all as bytes between processes that trust each other.

A model goes to a worker as the object that it is, so that a factory which draws its weights is not called again.
Where it comes from FILE.py, that file is imported in the worker first; its classes are found there.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ...errors import ConfigError
from ...zoo import Chunk
from ..evaluation.admission import Door
from ..evaluation.attacker_views import Ring
from ..evaluation.cascade import Event, cascade
from ..evaluation.clean_chunk import Clean
from ..observer import Watch

USERS = "sparring_user_"  # how the modules of FILE.py models are called


@dataclass(frozen=True)
class Attacked:
    """A chunk with all that was done to it."""

    number: int
    clean: Clean
    events: list[Event]
    seconds: float


@dataclass(frozen=True)
class Failed:
    """Why there is no such chunk; no number: the worker could not even begin."""

    number: int | None
    error: Exception


@dataclass(frozen=True)
class Hands:
    """All that is needed to attack a chunk."""

    ring: Ring
    door: Door

    def attack(self, number: int, chunk: Chunk, watch: Watch) -> Attacked:
        """The whole cascade on one chunk."""
        clock = time.perf_counter()
        clean = self.door.admit(chunk)
        events = list(cascade(self.ring, clean, self.door.plan, watch))
        return Attacked(number, clean, events, time.perf_counter() - clock)

    def packed(self) -> bytes:
        """For `opened`; ConfigError where the model cannot be told to another process."""
        files = {name: str(module.__file__) for name, module in sys.modules.items() if name.startswith(USERS)}
        try:
            return pickle.dumps((files, pack(self, pickler())))
        except Exception as error:
            raise ConfigError(
                f"{self.ring.target.name} cannot be handed to other processes ({type(error).__name__}: {error}); "
                "define its class at the top of a file, or leave workers out"
            ) from error


def opened(packed: bytes, moved: dict[str, str] | None = None) -> Hands:
    """The hands, with tensors moved from one device to another."""
    files, inside = pickle.loads(packed)  # noqa: S301 - from the process that started this one
    for name, file in files.items():
        if name not in sys.modules:
            import_users(name, Path(file))
    hands: Hands = unpack(inside, moved)
    return hands


def import_users(name: str, file: Path) -> None:
    """Import FILE.py under the name that it has in the process that read it first."""
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(found)
    sys.path.insert(0, str(file.parent))
    try:
        found.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))


def answered(hands: Hands, packed: bytes) -> bytes:
    """What a worker says to a chunk."""
    number, chunk = unpack(packed)
    try:
        return pack(hands.attack(number, chunk, Watch()))
    except Exception as error:
        return pack(Failed(number, portable(error)))


def portable(error: Exception) -> Exception:
    """The error as another process can raise it, with a note of where it was raised."""
    note = "in a worker:\n" + "".join(traceback.format_exception(error))
    try:
        again: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - what was made in this very line
    except Exception:
        again = RuntimeError(f"{type(error).__name__}: {error}")
    again.add_note(note)
    return again


def pack_chunk(number: int, chunk: Chunk) -> bytes:
    """The chunk alone, without the larger tensor that its images may be a part of."""
    labels = None if chunk.labels is None else chunk.labels.clone()
    return pack((number, replace(chunk, images=chunk.images.detach().clone(), labels=labels)))


def pack(value: Any, module: ModuleType = pickle) -> bytes:
    """Any object, its tensors as they lie in memory."""
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_module=module, pickle_protocol=pickle.HIGHEST_PROTOCOL)
    return buffer.getvalue()


def unpack(packed: bytes, moved: dict[str, str] | None = None) -> Any:
    """What `pack` was given, in a process that this one started, or that started this one: never a file."""
    return torch.load(io.BytesIO(packed), map_location=moved, weights_only=False)


def pickler() -> ModuleType:
    """cloudpickle where it is installed: it knows of classes that only a notebook has."""
    return importlib.import_module("cloudpickle") if importlib.util.find_spec("cloudpickle") else pickle
