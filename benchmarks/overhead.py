"""What a library's loop costs beside the passes it makes: PGD-40, every row to the end.

A bare pass is forward and backward to the input of the same module with frozen parameters; half of the bare
passes are timed before each run and half after it, so that a machine that slows down slows both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.clock import stopwatch
from benchmarks.compare import Report, Row, warm_up
from benchmarks.counting import CountedNet
from benchmarks.libraries import attack_of
from benchmarks.nets import Victim

STEPS = 40
PEER_REPEATS = 3


@dataclass(frozen=True)
class Loop:
    """One net, one batch, and the libraries whose loops are timed on it."""

    net: str
    batch: int
    eps: float
    step_size: float
    libraries: tuple[str, ...]  # ours is measured `repeats` times, the others three times at most
    repeats: int
    bare_passes: int


LOOPS = (
    Loop("mnist-plain", 128, 0.3, 0.01, ("sparring", "foolbox", "torchattacks", "advlib", "art"), 15, 20),
    Loop("efficientnet-lite0", 8, 4 / 255, 1 / 255, ("sparring",), 2, 6),
)


def measure_overhead(loop: Loop, victim: Victim, repeats: int, report: Report) -> list[Row]:
    """One row for each run: its seconds, its passes, and the seconds of a bare pass and a bare forward."""
    net = CountedNet(victim.net).eval()
    _bare_passes(net, victim, 2)
    rows: list[Row] = []
    failed: dict[str, Row] = {}
    for repeat in range(repeats):
        for library in loop.libraries if repeat % 2 == 0 else loop.libraries[::-1]:
            if library in failed or (library != "sparring" and repeat >= PEER_REPEATS):
                continue
            head = {"net": loop.net, "batch": loop.batch, "library": library, "repeat": repeat, "note": ""}
            try:
                row = head | _one_run(loop, library, net, victim, repeat)
            except Exception as error:
                failed[library] = head | {"note": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
                continue
            rows.append(row)
            report(f"{loop.net} overhead {library}: {ratio(row):.3f} (strict {strict_ratio(row):.3f})")
    for row in failed.values():
        report(f"{loop.net} overhead {row['library']}: {row['note']}")
    return rows + list(failed.values())


def _one_run(loop: Loop, library: str, net: CountedNet, victim: Victim, seed: int) -> Row:
    attack = attack_of(library, "pgd_to_the_end" if library == "sparring" else "pgd")
    settings = {"eps": loop.eps, "step_size": loop.step_size, "steps": STEPS}
    if seed == 0:
        warm_up(attack, victim, settings)
    half = max(loop.bare_passes // 2, 1)
    before = _bare_passes(net, victim, half), _bare_forwards(net, victim, half)
    net.forwards = net.backwards = 0
    torch.manual_seed(seed)
    with stopwatch(victim.device) as elapsed:
        attack(net, victim.images, victim.labels, seed, **settings)
    forwards, backwards = net.forwards / len(victim.images), net.backwards / len(victim.images)
    after = _bare_passes(net, victim, half), _bare_forwards(net, victim, half)
    return {
        "seconds": elapsed.measured,
        "wall": elapsed.wall,
        "forwards": forwards,
        "backwards": backwards,
        "bare_pass": (before[0] + after[0]) / 2,
        "bare_forward": (before[1] + after[1]) / 2,
    }


def ratio(row: Row) -> float:
    """Seconds of the run over the seconds of the passes it made, forward-only passes counted as such."""
    forward_only = row["forwards"] - row["backwards"]
    passes = row["backwards"] * row["bare_pass"] + forward_only * row["bare_forward"]
    return row["seconds"] / passes


def strict_ratio(row: Row) -> float:
    """Seconds of the run over its gradient passes alone: a look before or after counts as overhead."""
    return row["seconds"] / (row["backwards"] * row["bare_pass"])


def _bare_passes(net: nn.Module, victim: Victim, number: int) -> float:
    def one() -> None:
        images = victim.images.detach().requires_grad_(True)
        loss = functional.cross_entropy(net(images), victim.labels, reduction="sum")
        torch.autograd.grad(loss, images)

    return _seconds_each(one, number, victim.device)


def _bare_forwards(net: nn.Module, victim: Victim, number: int) -> float:
    def one() -> Tensor:
        with torch.no_grad():
            return net(victim.images)

    return _seconds_each(one, number, victim.device)


def _seconds_each(call: Callable[[], object], number: int, device: str) -> float:
    with stopwatch(device) as elapsed:
        for _ in range(number):
            call()
    return elapsed.measured / number
