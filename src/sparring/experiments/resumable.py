"""A folder that a run fills part by part, and goes on with after it was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine.answers import answers_agree, sample_answers
from ..engine.checkpoint import OTHER_ANSWERS
from ..errors import RunError
from ..files import locked
from ..random import Key
from ..rows import to
from ..storage import read_checkpoint, write_tensors
from ..targets import Target
from .output import refuse_used_folder, report_write_errors


@contextmanager
def resumable_folder(
    note: Path, mark: str, what: str, other: str, target: Target[Any], images: Tensor, seed: int
) -> Iterator[None]:
    """Keep the folder of `note` for one process; RunError where it holds something other than a part of this run.

    The file `note` says what the run is, and what the model answers to a few images.

    Args:
        mark: the fingerprint of the run.
        what: the run in words, as "an attack".
        other: what another mark may come from.
        target, images, seed: the model, and images (B, ...) that it is asked about.
    """
    out, begun = note.parent, note.is_file()
    if not begun:
        refuse_used_folder(out)
    with report_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out, what):
        device = target.device
        asked = images.to(device), to(Key(torch.arange(len(images)), seed), device)
        with target.frozen():
            answers = sample_answers(target, *asked, twice=not begun)
        if begun:
            stranger = f"belongs to another run ({other}); choose another --out"
            before, values = read_checkpoint(note, mark, "choose another --out", stranger)
            if not answers_agree(before, answers, values["device"] == device.type):
                raise RunError(f"{out} {OTHER_ANSWERS}; choose another --out")
        else:
            write_tensors(note, answers, {"mark": mark, "device": device.type})
        yield
