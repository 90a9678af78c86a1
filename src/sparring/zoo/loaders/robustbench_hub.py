"""`robustbench:NAME[/DATASET/THREAT]`: a model of RobustBench, which normalises its inputs itself."""

from __future__ import annotations

from ...errors import ConfigError, TargetError, nearest
from ...targets import Classifier
from .. import imagenet_classes
from ..loaded import InputSpec, LoadedModel
from .optional import import_optional

INSTALL = "git+https://github.com/RobustBench/robustbench.git"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DATASETS = {
    "cifar10": (InputSpec(3, 32, 32), 10),
    "cifar100": (InputSpec(3, 32, 32), 100),
    "imagenet": (InputSpec(3, 224, 224, crop_fraction=0.875), 1000),
}
THREATS = ("Linf", "L2", "corruptions")
DEFAULTS = ("cifar10", "Linf")


def robustbench_model(name: str, device: str) -> LoadedModel:
    """Return `robustbench.utils.load_model(NAME, dataset, threat_model)` as a target; CIFAR-10 and Linf by default."""
    given = name.split("/")
    if len(given) > 3:
        raise ConfigError(f"robustbench:{name} has {len(given)} parts; use robustbench:NAME/DATASET/THREAT")
    model, dataset, threat = (*given, *DEFAULTS[len(given) - 1 :])
    for word, options in ((dataset, DATASETS), (threat, THREATS)):
        if word not in options:
            wanted = f"use robustbench:NAME/DATASET/THREAT with {', '.join(DATASETS)} and {', '.join(THREATS)}"
            raise ConfigError(f"robustbench:{name}: {word!r} is unknown; {wanted}.{nearest(word, options)}")
    utils = import_optional("robustbench.utils", "robustbench", INSTALL)
    try:
        net = utils.load_model(model_name=model, dataset=dataset, threat_model=threat)
    except KeyError as error:
        raise ConfigError(f"RobustBench has no model {model!r} for {dataset} and {threat}") from error
    except (RuntimeError, OSError, ValueError) as error:
        raise TargetError(f"robustbench:{name} cannot be loaded: {error}") from error
    spec, classes = DATASETS[dataset]
    names = {"cifar10": CIFAR10, "imagenet": imagenet_classes.class_names()}.get(dataset)
    target = Classifier(net.eval().to(device), classes=classes, name=model)
    return LoadedModel(f"robustbench:{name}", target, spec, names, f"RobustBench, {dataset}, {threat}", None)
