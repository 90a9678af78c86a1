"""`verify_query`: is there an input, within the bounds of a VNN-LIB file, that meets its constraints?

Each region of the query becomes classification problems on [0, 1]^n (`BoxNetwork`): conjunctions of one constraint
together, of which any suffices, and each longer conjunction alone. Then

    points      random ones and corners of the box, at once
    attack      PGD from many starts; on networks of many inputs `Auto`
    proof       few inputs (`FEW`): halving boxes of inputs, bounded by CROWN; more than `VERY_FEW`: `verify`, whose
                branch and bound splits activations

A counterexample counts only where onnxruntime, in the file's own precision, gives outputs that meet the constraints as
they are written, without a tolerance, for an input within the bounds as they are written.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....attacks import FGSM, PGD, Auto
from ....engine import Engine, run
from ....errors import ConfigError, InputError
from ....geometry import Linf
from ....targets.onnx_file import OnnxFile
from ..graph import Network
from ..specifications import specification
from ..verify import SLACK, Status, verify
from .box_network import BoxNetwork
from .input_split import split_inputs
from .packed_files import read_packed
from .query import Constraint, Query, Region, Vector

LARGEST_NETWORK = 2**31  # bytes: what protobuf reads
FEW = 20  # inputs that are not fixed, up to which boxes of inputs are halved
VERY_FEW = 6  # up to which nothing else is tried
HALVED = 0.1  # of the time, for which boxes are halved where there are more
POINTS = 1024  # random points of each problem
CORNERS = 10  # inputs up to which all corners of the box are tried
STARTS, STEPS = 32, 40  # of PGD
ATTACKED = 0.25  # of the time, after which the remaining problems are not attacked any more
ROUNDING = 10.0  # times the difference between torch and onnxruntime, by which a proof has to exceed 0


class Answer(Enum):
    """The answers of the verification competition."""

    UNSAT = "unsat"  # no input meets the constraints: the property is proven
    SAT = "sat"  # an input does: the property is violated
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Verdict:
    """What is known of a query.

    Args:
        answer: see `Answer`.
        x, y: of a counterexample the inputs (n,), representable in the file's precision, and the outputs (m,) of
            onnxruntime; None where there is none.
        method: what decided.
        bound: the least lower bound of the margin by which the constraints are missed; -inf for SAT.
        seconds: the time that it took.
        problems: how many classification problems the query made.
        domains: boxes and domains that were bounded.
        difference: of an output, between torch and onnxruntime, at random inputs.
        notes: what a reader has to know beside it.
    """

    answer: Answer
    x: Vector | None
    y: Vector | None
    method: str
    bound: float
    seconds: float
    problems: int
    domains: int
    difference: float
    notes: tuple[str, ...] = ()


def verify_query(network: OnnxFile, query: Query, *, timeout: float = 60.0, seed: int = 0, few: int = FEW) -> Verdict:
    """Answer a query about the network of an ONNX file.

    A proof is of the function that the weights define in real arithmetic, over the box as it is written, with a margin
    for float32's rounding: 1e-5 of the largest terms of the constraints, and ten times what torch and onnxruntime
    differ by. So what holds by equality only is not proven.

    Args:
        network: the file.
        query: the specification, whose tensors must fit the file's.
        timeout: seconds in all; a step that has begun is finished.
        seed: of random points and starts.
        few: inputs that are not fixed, up to which boxes of inputs are halved.

    Raises:
        InputError: a query that does not fit the network.
        TargetError: a network with an operation without bounds, by name, or whose torch copy differs from onnxruntime.
    """
    if not timeout > 0:
        raise ConfigError(f"timeout={timeout!r}; pass a number of seconds above 0")
    check_fit(network, query)
    return _QueryVerification(network, query, timeout, seed, few).run()


def load_network(file: Path | str, query: Query) -> OnnxFile:
    """Return the network of an ONNX file, plain or packed by gzip (.gz).

    Where the file leaves the lengths of its input open, they are those of the query.

    Raises:
        InputError: no such file.
        TargetError: what is no ONNX file, or has an operation that is not read, by name.
        AssetError: the package onnx or onnxruntime is missing.
    """
    return OnnxFile(read_packed(Path(file), LARGEST_NETWORK), str(file), query.inputs.shape)


def check_fit(network: OnnxFile, query: Query) -> None:
    """Raise InputError where names, types or sizes of the query's tensors are not those of the file."""
    module = network.module
    pairs = (
        ("inputs", query.inputs, module.in_size, module.in_name, module.in_kind, module.in_shape),
        ("outputs", query.outputs, module.out_size, module.out_name, module.out_kind, module.out_shape),
    )
    for word, tensor, size, name, kind, shape in pairs:
        if tensor.size != size:
            raise InputError(
                f"the specification has {tensor.size} {word} ({tensor.name}), and {network.name} has {size} "
                f"({name}, of shape {list(shape)}); they do not belong together"
            )
        if tensor.kind != "real" and tensor.kind != str(kind).removeprefix("torch."):
            raise InputError(
                f"the specification declares {tensor.name} as {tensor.kind}, and {network.name} has "
                f"{str(kind).removeprefix('torch.')}; correct one of them, or declare it real"
            )
        if tensor.onnx_name is not None and tensor.onnx_name != name:
            raise InputError(f"the specification names {tensor.onnx_name!r}, and {network.name} has {name!r}")


