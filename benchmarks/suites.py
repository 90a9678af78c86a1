"""What is compared with what: nets, attacks, settings, libraries. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

Settings = Mapping[str, float | str | bool]


@dataclass(frozen=True)
class Entry:
    """One peer in a comparison; ours is one among them.

    Args:
        peer: its name in `benchmarks.libraries`.
        variant: what sets it apart from other entries of the same peer.
        queries_of: spend on each image what this peer spent on average (forward passes of its first run).
        settings: its own, beside the comparison's.
        attack: name of the function in its file, where that is not the comparison's.
    """

    peer: str
    variant: str = ""
    queries_of: str | None = None
    settings: Settings = field(default_factory=dict, hash=False)
    attack: str = ""


@dataclass(frozen=True)
class Comparison:
    """One attack on one net, by several libraries, on the same images.

    Args:
        net: name in `benchmarks.nets`.
        attack: its name in the tables, and of the function in each library's file where an entry names no other.
        images: how many; with `only_right`, the first that the net classifies right.
        norm, eps: what the answer is judged by; eps is infinite for minimum-norm attacks.
        settings: handed to every library.
        limit: seconds after which one run is stopped.
        once_over: a run that takes longer (seconds) is measured once.
        traced: run a second time, unmeasured, for the queries to success.
    """

    net: str
    attack: str
    images: int
    norm: str
    entries: tuple[Entry, ...]
    settings: Settings = field(default_factory=dict)
    eps: float = inf
    only_right: bool = False
    limit: float = 60.0
    once_over: float = 12.0
    traced: bool = False

    def answers_to(self, words: str) -> bool:
        """Whether each of the words, e.g. "mnist-plain:0.1:pgd" or "mnist-plain:L2", is this one's."""
        return set(words.split(":")) <= {self.net, self.norm, f"{self.eps:g}", self.attack}


def _entries(*peers: str, attack: str = "") -> tuple[Entry, ...]:
    return tuple(Entry(peer, attack=attack) for peer in peers)


_PGD_PEERS = ("foolbox", "torchattacks", "advlib", "art", "sparring")
_PGD = _entries(*_PGD_PEERS)
_PGD_PHOTOGRAPHS = _entries("foolbox", "torchattacks", "advlib", "sparring")
_HOPSKIPJUMP = {"steps": 10, "first_evaluations": 100, "most_evaluations": 1000}
_SQUARE = {"steps": 1000, "first_fraction": 0.8}
_SQUARE_ENTRIES = (
    Entry("art"),
    Entry("torchattacks"),
    Entry("sparring"),
    Entry("sparring", "art's limit", settings={"queries": 3000}),  # what art may ask of one image: three times a step
)


def _fixed(net: str, eps: float) -> tuple[Comparison, ...]:
    """Attacks at a fixed radius, every run however long it takes; PGD also without a random start."""
    pgd: Settings = {"steps": 40, "step_size": 2.5 * eps / 40}
    settings: tuple[tuple[str, tuple[Entry, ...], Settings], ...] = (
        ("pgd_from_the_image", _entries(*_PGD_PEERS, attack="pgd"), {**pgd, "random_start": False}),
        ("pgd", _PGD, pgd),
        ("apgd", _entries("autoattack", "torchattacks", "advlib", "art", "sparring"), {"steps": 100}),
        ("apgd_t", _entries("autoattack", "torchattacks", "advlib", "sparring"), {"steps": 25}),
    )
    return tuple(
        Comparison(net, attack, 200, "Linf", entries, given, eps=eps, limit=120.0, once_over=inf)
        for attack, entries, given in settings
    )


