"""What a library's answer is worth, measured again by the benchmark itself on the tensors that came back."""

from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor, nn

TOLERANCE = 1e-5  # how far outside the ball or [0, 1] an answer may lie and still count
ROUNDING = 1e-6  # L0: a component that moved by no more than this did not move
ORDERS = {"L0": 0, "L1": 1, "L2": 2, "Linf": inf}


@dataclass(frozen=True)
class Verdict:
    """The answer, as shares of all rows; an answer outside the ball or the box counts as no answer.

    Args:
        clean_accuracy: rows the net classifies right before the attack.
        robust_accuracy: rows still right after it.
        success: of the rows right before the attack, those that are wrong after it, or of the class that was wanted.
        median_distance: over the rows right before the attack, a failed row counting as infinitely far;
            None where that makes it infinite.
        outside: rows whose answer left the ball or the box, or is not finite.
    """

    clean_accuracy: float
    robust_accuracy: float
    success: float
    median_distance: float | None
    outside: int


@dataclass(frozen=True)
class Weighed:
    """An answer row by row: (N,) each.

    Args:
        right: the net classifies the image right.
        inside: the answer is in the ball and the box, and finite.
        fallen: the image is right, the answer inside and wrong; of the class that was wanted, where one was.
        size: how far the answer is from the image.
    """

    right: Tensor
    inside: Tensor
    fallen: Tensor
    size: Tensor


def weigh(
    net: nn.Module, clean: Tensor, labels: Tensor, returned: Tensor, norm: str, eps: float, wanted: Tensor | None = None
) -> Weighed:
    """Classify what came back in float32 and measure its distance from the clean images.

    In L0 components that moved by no more than ROUNDING are first put back to where they were: what is counted is
    then what is classified, and rounding counts for nobody.
    """
    if returned.shape != clean.shape:
        raise ValueError(f"the answer has shape {tuple(returned.shape)}, the images {tuple(clean.shape)}")
    answer = returned.detach().to(clean.device, torch.float32)
    if norm == "L0":
        answer = torch.where((answer - clean).abs() <= ROUNDING, clean, answer)
    size = torch.linalg.vector_norm((answer - clean).flatten(1).double(), ORDERS[norm], dim=1)
    inside = torch.isfinite(answer).flatten(1).all(1) & (size <= eps + TOLERANCE)
    inside &= (answer.flatten(1).amin(1) >= -TOLERANCE) & (answer.flatten(1).amax(1) <= 1 + TOLERANCE)
    right = predict(net, clean) == labels
    found = predict(net, answer)
    return Weighed(right, inside, right & inside & (found != labels if wanted is None else found == wanted), size)


def judge(
    net: nn.Module, clean: Tensor, labels: Tensor, returned: Tensor, norm: str, eps: float, wanted: Tensor | None = None
) -> Verdict:
    """The shares and the median of what was weighed."""
    rows = weigh(net, clean, labels, returned, norm, eps, wanted)
    distance = torch.where(rows.fallen, rows.size, torch.inf)[rows.right]
    return Verdict(
        clean_accuracy=rows.right.double().mean().item(),
        robust_accuracy=(rows.right & ~rows.fallen).double().mean().item(),
        success=(rows.fallen.sum() / rows.right.sum().clamp(min=1)).item(),
        median_distance=_finite_median(distance),
        outside=int((~rows.inside).sum()),
    )


def _finite_median(distance: Tensor) -> float | None:
    middle = distance.median().item() if len(distance) else torch.inf  # torch's: the lower of two middles
    return middle if isfinite(middle) else None


@torch.no_grad()
def predict(net: nn.Module, images: Tensor) -> Tensor:
    """The net's classes, in pieces of 100 images."""
    return torch.cat([net(piece).argmax(1) for piece in images.split(100)])
