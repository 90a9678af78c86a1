"""Settings of the whole process: ours while an entry point works, the user's own while code of the user's is called.

A script may have a default dtype of float64, a default device, gradients switched off, autocast or inference mode
around its call. None of it may change a number of ours (`isolated`); but a model that was written under a default dtype
or device needs it in its forward pass too, and a file of the user's its neighbours (`user_settings`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._functorch import config

from .errors import UserCodeError, described, user_frame

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


class Defaults(NamedTuple):
    """The default dtype and device of new tensors."""

    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")


PLAIN = Defaults()  # torch's own


class _Process:
    """What this process remembers of the user's settings."""

    user: Defaults | None = None  # None: those that are set are the user's
    from_file = False  # set by a file of the user's, and so kept
    folders: tuple[str, ...] = ()  # of the user's files, whose neighbours they import


@contextmanager
def isolated() -> Iterator[None]:
    """Work under torch's own settings, and put the caller's back.

    These are float32, the CPU, gradients, no autocast and no inference mode. It may be entered again inside, and serves
    as a decorator too. Code of the user's inside - an attack, a goal, data - that calls sys.exit() or raises what is no
    `Exception` ends with a UserCodeError: no script may end as a success because of it.
    """
    outer = _Process.user
    _Process.user = outer or _present()
    try:
        with ExitStack() as held:
            held.enter_context(_defaults(Defaults()))
            held.enter_context(torch.inference_mode(False))
            held.enter_context(torch.enable_grad())
            for device in AUTOCAST_DEVICES:
                if torch.is_autocast_enabled(device):
                    held.enter_context(torch.autocast(device, enabled=False))
            held.enter_context(_compiled_models())
            yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        where = user_frame(error.__traceback__) or "code of the model, the attack or the data"
        raise UserCodeError(f"{where} {described(error)}") from error
    finally:
        if not _Process.from_file:
            _Process.user = outer


class user_settings:
    """Call a model of the user's under the user's own defaults, with the folders of the user's files on `sys.path`.

    A default dtype that it sets, or gradients that it leaves switched off, change nothing of ours.
    """

    __slots__ = ("defaults", "dtype", "folders", "given", "grad", "user")

    def __enter__(self) -> None:
        self.dtype, self.grad = torch.get_default_dtype(), torch.is_grad_enabled()
        self.user, self.folders = _Process.user, _Process.folders
        if self.folders:
            sys.path[:0] = self.folders
        self.defaults = None if self.user is None or self.user == PLAIN else _defaults(self.user)
        if self.defaults is not None:
            self.defaults.__enter__()
        self.given = torch.get_default_dtype()

    def __exit__(self, *error: Any) -> None:
        left = torch.get_default_dtype()
        if self.defaults is not None:
            self.defaults.__exit__(*error)
        if self.folders:
            _forget(self.folders)
        if torch.get_default_dtype() != self.dtype:
            torch.set_default_dtype(self.dtype)
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if left != self.given and self.user is not None and error[0] is None:
            _Process.user = self.user._replace(dtype=left)


@contextmanager
def user_file(folder: Path) -> Iterator[None]:
    """Run a file of the user's in `folder`: defaults that it sets are its own, and hold whenever its code is called.

    It finds its neighbours, from now on and whenever its code is called.
    """
    before = _present()
    if str(folder) not in _Process.folders:
        _Process.folders = (str(folder), *_Process.folders)
    sys.path[:0] = _Process.folders
    try:
        with _defaults(_Process.user or before):
            yield
            left = _present()
    finally:
        _forget(_Process.folders)
        if _present() != before:
            torch.set_default_dtype(before.dtype)
            torch.set_default_device(None if before.device.type == "cpu" else before.device)
    if left != before:
        _Process.user, _Process.from_file = left, True


def _present() -> Defaults:
    return Defaults(torch.get_default_dtype(), torch.get_default_device())


def _forget(folders: tuple[str, ...]) -> None:
    """Take each of the folders off `sys.path` once."""
    for folder in folders:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _defaults(wanted: Defaults) -> Iterator[None]:
    """Set the defaults of new tensors within this context."""
    before = _present()
    if before == wanted:
        yield
        return
    torch.set_default_dtype(wanted.dtype)
    try:
        with nullcontext() if wanted.device == before.device else wanted.device:
            yield
    finally:
        torch.set_default_dtype(before.dtype)


@contextmanager
def _compiled_models() -> Iterator[None]:
    """Let torch compile passes of which several gradients can be taken, as a Jacobian does, for any kind of input."""
    with config.patch(donated_buffer=False), ExitStack() as held:
        if "torch._dynamo" in sys.modules:
            held.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf Tensor")
        yield
