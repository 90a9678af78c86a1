"""One file per library: its own call for each attack, with the settings the benchmark asks for.

Every function is called as `attack(net, images, labels, seed, **settings)` and returns adversarial images.
A library is imported when it is first asked for, so a peer that does not import is a row that says so.
"""

from collections.abc import Callable
from importlib import import_module

from torch import Tensor

Attack = Callable[..., Tensor]
LIBRARIES = ("sparring", "foolbox", "torchattacks", "advlib", "art", "autoattack")


def attack_of(library: str, attack: str) -> Attack:
    """The library's function for this attack, e.g. `attack_of("foolbox", "pgd")`."""
    if library not in LIBRARIES:
        raise ValueError(f"unknown library '{library}'; known: {', '.join(LIBRARIES)}")
    module = import_module(f"benchmarks.libraries.with_{library}")
    function: Attack = getattr(module, attack)
    return function
