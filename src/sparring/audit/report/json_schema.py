"""The JSON Schema of report.json: `python -m sparring.audit.report.json_schema docs/report.schema.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .model import FORMAT, Report


def schema_text() -> str:
    """Return the schema (draft 2020-12) as the file that is published: made from the model, and from nothing else."""
    schema = untitled(Report.model_json_schema(mode="serialization"))
    schema["properties"]["format"] |= {"const": FORMAT}
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "report.json of sparring"}
    return json.dumps(named | schema, indent=1, ensure_ascii=False) + "\n"


def untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes from the names of fields."""
    if isinstance(schema, list):
        return [untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: untitled(one) for name, one in schema.items() if name != "title" or isinstance(one, dict)}


def main() -> None:
    """Write the schema into the file that is named, or print it."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(schema_text(), encoding="utf-8")
    else:
        sys.stdout.write(schema_text())


if __name__ == "__main__":
    main()
