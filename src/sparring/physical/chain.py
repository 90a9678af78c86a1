"""`PhysicalChain`: an artifact is printed, placed in a scene and captured, as one transform before a model.

chain = optimization_family(LandmarkAnchor())
target = OverScenes(Pipeline(model, chain), goal, Scene(images, landmarks=landmarks))
run(PGD(Linf(1.0)), target, FoolScenes(torch.zeros(1)), torch.full((1, 3, 64, 160), 0.5))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from ..errors import ConfigError
from ..inputs import Images, Inputs
from ..random import Key
from ..tasks import Task
from ..transforms.scene import scene_images
from .camera import Camera, CameraParameters
from .colour import Light, to_linear
from .placement import Placement
from .printer import Printer
from .stage import ANY_FAMILY, PhysicalStage, SampledTransform


@dataclass(frozen=True)
class ChainParameters:
    """The parameters of printer, placement and camera; None for a printer that is not there."""

    printer: Any
    placement: Any
    camera: CameraParameters


@dataclass(frozen=True, kw_only=True)
class PhysicalChain(SampledTransform[ChainParameters]):
    """Artifacts (B, C, h, w) in [0, 1] -> the images of the context as captured, with the printed artifact in them.

    Args:
        printer: as `AffinePrinter()`; None: the artifact looks as it was drawn.
        placement: as `Homography(anchor=BoxAnchor(0.3))`.
        camera: as `Camera(lens=Lens(), sensor=Sensor())`; by default it changes nothing.

    Raises: ConfigError; InputError for artifacts and scenes that do not fit each other.
    """

    printer: Printer[Any] | None
    placement: Placement[Any]
    camera: Camera = Camera()  # noqa: RUF009

    def __post_init__(self) -> None:
        for word, kind in (("printer", Printer), ("placement", Placement), ("camera", Camera)):
            given: Any = getattr(self, word)
            if not isinstance(given, kind) and not (word == "printer" and given is None):
                raise ConfigError(f"PhysicalChain {word}={given!r:.80}; pass a {kind.__name__}")

    @property
    def inputs(self) -> Inputs | None:
        return Images()

    @property
    def stages(self) -> tuple[PhysicalStage[Any], ...]:
        """All stages, in order."""
        return (*(() if self.printer is None else (self.printer,)), self.placement, *self.camera.stages)

    @property
    def families(self) -> frozenset[str]:
        """The families of all stages but those that belong to any."""
        return frozenset(stage.family for stage in self.stages) - {ANY_FAMILY}

    @property
    def stochastic(self) -> bool:
        return any(stage.stochastic for stage in self.stages)

    @property
    def exact_gradient(self) -> bool:
        return all(stage.exact_gradient for stage in self.stages)

    def at_severity(self, severity: float) -> Self:
        """Return this chain with another severity of all stages."""
        return replace(
            self,
            printer=self.printer and self.printer.at_severity(severity),
            placement=self.placement.at_severity(severity),
            camera=self.camera.at_severity(severity),
        )

    def with_mask(self, mask: Tensor | None) -> Self:
        """Return this chain for artifacts of another shape: a mask (h, w) in [0, 1]."""
        return replace(self, placement=replace(self.placement, mask=mask))

    def sample(self, key: Key, like: Tensor, context: Any = None) -> ChainParameters:
        return ChainParameters(
            None if self.printer is None else self.printer.sample(key.reseeded(0), like, context),
            self.placement.sample(key.reseeded(1), like, context),
            self.camera.sample(key.reseeded(2), scene_images(context, self.name).to(like), context),
        )

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return self.camera.tasks

    def move(self, context: Any, height: int, width: int) -> Any:
        return self.camera.move(context, *scene_images(context, self.name).shape[2:])

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        self.placement.check(x, context)
        return super().apply(x, key, context)

    def apply_parameters(self, x: Tensor, parameters: ChainParameters, context: Any = None) -> Tensor:
        printed = x if self.printer is None else self.printer.apply_parameters(x, parameters.printer, context)
        placed = self.placement.apply_parameters(to_linear(printed), parameters.placement, context)
        return self.camera.capture(placed, Light.LINEAR, parameters.camera, context)


def shared_mechanisms(one: PhysicalChain, other: PhysicalChain) -> tuple[str, ...]:
    """Return what two chains have in common, in words: mechanisms of stages, and names of families.

    Empty for chains of disjoint families. Stages of the family "any" count for nothing.
    """
    modelled = [{stage.mechanism() for stage in chain.stages if stage.family != ANY_FAMILY} for chain in (one, other)]
    families = [f"the family {name!r}" for name in sorted(one.families & other.families)]
    return (*sorted(modelled[0] & modelled[1]), *families)


def check_held_out(optimized: PhysicalChain, judged: PhysicalChain) -> None:
    """Raise ConfigError where an artifact that was optimised through one chain would be judged through its own family.

    What an optimisation exploits in a simulator it also finds in the evaluation, which then says nothing about any
    other camera.
    """
    shared = shared_mechanisms(optimized, judged)
    if shared:
        raise ConfigError(
            f"the artifact was optimised through a chain that shares {', '.join(shared)} with the one that is to judge "
            "it; judge through a family of other mechanisms, as held_out_family()"
        )
