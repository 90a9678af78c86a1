"""MODEL and DATA of an audit of an object detector: a detector, and annotations of its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError, TargetError
from .models import InputOverrides, parse_input_spec

if TYPE_CHECKING:
    from ...audit.plan_file import AuditConfig
    from ...zoo import CocoData, LoadedModel


def load_detector_and_annotations(config: AuditConfig, device: str) -> tuple[LoadedModel, CocoData]:
    """Return the detector, and the annotated pictures with the goal of the plan.

    Raises: TargetError for what is no object detector, ConfigError for options of classifiers.
    """
    from ...zoo import CocoData, load_model
    from ...zoo.coco_data import SIZE

    of_classes = {**config.read.model_dump(), "classes": config.input.classes, "surrogate": config.surrogate}
    for name, value in of_classes.items():
        if value is not None:
            raise ConfigError(f"{name} is of classifiers, and objects are annotated in DATA; leave it out")
    if not config.data.endswith(".json"):
        raise ConfigError(
            f"DATA {config.data!r:.80} is no file of annotations; with --goal {config.goal} name one as COCO has it: "
            "instances.json, with the pictures beside it or in a folder images"
        )
    loaded = load_model(config.model, device=device)
    task = loaded.target.task
    if task is None or task.name != "detection":
        raise TargetError(f"{config.model} is no object detector; --goal {config.goal} is of those, as zoo:centernet")
    if loaded.class_names is None:
        raise TargetError(
            f"{config.model} does not say which classes it knows; return a sparring.zoo.LoadedModel with class_names"
        )
    spec = parse_input_spec(None, InputOverrides(**config.input.model_dump()))
    side = SIZE if spec is None else max(spec.height, spec.width)
    threshold = getattr(task, "score_threshold", 0.5)
    return loaded, CocoData(
        config.data,
        None,
        loaded.class_names,
        goal=str(config.goal),
        size=side,
        limit=config.limit,
        score_threshold=threshold,
    )
