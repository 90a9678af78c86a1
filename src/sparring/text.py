"""Text from outside: file names, classes, models, labels. Here it is made fit to be stored, and to be printed."""

from __future__ import annotations

from typing import Any


def storable(value: Any) -> Any:
    """Return the value with every text in it, in tuples, lists and dicts too, as UTF-8 can hold it.

    A name of a file need be no UTF-8: Python then has a lone surrogate for each byte that is none, which no database,
    JSON file or page takes. Such a byte is written as its code, `\\xff`, and any other surrogate as `\\ud800`.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "".join(storable_character(c) for c in value)
        return value
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(storable(one) for one in value)
    return value


def storable_character(c: str) -> str:
    """Return a character, or the code of one that UTF-8 does not have."""
    if not 0xD800 <= ord(c) <= 0xDFFF:
        return c
    return f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else f"\\u{ord(c):04x}"


def printable(text: object) -> str:
    """Return the text with what is not printable written as its code."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in storable(str(text)))
