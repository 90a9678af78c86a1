"""Classes in words: `--targeted 3`, `--targeted "tabby cat"`, or a file with a class for each image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from ...zoo import Data, LoadedModel

FILES = (".txt", ".npy")
EXAMPLE = "write its number from 0 on, or its name"


def parse_targets(text: str | None, loaded: LoadedModel, data: Data) -> int | Tensor | None:
    """Return the class that every image is to be given, or (N,) int64 with one for each; None for None.

    `text` is a number, a name, or a file: .txt with a number or name on each line, or .npy with N integers.

    Raises: ConfigError for a class that the model does not have, and a file that does not fit the data.
    """
    import torch

    if text is None:
        return None
    names, count = class_names(loaded, data), getattr(loaded.target, "classes", None)
    if Path(text).suffix.lower() not in FILES:
        return parse_class(text, names, count, "--targeted")
    words = read_words(Path(text))
    if len(words) < len(data):
        raise ConfigError(f"--targeted {text} has {len(words)} classes for {len(data)} images; write one for each")
    found = [parse_class(word, names, count, f"{text}, entry {place}") for place, word in enumerate(words)]
    return torch.tensor(found, dtype=torch.int64)


def parse_target(text: str | None, loaded: LoadedModel, data: Data) -> int | None:
    """Return the class that every image is to be given, by number or name; None for None, ConfigError for no class."""
    count = getattr(loaded.target, "classes", None)
    return None if text is None else parse_class(text, class_names(loaded, data), count, "--targeted")


def class_names(loaded: LoadedModel, data: Data | None) -> tuple[str, ...]:
    """Return the names of the classes, of the model or else of the data."""
    return loaded.class_names or (data.class_names if data is not None else None) or ()


def parse_class(text: str, names: Sequence[str], count: int | None, what: str) -> int:
    """Return the number of a class that is given by number or by name."""
    word = text.strip()
    count = count or len(names) or None
    if re.fullmatch(r"[+-]?[0-9]{1,9}", word):
        number = int(word)
        if number < 0 or (count is not None and number >= count):
            known = "" if count is None else f"; the model has {count}, 0 to {count - 1}"
            raise ConfigError(f"{what}: {word} is no class{known}")
        return number
    lowered = [name.lower() for name in names]
    if word.lower() in lowered:
        if lowered.count(word.lower()) > 1:
            raise ConfigError(f"{what}: several classes are called {word!r}; write the number of one")
        return lowered.index(word.lower())
    known = (
        f"it has {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "its classes have no names"
    )
    raise ConfigError(f"{what}: the model has no class {word!r:.80} ({known}); {EXAMPLE}.{nearest(word, lowered)}")


def read_words(path: Path) -> list[str]:
    """Return the entries of a file of classes, in their order."""
    import numpy as np

    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise ConfigError(f"--targeted {path} holds {array.dtype} of shape {array.shape}; write N integers")
            return [str(value) for value in array.tolist()]
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, EOFError) as error:
        cure = "write a class per line, or save N integers with numpy"
        raise ConfigError(f"--targeted {path} cannot be read ({error}); {cure}") from error
