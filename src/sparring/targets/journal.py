"""A persistent cache of queries: SQLite (WAL), one row per image asked, written before its answer is returned.

    owner    the endpoint and model it belongs to, how often it was opened (sessions), and a random mark of its own
    answer   image: SHA-256 of what was sent;  nth: how often the same image was asked before;  values;  used: the last
             session that read or wrote it

An answer that an earlier session paid for is handed on once per session, in the order in which it came; after that the
image is asked again. So a run that is never killed asks as if there were no journal, and each success is really
measured twice; a run that was killed and replays from its checkpoint finds its answers here. The one exception: where
an image was asked before the checkpoint and is asked again after it (the last look at a success found before it), the
journal answers, since it cannot know which of the two questions this is.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import RunError

Ask = Callable[[list[int], str], NDArray[np.float64]]  # positions within the question, id -> (len, K) answers
SCHEMA = """
CREATE TABLE IF NOT EXISTS owner (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, sessions INTEGER NOT NULL,
    mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
    image BLOB NOT NULL, nth INTEGER NOT NULL, used INTEGER NOT NULL, kind TEXT NOT NULL, numbers BLOB NOT NULL,
    PRIMARY KEY (image, nth)) WITHOUT ROWID;
"""
OLDER = "SELECT nth, kind, numbers FROM answer WHERE image = ? AND used < ? ORDER BY nth LIMIT 1"


class Journal:
    """The journal in the file `path`, of the endpoint that `owner` describes; RunError where it is another's.

    `session` goes on with an earlier one of this process; None begins a new one.
    """

    def __init__(self, path: Path | str, owner: str, session: int | None = None) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"cannot open the journal {path}: {error}; choose another file") from error
        self._closing = weakref.finalize(self, self.connection.close)
        try:
            self._begin(owner, session)
        except RunError:
            self.close()
            raise
        except sqlite3.Error as error:
            self.close()
            cure = "another run is using it" if "locked" in str(error) else "choose another file"
            raise RunError(f"cannot use the journal {path}: {error}; {cure}") from error

    def _begin(self, owner: str, session: int | None) -> None:
        run = self.connection.execute
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            run(f"PRAGMA {pragma}")
        run("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            run(statement)
        run("INSERT OR IGNORE INTO owner VALUES (1, ?, 0, ?)", (owner, os.urandom(16).hex()))
        known, before, self.mark = run("SELECT name, sessions, mark FROM owner").fetchone()
        if known != owner:
            raise RunError(f"the journal {self.path} belongs to {known}, not to {owner}; choose another file")
        self.session = session or before + 1
        run("UPDATE owner SET sessions = MAX(sessions, ?)", (self.session,))
        run("COMMIT")

    def close(self) -> None:
        """Close the file; what was answered is safe without it too."""
        self._closing()

    def __len__(self) -> int:
        return int(self.connection.execute("SELECT COUNT(*) FROM answer").fetchone()[0])

    def answer(self, images: Sequence[bytes], ask: Ask) -> list[NDArray[np.float64]]:
        """One answer per image: from the journal, or asked and written down.

        `ask` is called at most once, with the positions of the images that no earlier session asked, and an id
        that is the same whenever these images are asked for the same time, and that no other journal has.
        """
        digests = [hashlib.sha256(image).digest() for image in images]
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            answers, nths = self._recall(digests)
            missing = [place for place, answer in enumerate(answers) if answer is None]
            if missing:
                asked = [(digests[place], nths[place]) for place in missing]
                new = ask(missing, hashlib.sha256(repr((self.mark, asked)).encode()).hexdigest())
                for place, values in zip(missing, new, strict=True):
                    answers[place] = values
                    kept = _small(values)
                    row = (digests[place], nths[place], self.session, kept.dtype.str, kept.tobytes())
                    self.connection.execute("INSERT INTO answer VALUES (?, ?, ?, ?, ?)", row)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up()
            raise RunError(f"cannot write the journal {self.path}: {error}; free some space, and resume") from error
        except BaseException:
            self._give_up()
            raise
        return [answer for answer in answers if answer is not None]

    def _recall(self, digests: list[bytes]) -> tuple[list[NDArray[np.float64] | None], list[int]]:
        """The answers of earlier sessions that this one has not used yet, and for each image its number."""
        answers: list[NDArray[np.float64] | None] = []
        nths: list[int] = []
        fresh: Counter[bytes] = Counter()  # asked anew within this very question
        for digest in digests:
            found = self.connection.execute(OLDER, (digest, self.session)).fetchone()
            if found is None:
                (known,) = self.connection.execute("SELECT COUNT(*) FROM answer WHERE image = ?", (digest,)).fetchone()
                answers.append(None)
                nths.append(known + fresh[digest])
                fresh[digest] += 1
                continue
            nth, kind, numbers = found
            self.connection.execute(
                "UPDATE answer SET used = ? WHERE image = ? AND nth = ?", (self.session, digest, nth)
            )
            answers.append(np.frombuffer(numbers, dtype=np.dtype(kind)).astype(np.float64))
            nths.append(nth)
        return answers, nths

    def _give_up(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.execute("ROLLBACK")


def _small(values: NDArray[np.float64]) -> NDArray[np.floating]:
    """The same numbers in half the space, where they came from a float32."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    return short if np.array_equal(short.astype(np.float64), values, equal_nan=True) else values
