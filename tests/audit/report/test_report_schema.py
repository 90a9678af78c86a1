"""The published schema is that of the reports that are written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparring.audit.report.json_schema import schema_text
from sparring.audit.report.model import Report

PUBLISHED = Path(__file__).parents[3] / "docs" / "report.schema.json"


def test_the_published_schema_is_current() -> None:
    again = "python -m sparring.audit.report.json_schema docs/report.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), f"make it again: {again}"


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-m", "sparring.audit.report.json_schema"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == schema_text()


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$") -> list[str]:
    """Where a value breaks the keywords that the schema uses."""
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, at)
    if "anyOf" in schema:
        found = [faults(value, one, root, at) for one in schema["anyOf"]]
        return min(found, key=len)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    kinds["null"] = type(None)
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return [f"{at}: {value!r} is no {schema['type']}"]
    wrong = [f"{at}: {value!r}"] if value not in schema.get("enum", [value]) else []
    wrong += [f"{at}: {value!r}"] if value != schema.get("const", value) else []
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        wrong += [f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value]
        wrong += [f"{at}: {name} is unknown" for name in value if name not in known and others is False]
        for name, one in value.items():
            inner = known.get(name, others if isinstance(others, dict) else {})
            wrong += faults(one, inner, root, f"{at}.{name}")
    if isinstance(value, list):
        for i, one in enumerate(value):
            wrong += faults(one, schema.get("items", {}), root, f"{at}[{i}]")
    return wrong


@pytest.mark.parametrize("content", ["report", "defended", "nearest", "proven", "hostile"])
def test_reports_obey_it(content: str, request: pytest.FixtureRequest) -> None:
    written: Report = request.getfixturevalue(content)
    schema = json.loads(schema_text())
    assert faults(json.loads(written.model_dump_json()), schema, schema) == []


def test_it_refuses_what_a_report_may_not_be(report: Report) -> None:
    schema = json.loads(schema_text())
    good = json.loads(report.model_dump_json())
    assert faults(good | {"more": 1}, schema, schema) == ["$: more is unknown"]
    nameless = {name: one for name, one in good.items() if name != "title"}
    assert faults(nameless, schema, schema) == ["$: title is missing"]
    assert faults(good | {"format": 99}, schema, schema) == ["$.format: 99"]
    assert faults(good | {"threats": [1]}, schema, schema) == ["$.threats[0]: 1 is no object"]
