"""`Records`: the SQLite database of a run, with the tables of `schema`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...errors import RunError
from ...zoo import Skipped
from ..plan import AuditPlan, differences
from .facts import Facts
from .rows import ChunkRows
from .run_folder import connect, refuse_used, writing
from .schema import FILE, FORMAT, SCHEMA


class Records:
    """An open run folder."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self.connection = folder, connection

    @classmethod
    def begin(cls, folder: Path, plan: AuditPlan, facts: Facts) -> Records:
        """Return a new run; RunError where the folder already holds something."""
        refuse_used(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            records = cls(folder, connect(folder))
            with records.connection:
                records._create(plan, facts)
        return records

    @classmethod
    def resume(cls, folder: Path, plan: AuditPlan, facts: Facts) -> Records:
        """Return the run in the folder, if it is one of this plan and these weights."""
        records = cls.open(folder)
        records._compare(plan, facts)
        with writing(folder), records.connection:
            records._execute("UPDATE run SET resumed = resumed + 1")
        return records

    @classmethod
    def open(cls, folder: Path) -> Records:
        """Return the run in the folder, to be read."""
        if not (folder / FILE).is_file():
            raise RunError(f"{folder} holds no run: {FILE} is not there; name the folder given as --out")
        records = cls(folder, connect(folder))
        try:
            found = records._query("SELECT format FROM run")
        except sqlite3.DatabaseError as error:
            records.close()
            raise RunError(f"{folder / FILE} cannot be read: {error}") from error
        if not found or found[0][0] != FORMAT:
            raise RunError(f"{folder / FILE} has another format; read it with the version of sparring that wrote it")
        return records

    def _create(self, plan: AuditPlan, facts: Facts) -> None:
        for statement in SCHEMA.split(";\n"):
            if statement.strip():
                self._execute(statement)
        values = (FORMAT, plan.model_dump_json(), facts.model_dump_json())
        self._execute("INSERT INTO run (id, format, plan, facts) VALUES (1, ?, ?, ?)", values)

    def _compare(self, plan: AuditPlan, facts: Facts) -> None:
        changed = differences(self.plan, plan)
        if changed:
            name = changed[0]
            raise RunError(
                f"{self.folder} holds a run with another {name} ({getattr(self.plan, name)!r}, not "
                f"{getattr(plan, name)!r}); resume it with the same arguments, or choose another --out"
            )
        if self.facts.weights != facts.weights:
            raise RunError(
                f"{self.folder} holds a run of other weights, or of another defence, than {facts.model} has now; "
                "choose another --out"
            )

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self.connection.execute(statement, values)

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    @property
    def plan(self) -> AuditPlan:
        return AuditPlan.model_validate_json(self._query("SELECT plan FROM run")[0][0])

    @property
    def facts(self) -> Facts:
        return Facts.model_validate_json(self._query("SELECT facts FROM run")[0][0])

    @property
    def resumed(self) -> int:
        """How often the run was resumed."""
        return int(self.scalar("SELECT resumed FROM run"))

    @property
    def finished(self) -> bool:
        """Is every chunk recorded?"""
        return bool(self.scalar("SELECT finished FROM run"))

    def chunks(self) -> dict[int, tuple[int, int, str]]:
        """Return number -> (first row, count, hash) of every chunk that is safe."""
        rows = self._query("SELECT id, first, count, sha256 FROM chunk ORDER BY id")
        return {number: (first, count, digest) for number, first, count, digest in rows}

    def commit(self, rows: ChunkRows, skipped: list[Skipped]) -> None:
        """Write everything about a chunk in one transaction."""
        with writing(self.folder), self.connection:
            self._insert("chunk", [rows.chunk])
            self._insert("sample", rows.samples)
            self._insert("result", rows.results)
            self._insert("stretched", rows.stretched)
            self._skip(skipped)

    def finish(self, skipped: list[Skipped]) -> None:
        with writing(self.folder), self.connection:
            self._skip(skipped)
            self._execute("UPDATE run SET finished = 1")

    def probe_results(self) -> dict[str, Any]:
        """Return the measurements of the probes; empty where they have not run."""
        return {name: json.loads(value) for name, value in self._query("SELECT name, value FROM probe")}

    def record_probes(self, measured: dict[str, Any]) -> None:
        """Record the measurements of the probes."""
        rows = [{"name": name, "value": json.dumps(value)} for name, value in measured.items()]
        with writing(self.folder), self.connection:
            self._insert("probe", rows)

    def accepted_codes(self) -> set[str]:
        """Return the codes of findings that were accepted (`--accept`)."""
        return {code for (code,) in self._query("SELECT code FROM accepted")}

    def accept(self, codes: Iterable[str], at: str) -> None:
        """Record findings as accepted."""
        with writing(self.folder), self.connection:
            pairs = [(code, at) for code in codes]
            self.connection.executemany("INSERT OR IGNORE INTO accepted VALUES (?, ?)", pairs)

    def _skip(self, skipped: list[Skipped]) -> None:
        pairs = [(one.name, one.reason) for one in skipped]
        self.connection.executemany("INSERT OR REPLACE INTO skipped VALUES (?, ?)", pairs)

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            columns = ", ".join(rows[0])
            places = ", ".join(f":{name}" for name in rows[0])
            self.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608

    def select(self, statement: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Yield rows of a question, one at a time; `values` in order, or one mapping by name."""
        cursor = self.connection.cursor()
        cursor.row_factory = sqlite3.Row
        named = len(values) == 1 and isinstance(values[0], dict)
        yield from cursor.execute(statement, values[0] if named else values)

    def scalar(self, statement: str, *values: Any) -> Any:
        """Return the single value of a question."""
        return self._query(statement, values)[0][0]

    def data_hash(self) -> str:
        """SHA-256 over the hashes of all images in their order: it does not depend on how they were batched."""
        digest = hashlib.sha256()
        for row in self.select("SELECT sha256 FROM sample ORDER BY id"):
            digest.update(row["sha256"].encode())
        return digest.hexdigest()

    def close(self) -> None:
        self.connection.close()
