"""One file per library: its own call for each attack, with the settings the benchmark asks for.

Every function is called as `attack(task, **settings)` and returns adversarial images. A library is imported when it
is first asked for, so a peer that does not import is a row that says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from torch import Tensor, nn

Attack = Callable[..., Tensor]
LIBRARIES = ("sparring", "foolbox", "torchattacks", "advlib", "art", "autoattack")
EAD_RULES = {"L1": "L1", "L2": "EN"}  # by which of its two rules EAD is asked for the smallest example in a norm


@dataclass(frozen=True)
class Task:
    """What every library is handed, beside an attack's settings.

    Args:
        net: counted, frozen and in evaluation mode.
        images, labels: all of them at once.
        seed: for the libraries that take one; the global generators are seeded with it for the others.
    """

    net: nn.Module
    images: Tensor
    labels: Tensor
    seed: int

    @property
    def next_classes(self) -> Tensor:
        """The class after each label of ten: a target."""
        return (self.labels + 1) % 10


def attack_of(library: str, attack: str) -> Attack:
    """The library's function for this attack, e.g. `attack_of("foolbox", "pgd")`."""
    if library not in LIBRARIES:
        raise ValueError(f"unknown library '{library}'; known: {', '.join(LIBRARIES)}")
    module = import_module(f"benchmarks.libraries.with_{library}")
    function: Attack = getattr(module, attack)
    return function
