"""`Workers`: which worker processes an audit uses, parsed from `--workers`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import ConfigError
from ...targets import LockOut, RateLimited, Remote, RemoteLabels, Target

MOST = 1024
ASK = "pass a number of processes from 1 on, or ray:N"
SERVICES = (Remote, RemoteLabels, RateLimited, LockOut)


@dataclass(frozen=True)
class Workers:
    """The number of workers, whether ray places them, and their devices; none: the model's own device."""

    count: int = 1
    ray: bool = False
    devices: tuple[str, ...] = ()

    @property
    def in_this_process(self) -> bool:
        """Does this process do all of the work?"""
        return self.count == 1 and not self.ray and not self.devices

    @property
    def threads(self) -> int:
        """Of each worker: they share what this process may use."""
        return max(1, torch.get_num_threads() // self.count)

    def device_of(self, number: int) -> str | None:
        """Return the device of worker `number`; None: where the model is."""
        return self.devices[number % len(self.devices)] if self.devices else None

    def describe_device(self, own: str) -> str:
        """Say in words where the search is computed; `own` is the device of this process."""
        if self.in_this_process:
            return own
        on = f" on {', '.join(self.devices)}" if self.devices else ""
        kind = "ray workers" if self.ray else "workers"
        return f"{own}; {self.count} {kind}{on} of {self.threads} threads"


SINGLE_PROCESS = Workers()


def parse_workers(workers: int | str | None, devices: Sequence[str] | None) -> Workers:
    """Parse --workers and --devices; one worker per device where no number is given.

    Raises: ConfigError.
    """
    places = tuple(devices or ())
    if devices is not None and not places:
        raise ConfigError("devices is empty; name some, as cuda:0,cuda:1, or leave it out")
    for place in places:
        check_device(place)
    if workers is None:
        return Workers(max(1, len(places)), devices=places)
    count, ray = parse_count(workers)
    if ray and places:
        raise ConfigError(f"workers {workers!r} beside devices: ray places workers itself; leave one of the two out")
    if count < len(places):
        raise ConfigError(f"{count} workers cannot use {len(places)} devices; pass at least one worker per device")
    return Workers(count, ray, places)


def parse_count(workers: int | str) -> tuple[int, bool]:
    """Parse `N` or `ray:N` into the number, and whether ray places them."""
    found = re.fullmatch(r"(ray:)?([0-9]{1,9})", str(workers).strip())
    if found is None or isinstance(workers, bool):
        raise ConfigError(f"workers {workers!r} is unknown; {ASK}")
    count = int(found[2])
    if not 1 <= count <= MOST:
        raise ConfigError(f"workers {workers!r} is not between 1 and {MOST}; {ASK}")
    return count, found[1] is not None


def check_device(place: str) -> None:
    """Raise ConfigError where torch knows of no such device here."""
    try:
        wanted = torch.device(place)
    except RuntimeError as error:
        raise ConfigError(f"device {place!r} is unknown; use cpu, cuda or cuda:0") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise ConfigError(f"device {place!r} is not here: torch {torch.__version__} sees {there} CUDA GPUs")


def refuse_shared_services(workers: Workers, *targets: Target[Any] | None) -> None:
    """Raise ConfigError where several processes would ask a service that counts its answers."""
    for target in targets:
        for part in target_parts(target):
            if isinstance(part, SERVICES) and not workers.in_this_process:
                raise ConfigError(
                    f"{part.name} is a service, whose limits and journal only one process can keep; leave workers and "
                    "devices out"
                )


def target_parts(target: Any) -> Iterator[Target[Any]]:
    """Yield the target, and every target inside it."""
    if isinstance(target, Target):
        yield target
        for inner in vars(target).values():
            for one in inner if isinstance(inner, list | tuple) else (inner,):
                yield from target_parts(one)
