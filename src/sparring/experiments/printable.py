"""Text from outside made safe to print."""

from __future__ import annotations


def printable(text: object) -> str:
    """Return the text with what is not printable written as its code."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text))
