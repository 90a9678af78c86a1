"""Nested lists in parentheses, as SMT-LIB and VNN-LIB write them, each with its line; `;` begins a comment.

The files may be hostile: nothing is evaluated, nesting and sizes are bounded, and one top-level form is held at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ....errors import InputError

DEPTH = 100  # of nested parentheses
TOKENS = 20_000_000  # of one top-level form
LONGEST = 1000  # characters of an atom

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v]+|;[^\n]*)
      | (?P<line>\n)
      | (?P<open>\()
      | (?P<close>\))
      | (?P<text>"[^"\n]*")
      | (?P<atom>[^\s()\[\];"]+(?:\[[^\]()\n;"]*\])?|\[[^\]()\n;"]*\])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Atom:
    """A word, a number, a text in quotation marks, or what stands in brackets, with the name before it."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Form:
    """A list in parentheses; `line` is that of its opening one."""

    parts: tuple[Expression, ...]
    line: int


Expression = Atom | Form


def read_forms(text: str, name: str) -> Iterator[Form]:
    """Yield the top-level lists of a text, in order.

    Args:
        text: the content of a file.
        name: of the file, for messages.

    Raises:
        InputError: with the line, for what is no such list, or too deep, too long or unfinished.
    """

    def wrong(line: int, what: str) -> InputError:
        return InputError(f"{name}, line {line}: {what}")

    line, place, tokens = 1, 0, 0
    open_lists: list[tuple[int, list[Expression]]] = []
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise wrong(line, f"{text[place]!r} is not closed on its line, or has no place there")
        place, kind = match.end(), match.lastgroup
        if kind == "space":
            continue
        if kind == "line":
            line += 1
            continue
        tokens += 1
        if tokens > TOKENS:
            raise wrong(line, f"an expression has more than {TOKENS:,} parts; split it into several assertions")
        if kind == "open":
            if len(open_lists) == DEPTH:
                raise wrong(line, f"expressions are nested more than {DEPTH} deep")
            open_lists.append((line, []))
        elif kind == "close":
            if not open_lists:
                raise wrong(line, "')' closes nothing")
            first, parts = open_lists.pop()
            form = Form(tuple(parts), first)
            if open_lists:
                open_lists[-1][1].append(form)
            else:
                tokens = 0
                yield form
        else:
            word = match.group()
            if len(word) > LONGEST:
                raise wrong(line, f"a word has {len(word):,} characters, and {LONGEST} are the most")
            if not open_lists:
                raise wrong(line, f"{word!r} stands outside of parentheses")
            open_lists[-1][1].append(Atom(word, line))
    if open_lists:
        raise wrong(open_lists[-1][0], "'(' is never closed")
