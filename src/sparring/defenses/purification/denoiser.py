"""A denoising network as a stage."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ...errors import TargetError
from ...random import Key
from ...transforms import Stage
from .checks import cast_to_weights, check_module


@dataclass(frozen=True, eq=False)
class Denoiser(Stage):
    """Pass images (B, C, H, W) through a network that keeps their shape, clipped to [0, 1]; autograd goes through it.

    Args:
        module: in [0, 1], in eval mode where it has batch norm or dropout.
        residual: the module gives what is to be added to the image, not the image.

    Raises: TargetError.
    """

    module: nn.Module
    residual: bool = False

    def __post_init__(self) -> None:
        check_module(self, self.module)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (self.module,)

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return self.unclipped(images).clamp(0, 1)

    def unclipped(self, images: Tensor) -> Tensor:
        """Return the restored images, not clipped to [0, 1]."""
        answer: Tensor = self.module(cast_to_weights(self.module, images)).to(images.dtype)
        if answer.shape != images.shape:
            raise TargetError(
                f"the denoiser gives {tuple(answer.shape)} for images {tuple(images.shape)}; it must keep their shape"
            )
        return images + answer if self.residual else answer
