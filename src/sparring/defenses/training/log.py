"""The log of a training: a CSV file that is replaced as a whole, and curves for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ...errors import RunError
from ...files import write_atomically
from ...targets.optional_imports import import_optional
from .validation import Epoch

CURVES = ("loss", "clean", "single_step", "robust", "acr", "certified", "eps", "lr")


class TrainingLog:
    """Write log.csv and TensorBoard curves after each epoch; a resumed training drops later lines.

    Raises: AssetError without tensorboard, RunError where the disk does not take the file.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / "log.csv"
        tensorboard = import_optional("torch.utils.tensorboard", "the log of a training", "train")
        self.curves = tensorboard.SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Write all epochs so far; the last one is added to the curves."""
        text = io.StringIO()
        table = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        table.writeheader()
        table.writerows(epoch.row() for epoch in epochs)
        try:
            write_atomically(self.path, text.getvalue().encode())
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error}; free some space and run again with --resume") from error
        for name in CURVES:
            value = getattr(epochs[-1], name)
            if value is not None and value == value:
                self.curves.add_scalar(name, value, epochs[-1].epoch)
        self.curves.flush()

    def close(self) -> None:
        """Close the TensorBoard writer."""
        self.curves.close()
