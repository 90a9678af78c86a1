"""A verifier from a model as it was loaded: one of the zoo, or an embedding network of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import ConfigError
from ..targets import Classifier, Model, Restricted, Target, Verifier
from ..tasks import Verification
from ..tasks.verification import METRICS
from ..zoo import InputSpec, LoadedModel
from ..zoo.assets import locate_asset
from ..zoo.blaze_face import load_blaze_face

DETECTOR = "human"  # the asset with BlazeFace


def as_verifier(
    loaded: LoadedModel,
    *,
    metric: str | None = None,
    size: InputSpec | None = None,
    aligned: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> LoadedModel:
    """Return the model as a verifier of faces; one that is a verifier already stays as it is.

    Args:
        loaded: a target of verification, or a bare network from faces to embeddings (`FILE.py:FACTORY`, `onnx:FILE`).
        metric: how a bare network's embeddings are compared, "cosine" or "euclidean".
        size: of the faces that a bare network takes.
        aligned: pictures are faces, cut out and aligned; they are brought to `size`. Else BlazeFace finds the face in
            each picture (`sparring zoo get face-faceres` brings it).
        mean, std: of a bare network, in units of [0, 1].

    Raises: ConfigError for what is missing or said of a model that says it itself; AssetError without the detector.
    """
    target = loaded.target
    if isinstance(target.task, Verification):
        if metric not in (None, target.task.metric):
            raise ConfigError(f"{loaded.name} compares by metric={target.task.metric!r}, not {metric!r}; leave it out")
        if mean is not None or std is not None:
            raise ConfigError(f"mean and std are of a bare network, and {loaded.name} is a verifier; leave them out")
        return loaded if size is None else replace(loaded, input=size)
    inside = target.target if isinstance(target, Restricted) else target
    if not isinstance(inside, Classifier):
        kind = "no task" if target.task is None else f"the task {target.task.name}"
        raise ConfigError(f"{loaded.name} has {kind}, and is neither a verifier nor a network of embeddings")
    if metric not in METRICS:
        raise ConfigError(
            f"nothing says how the embeddings of {loaded.name} are compared; add --metric "
            f"{' or --metric '.join(METRICS)}"
        )
    spec = size or loaded.input
    if spec is None or spec.height != spec.width:
        raise ConfigError(f"nothing says which square faces {loaded.name} takes; add --size 112, or what it is")
    model = Model(
        inside.model,
        Verification(metric),
        mean=mean,
        std=std,
        layout=inside.layout,
        name=inside.name,
        identity=inside.given_identity,
    )
    detector = None if aligned else load_blaze_face(locate_asset(DETECTOR)).to(target.device)
    verifier: Target[Any] = Verifier(model, None if aligned else spec.height, metric=metric, detector=detector)
    if isinstance(target, Restricted):
        verifier = Restricted(verifier, target.access)
    return replace(loaded, target=verifier, input=spec if aligned else None)
