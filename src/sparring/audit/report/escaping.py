"""Escaping of untrusted text for the page: invisible characters and changes of direction are spelled out."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

BRIEF = 60  # shorter texts than this are cut without a count
JOINERS = {"\u200c", "\u200d"}  # part of correct spelling, and of emoji
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(text: str, longest: int = 200) -> str:
    """Foreign text with control and direction marks spelled out, cut in the middle when it is too long."""
    if len(text) > longest and longest < BRIEF:
        text = f"{text[: longest - 2]}…{text[-1]}"
    elif len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} … {text[-half:]} ({len(text):,} characters)"
    return "".join(_spelled(letter) for letter in text)


def plan_text(plan: Mapping[str, Any], longest: int = 20_000) -> str:
    """Return a plan as JSON, one line for each of its fields."""
    fields = [f"  {_json(name)}: {_json(value)}" for name, value in plan.items()]
    text = "{\n" + ",\n".join(fields) + "\n}" if fields else "{}"
    if len(text) > longest:
        text = f"{text[:longest]}\n… {len(text):,} characters in all; report.json has the rest"
    return "\n".join(visible(line, longest + 100) for line in text.split("\n"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _spelled(letter: str) -> str:
    if letter in JOINERS or unicodedata.category(letter) not in HIDDEN:
        return letter
    return f"\\u{{{ord(letter):x}}}"
