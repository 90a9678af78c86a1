"""The rejection threshold of a detector, set on clean images that it was not fitted on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ...errors import ConfigError, InputError


@dataclass(frozen=True)
class Threshold:
    """A score above which images are rejected, and how it was found."""

    value: float  # rejected is what scores above it
    std: float  # the standard deviation of the clean scores: the unit of alarms
    fpr: float  # the false positive rate that was asked for
    images: int  # clean images that it was set on


def conformal_threshold(scores: Tensor, fpr: float) -> Threshold:
    """Return the ceil((n + 1) (1 - fpr))-th smallest of n clean scores (n,).

    A fresh clean image, exchangeable with those n, scores above it with probability fpr at most (the quantile of split
    conformal prediction: Papadopoulos et al. 2002; Vovk et al. 2005). That is an average over draws of the n images;
    the rate that one such threshold has scatters around it as Beta(n + 1 - k, k).

    Raises:
        ConfigError: `fpr` not between 0 and 1.
        InputError: too few images for that rate, or scores that tell no image from another.
    """
    if not (isinstance(fpr, int | float) and 0 < fpr < 1):
        raise ConfigError(f"fpr={fpr!r} is no false positive rate; pass a number between 0 and 1, as 0.05")
    place = math.ceil((len(scores) + 1) * (1 - fpr) - 1e-9)
    if place > len(scores):
        least = math.ceil((1 - fpr) / fpr - 1e-9)
        raise InputError(
            f"{len(scores)} clean images cannot set a threshold at a false positive rate of {fpr:g}: that takes "
            f"{least} at least; pass more, or ask for a rate of {1 / (len(scores) + 1):.2g} or above"
        )
    std = float(scores.double().std(correction=0))
    if not std > 0:
        raise InputError(
            f"the detector gives all {len(scores)} clean images the score {float(scores[0]):g}, so that no threshold "
            "parts them from others; fit it on more images or with other parameters"
        )
    return Threshold(float(scores.sort().values[place - 1]), std, float(fpr), len(scores))
