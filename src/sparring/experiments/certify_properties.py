"""Properties in VNN-LIB of networks in ONNX files, one or a list of them (`instances.csv` of a VNN-COMP benchmark).

`out` holds

    results.csv         a row for each instance: answer, what decided, seconds, and the error where there was one
    instance-NUMBER.txt   the answer, and the counterexample, as the competition writes them
    instance-NUMBER.json  the same with all that is known of it; instances that have one are not worked on again
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..defenses.certification.properties import Query, Verdict, load_network, read_vnnlib, result_text, verify_query
from ..defenses.certification.properties.packed_files import read_packed
from ..defenses.certification.properties.vnnlib import LARGEST_FILE
from ..errors import InputError, RunError, SparringError, described
from ..files import locked, write_atomically
from ..targets.onnx_file import OnnxFile
from .attack_dataset import csv_text
from .observer import ExperimentObserver
from .output import refuse_used_folder, report_write_errors

NOTE = "certify.json"  # which instances the folder belongs to
MOST_INSTANCES = 100_000
_NAMED = re.compile(r"""\(\s*['"]([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*\)""")  # ('f', 'onnx/net.onnx')
COLUMNS = (
    "instance", "onnx", "vnnlib", "timeout", "answer", "method", "seconds", "bound", "problems", "domains",
    "difference", "notes", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """A network, a specification, and the seconds that there are for it."""

    network: str
    specification: str
    timeout: float
    folder: Path = Path()  # that relative paths begin at

    def load(self) -> tuple[OnnxFile, Query]:
        """Return the network and the query.

        Raises: InputError, TargetError, AssetError for files that cannot be read, or ask for what is not supported.
        """
        named = _NAMED.findall(self.network) if self.network.startswith("[") else []
        if len(named) > 1:
            names = ", ".join(name for name, _ in named)
            raise InputError(f"the instance has {len(named)} networks ({names}); properties of one are certified")
        query = read_vnnlib(self.folder / self.specification)
        file = self.folder / (named[0][1] if named else self.network)
        return load_network(file, query), query


@dataclass(frozen=True)
class InstanceResult:
    """What became of an instance: a record of plain values, with the columns of results.csv."""

    record: dict[str, Any]

    @property
    def answer(self) -> str:
        """unsat, sat, unknown, timeout; or error."""
        return str(self.record["answer"])


def read_instances(file: Path, timeout: float | None = None) -> list[Instance]:
    """Return the instances of a CSV file with the columns onnx, vnnlib, timeout, and no header.

    Args:
        file: paths in it are relative to its folder.
        timeout: seconds in place of the third column.

    Raises:
        InputError: what is no such file, with the line.
    """
    try:
        text = read_packed(file, 2**26).decode()
        rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is no CSV file in UTF-8: {error}") from error
    found = []
    for number, row in rows:
        cells = [cell.strip() for cell in row]
        if len(cells) not in (2, 3) or not all(cells) or (len(cells) == 2 and timeout is None):
            raise InputError(f"{file}, line {number}: {','.join(row)!r:.200}; a line is ONNX,VNNLIB,SECONDS, as "
                             "onnx/net.onnx,vnnlib/prop_1.vnnlib,116")  # fmt: skip
        seconds = timeout
        if seconds is None:
            try:
                seconds = float(cells[2])
            except ValueError:
                seconds = math.nan
            if not 0 < seconds < math.inf:
                raise InputError(f"{file}, line {number}: {cells[2]!r} is no number of seconds above 0")
        found.append(Instance(cells[0], cells[1], seconds, file.parent))
    if not 0 < len(found) <= MOST_INSTANCES:
        raise InputError(f"{file} has {len(found):,} instances; 1 to {MOST_INSTANCES:,} are read")
    return found


@dataclass
class CertifyProperties:
    """Answer the queries of instances, one after another.

    Args:
        instances: what to work on.
        out: a folder for answers and counterexamples; None: nothing is written.
        seed: of random points and starts.
    """

    instances: Sequence[Instance]
    out: Path | None = None
    seed: int = 0
    results: list[InstanceResult] = field(default_factory=list)

    def run(self, observer: ExperimentObserver | None = None) -> list[InstanceResult]:
        """Return the result of each instance; one that cannot be read has the answer `error`, and the reason.

        Raises: RunError where `out` belongs to other instances or files, or the disk does not take the answers.
        """
        observer = observer or ExperimentObserver()
        with ExitStack() as kept:
            if self.out is not None:
                self.open_folder(kept)
            try:
                for number, instance in enumerate(self.instances):
                    words = f"{instance.network} {instance.specification}"
                    observer.show(words, number, len(self.instances))
                    self.results.append(self.answered(number, instance))
            finally:
                if self.out is not None and self.results:
                    with report_write_errors(self.out):
                        rows = [{name: one.record[name] for name in COLUMNS} for one in self.results]
                        write_atomically(self.out / "results.csv", csv_text(rows).encode())
        return self.results

    def open_folder(self, kept: ExitStack) -> None:
        assert self.out is not None
        note = self.out / NOTE
        listed = json.dumps([[one.network, one.specification, one.timeout] for one in self.instances] + [self.seed])
        mark = {"instances": hashlib.sha256(listed.encode()).hexdigest()}
        if not note.is_file():
            refuse_used_folder(self.out)
        with report_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            kept.enter_context(locked(self.out, "properties"))
            if not note.is_file():
                write_atomically(note, json.dumps(mark).encode())
            elif read_record(note) != mark:
                raise RunError(f"{self.out} belongs to other instances, timeouts or another seed; choose another --out")

    def answered(self, number: int, instance: Instance) -> InstanceResult:
        """Return the result of an instance, from its file or anew."""
        about = {
            "instance": number, "onnx": instance.network, "vnnlib": instance.specification, "timeout": instance.timeout,
        }  # fmt: skip
        try:
            return self.certified(number, instance, about)
        except RunError:
            raise
        except SparringError as error:
            if len(self.instances) == 1:
                raise
            return failed(about, str(error))
        except Exception as error:  # the other instances are worked on all the same
            if len(self.instances) == 1:
                raise
            return failed(about, f"a fault of sparring: it {described(error)}; please report it with both files")

    def certified(self, number: int, instance: Instance, about: dict[str, Any]) -> InstanceResult:
        network, query = instance.load()
        specification = read_packed(instance.folder / instance.specification, LARGEST_FILE)
        files = {"onnx_sha256": network.sha256, "vnnlib_sha256": hashlib.sha256(specification).hexdigest()}
        record_file = None if self.out is None else self.out / f"instance-{number:05d}.json"
        if record_file is not None and record_file.is_file():
            record = read_record(record_file)
            if {name: record.get(name) for name in files} != files or not set(COLUMNS) <= set(record):
                raise RunError(f"{record_file} is of other files than there are now; choose another --out")
            return InstanceResult(record)
        verdict = verify_query(network, query, timeout=instance.timeout, seed=self.seed)
        text = result_text(query, verdict)
        result = InstanceResult({**about, **record_of(verdict), **files, "text": text})
        if record_file is not None:
            with report_write_errors(record_file):
                write_atomically(record_file.with_suffix(".txt"), text.encode())
                write_atomically(record_file, json.dumps(result.record, indent=1, allow_nan=False).encode())
        return result


def record_of(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain values, without the counterexample."""
    return {
        "answer": verdict.answer.value,
        "method": verdict.method,
        "seconds": round(verdict.seconds, 3),
        "bound": verdict.bound if math.isfinite(verdict.bound) else "",
        "problems": verdict.problems,
        "domains": verdict.domains,
        "difference": verdict.difference,
        "notes": "; ".join(verdict.notes),
        "error": "",
    }


def failed(about: dict[str, Any], error: str) -> InstanceResult:
    """Return the result of an instance that could not be worked on."""
    empty = dict.fromkeys(COLUMNS, "")
    return InstanceResult({**empty, **about, "answer": "error", "error": error, "text": ""})


def read_record(file: Path) -> dict[str, Any]:
    """Return what a file of ours holds; RunError where it is damaged."""
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}); choose another --out") from error
    if not isinstance(record, dict):
        raise RunError(f"{file} is no record of certify; choose another --out")
    return record
