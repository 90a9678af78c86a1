"""The journal: what was paid for is not asked again, by the sessions after the one that asked."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from sparring.errors import RunError
from sparring.targets.journal import Journal


class Wire:
    """Answers the n-th image asked of it with (n, n / 3), and keeps the indices."""

    def __init__(self):
        self.asked, self.indices = 0, []

    def __call__(self, places, mark):
        self.indices.append(mark)
        first = self.asked
        self.asked += len(places)
        return np.array([[first + i, (first + i) / 3] for i in range(len(places))])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "j.sqlite"


def session(path, wire, *questions, owner="model a"):
    """One process: its questions, and the first numbers of the answers."""
    journal = Journal(path, owner)
    found = [[row[0] for row in journal.answer(question, wire)] for question in questions]
    journal.close()
    return found


def test_a_session_asks_as_if_there_were_no_journal(path):
    wire = Wire()
    assert session(path, wire, [b"a", b"b"], [b"a"], [b"a", b"a"]) == [[0, 1], [2], [3, 4]]
    assert len(set(wire.indices)) == 3  # the same image asked again is another question


def test_the_next_session_gets_the_answers_in_their_order_and_then_asks(path):
    wire = Wire()
    session(path, wire, [b"a", b"b"], [b"a"])
    assert session(path, wire, [b"a", b"b"], [b"c", b"a"], [b"a"]) == [[0, 1], [3, 2], [4]]
    assert wire.asked == 5
    assert session(path, wire, [b"a", b"a", b"a"], [b"b", b"c"]) == [[0, 2, 4], [1, 3]]
    assert wire.asked == 5


def test_numbers_come_back_to_the_bit(path):
    numbers = np.array([[1 / 3, np.nan, 1e300, -0.0], [0.5, 2.0, np.float32(0.1), 3.0]])
    Journal(path, "m").answer([b"a", b"b"], lambda places, mark: numbers)
    again = Journal(path, "m").answer([b"a", b"b"], Wire())
    assert np.stack(again).tobytes() == numbers.tobytes()


def test_what_was_asked_is_on_the_disk_before_it_is_handed_on(path):
    journal = Journal(path, "m")
    journal.answer([b"a"], Wire())
    with open(path, "rb") as file, open(f"{path}-wal", "rb") as log:  # as kill -9 would leave them
        (path.parent / "copy.sqlite").write_bytes(file.read())
        (path.parent / "copy.sqlite-wal").write_bytes(log.read())
    wire = Wire()
    assert session(path.parent / "copy.sqlite", wire, [b"a"], owner="m") == [[0]]
    assert wire.asked == 0


def test_a_question_that_failed_leaves_nothing_and_has_the_same_id_when_asked_again(path):
    indices = []

    def lost(places, mark):
        indices.append(mark)
        raise ConnectionError("gone")

    session(path, Wire(), [b"a"])
    journal, wire = Journal(path, "model a"), Wire()
    with pytest.raises(ConnectionError):
        journal.answer([b"a", b"b"], lost)
    journal.close()
    assert session(path, wire, [b"a", b"b"]) == [[0, 0]]
    assert indices == wire.indices


def test_two_journals_ask_two_questions(path):
    """A server must not take the one for a repetition of the other."""
    first, second = Wire(), Wire()
    session(path, first, [b"a"])
    session(path.with_name("other.sqlite"), second, [b"a"])
    assert first.indices != second.indices


def test_another_model_is_refused(path):
    session(path, Wire(), [b"a"])
    with pytest.raises(RunError, match="belongs to model a, not to model b; choose another file"):
        Journal(path, "model b")
    assert len(Journal(path, "model a")) == 1


def test_a_journal_in_use_is_refused(path):
    held = Journal(path, "m")
    with pytest.raises(RunError, match="another run is using it"):
        Journal(path, "m")
    held.close()
    Journal(path, "m").close()


def test_a_file_that_is_no_journal_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"this is a thesis, and no data base" * 100)
    with pytest.raises(RunError, match="cannot use the journal"):
        Journal(path, "m")
    assert path.read_bytes().startswith(b"this is a thesis")


def test_a_file_that_cannot_be_opened_is_named(path):
    path.mkdir(parents=True)
    with pytest.raises(RunError, match=f"cannot open the journal {path}"):
        Journal(path, "m")


def test_a_full_disk_is_told_and_nothing_is_handed_on(path):
    journal = Journal(path, "m")
    journal.connection.execute(
        f"PRAGMA max_page_count = {journal.connection.execute('PRAGMA page_count').fetchone()[0]}"
    )
    with pytest.raises(RunError, match="full; free some space, and resume"):
        for i in range(200):
            journal.answer([str(i).encode()], lambda places, mark: np.random.default_rng(0).random((1, 500)))


def test_the_file_is_in_wal_mode(path):
    session(path, Wire(), [b"a"])
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