@dataclass
class _Problem:
    """A classification problem on [0, 1]^n, and what is known of it."""

    region: Region
    box: _Representable
    module: BoxNetwork
    slack: float = 0.0
    proven: bool = False
    bound: float = -np.inf
    method: str = "none"


@dataclass(frozen=True)
class _Representable:
    """The inputs of a region that the file's precision has.

    Args:
        low, high: (n,) of the problem's box: as written, and wider by the rounding of the bounds to the precision, so
            that a proof holds whichever is meant.
        first, last: (n,) the least and the greatest input of the precision within the bounds.
        snapped: (n,) components whose bounds hold no such number; the nearest one stands for them.
    """

    low: Vector
    high: Vector
    first: Vector
    last: Vector
    snapped: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @classmethod
    def of(cls, region: Region, kind: type[np.floating]) -> _Representable:
        with np.errstate(over="ignore"):
            first, last = region.low.astype(kind), region.high.astype(kind)
        lowest, highest = np.array(-np.inf, kind), np.array(np.inf, kind)
        inside = np.where(
            region.open_low, first.astype(np.float64) > region.low, first.astype(np.float64) >= region.low
        )
        first = np.where(inside, first, np.nextafter(first, highest))
        inside = np.where(
            region.open_high, last.astype(np.float64) < region.high, last.astype(np.float64) <= region.high
        )
        last = np.where(inside, last, np.nextafter(last, lowest))
        snapped = first > last
        nearest = ((region.low + region.high) / 2).astype(kind)
        first, last = (np.where(snapped, nearest, one).astype(np.float64) for one in (first, last))
        with np.errstate(over="ignore"):
            rounded = (region.low.astype(kind).astype(np.float64), region.high.astype(kind).astype(np.float64))
        low, high = np.minimum(region.low, rounded[0]), np.maximum(region.high, rounded[1])
        low, high = np.minimum(low, first), np.maximum(high, last)
        return cls(low, high, first, last, snapped)

    def input_at(self, x: Vector, kind: type[np.floating]) -> Vector:
        """Return the nearest input (n,) of the precision within the bounds."""
        with np.errstate(over="ignore"):
            rounded = x.astype(kind).astype(np.float64)
        found: Vector = np.clip(rounded, self.first, self.last)
        return found


