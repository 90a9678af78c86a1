"""The checkpoint folder of a run: finished batches and the batch in progress, each file written atomically.

Files are safetensors; nothing in them is executed when they are read. The folder belongs to one call: its
fingerprint covers the attack, the target, the goal, the images and the seed, and another call is refused.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from ..errors import USER_FILE_SHA256, ConfigError, RunError
from ..files import locked
from ..random import Key
from ..storage import read_checkpoint, write_tensors
from ..targets import Target, Unidentified
from .answers import answers_agree, sample_answers
from .options import Engine
from .outcome import Outcome, Passes


def fingerprint(*parts: object) -> str:
    """SHA-256 over the bytes of tensors, also of those inside records, and the text of everything else.

    Of a record whose class is in a user's file, the file's content counts too. It is the same in every process: of a
    function and of an object whose text is its address the name and the code or
    the fields stand in.
    """
    digest = hashlib.sha256()
    seen: set[int] = set()

    def add(part: object) -> None:
        if isinstance(part, Tensor):
            digest.update(repr((part.dtype, tuple(part.shape))).encode())
            digest.update(part.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
        elif is_dataclass(part) and not isinstance(part, type):
            written = getattr(sys.modules.get(type(part).__module__), USER_FILE_SHA256, "")
            digest.update(f"{type(part).__qualname__}{written}(".encode())
            for f in fields(part):
                digest.update(f"{f.name}=".encode())
                add(getattr(part, f.name))
        elif isinstance(part, tuple | list):
            digest.update(f"{type(part).__name__}(".encode())
            for inner in part:
                add(inner)
            digest.update(b")")
        elif isinstance(part, FunctionType):
            digest.update(f"{part.__module__}.{part.__qualname__},".encode() + part.__code__.co_code)
        elif type(part).__repr__ is object.__repr__:
            digest.update(f"{type(part).__module__}.{type(part).__qualname__}(".encode())
            if id(part) not in seen:  # it may hold itself
                seen.add(id(part))
                for name, value in sorted(getattr(part, "__dict__", {}).items()):
                    digest.update(f"{name}=".encode())
                    add(value)
        else:
            digest.update(f"{part!r},".encode("utf-8", "backslashreplace"))

    for part in parts:
        add(part)
    return digest.hexdigest()


def identity_of(target: Target[Any]) -> tuple[object, ...]:
    """Return what distinguishes the target from others; ConfigError for a function that has no identity."""
    parts = target.identity()
    for part in parts:
        if isinstance(part, Unidentified):
            raise ConfigError(
                f"{part.name} is {part.kind}, and nothing tells a checkpoint which one; {part.cure}, or leave the "
                "checkpoint out"
            )
    return parts


OTHER_ANSWERS = (
    "belongs to another model, which has the same weights and answers otherwise on the first inputs (its code or its "
    "preprocessing has changed)"
)


@contextmanager
def kept_checkpoint(engine: Engine) -> Iterator[None]:
    """Keep the engine's checkpoint folder for one call; RunError where another process has it, or it cannot be made."""
    if engine.checkpoint is None:
        yield
        return
    folder = Path(engine.checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}; choose another checkpoint folder") from error
    with locked(folder, "a run"):
        yield


class Checkpoint:
    """The folder of one run."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder, self.mark = folder, mark

    @property
    def current(self) -> Path:
        return self.folder / "current.safetensors"

    def _batch(self, start: int) -> Path:
        return self.folder / f"batch-{start:09d}.safetensors"

    def check_answers(self, target: Target[Any], x: Tensor, key: Key, context: Any) -> None:
        """Raise RunError where the target answers otherwise than when the folder was begun; note its answers then.

        `x` (B, ...) are the first inputs of the run, with their keys and contexts.
        """
        path, kind = self.folder / "answers.safetensors", target.device.type
        if not path.exists():
            write_tensors(path, sample_answers(target, x, key, context), {"mark": self.mark, "device": kind})
            return
        before, values = self._checked(path)
        now = sample_answers(target, x, key, context, twice=False)
        if not answers_agree(before, now, values["device"] == kind):
            raise RunError(f"{self.folder} {OTHER_ANSWERS}; use another checkpoint folder")

    def _checked(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        stranger = "belongs to another run (other attack, target, goal, images or seed); use another checkpoint folder"
        return read_checkpoint(path, self.mark, "delete it to begin again", stranger)

    def finished(self, start: int) -> Outcome | None:
        """Return the finished batch that begins at row `start`, if there is one."""
        if not self._batch(start).exists():
            return None
        tensors, values = self._checked(self._batch(start))
        passes = Passes(**{f.name: tensors.pop(f.name) for f in fields(Passes)})
        everything: dict[str, Any] = tensors | values["outcome"]
        everything["notes"] = tuple(everything["notes"])
        return Outcome(passes=passes, **everything)

    def finish(self, start: int, outcome: Outcome) -> None:
        tensors = {n: v for n, v in (vars(outcome) | vars(outcome.passes)).items() if isinstance(v, Tensor)}
        plain = {"seconds": outcome.seconds, "attack": outcome.attack, "goal": outcome.goal, "notes": outcome.notes}
        write_tensors(self._batch(start), tensors, {"mark": self.mark, "outcome": plain})
        self.forget()

    def save(self, start: int, rows: int, saved: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
        write_tensors(self.current, saved[0], saved[1] | {"mark": self.mark, "start": start, "rows": rows})

    def forget(self) -> None:
        """Delete the batch in progress, which was too large for the memory."""
        self.current.unlink(missing_ok=True)

    def under_way(self, start: int) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Return the batch in progress, if it begins at row `start`: its number of rows, tensors and values."""
        if not self.current.exists():
            return None
        tensors, values = self._checked(self.current)
        return (values["rows"], tensors, values) if values["start"] == start else None
