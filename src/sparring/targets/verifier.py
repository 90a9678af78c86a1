"""`Verifier`: from the pixels of a photograph to the embedding of the face in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Jacobians
from ..errors import InputError, TargetError
from ..tasks import Identification, Task, Verification, similarity
from ..transforms import AlignFace
from .model import Model
from .pipeline import Pipeline
from .target import T, Target, WrappedTarget


class Verifier(Pipeline[Jacobians]):
    """A face verifier: images (B, 3, H, W) in [0, 1] -> embeddings (B, D), by alignment and a network.

        verifier = Verifier(net, 150, metric="euclidean")
        template = verifier.enroll(enrolled, context=Scene(landmarks=theirs))
        goal = Dodge(template, threshold=-0.6, metric="euclidean")
        run(PGD(Linf(4 / 255)), verifier, goal, probes, context=Scene(landmarks=landmarks))

    Args:
        embedder: a module or function from faces (B, 3, size, size) in [0, 1] to embeddings (B, D), or a `Model` of it.
        size: the side of the faces in pixels. None: images are aligned faces already.
        metric: how embeddings are compared: "cosine" or "euclidean"; see `tasks.similarity`.
        detector: finds the landmarks where the context has none (`AlignFace`): the verifier as it is deployed, which
            looks for the face in each image anew. An image in which it finds none is not answered.
        mean, std: per channel, in units of [0, 1]; the embedder sees (faces - mean) / std.
        name: the name in reports.

    Landmarks in the context stay where they are while an image is attacked, which costs no pass of a detector. An
    example that was made so is judged as deployed by `predict` without a context, or by an attack on it.

    Raises: TargetError, ConfigError.
    """

    def __init__(
        self,
        embedder: nn.Module | Callable[..., Any] | Model,
        size: int | None = None,
        *,
        metric: str = "cosine",
        detector: nn.Module | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        name: str | None = None,
    ) -> None:
        model = embedder
        if not isinstance(model, Model):
            model = Model(model, Verification(metric), mean=mean, std=std, name=name)
        elif model.task != Verification(metric) or mean is not None or std is not None:
            raise TargetError(f"{model.name} is a model already; give it Verification({metric!r}), mean and std itself")
        super().__init__(model, *(() if size is None else (AlignFace(size, detector),)))
        self.metric = metric

    @property
    def name(self) -> str:
        return self.target.name

    def enroll(self, images: Tensor, *, context: Any = None) -> Tensor:
        """Return the templates (B, D) of images (B, 3, H, W), one for each.

        Raises: InputError where no face is found, with the number of the image.
        """
        templates: Tensor = self.predict(images, context=context)
        answered = templates.isfinite().all(1)
        if not bool(answered.all()):
            row = int((~answered).nonzero()[0])
            raise InputError(f"no face was found in image {row}; leave it out, or pass its landmarks as context")
        return templates

    def similarity(self, embeddings: Tensor, templates: Tensor) -> Tensor:
        """Return the similarities (...) of embeddings (..., D) with templates (..., D), in the verifier's metric."""
        with torch.no_grad():
            return similarity(embeddings, templates, self.metric)


class Identifier(WrappedTarget[T]):
    """A verifier whose embeddings are searched in a gallery: the same answers, judged by goals of identification.

        outcome = run(PGD(Linf(4 / 255)), Identifier(verifier), EvadeIdentification(gallery, person, -0.6, ...), probes)

    Raises: TargetError for a target that is no verifier.
    """

    def __init__(self, target: Target[T]) -> None:
        if not isinstance(target.task, Verification):
            kind = "no task" if target.task is None else f"the task {target.task.name}"
            raise TargetError(f"{target.name} has {kind}, and persons are found by embeddings; pass a Verifier")
        super().__init__(target)

    @property
    def task(self) -> Task:
        assert isinstance(self.target.task, Verification)
        return Identification(self.target.task.metric)

    def identity(self) -> tuple[object, ...]:
        return ("identifier", *self.target.identity())
