"""The worker that attacks one chunk, and the pickling of workers, chunks and results between trusted processes.

A model goes to a worker as the object that it is, so that a factory which draws its weights is not called again.
Where it comes from FILE.py, that file is imported in the worker first; its classes are found there.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor

from ...errors import ConfigError, SparringError, UserCodeError, described, user_frame
from ...isolation import isolated, user_file
from ...rows import take
from ...zoo import Chunk
from ..evaluation.admission import Admission
from ..evaluation.attacker_views import EvaluatedTarget
from ..evaluation.cascade import Event, cascade
from ..evaluation.clean_chunk import CleanChunk
from ..observer import AuditObserver

if TYPE_CHECKING:
    from ...defenses.certification import Network
    from ..evaluation.certificates import CertificateTask, CertifiedImages

USER_MODULE_PREFIX = "sparring_user_"  # how the modules of FILE.py models are called


@dataclass(frozen=True)
class ChunkResult:
    """The result of one chunk: its clean predictions and everything that the attacks brought."""

    number: int
    clean: CleanChunk
    events: list[Event]
    seconds: float


Job = Union[Chunk, "CertificateTask"]
Answer = Union[ChunkResult, "CertifiedImages"]


@dataclass(frozen=True)
class ChunkFailure:
    """The error that ended a chunk; `number` is None where the worker could not even begin."""

    number: int | None
    error: Exception


@dataclass(frozen=True)
class ChunkWorker:
    """Attacks chunks: the target with its views, and the admission of clean images."""

    evaluated: EvaluatedTarget
    admission: Admission
    networks: list[Network] = field(default_factory=list)  # of certificates, once it is captured: in each process anew

    def __reduce__(self) -> tuple[type[ChunkWorker], tuple[EvaluatedTarget, Admission]]:
        return ChunkWorker, (self.evaluated, self.admission)

    def answer(self, number: int, job: Job, observer: AuditObserver) -> Answer:
        """Attack a chunk, or work on certificates."""
        if isinstance(job, Chunk):
            return self.attack(number, job, observer)
        return self.certify(number, job)

    @isolated()
    def certify(self, number: int, task: CertificateTask) -> CertifiedImages:
        """Work on the certificates of some images."""
        from ..evaluation.certificates import CertifiedImages, certify, with_recorded_classes

        network = self.capture(task.chunk.images)
        clean = with_recorded_classes(self.admission.admit(task.chunk), task)
        plan = self.admission.plan
        return CertifiedImages(
            number, clean, *certify(network, self.evaluated.target, clean, task, plan), task.timeout > 0
        )

    def capture(self, images: Tensor) -> Network:
        """Return the network of the audited classifier; TargetError or ConfigError where it has no certificates."""
        from ..evaluation.certificates import network_of

        if not self.networks:
            self.networks.append(network_of(self.evaluated.target, self.admission.plan, images))
        return self.networks[0]

    @isolated()
    def attack(self, number: int, chunk: Chunk, observer: AuditObserver) -> ChunkResult:
        """Run the whole cascade on one chunk."""
        clock = time.perf_counter()
        clean = self.admission.admit(chunk)
        events = list(cascade(self.evaluated, clean, self.admission.plan, observer))
        return ChunkResult(number, clean, events, time.perf_counter() - clock)

    def to_bytes(self) -> bytes:
        """Pickle the worker for `unpack_worker`. ConfigError where the model cannot be pickled."""
        files = {
            name: str(module.__file__) for name, module in sys.modules.items() if name.startswith(USER_MODULE_PREFIX)
        }
        try:
            return pickle.dumps((files, serialize(self, pickler())))
        except Exception as error:
            raise ConfigError(
                f"{self.evaluated.target.name} cannot be handed to other processes ({type(error).__name__}: {error}); "
                "define its class at the top of a file, or leave workers out"
            ) from error


def unpack_worker(packed: bytes, moved: dict[str, str] | None = None) -> ChunkWorker:
    """Unpickle a worker; `moved` maps devices to those that its tensors are loaded on."""
    files, inside = pickle.loads(packed)  # noqa: S301 - from the process that started this one
    for name, file in files.items():
        if name not in sys.modules:
            import_user_module(name, Path(file))
    worker: ChunkWorker = deserialize(inside, moved)
    return worker


def import_user_module(name: str, file: Path) -> None:
    """Import FILE.py under the name that it has in the process that read it first."""
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(found)
    with user_file(file.parent):
        found.loader.exec_module(module)


def answer_chunk(worker: ChunkWorker, packed: bytes) -> bytes:
    """Do one packed job, and pack the result or the error."""
    number, job = deserialize(packed)
    try:
        return serialize(worker.answer(number, job, AuditObserver()))
    except BaseException as error:
        return serialize(ChunkFailure(number, picklable(error)))


def picklable(error: BaseException) -> Exception:
    """Return the error as another process can raise it, with a note of where it was raised.

    What code of the user's raised is a UserCodeError already: the other process does not see where it was raised.
    """
    where = None if isinstance(error, SparringError) else user_frame(error.__traceback__)
    if where is not None or not isinstance(error, Exception):
        error = UserCodeError(f"{where or 'code of the model or the data'} {described(error)}")
    note = "in a worker:\n" + "".join(traceback.format_exception(error))
    try:
        again: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - what was made in this very line
    except Exception:
        again = RuntimeError(f"{type(error).__name__}: {error}")
    again.add_note(note)
    return again


def serialize_job(number: int, job: Job) -> bytes:
    """Pack the job alone, without the larger tensors that its images may be views of."""
    return serialize((number, copied(job) if isinstance(job, Chunk) else replace(job, chunk=copied(job.chunk))))


def copied(chunk: Chunk) -> Chunk:
    """Copy the rows of a chunk."""
    rows = torch.arange(len(chunk.images))
    parts = {name: take(getattr(chunk, name), rows) for name in ("labels", "goal", "context")}
    return replace(chunk, images=chunk.images.detach().clone(), **parts)


def serialize(value: Any, module: ModuleType = pickle) -> bytes:
    """Serialize any object, its tensors as they lie in memory."""
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_module=module, pickle_protocol=pickle.HIGHEST_PROTOCOL)
    return buffer.getvalue()


def deserialize(packed: bytes, moved: dict[str, str] | None = None) -> Any:
    """Read what `serialize` wrote, in a process that this one started or that started this one: never a file."""
    return torch.load(io.BytesIO(packed), map_location=moved, weights_only=False)


def pickler() -> ModuleType:
    """Return cloudpickle where it is installed, which can pickle classes of a notebook; else pickle."""
    return importlib.import_module("cloudpickle") if importlib.util.find_spec("cloudpickle") else pickle
