"""Construction of the worker pool; ray and multiprocessing are imported only where they are used."""

from __future__ import annotations

from ..observer import AuditObserver
from .chunk_worker import ChunkWorker
from .worker_pool import WorkerPool
from .workers import Workers


def make_pool(workers: Workers, worker: ChunkWorker, observer: AuditObserver) -> WorkerPool | None:
    """Make the pool that `workers` describes; None where this process does all of the work."""
    if workers.in_this_process:
        return None
    if workers.ray:
        from .ray_pool import RayPool

        return RayPool(workers, worker)
    from .process_pool import ProcessPool

    return ProcessPool(workers, worker, observer)
