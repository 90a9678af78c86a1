"""The audit of a model: plan -> attack cascade -> records -> findings -> report."""

import sys
from types import ModuleType
from typing import Any

from ..threats import Threat, parse_threat, parse_threat_list
from .audit import audit, render
from .observer import AttackStarted, AuditObserver, CertificatesRecorded, ChunkRecorded, CleanCounts
from .plan import AuditPlan, make_audit_plan
from .report.model import Report

__all__ = [
    "AttackStarted",
    "AuditObserver",
    "AuditPlan",
    "CertificatesRecorded",
    "ChunkRecorded",
    "CleanCounts",
    "Report",
    "Threat",
    "audit",
    "make_audit_plan",
    "parse_threat",
    "parse_threat_list",
    "render",
]


class _Room(ModuleType):
    """`sparring.audit` is a room and a function; the import system sets the room, so the room can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Report:
        return audit(*arguments, **options)


sys.modules[__name__].__class__ = _Room
