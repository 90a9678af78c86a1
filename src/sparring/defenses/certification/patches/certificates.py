"""`PatchCertificates`, and the checks that both defences share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ....access import Decisions, Jacobians
from ....errors import ConfigError, TargetError
from ....inputs import Images
from ....targets import Target, as_target
from ....tasks import Classification
from ..labels import as_labels


@dataclass(frozen=True)
class PatchCertificates:
    """The class that the defence gives each of N images, and whether a patch can change it.

    Args:
        predicted: (N,) int64, the answer of the defence to the image without a patch.
        certified: (N,) bool: no patch of `patch` pixels or less, with any content and at any place, changes it.
        patch: height and width.
    """

    predicted: Tensor
    certified: Tensor
    patch: tuple[int, int]

    def certified_for(self, labels: Any) -> Tensor:
        """Return (N,) bool: which images are certified for their label; InputError for what are no N classes."""
        right = self.predicted.cpu() == as_labels(labels, len(self.predicted))
        return self.certified.cpu() & right

    def certified_accuracy(self, labels: Any) -> float:
        """Return the share of images that are certified for their label; InputError for what are no N classes."""
        return float(self.certified_for(labels).double().mean())


def check_patch(patch: Any) -> tuple[int, int]:
    """Return height and width of a patch; ConfigError where they are no whole numbers from 1."""
    size = (patch, patch) if type(patch) is int else patch
    if not isinstance(size, tuple) or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise ConfigError(f"patch={patch!r}; pass its side or (height, width) in pixels, each an int >= 1")
    return size


def check_fits(patch: tuple[int, int], height: int, width: int) -> None:
    """Raise ConfigError where the patch is larger than the image."""
    if patch[0] > height or patch[1] > width:
        raise ConfigError(f"a patch of {patch[0]} x {patch[1]} pixels does not fit into images of {height} x {width}")


def as_classifier(name: str, given: Any) -> Target[Any]:
    """Return the target; TargetError for what is no classifier of images that always answers the same."""
    target = as_target(given)
    if not isinstance(target.task, Classification):
        raise TargetError(f"{name} is put around a classifier: pass Classifier(model), not {target!r:.80}")
    if not isinstance(target.inputs, Images):
        raise TargetError(f"{name} is for images, and {target.name} takes {target.inputs}")
    if target.stochastic:
        raise TargetError(f"{name} certifies what always answers the same, and {target.name} is random")
    return target


def access_of(target: Target[Any]) -> type[Any]:
    """Return the access that the defended classifier grants: that of a white box, or decisions alone."""
    return Jacobians if issubclass(target.access, Jacobians) else Decisions


def is_share(value: object) -> bool:
    """Tell whether it is a number in [0, 1]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
