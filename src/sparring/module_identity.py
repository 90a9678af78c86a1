"""What tells one network from another: its weights, its structure, and the code that it runs.

Two networks may have the same weights and another activation, another number of heads or another mean inside. A
checkpoint that mixed them would hold examples of two models.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import re
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .errors import user_code

ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")
PLACE = re.compile(r"#.*|\.___torch_mangle_\d+")  # where a script was written, and a count of those made before it
DEPTH = 4  # of records inside records that are looked into
PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def module_identity(module: nn.Module) -> tuple[object, ...]:
    """Return names and values of parameters and buffers, and a SHA-256 of structure, hyper-parameters and code.

    Hyper-parameters are attributes that are named as a parameter of the constructor, and functions, texts and real
    numbers under any name. Attributes that hold what a forward pass leaves behind are no part of it.
    """
    with user_code(f"{type(module).__name__}.state_dict()"):
        held = dict(module.state_dict(keep_vars=True)) | dict(module.named_buffers())
    values = [part for name, value in sorted(held.items()) for part in (name, value)]
    return (*values, _Structure().of(module))


def script_constants(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that are constants of a TorchScript module: the weights of a frozen one."""
    if isinstance(module, torch.jit.ScriptModule):
        graph = module.inlined_graph  # its nodes live as long as it does
        for node in graph.findAllNodes("prim::Constant"):  # type: ignore[attr-defined]
            if node.hasAttribute("value") and node.kindOf("value") == "t":
                yield node.t("value")


class _Structure:
    """One look at a network; code that several of its parts share is read once."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: set[int] = set()

    def of(self, module: nn.Module) -> str:
        self._add(ADDRESS.sub("", _text(module)))
        for name, part in module.named_modules():
            self._add(name, type(part).__qualname__)
            if isinstance(part, torch.jit.ScriptModule):
                self._add(PLACE.sub("", str(part.inlined_graph)) if part is module else "")
                continue
            if isinstance(part, torch.fx.GraphModule):
                self._add(part.code)
            self._class(type(part))
            self._attributes(part)
        for constant in script_constants(module):
            self._value(constant)
        return self.digest.hexdigest()

    def _add(self, *words: object) -> None:
        for word in words:
            self.digest.update(f"{word!r},".encode(errors="replace"))

    def _class(self, kind: type) -> None:
        """Add the methods of a class and of those it derives from, but those of torch and of Python itself."""
        if id(kind) in self.seen:
            return
        self.seen.add(id(kind))
        for one in kind.__mro__:
            if one.__module__.partition(".")[0] not in ("torch", "builtins", "typing", "abc"):
                for name, value in sorted(vars(one).items()):
                    if isinstance(value, FunctionType | staticmethod | classmethod):
                        self._add(name)
                        self._value(getattr(value, "__func__", value))

    def _attributes(self, part: nn.Module) -> None:
        named = _constructor_names(type(part))
        for name, value in sorted(vars(part).items()):
            if name.startswith("_") or name == "training" or isinstance(value, nn.Module):
                continue
            if name in named or isinstance(value, float | str) or (callable(value) and not isinstance(value, type)):
                self._add(name)
                self._value(value)

    def _value(self, value: Any, depth: int = 0) -> None:
        if isinstance(value, PLAIN):
            self._add(value)
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, functools.partial):
            self._value((value.func, value.args, value.keywords), depth)
        elif isinstance(value, MethodType):
            self._add(value.__func__.__qualname__)
        elif isinstance(value, FunctionType):
            self._function(value, depth)
        elif depth < DEPTH and isinstance(value, list | tuple):
            self._add(type(value).__name__, len(value))
            for each in value:
                self._value(each, depth + 1)
        elif depth < DEPTH and isinstance(value, dict):
            for key, each in sorted(value.items(), key=lambda pair: str(pair[0])):
                self._add(str(key))
                self._value(each, depth + 1)
        elif isinstance(value, nn.Module):
            self._add(type(value).__qualname__)
        else:
            self._add(getattr(value, "__qualname__", type(value).__qualname__))
            inside = {} if callable(value) else getattr(value, "__dict__", {})
            if depth < DEPTH:
                self._value({name: each for name, each in inside.items() if not name.startswith("_")}, depth + 1)

    def _tensor(self, value: Tensor) -> None:
        self._add(value.dtype, tuple(value.shape))
        if value.numel() and not value.is_meta and value.layout == torch.strided:
            self.digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)

    def _function(self, function: FunctionType, depth: int) -> None:
        """Add the code of a function, its defaults, what it encloses, and the constants of its file that it reads."""
        self._add(function.__name__)
        if id(function.__code__) in self.seen or depth >= DEPTH:
            return
        self.seen.add(id(function.__code__))
        stored = self._code(function.__code__, function.__doc__)
        self._value(function.__defaults__ or (), depth + 1)
        for cell in function.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if isinstance(held, (*PLAIN, tuple, Tensor, FunctionType)):
                self._value(held, depth + 1)
        for name in sorted({*function.__code__.co_names} - stored):
            found = function.__globals__.get(name)
            own = isinstance(found, FunctionType) and found.__module__ == function.__module__
            if own or isinstance(found, int | float | str | tuple | Tensor):
                self._add(name)
                self._value(found, depth + 1)

    def _code(self, code: CodeType, doc: str | None) -> set[str]:
        """Add the instructions and constants; return the names of the globals that the code assigns."""
        self.digest.update(code.co_code)
        self._add(code.co_names)
        stored = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL"}
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                stored |= self._code(constant, None)
            elif doc is None or constant != doc:
                self._add(constant if not isinstance(constant, frozenset) else sorted(map(repr, constant)))
        return stored


def _text(module: nn.Module) -> str:
    try:
        return repr(module)
    except Exception:  # a text of the user's own that fails
        return type(module).__qualname__


def _constructor_names(kind: type) -> set[str]:
    """Return the names of the parameters of a class's constructors."""
    made = [vars(one).get("__init__") for one in kind.__mro__]
    codes = [one.__code__ for one in made if isinstance(one, FunctionType)]
    return {name for code in codes for name in code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]}
