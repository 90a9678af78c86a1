"""The records of a run: SQLite in WAL mode, one writer, one transaction per chunk.

    run      the plan, the facts, how often it was resumed, whether it is finished
    chunk    first row, count, seconds, hash: what is here is safe
    sample   name, label and where it comes from, clean prediction; where its original is kept
    result   one row per (sample, norm, eps, attack) asked, with the place of its example
    stretched  samples whose example works in 8 bits once it is stretched to that radius
    skipped  images that could not be read

A chunk's examples are on the disk before its rows are committed, so no row names a file that is not there.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..zoo import Skipped
from .plan import Plan, differences
from .provenance import Facts
from .rows import ChunkRows

FILE = "records.sqlite"
FORMAT = 1
SCHEMA = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, plan TEXT NOT NULL, facts TEXT NOT NULL,
    resumed INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0);
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY, first INTEGER NOT NULL, count INTEGER NOT NULL, sha256 TEXT NOT NULL,
    seconds REAL NOT NULL);
CREATE TABLE sample (
    id INTEGER PRIMARY KEY, chunk INTEGER NOT NULL REFERENCES chunk, name TEXT NOT NULL, label INTEGER NOT NULL,
    label_source TEXT NOT NULL, clean_prediction INTEGER NOT NULL, clean_confidence REAL NOT NULL,
    clean_correct INTEGER NOT NULL, sha256 TEXT NOT NULL, original_file TEXT, original_row INTEGER);
CREATE TABLE result (
    sample INTEGER NOT NULL REFERENCES sample, norm TEXT NOT NULL, eps REAL NOT NULL, attack TEXT NOT NULL,
    access TEXT NOT NULL, success INTEGER NOT NULL, linf REAL, l2 REAL, l1 REAL, l0 REAL,
    forwards INTEGER NOT NULL, backwards INTEGER NOT NULL, checks INTEGER NOT NULL, first INTEGER NOT NULL,
    reason TEXT NOT NULL, seed INTEGER NOT NULL, seconds REAL NOT NULL, predicted INTEGER, confidence REAL,
    survives_uint8 INTEGER, uint8_size REAL, example_file TEXT, example_row INTEGER,
    PRIMARY KEY (sample, norm, eps, attack)) WITHOUT ROWID;
CREATE TABLE stretched (
    sample INTEGER NOT NULL REFERENCES sample, norm TEXT NOT NULL, eps REAL NOT NULL,
    PRIMARY KEY (sample, norm, eps)) WITHOUT ROWID;
CREATE TABLE skipped (name TEXT PRIMARY KEY, reason TEXT NOT NULL);
CREATE INDEX result_by_threat ON result (norm, eps, attack, success);
"""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Records:
    """An open run folder."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self.connection = folder, connection

    @classmethod
    def begin(cls, folder: Path, plan: Plan, facts: Facts) -> Records:
        """A new run; RunError where the folder already holds something."""
        refuse_used(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            records = cls(folder, _connect(folder))
            with records.connection:
                records._create(plan, facts)
        return records

    @classmethod
    def resume(cls, folder: Path, plan: Plan, facts: Facts) -> Records:
        """The run in the folder, if it is one of this plan and these weights."""
        records = cls.open(folder)
        records._compare(plan, facts)
        with writing(folder), records.connection:
            records._execute("UPDATE run SET resumed = resumed + 1")
        return records

    @classmethod
    def open(cls, folder: Path) -> Records:
        """The run in the folder, to be read."""
        if not (folder / FILE).is_file():
            raise RunError(f"{folder} holds no run: {FILE} is not there; name the folder given as --out")
        records = cls(folder, _connect(folder))
        try:
            found = records._query("SELECT format FROM run")
        except sqlite3.DatabaseError as error:
            records.close()
            raise RunError(f"{folder / FILE} cannot be read: {error}") from error
        if not found or found[0][0] != FORMAT:
            raise RunError(f"{folder / FILE} has another format; read it with the version of sparring that wrote it")
        return records

    def _create(self, plan: Plan, facts: Facts) -> None:
        for statement in SCHEMA.split(";\n"):
            if statement.strip():
                self._execute(statement)
        values = (FORMAT, plan.model_dump_json(), facts.model_dump_json())
        self._execute("INSERT INTO run (id, format, plan, facts) VALUES (1, ?, ?, ?)", values)

    def _compare(self, plan: Plan, facts: Facts) -> None:
        changed = differences(self.plan, plan)
        if changed:
            name = changed[0]
            raise RunError(
                f"{self.folder} holds a run with another {name} ({getattr(self.plan, name)!r}, not "
                f"{getattr(plan, name)!r}); resume it with the same arguments, or choose another --out"
            )
        if self.facts.weights != facts.weights:
            raise RunError(
                f"{self.folder} holds a run of other weights than {facts.model} has now; choose another --out"
            )

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self.connection.execute(statement, values)

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    @property
    def plan(self) -> Plan:
        return Plan.model_validate_json(self._query("SELECT plan FROM run")[0][0])

    @property
    def facts(self) -> Facts:
        return Facts.model_validate_json(self._query("SELECT facts FROM run")[0][0])

    @property
    def resumed(self) -> int:
        """How often the run was taken up again."""
        return int(self.one("SELECT resumed FROM run"))

    @property
    def finished(self) -> bool:
        """Is every chunk recorded?"""
        return bool(self.one("SELECT finished FROM run"))

    def chunks(self) -> dict[int, tuple[int, int, str]]:
        """Number -> (first row, count, hash) of every chunk that is safe."""
        rows = self._query("SELECT id, first, count, sha256 FROM chunk ORDER BY id")
        return {number: (first, count, digest) for number, first, count, digest in rows}

    def commit(self, rows: ChunkRows, skipped: list[Skipped]) -> None:
        """Everything about a chunk, or nothing."""
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

    def _skip(self, skipped: list[Skipped]) -> None:
        pairs = [(one.name, one.reason) for one in skipped]
        self.connection.executemany("INSERT OR REPLACE INTO skipped VALUES (?, ?)", pairs)

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            columns = ", ".join(rows[0])
            places = ", ".join(f":{name}" for name in rows[0])
            self.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608

    def select(self, statement: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Rows of a question, one at a time."""
        cursor = self.connection.cursor()
        cursor.row_factory = sqlite3.Row
        yield from cursor.execute(statement, values)

    def one(self, statement: str, *values: Any) -> Any:
        """The single value of a question."""
        return self._query(statement, values)[0][0]

    def data_hash(self) -> str:
        """SHA-256 over the hashes of all images in their order: it does not depend on how they were batched."""
        digest = hashlib.sha256()
        for row in self.select("SELECT sha256 FROM sample ORDER BY id"):
            digest.update(row["sha256"].encode())
        return digest.hexdigest()

    def close(self) -> None:
        self.connection.close()


