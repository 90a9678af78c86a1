"""Settings of the whole process: ours while an entry point works, the user's own while code of the user's is called.

A script may have a default dtype of float64, a default device, gradients switched off, autocast or inference mode
around its call. None of it may change a number of ours (`isolated`); but a model that was written under a default dtype
or device needs it in its forward pass too, and a file of the user's its neighbours (`user_settings`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._C import (
    _get_function_stack_at,
    _is_any_autocast_enabled,
    _len_torch_function_stack,
    _pop_torch_function_stack,
    _push_on_torch_function_stack,
)
from torch._functorch import config
from torch.utils import _device

from .errors import UserCodeError, described, user_frame

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


class Defaults(NamedTuple):
    """The default dtype of new tensors, and what torch keeps of their default device."""

    dtype: torch.dtype = torch.float32
    modes: tuple[Any, ...] = ()  # the function modes; that of the default device lies at the bottom
    set_device: Any = None  # the mode that torch.set_default_device() made
    device: torch.device | None = None  # None: the CPU


PLAIN = Defaults()  # torch's own


class _Process:
    """What this process remembers of the user's settings."""

    user: Defaults | None = None  # None: those that are set are the user's
    from_file = False  # set by a file of the user's, and so kept
    folders: tuple[str, ...] = ()  # of the user's files, whose neighbours they import


@contextmanager
def isolated() -> Iterator[None]:
    """Work under torch's own settings, and put the caller's back.

    These are float32, the CPU, gradients, no autocast and no inference mode. The number of threads, the precision of
    matrix products and deterministic algorithms stay as they are, and are put back where code of the user's sets them.
    It may be entered again inside, and serves as a decorator too. Code of the user's inside - an attack, a goal, data -
    that calls sys.exit() or raises what is no `Exception` ends with a UserCodeError: no script may end as a success
    because of it.
    """
    outer = _Process.user
    _Process.user = outer or _present()
    try:
        with ExitStack() as held:
            held.enter_context(_defaults(PLAIN))
            held.enter_context(torch.inference_mode(False))
            held.enter_context(torch.enable_grad())
            for device in AUTOCAST_DEVICES:
                if torch.is_autocast_enabled(device):
                    held.enter_context(torch.autocast(device, enabled=False))
            held.enter_context(_compiled_models())
            held.enter_context(_switches())
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

    A default dtype or device or number of threads that it sets, gradients that it leaves switched off and autocast that
    it leaves switched on change nothing of ours.
    """

    __slots__ = ("autocast", "before", "folders", "given", "grad", "threads")

    def __enter__(self) -> None:
        self.grad, self.autocast, self.folders = torch.is_grad_enabled(), _is_any_autocast_enabled(), _Process.folders
        self.threads = torch.get_num_threads()
        if self.folders:
            sys.path[:0] = self.folders
        self.before = self.given = _present()
        if _Process.user is not None and _Process.user is not self.before:
            self.given = _set(_Process.user)

    def __exit__(self, *error: Any) -> None:
        left = _present()
        if left != self.before:
            _restore(self.before)
        if left != self.given and _Process.user is not None and error[0] is None:
            _Process.user = left
        if self.folders:
            _forget(self.folders)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if _is_any_autocast_enabled() and not self.autocast:
            for device in AUTOCAST_DEVICES:
                torch.set_autocast_enabled(device, False)


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
    if left != before:
        _Process.user, _Process.from_file = left, True


def _present() -> Defaults:
    dtype, set_device = torch.get_default_dtype(), getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    if set_device is None and not _len_torch_function_stack():
        return PLAIN if dtype is PLAIN.dtype else Defaults(dtype)
    return Defaults(dtype, _modes(), set_device, _device.CURRENT_DEVICE)


def _modes() -> tuple[Any, ...]:
    """The function modes that torch has on its stack, the lowest first."""
    return tuple(_get_function_stack_at(place) for place in range(_len_torch_function_stack()))


def _restore(defaults: Defaults) -> None:
    """Put back what `_present` gave, whatever has been set since."""
    torch.set_default_dtype(defaults.dtype)
    while _len_torch_function_stack():
        _pop_torch_function_stack()
    for mode in defaults.modes:
        _push_on_torch_function_stack(mode)
    torch._GLOBAL_DEVICE_CONTEXT.device_context, _device.CURRENT_DEVICE = defaults.set_device, defaults.device


def _set(wanted: Defaults) -> Defaults:
    """Set the default dtype and device to those that are wanted, and return what is then present."""
    others = [mode for mode in _modes() if not isinstance(mode, _device.DeviceContext)]
    device = [mode for mode in wanted.modes if isinstance(mode, _device.DeviceContext)]
    _restore(Defaults(wanted.dtype, (*device, *others), wanted.set_device, wanted.device))
    return _present()


def _forget(folders: tuple[str, ...]) -> None:
    """Take each of the folders off `sys.path` once."""
    for folder in folders:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _defaults(wanted: Defaults) -> Iterator[None]:
    """Set the defaults of new tensors within this context."""
    before = _present()
    try:
        if wanted is not before:
            _set(wanted)
        yield
    finally:
        if _present() != before:
            _restore(before)


@contextmanager
def _switches() -> Iterator[None]:
    """Put back what a model may leave changed, and what changes the speed or the rounding of a process."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    strict = _deterministic()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if _deterministic() != strict:
            torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])


def _deterministic() -> tuple[bool, bool]:
    """Whether deterministic algorithms are wanted, and whether others only warn."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


@contextmanager
def _compiled_models() -> Iterator[None]:
    """Let torch compile passes of which several gradients can be taken, as a Jacobian does, for any kind of input."""
    with config.patch(donated_buffer=False), ExitStack() as held:
        if "torch._dynamo" in sys.modules:
            held.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf Tensor")
        yield
