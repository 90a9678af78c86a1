"""Audits: plan -> cascade -> records -> report."""

import sys
from types import ModuleType
from typing import Any

from ..threats import Threat, parse, parse_all
from .audit import audit, render
from .observer import AttackStarted, ChunkDone, Tally, Watch
from .plan import Plan, make_plan
from .report.model import Report

__all__ = [
    "AttackStarted",
    "ChunkDone",
    "Plan",
    "Report",
    "Tally",
    "Threat",
    "Watch",
    "audit",
    "make_plan",
    "parse",
    "parse_all",
    "render",
]


class _Room(ModuleType):
    """`sparring.audit` is a room and a function; the import system sets the room, so the room can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Report:
        return audit(*arguments, **options)


sys.modules[__name__].__class__ = _Room
