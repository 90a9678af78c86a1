"""`Records`: the SQLite database of a run, with the tables of `schema`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from ...engine.answers import answers_agree
from ...errors import RunError
from ...files import sync_folder
from ...text import storable
from ...zoo import Skipped
from ..plan import AuditOptions, AuditPlan, differences
from .facts import Facts
from .identity import ModelIdentity, Part
from .reference import split_reference
from .rows import ChunkRows
from .run_folder import connect, connect_to_read, refuse_used, writing
from .schema import FILE, FORMAT, SCHEMA

UPSERT = """
INSERT INTO certificate VALUES (
    :sample, :norm, :eps, :verdict, :method, :lower, :slack, :seconds, :domains, :searched)
ON CONFLICT (sample, norm, eps) DO UPDATE SET verdict = excluded.verdict, searched = excluded.searched,
    slack = COALESCE(excluded.slack, slack), seconds = seconds + excluded.seconds, domains = domains + excluded.domains,
    method = CASE WHEN excluded.verdict = 'open' AND COALESCE(excluded.lower, -9e999) <= COALESCE(lower, -9e999)
        THEN method ELSE excluded.method END,
    lower = CASE WHEN excluded.verdict = 'broken' THEN NULL
        WHEN COALESCE(excluded.lower, -9e999) > COALESCE(lower, -9e999) THEN excluded.lower ELSE lower END