# norm: (attack, the peers that have it, settings)
_EAD = {"rounds": 9, "steps": 100, "rate": 0.01}
_MINIMUM: dict[str, tuple[tuple[str, tuple[str, ...], Settings], ...]] = {
    "L2": (
        ("ddn", ("foolbox", "advlib"), {"steps": 100}),
        ("fmn", ("foolbox", "advlib"), {"steps": 100}),
        ("alma", ("advlib",), {"steps": 100}),
        ("ead", ("foolbox", "torchattacks", "art"), {**_EAD, "beta": 1e-3}),
        ("fab_t", ("advlib",), {"steps": 100}),
        ("superdeepfool", ("advlib",), {"steps": 100}),
    ),
    "Linf": (
        ("fmn", ("foolbox", "advlib"), {"steps": 100}),
        ("deepfool", ("foolbox", "advlib"), {"steps": 50, "overshoot": 0.02}),
        ("fab", ("autoattack", "torchattacks", "advlib"), {"steps": 100}),
        ("carlini_wagner_linf", ("advlib", "art"), {"steps": 100}),
        ("pdpgd", ("advlib",), {"steps": 100}),
    ),
    "L1": (
        ("fmn", ("foolbox", "advlib"), {"steps": 100}),
        ("alma", ("advlib",), {"steps": 100}),
        ("ead", ("foolbox", "torchattacks", "art"), {**_EAD, "beta": 1e-2}),
        ("fab", ("autoattack", "advlib"), {"steps": 100}),
        ("pdpgd", ("advlib",), {"steps": 100}),
    ),
    "L0": (
        ("fmn", ("foolbox", "advlib"), {"steps": 100}),
        ("sigma_zero", ("advlib",), {"steps": 100}),
        ("pdpgd", ("advlib",), {"steps": 100}),
    ),
}


_ALSO: dict[tuple[str, str], tuple[Entry, ...]] = {  # ours again, with as many passes as a peer takes
    ("ead", "L1"): (Entry("sparring", "every round in full, as in the paper", settings={"whole": True}),),
    ("fab", "L1"): (Entry("sparring", "118 steps", settings={"steps": 118}),),
}


def _minimum(net: str, images: int, attack: str, norm: str, entries: tuple[Entry, ...], given: Settings) -> Comparison:
    settings: Settings = given if attack in _ONE_NORM else {"norm": norm, **given}
    return Comparison(net, attack, images, norm, entries, settings, only_right=True, once_over=4.0)


_FEW = {"carlini_wagner_linf": 20, "jsma": 20}  # images: these take the peers thousands of passes
_ONE_NORM = ("ddn", "superdeepfool", "carlini_wagner_linf", "sigma_zero", "jsma")
_JSMA = (*_entries("torchattacks", "art", "sparring"), Entry("sparring", "untargeted", settings={"untargeted": True}))
_PHOTOGRAPHS = (
    ("ddn", "L2", ("foolbox", "advlib"), {"steps": 20}),
    ("fmn", "L2", ("foolbox", "advlib"), {"steps": 20}),
    ("fmn", "Linf", ("foolbox", "advlib"), {"steps": 20}),
    ("deepfool", "Linf", ("foolbox",), {"steps": 10, "overshoot": 0.02}),  # adv-lib asks for 1,000 gradients a step
)


def _autoattack(net: str, images: int, eps: float) -> Comparison:
    entries = (
        *_entries("autoattack", "torchattacks"),
        Entry("sparring", "its own cascade", attack="auto"),
    )
    return Comparison(net, "autoattack", images, "Linf", entries, eps=eps, limit=3600.0, once_over=0.0)


