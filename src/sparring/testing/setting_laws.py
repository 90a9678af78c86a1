"""The law that an attack works in the dtype of its images, whatever the model answers in and the caller has set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from ..access import Attack
from ..targets import Classifier
from .attack_laws import require, run_on_case
from .cases import Case, small_net

COUNT = 3


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype within this context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "a default dtype of float64": lambda: default_dtype(torch.float64),
    "a default device": lambda: torch.device("meta"),
}
ANSWERS: dict[str, tuple[torch.dtype, torch.dtype]] = {  # of the weights, and of the images
    "float64 weights": (torch.float64, torch.float32),
    "bfloat16 weights": (torch.bfloat16, torch.float32),
    "half weights": (torch.float16, torch.float32),
    "float32 weights": (torch.float32, torch.float64),
}


def check_settings(attack: Attack[Any, Any]) -> None:
    """Check law 13: what the caller has set changes no bit of the outcome, and dtypes of the model are no matter.

    Autocast, `no_grad`, inference mode (images made in it included), a default dtype and a default device around the
    call. A model in float64, bfloat16 or half attacked on float32 images, and one in float32 on float64 images: the
    examples have the images' dtype, and are the successes that they are said to be.
    """
    double = small_net(COUNT)
    module, images = double.module.float(), double.images.float()
    wanted = run_on_case(attack, Case(module, images, double.labels))
    for name, setting in SETTINGS.items():
        with setting():
            own = images.clone() if name == "inference mode" else images
            found = run_on_case(attack, Case(module, own, double.labels.clone()))
        for word in ("examples", "success", "distance"):
            same = torch.equal(getattr(found, word).cpu(), getattr(wanted, word))
            require(same, f"{attack.name} under {name}: other {word}")
    for name, (weights, pixels) in ANSWERS.items():
        target, given = Classifier(small_net(COUNT).module.to(weights)), images.to(pixels)
        with torch.no_grad(), target.frozen():
            labels = target(given).argmax(1)
        found = run_on_case(attack, Case(module, given, labels), target=target)
        require(found.examples.dtype is pixels, f"{attack.name} on {name}: examples in {found.examples.dtype}")
        require(_fooled(target, found.examples, labels)[found.success].all(), f"{attack.name} on {name}: no success")


def _fooled(target: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """(N,) bool: is the class another than the label?"""
    with torch.no_grad(), target.frozen():
        return target(images).argmax(1) != labels
