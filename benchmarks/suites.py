"""What is compared with what: nets, attacks, settings, libraries. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True)
class Entry:
    """One library in a comparison.

    Args:
        library: its name in `benchmarks.libraries`.
        variant: what sets it apart from other entries of the same library.
        queries_of: spend on each image what this library spent on average (forward passes of its first run).
        queries: spend no more than this on an image.
    """

    library: str
    variant: str = ""
    queries_of: str | None = None
    queries: int | None = None


@dataclass(frozen=True)
class Comparison:
    """One attack on one net, by several libraries, on the same images.

    Args:
        net: name in `benchmarks.nets`.
        attack: name of the function in each library's file.
        images: how many; with `only_right`, the first that the net classifies right.
        norm, eps: what the answer is judged by; eps is infinite for minimum-norm attacks.
        settings: handed to every library.
        limit: seconds after which one run is stopped.
    """

    net: str
    attack: str
    images: int
    norm: str
    entries: tuple[Entry, ...]
    settings: Mapping[str, float] = field(default_factory=dict)
    eps: float = inf
    only_right: bool = False
    limit: float = 60.0


def _entries(*libraries: str) -> tuple[Entry, ...]:
    return tuple(Entry(library) for library in libraries)


_PGD = _entries("foolbox", "torchattacks", "advlib", "art", "sparring")
_PGD_PHOTOGRAPHS = _entries("foolbox", "torchattacks", "advlib", "sparring")
_HOPSKIPJUMP = {"steps": 10, "first_evaluations": 100, "most_evaluations": 1000}
_SQUARE = {"steps": 1000, "first_fraction": 0.8}
_SQUARE_ENTRIES = (
    Entry("art"),
    Entry("torchattacks"),
    Entry("sparring"),
    Entry("sparring", "art's limit", queries=3000),  # what art may ask of one image: three times a step
)

COMPARISONS: dict[str, tuple[Comparison, ...]] = {
    "pgd": (
        Comparison("mnist-plain", "pgd", 500, "Linf", _PGD, {"steps": 40, "step_size": 0.01}, eps=0.3),
        Comparison(
            "efficientnet-lite0",
            "pgd",
            8,
            "Linf",
            _PGD_PHOTOGRAPHS,
            {"steps": 40, "step_size": 1 / 255},
            eps=4 / 255,
        ),
    ),
    "cw": (
        Comparison(
            "mnist-plain",
            "carlini_wagner",
            50,
            "L2",
            _entries("foolbox", "advlib", "torchattacks", "art", "sparring"),
            {"rounds": 9, "steps": 100, "rate": 0.05},
            only_right=True,
            limit=30.0,
        ),
    ),
    "deepfool": (
        Comparison(
            "mnist-plain",
            "deepfool",
            200,
            "L2",
            _entries("foolbox", "advlib", "art", "sparring"),
            {"steps": 50, "overshoot": 0.02},
            only_right=True,
        ),
    ),
    "hopskipjump": (
        Comparison(
            "mnist-plain",
            "hopskipjump",
            100,
            "L2",
            (Entry("art"), Entry("foolbox"), Entry("sparring", "art's queries", queries_of="art")),
            _HOPSKIPJUMP,
            only_right=True,
            limit=120.0,
        ),
    ),
    "square": tuple(
        Comparison("mnist-plain", "square", 100, "Linf", _SQUARE_ENTRIES, _SQUARE, eps=eps, only_right=True)
        for eps in (0.3, 0.15)
    ),
}