_LIMIT = {"queries": 5000}
_SQUARE_AT_5000 = (
    Entry("autoattack"),
    Entry("torchattacks"),
    Entry("art", settings={"steps": 1666}),  # it asks three times in each
    Entry("sparring", settings=_LIMIT),
)
_AS_MANY = {"queries": 1000}
_SLOPES = (
    Entry("torchattacks", settings={"steps": 4, "pairs": 125, "step_size": 0.01}),  # its defaults, but for 3 pairs
    Entry("torchattacks", "small samples", settings={"steps": 50, "pairs": 10, "step_size": 0.05}),
    Entry("sparring", settings=_AS_MANY),
    Entry("sparring", "NES", attack="nes", settings=_AS_MANY),
    Entry("sparring", "Bandits", attack="bandits", settings=_AS_MANY),
)
_BOUNDARY = (
    Entry("art", settings={"iterations": 30}),  # which take it about 1,000 queries
    Entry("art", "GeoDA", attack="geoda", settings=_AS_MANY),
    Entry("foolbox", settings={"steps": 850}),
    Entry("sparring", "art's queries", queries_of="art"),
    Entry("sparring", "art's queries, SurFree", attack="surfree", queries_of="art"),
    Entry("sparring", "art's queries, HopSkipJump", attack="hopskipjump", queries_of="art", settings=_HOPSKIPJUMP),
)
_ZOO = (
    Entry("art", settings={"iterations": 15, "constant": 1e-3, "rate": 0.01}),  # both its defaults
    Entry("art", "larger constant and rate", settings={"iterations": 15, "constant": 10.0, "rate": 0.1}),
    Entry("sparring", "art's queries", queries_of="art"),
)


def _queries(net: str, attack: str, norm: str, entries: tuple[Entry, ...], **given: Any) -> Comparison:
    return Comparison(net, attack, 100, norm, entries, only_right=True, limit=120.0, **given)


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
    "queries": (
        *(_queries(net, "boundary", "L2", _BOUNDARY) for net in ("mnist-plain", "mnist-pgd")),
        *(
            _queries(
                "mnist-plain",
                f"simba_{basis}",
                "L2",
                _entries("art", "sparring", attack="simba"),
                settings={"queries": 300, "step_size": 0.2, "pixels": basis == "pixels"},
                traced=True,
            )
            for basis in ("pixels", "dct")
        ),
        Comparison("mnist-plain", "zoo", 100, "L2", _ZOO, only_right=True, limit=2400.0),
        *(
            _queries(
                net,
                "square",
                "Linf",
                _SQUARE_AT_5000,
                settings={"steps": 5000, "first_fraction": 0.8},
                eps=eps,
                traced=True,
            )
            for net, eps in (("mnist-plain", 0.15), ("mnist-pgd", 0.3))
        ),
        _queries("mnist-plain", "spsa", "Linf", _SLOPES, eps=0.15, traced=True),
    ),
    "fixed": tuple(
        comparison
        for net, radii in (("mnist-plain", (0.05, 0.1)), ("mnist-pgd", (0.2, 0.3)), ("mnist-distilled", (0.05, 0.1)))
        for eps in radii
        for comparison in _fixed(net, eps)
    ),
    "minimum": (
        *(
            _minimum(
                net,
                _FEW.get(attack, images),
                attack,
                norm,
                (*_entries(*peers, "sparring"), *_ALSO.get((attack, norm), ())),
                settings,
            )
            for net, images in (("mnist-plain", 100), ("mnist-distilled", 50))
            for norm, attacks in _MINIMUM.items()
            for attack, peers, settings in attacks
        ),
        *(
            _minimum(net, _FEW["jsma"], "jsma", "L0", _JSMA, {"gamma": 0.145})
            for net in ("mnist-plain", "mnist-distilled")
        ),
        *(
            _minimum("efficientnet-lite0", 8, attack, norm, _entries(*peers, "sparring"), settings)
            for attack, norm, peers, settings in _PHOTOGRAPHS
        ),
    ),
    "autoattack": (
        *(
            _autoattack(net, 500, eps)
            for net in ("mnist-pgd", "mnist-trades", "mnist-ibp", "mnist-fast")
            for eps in (0.1, 0.2, 0.3)
        ),
        *(_autoattack("efficientnet-lite0", 8, eps) for eps in (1 / 255, 4 / 255)),
    ),
}
ON_REQUEST = ("autoattack",)  # hours of reference runs: measured where it is asked for by name
