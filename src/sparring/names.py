"""Names from outside - of files, classes, data sets - in a form that can be stored and printed."""

from __future__ import annotations


def storable(name: str) -> str:
    """Return the name with what is no Unicode text written as its code: a byte 0xff of a file's name as \\xff.

    File names that are not UTF-8 reach Python with lone surrogates, which no database, JSON or terminal takes.
    """
    if name.isascii():
        return name
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = name.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")
