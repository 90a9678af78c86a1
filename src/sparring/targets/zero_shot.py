"""Zero-shot classification: an image encoder, and the embedding of a text for each class (Radford et al. 2021, CLIP).

z_k = cos( f(x), t_k ) / temperature                                                      (arXiv:2103.00020, fig. 3)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize

from ..errors import ConfigError, InputError, TargetError
from .classifier import Classifier

CLIP_TEMPERATURE = 0.01  # to which that of the paper's models was trained: its inverse is clipped at 100
EMBEDDING_FIELDS = ("image_embeds", "pooler_output")  # of Hugging Face's outputs


class ZeroShot(nn.Module):
    """Images (B, C, H, W) -> logits (B, K): cosines of their embeddings with those of K texts, over the temperature."""

    texts: Tensor

    def __init__(self, encoder: nn.Module | Callable[..., Any], texts: Tensor, temperature: float) -> None:
        super().__init__()
        self.encoder, self.temperature = encoder, temperature
        self.register_buffer("texts", normalize(texts.detach().clone(), dim=1))

    def forward(self, images: Tensor) -> Tensor:
        embeddings = embeddings_of(self.encoder(images))
        if embeddings.ndim != 2 or embeddings.shape[1] != self.texts.shape[1]:
            raise TargetError(
                f"the encoder gives embeddings {tuple(embeddings.shape)}, and those of the texts have "
                f"{self.texts.shape[1]} dimensions; pass texts=(K, D) of the same model"
            )
        texts = self.texts.to(embeddings)
        logits: Tensor = normalize(embeddings, dim=1) @ texts.mT / self.temperature
        return logits


class ZeroShotClassifier(Classifier):
    """A classifier made of an image encoder and the embeddings of K texts, one for each class, as CLIP is used.

        target = ZeroShotClassifier(clip.get_image_features, texts, mean=CLIP_MEAN, std=CLIP_STD)
        run(PGD(Linf(4 / 255)), target, Misclassify(labels), images)

    Args:
        encoder: a module or function from normalised images to embeddings (B, D); Hugging Face's outputs are read.
        texts: (K, D), the embeddings of the texts ("a photo of a cat"), of any length; several prompts of a class are
            averaged before. They are constants of the attack.
        temperature: what cosines are divided by, above 0: 1 / exp(logit_scale) of the model, 0.01 in CLIP. It changes
            neither predictions nor what the default loss finds.
        options: those of `Classifier`: mean, std, layout, inputs, name, identity (which a function needs).

    Embedding goals (`Dodge`, `Impersonate`) attack the encoder itself: `Model(encoder, Verification())`.

    Raises: InputError for texts that are none, ConfigError for the temperature, TargetError.
    """

    def __init__(
        self,
        encoder: nn.Module | Callable[..., Any],
        texts: Tensor,
        *,
        temperature: float = CLIP_TEMPERATURE,
        **options: Any,
    ) -> None:
        check_texts(texts)
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise ConfigError(f"temperature={temperature!r:.80}; pass a number above 0, as 0.01")
        if not callable(encoder):
            raise TargetError(f"encoder={encoder!r:.80} cannot be called; pass a module or a function of images")
        options.setdefault("name", getattr(encoder, "__name__", type(encoder).__name__))
        options.setdefault("classes", len(texts))
        super().__init__(ZeroShot(encoder, texts, float(temperature)), **options)


def check_texts(texts: Any) -> None:
    """Raise InputError unless these are the embeddings (K, D) of two texts or more."""
    shaped = isinstance(texts, Tensor) and texts.is_floating_point() and texts.ndim == 2
    if not shaped or len(texts) < 2 or texts.shape[1] == 0:
        got = f"{texts.dtype} {tuple(texts.shape)}" if isinstance(texts, Tensor) else type(texts).__name__
        raise InputError(f"texts are real numbers (K, D), an embedding for each of K >= 2 classes; got {got}")
    wrong = ~texts.isfinite().all(1) | (texts == 0).all(1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise InputError(f"texts[{row}] is zero, or holds NaN or infinity, and has no direction; embed it again")


def embeddings_of(outputs: Any) -> Tensor:
    """Return the tensor of embeddings in what an encoder returned.

    Raises: TargetError where there is none.
    """
    for name in () if isinstance(outputs, Tensor) else EMBEDDING_FIELDS:
        found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(found, Tensor):
            return found
    if not isinstance(outputs, Tensor):
        raise TargetError(
            f"the encoder returned a {type(outputs).__name__}; an encoder returns a tensor of embeddings (images, "
            f"dimensions), or an object with .{' or .'.join(EMBEDDING_FIELDS)}"
        )
    return outputs