def begun(folder: Path) -> bool:
    """Does the folder hold a run with its plan written down?"""
    if not (folder / FILE).is_file():
        return False
    connection = _connect(folder)
    try:
        return bool(connection.execute("SELECT name FROM sqlite_master WHERE name = 'run'").fetchall())
    finally:
        connection.close()


def refuse_used(folder: Path) -> None:
    """RunError where the folder already holds something other than a run that never began."""
    held = {one.name.split("-")[0] for one in folder.iterdir()} if folder.is_dir() else {""}
    if not folder.exists() or (held <= {FILE} and not begun(folder)):
        return
    if (folder / FILE).exists():
        raise RunError(f"{folder} holds a run; go on with --resume, or choose another --out")
    raise RunError(f"{folder} exists and is not empty; choose another --out")


def _connect(folder: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(folder / FILE, timeout=10)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise RunError(f"{folder / FILE} is no database ({error}); choose another --out") from error
    return connection


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A disk that does not take what is written is told as a RunError, with the way on."""
    way_on = "every chunk recorded before is safe; make room, then repeat the command with --resume"
    try:
        yield
    except OSError as error:
        said = "No space left on device" if error.errno in FULL else error.strerror or str(error)
        raise RunError(f"cannot write to {folder}: {said}; {way_on}") from error
    except sqlite3.IntegrityError as error:
        raise RunError(f"{folder / FILE}: another process has recorded this chunk; stop one of the two") from error
    except sqlite3.DatabaseError as error:
        full = "disk is full" in str(error) or "disk I/O error" in str(error)
        said = f"No space left on device ({error})" if full else str(error)
        raise RunError(f"cannot write to {folder / FILE}: {said}; {way_on}") from error