"""
ORIGINAL = "UPDATE sample SET original_file = :file, original_row = :row WHERE id = :id AND original_file IS NULL"


class Records:
    """An open run folder."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self.connection = folder, connection

    @classmethod
    def begin(
        cls,
        folder: Path,
        plan: AuditPlan,
        facts: Facts,
        model: ModelIdentity,
        parts: list[Part],
        reference: Mapping[str, Any] | None = None,
    ) -> Records:
        """Return a new run on the data `parts`; RunError where the folder already holds something.

        `reference` came with the data beside its rows.

        Killed at any moment it leaves a whole run, or none that would be in the way of the next.
        """
        refuse_used(folder)
        with writing(folder, begun=False):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            records = cls(folder, connect(folder))
            try:
                with records._transaction():
                    records._create(plan, facts, model, parts, reference or {})
            except BaseException:
                records.close()
                raise
        return records

    @classmethod
    def resume(cls, folder: Path, plan: AuditPlan, facts: Facts, model: ModelIdentity) -> Records:
        """Return the run in the folder, if it is one of this plan and these models."""
        records = cls.open(folder)
        try:
            records._compare(plan, facts, model)
        except BaseException:
            records.close()
            raise
        return records

    @classmethod
    def open(cls, folder: Path, read_only: bool = False) -> Records:
        """Return the run in the folder; to be read only it may lie on a disk that cannot be written."""
        if not (folder / FILE).is_file():
            raise RunError(f"{folder} holds no run: {FILE} is not there; name the folder given as --out")
        records = cls(folder, connect_to_read(folder) if read_only else connect(folder))
        try:
            found = records._query("SELECT format FROM run")
        except sqlite3.DatabaseError as error:
            records.close()
            raise RunError(f"{folder / FILE} cannot be read: {error}") from error
        if not found or found[0][0] != FORMAT:
            records.close()
            raise RunError(f"{folder / FILE} has another format; read it with the version of sparring that wrote it")
        return records

    def _create(
        self, plan: AuditPlan, facts: Facts, model: ModelIdentity, parts: list[Part], reference: Mapping[str, Any]
    ) -> None:
        for statement in SCHEMA.split(";\n"):
            if statement.strip():
                self._execute(statement)
        values = (FORMAT, plan.model_dump_json(), facts.model_dump_json(), model.sha256, model.device)
        tensors, beside = split_reference(reference)
        insert = (
            "INSERT INTO run (id, format, plan, facts, identity, device, answers, reference, reference_tensors) "
            "VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._execute(insert, (*values, save(model.answers), json.dumps(beside), save(tensors)))
        self._insert(
            "part",
            [
                {"id": number, "first": part.first, "count": part.rows, "sha256": part.sha256}
                for number, part in enumerate(parts)
            ],
        )

    def _compare(self, plan: AuditPlan, facts: Facts, model: ModelIdentity) -> None:
        before = self.plan
        later = ("certify", "certify_timeout") if plan.certify and not before.certify else ()
        changed = [name for name in differences(before, plan) if name not in later]
        changed.sort(key=lambda name: name in AuditOptions.model_fields)  # first what is audited, then how
        if changed:
            name = changed[0]
            if name == "attack_files":
                raise RunError(
                    f"{self.folder} holds a run with another content of the files that suite names; restore it, or "
                    "choose another --out"
                )
            raise RunError(
                f"{self.folder} holds a run with another {name} ({getattr(self.plan, name)!r:.200}, not "
                f"{getattr(plan, name)!r:.200}); resume it with the same arguments, or choose another --out"
            )
        if self.facts.weights != facts.weights:
            raise RunError(
                f"{self.folder} holds a run of other weights, or of another defence, than {facts.model} has now; "
                "choose another --out"
            )
        if self.scalar("SELECT identity FROM run") != model.sha256:
            raise RunError(
                f"{self.folder} holds a run of {facts.model} with another structure (activations, hyper-parameters), "
                "preprocessing (mean, std, layout, task), access or surrogate; resume it with the same model, or "
                "choose another --out"
            )

    def compare_answers(self, model: ModelIdentity) -> None:
        """Raise RunError where the model answers the first inputs, which are those of the run, otherwise than then."""
        device, answers = self._query("SELECT device, answers FROM run")[0]
        if not answers_agree(load(answers), model.answers, device == model.device):
            raise RunError(
                f"{self.folder} holds a run of another {self.facts.model}: it has the same weights, and answers "
                "otherwise on the first inputs (its code has changed); restore it, or choose another --out"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write all of it or nothing, tables that are created included."""
        self._execute("BEGIN IMMEDIATE")
        with self.connection:
            yield

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

    def reference(self) -> dict[str, Any]:
        """Return what came with the data beside its rows: plain values and tensors by name."""
        plain, tensors = self._query("SELECT reference, reference_tensors FROM run")[0]
        return {**json.loads(plain), **load(tensors)}

    @property
    def resumed(self) -> int:
        """How often the run was resumed."""
        return int(self.scalar("SELECT resumed FROM run"))

    @property
    def finished(self) -> bool:
        """Is every chunk recorded?"""
        return bool(self.scalar("SELECT finished FROM run"))

    def parts(self) -> list[Part]:
        """Return the chunks of the data as they were when the run began."""
        return [Part(*row) for row in self._query("SELECT first, count, sha256 FROM part ORDER BY id")]

    def chunks(self) -> dict[int, int]:
        """Return number -> count of rows of every chunk that is safe."""
        return dict(self._query("SELECT chunk.id, count FROM chunk JOIN part ON part.id = chunk.id"))

    def add_certificates(self, plan: AuditPlan) -> None:
        """Take over a plan that asks for certificates, where the run was begun without: it is not finished then."""
        if plan.certify and not self.plan.certify:
            with self._writing():
                self._execute("UPDATE run SET plan = ?, finished = 0", (plan.model_dump_json(),))

    def count_resumed(self) -> None:
        """Note that the run is resumed once more."""
        with self._writing():
            self._execute("UPDATE run SET resumed = resumed + 1")

    def commit(self, rows: ChunkRows, skipped: list[Skipped]) -> None:
        """Write everything about a chunk in one transaction."""
        with self._writing():
            self._insert("chunk", [rows.chunk])
            self._insert("sample", rows.samples)
            self._insert("result", rows.results)
            self._insert("stretched", rows.stretched)
            self._skip(skipped)

    def commit_certificates(
        self, results: list[dict[str, Any]], certificates: list[dict[str, Any]], originals: list[dict[str, Any]]
    ) -> None:
        """Write certificates, what branch and bound did as an attack, and where originals are, in one transaction.

        A certificate that is there already is replaced; its costs and its bound, where that is better, stay.
        """
        with self._writing():
            self._insert("result", results, "INSERT OR REPLACE")
            self.connection.executemany(UPSERT, certificates)
            self.connection.executemany(ORIGINAL, originals)

    def finish(self, skipped: list[Skipped]) -> None:
        with self._writing():
            self._skip(skipped)
            self._execute("UPDATE run SET finished = 1")

    def probe_results(self) -> dict[str, Any]:
        """Return the measurements of the probes; empty where they have not run."""
        return {name: json.loads(value) for name, value in self._query("SELECT name, value FROM probe")}

    def record_probes(self, measured: dict[str, Any]) -> None:
        """Record the measurements of the probes."""
        rows = [{"name": name, "value": json.dumps(value)} for name, value in measured.items()]
        with self._writing():
            self._insert("probe", rows)

    def accepted_codes(self) -> set[str]:
        """Return the codes of findings that were accepted (`--accept`)."""
        return {code for (code,) in self._query("SELECT code FROM accepted")}

    def accept(self, codes: Iterable[str], at: str) -> None:
        """Record findings as accepted."""
        with self._writing():
            pairs = [(code, at) for code in codes]
            self.connection.executemany("INSERT OR IGNORE INTO accepted VALUES (?, ?)", pairs)

    def _skip(self, skipped: list[Skipped]) -> None:
        pairs = [storable((one.name, one.reason)) for one in skipped]
        self.connection.executemany("INSERT OR REPLACE INTO skipped VALUES (?, ?)", pairs)

    def _insert(self, table: str, rows: list[dict[str, Any]], insert: str = "INSERT") -> None:
        if rows:
            columns = ", ".join(rows[0])
            places = ", ".join(f":{name}" for name in rows[0])
            self.connection.executemany(f"{insert} INTO {table} ({columns}) VALUES ({places})", rows)

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

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing(self.folder, begun=bool(self.chunks())), self._transaction():
            yield

    def close(self) -> None:
        self.connection.close()
