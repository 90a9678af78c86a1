"""What a library's loop costs beside the passes it makes: PGD-40, every row to the end.

The passes are timed inside the very run whose loop is measured: the module notes when its forward pass begins and
ends, and when its backward pass reaches its outputs and leaves its inputs. So a machine that slows down slows both
alike. Forty bare passes (cross-entropy, gradient to the input, nothing else) are timed in the same way in each
round, and a library's overhead is its seconds over those inside its passes, divided by the same ratio of the bare
passes.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.clock import stopwatch
from benchmarks.compare import Report, Row, warm_up
from benchmarks.libraries import Task, attack_of
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


LOOPS = (
    Loop("mnist-plain", 128, 0.3, 0.01, ("sparring", "foolbox", "torchattacks", "advlib", "art"), 15),
    Loop("efficientnet-lite0", 8, 4 / 255, 1 / 255, ("sparring",), 2),
)


class TimedNet(nn.Module):
    """A plain module around the net that times its passes and counts the rows in them."""

    def __init__(self, net: nn.Module, on_gpu: bool) -> None:
        super().__init__()
        self.net, self.on_gpu = net, on_gpu
        self.clear()

    def clear(self) -> None:
        self.forwards = self.backwards = 0
        self.marks: list[tuple[Any, Any]] = []

    def _now(self) -> Any:
        if not self.on_gpu:
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        began = self._now()
        logits: Tensor = self.net(images)
        self.marks.append((began, self._now()))
        if logits.requires_grad:
            reached: list[Any] = []
            logits.register_hook(lambda _: reached.append(self._now()))
            images.register_hook(lambda grad: self._left(reached, len(grad)))
        return logits

    def _left(self, reached: list[Any], rows: int) -> None:
        self.marks.append((reached.pop(), self._now()))
        self.backwards += rows

    @property
    def seconds(self) -> float:
        """Passes inside the passes."""
        if self.on_gpu:
            torch.cuda.synchronize()
            return sum(began.elapsed_time(ended) for began, ended in self.marks) / 1000
        return sum(ended - began for began, ended in self.marks)


def measure_overhead(loop: Loop, victim: Victim, repeats: int, report: Report) -> list[Row]:
    """One row for each run: its seconds, those inside its passes, and the rows passed."""
    net = TimedNet(victim.net, victim.device.startswith("cuda")).eval()
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
            report(f"{loop.net} overhead {library}: {overhead(row):.3f}")
    for row in failed.values():
        report(f"{loop.net} overhead {row['library']}: {row['note']}")
    return rows + list(failed.values())


def _one_run(loop: Loop, library: str, net: TimedNet, victim: Victim, seed: int) -> Row:
    attack = attack_of(library, "pgd")
    settings: dict[str, float | bool] = {"eps": loop.eps, "step_size": loop.step_size, "steps": STEPS}
    if library == "sparring":
        settings["compact"] = False  # every row to the end, as in the peers
    bare = _bare_ratio(net, victim)
    if seed == 0:
        warm_up(attack, victim, settings)
    net.clear()
    torch.manual_seed(seed)
    with stopwatch(victim.device) as elapsed:
        attack(Task(net, victim.images, victim.labels, seed), **settings)
    return {
        "seconds": elapsed.measured,
        "wall": elapsed.wall,
        "forwards": net.forwards / len(victim.images),
        "backwards": net.backwards / len(victim.images),
        "passes": net.seconds,
        "bare": bare,
    }


def overhead(row: Row) -> float:
    """Seconds of the run over the seconds that as many bare passes would have taken."""
    return row["seconds"] / row["passes"] / row["bare"]


def _bare_ratio(net: TimedNet, victim: Victim) -> float:
    """Seconds over seconds inside the passes, for passes with nothing around them."""
    net.clear()
    with stopwatch(victim.device) as elapsed:
        for _ in range(STEPS):
            images = victim.images.detach().requires_grad_(True)
            loss = functional.cross_entropy(net(images), victim.labels, reduction="sum")
            torch.autograd.grad(loss, images)
    return elapsed.measured / net.seconds
