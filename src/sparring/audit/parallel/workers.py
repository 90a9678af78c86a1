"""Who does the work of an audit: this process, some of this machine, or workers that ray places."""

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
    """How many, under ray or not, and the devices that they are spread over; none: where the model is."""

    count: int = 1
    ray: bool = False
    devices: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Does this process do all of it?"""
        return self.count == 1 and not self.ray and not self.devices

    @property
    def threads(self) -> int:
        """Of each worker: they share what this process may use."""
        return max(1, torch.get_num_threads() // self.count)

    def place(self, number: int) -> str | None:
        """The device of one worker."""
        return self.devices[number % len(self.devices)] if self.devices else None

    def told(self, own: str) -> str:
        """Where the search is computed; `own` is what this process computes on."""
        if self.alone:
            return own
        on = f" on {', '.join(self.devices)}" if self.devices else ""
        kind = "ray workers" if self.ray else "workers"
        return f"{own}; {self.count} {kind}{on} of {self.threads} threads"


ALONE = Workers()


def asked_for(workers: int | str | None, devices: Sequence[str] | None) -> Workers:
    """The workers, as --workers and --devices say; one per device where no number is given.

    Raises: ConfigError.
    """
    places = tuple(devices or ())
    if devices is not None and not places:
        raise ConfigError("devices is empty; name some, as cuda:0,cuda:1, or leave it out")
    for place in places:
        check_device(place)
    if workers is None:
        return Workers(max(1, len(places)), devices=places)
    count, ray = counted(workers)
    if ray and places:
        raise ConfigError(f"workers {workers!r} beside devices: ray places workers itself; leave one of the two out")
    if count < len(places):
        raise ConfigError(f"{count} workers cannot use {len(places)} devices; pass at least one worker per device")
    return Workers(count, ray, places)


def counted(workers: int | str) -> tuple[int, bool]:
    """How many, and whether ray places them."""
    found = re.fullmatch(r"(ray:)?([0-9]{1,9})", str(workers).strip())
    if found is None or isinstance(workers, bool):
        raise ConfigError(f"workers {workers!r} is unknown; {ASK}")
    count = int(found[2])
    if not 1 <= count <= MOST:
        raise ConfigError(f"workers {workers!r} is not between 1 and {MOST}; {ASK}")
    return count, found[1] is not None


def check_device(place: str) -> None:
    """ConfigError where torch knows of no such device here."""
    try:
        wanted = torch.device(place)
    except RuntimeError as error:
        raise ConfigError(f"device {place!r} is unknown; use cpu, cuda or cuda:0") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise ConfigError(f"device {place!r} is not here: torch {torch.__version__} sees {there} CUDA GPUs")


def check_shared(workers: Workers, *targets: Target[Any] | None) -> None:
    """ConfigError where several processes would ask a service that counts its answers."""
    for target in targets:
        for part in parts(target):
            if isinstance(part, SERVICES) and not workers.alone:
                raise ConfigError(
                    f"{part.name} is a service, whose limits and journal only one process can keep; leave workers and "
                    "devices out"
                )


def parts(target: Any) -> Iterator[Target[Any]]:
    """The target, and those that it is made of."""
    if isinstance(target, Target):
        yield target
        for inner in vars(target).values():
            for one in inner if isinstance(inner, list | tuple) else (inner,):
                yield from parts(one)