@dataclass
class _QueryVerification:
    network: OnnxFile
    query: Query
    timeout: float
    seed: int
    few: int
    problems: list[_Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    domains: int = 0
    difference: float = 0.0
    method: str = ""
    networks: dict[tuple[int, bool], Network] = field(default_factory=dict)  # one for each shape of a problem

    def run(self) -> Verdict:
        """Take all steps."""
        self.start = time.monotonic()
        self.stop = self.start + self.timeout
        if not self.query.regions:
            return self.verdict(Answer.UNSAT, method="empty bounds", bound=np.inf)
        first = _Representable.of(self.query.regions[0], self.network.kind)
        self.difference = self.network.difference(first.low, first.high, self.seed)
        for region in self.query.regions:
            found = self.add_problems(region)
            if found is not None:
                return self.broken(*found, "points")
        for step in (self.by_points, self.by_attack):
            for problem in self.problems:
                found = step(problem)
                if found is not None:
                    return self.broken(*found, self.method)
                if time.monotonic() >= self.stop:
                    return self.verdict(Answer.TIMEOUT)
        exhausted = False
        for number, problem in enumerate(self.problems):
            until = time.monotonic() + (self.stop - time.monotonic()) / (len(self.problems) - number)
            found = self.by_bounds(problem, until)
            if found is not None:
                return self.broken(*found, self.method)
            exhausted |= not problem.proven and time.monotonic() < until
        if all(problem.proven for problem in self.problems):
            methods = sorted({problem.method for problem in self.problems})
            bound = min(problem.bound for problem in self.problems)
            return self.verdict(Answer.UNSAT, method=", ".join(methods), bound=bound)
        return self.verdict(Answer.UNKNOWN if exhausted else Answer.TIMEOUT)

    def verdict(self, answer: Answer, method: str = "none", bound: float | None = None) -> Verdict:
        if bound is None:
            bound = min((problem.bound for problem in self.problems), default=-np.inf)
        seconds = time.monotonic() - self.start
        return Verdict(
            answer, None, None, method, bound, seconds, len(self.problems), self.domains, self.difference,
            tuple(dict.fromkeys(self.notes)),
        )  # fmt: skip

    def broken(self, x: Vector, y: Vector, method: str) -> Verdict:
        return replace(self.verdict(Answer.SAT, method, -np.inf), x=x, y=y)

    # problems

    def add_problems(self, region: Region) -> tuple[Vector, Vector] | None:
        """Add the problems of a region; return the counterexample of one without constraints."""
        box = _Representable.of(region, self.network.kind)
        if box.snapped.any():
            place = int(box.snapped.argmax())
            self.notes.append(
                f"{int(box.snapped.sum())} inputs, the first of them number {place}, have bounds between which "
                f"{np.dtype(self.network.kind).name} has no number ({region.low[place]:.17g} to "
                f"{region.high[place]:.17g}): they are taken as the nearest, {box.first[place]:.17g}"
            )
        single = [one[0] for one in region.conjunctions if len(one) == 1]
        longer = [one for one in region.conjunctions if len(one) > 1]
        groups: list[tuple[tuple[Constraint, ...], bool]] = [(tuple(single), False)] if single else []
        groups += [(one, True) for one in longer]
        for constraints, every in groups:
            module = BoxNetwork(self.network.module, box.low, box.high, constraints, every)
            self.problems.append(_Problem(region, box, module))
        if all(region.conjunctions):
            return None
        x = box.input_at((box.low + box.high) / 2, self.network.kind)  # every input is a counterexample
        return x, self.network.run(x)

    def replayed(self, problem: _Problem, u: Tensor) -> tuple[Vector, Vector] | None:
        """Inputs and outputs in onnxruntime at u (n,), where they are a counterexample as the file is written."""
        with torch.no_grad():
            x64: Vector = problem.module.points(u[None].double())[0].cpu().numpy()
        x = problem.box.input_at(x64, self.network.kind)
        written = np.where(problem.box.snapped, np.clip(x, problem.region.low, problem.region.high), x)
        if not problem.region.contains(written):
            return None
        y = self.network.run(x)
        return (x, y) if np.isfinite(y).all() and problem.region.met(x, y) is not None else None

    # steps

    def by_points(self, problem: _Problem) -> tuple[Vector, Vector] | None:
        """Random points and corners; and how large the numbers are, from which the slack follows."""
        self.method = "points"
        generator = torch.Generator().manual_seed(self.seed)
        n = len(problem.module.low)
        count = max(16, min(POINTS, 2**24 // max(1, n)))
        u = torch.rand(count, n, generator=generator, dtype=torch.float64)
        free = (problem.module.width > 0).nonzero().flatten()
        if len(free) <= CORNERS:
            bits = torch.arange(2 ** len(free))[:, None] >> torch.arange(len(free)) & 1
            corners = torch.full((len(bits), n), 0.5, dtype=torch.float64)
            corners[:, free] = bits.double()
            u = torch.cat((u, corners))
        u = torch.cat((torch.full((1, n), 0.5, dtype=torch.float64), u))
        margins = []
        scale = 0.0
        with torch.no_grad():
            for part in torch.split(u, self.portion()):
                margins.append(problem.module.margin(problem.module(part)))
                scale = max(scale, problem.module.scale(part))
        factor = float(problem.module.factors[:-1].abs().sum(1).amax())
        problem.slack = max(SLACK * scale, ROUNDING * self.difference * factor, 1e-12)
        return self.best_of(problem, u, torch.cat(margins))

    def portion(self) -> int:
        """How many rows go through the network at once."""
        return max(1, min(1024, 2**24 // self.network.module.widest))

    def best_of(self, problem: _Problem, u: Tensor, margins: Tensor) -> tuple[Vector, Vector] | None:
        """The first counterexample among the points (N, n) of the highest margins (N,)."""
        top = margins.topk(min(16, len(margins)))
        for place, margin in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            if margin < -problem.slack:
                break
            found = self.replayed(problem, u[place])
            if found is not None:
                return found
        return None

    def by_attack(self, problem: _Problem) -> tuple[Vector, Vector] | None:
        """PGD from many starts, on networks of few inputs; else `Auto`."""
        spent = time.monotonic() - self.start > ATTACKED * self.timeout
        if spent or self.free(problem) == 0:
            return None
        n, rows = len(problem.module.low), STARTS if self.free(problem) <= self.few else 1
        attack = PGD(Linf(0.5), steps=STEPS) if rows > 1 else Auto(Linf(0.5))
        self.method = type(attack).__name__
        outcome = run(
            attack,
            problem.module.classifier(self.network.name),
            problem.module.goal(rows),
            torch.full((rows, n), 0.5, dtype=torch.float64),
            engine=Engine(seed=self.seed),
        )
        with torch.no_grad():
            margins = problem.module.margin(problem.module(outcome.examples))
        return self.best_of(problem, outcome.examples, margins)

    def free(self, problem: _Problem) -> int:
        return int((problem.module.width > 0).sum())

    def by_bounds(self, problem: _Problem, until: float) -> tuple[Vector, Vector] | None:
        """A proof, or a counterexample on the way to one."""
        centre = torch.full((1, len(problem.module.low)), 0.5, dtype=torch.float64)
        network = self.captured(problem, centre)
        free = self.free(problem)
        if free <= self.few:
            now = time.monotonic()
            found = self.by_halving(problem, network, until if free <= VERY_FEW else now + HALVED * (until - now))
            if found is not None or problem.proven or free <= VERY_FEW or time.monotonic() >= until:
                return found
        with torch.no_grad():
            logits = float(problem.module(centre).abs().amax())
        certificates = verify(
            network,
            problem.module.goal(),
            centre,
            Linf(0.5),
            timeout=max(0.0, until - time.monotonic()),
            attack=FGSM(Linf(0.5)),  # type: ignore[arg-type]
            slack=problem.slack / (1 + logits),
        )
        self.domains += int(certificates.domains[0])
        self.method = problem.method = certificates.methods[0]
        problem.proven = certificates.status[0] is Status.PROVEN
        problem.bound = max(problem.bound, float(certificates.lower[0]))
        if certificates.status[0] is Status.BROKEN:
            found = self.replayed(problem, certificates.examples[0])
            if found is None:
                self.notes.append(
                    f"a counterexample in torch, found by {self.method}, is none in onnxruntime: it meets the "
                    "constraints by less than rounding"
                )
            return found
        return None

    def captured(self, problem: _Problem, centre: Tensor) -> Network:
        """The graph of a problem; problems of one shape differ in buffers, so that one graph serves them all."""
        shape = (len(problem.module.shift), problem.module.with_inputs)
        if shape not in self.networks:
            self.networks[shape] = Network(problem.module.classifier(self.network.name), centre)
        network = self.networks[shape]
        assert isinstance(network.target.model, BoxNetwork)
        network.target.model.become(problem.module)
        return network

    def by_halving(self, problem: _Problem, network: Network, until: float) -> tuple[Vector, Vector] | None:
        self.method = problem.method = "input splitting"
        kept: list[tuple[Vector, Vector]] = []

        def judge(points: Tensor) -> Tensor | None:
            for place in range(len(points)):
                found = self.replayed(problem, points[place])
                if found is not None:
                    kept.append(found)
                    return points[place]
            return None

        with network.target.frozen(), torch.no_grad():
            weights = {name: value.detach() for name, value in network.weights(torch.float64).items()}
        wanted = specification(problem.module.goal(), network.classes, torch.float64, torch.device("cpu"))
        free = (problem.module.width > 0).double()
        low, high = 0.5 - 0.5 * free, 0.5 + 0.5 * free
        found = split_inputs(network, weights, low, high, wanted, problem.slack, judge, until)
        self.domains += found.boxes
        problem.proven, problem.bound = found.proven, max(problem.bound, found.bound)
        return kept[0] if kept else None
