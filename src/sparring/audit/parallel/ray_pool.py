"""A pool of workers placed by ray, which replaces a worker that dies.

Unless this process is connected to ray already, ray is started for the audit alone and ended with it: on the loopback
interface only, no dashboard, no statistics sent, and behind a token that is in memory and nowhere else.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from functools import lru_cache
from typing import Any

import torch

from ...errors import ConfigError, RunError
from ...targets.optional_imports import import_optional
from .chunk_worker import (
    Answer,
    ChunkFailure,
    ChunkWorker,
    Job,
    answer_chunk,
    deserialize,
    serialize_job,
    unpack_worker,
)
from .worker_pool import MAX_RETRIES, worker_lost_error
from .workers import Workers

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on every system: no interface but loopback
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker sees the devices that this process sees
}


class RayPool:
    """Workers that ray places; see `WorkerPool`."""

    def __init__(self, workers: Workers, worker: ChunkWorker) -> None:
        late = "ray" in sys.modules and not SETTINGS.items() <= os.environ.items()
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} | os.environ | SETTINGS)
        self.ray: Any = import_optional("ray", f"workers ray:{workers.count}", "ray")
        if late and not self.ray.is_initialized():
            raise ConfigError(
                "ray was imported before this audit could tell it to keep to this machine; call ray.init() as you "
                "want it, and the audit uses that, or leave the import to the audit"
            )
        self.workers, self.worker = workers, worker
        self.folder: str | None = None  # of a ray that was started here
        self.begun = False
        self.asked: dict[Any, int] = {}

    def start(self) -> None:
        if self.begun:
            return
        packed = self.worker.to_bytes()
        if not self.ray.is_initialized():
            self._start()
        self.begun, self.packed = True, self.ray.put(packed)
        self.work = self.ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(run_chunk)

    def submit(self, number: int, job: Job) -> None:
        self.start()
        self.asked[self.work.remote([self.packed], serialize_job(number, job), self.workers.threads)] = number

    def next_result(self) -> Answer | ChunkFailure:
        (done,), _ = self.ray.wait(list(self.asked), num_returns=1)
        number = self.asked.pop(done)
        try:
            answer: Answer | ChunkFailure = deserialize(self.ray.get(done))
        except (self.ray.exceptions.WorkerCrashedError, self.ray.exceptions.OutOfMemoryError) as error:
            raise worker_lost_error(number, f"as ray says: {type(error).__name__}") from error
        except self.ray.exceptions.RayTaskError as error:
            raise ConfigError(f"the model cannot be opened in a worker: {error.cause}") from error
        except self.ray.exceptions.RayError as error:
            raise RunError(f"ray gave up on chunk {number}: {error}; repeat the command with --resume") from error
        return answer

    def close(self) -> None:
        for asked in self.asked:
            self.ray.cancel(asked, force=True)
        self.asked.clear()
        if self.folder is not None:
            self.ray.shutdown()
            shutil.rmtree(self.folder, ignore_errors=True)
        self.begun, self.folder = False, None

    def _start(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="sparring-ray-")
        try:
            self.ray.init(
                address="local",
                num_cpus=self.workers.count,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
                _temp_dir=self.folder,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise RunError(f"ray does not start here ({error!s:.300}); workers without ray need none") from error


def run_chunk(packed: list[Any], chunk: bytes, threads: int) -> bytes:
    """Attack one chunk in a worker; the model is unpacked once in each process."""
    torch.set_num_threads(threads)
    return answer_chunk(cached_worker(packed[0]), chunk)


@lru_cache(maxsize=1)
def cached_worker(packed: Any) -> ChunkWorker:
    """Unpack the worker that lies in ray's store, once in each process."""
    return unpack_worker(import_optional("ray", "a worker", "ray").get(packed))
