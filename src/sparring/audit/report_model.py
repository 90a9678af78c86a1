"""What a report says, typed: the content of report.json, and all that report.html may show.

Shares carry their Wilson interval. Nothing is infinite or NaN: what is not known is None. Pictures are PNG files
named relative to the run folder.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
UINT8 = (
    "when only examples that survive 8-bit rounding count; one that does not is stretched to each larger radius and "
    "tried again, but no new search is made: an upper bound"
)


class Part(BaseModel):
    """A frozen piece of the report; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Share(Part):
    """`count` of `total`, and the 95 % Wilson interval of the share."""

    count: int
    total: int
    share: float
    low: float
    high: float


class ModelPart(Part):
    """The target."""

    name: str
    source: str | None = None
    sha256: str | None = Field(default=None, description="of the weights, where there is one file")
    classes: int
    access: str = Field(description="what attacks were granted: Jacobians, Gradients, Scores or Decisions")
    input_shape: list[int] = Field(description="(channels, height, width) of the images")


class SkippedFile(Part):
    """An image that could not be read."""

    name: str
    reason: str


class DataPart(Part):
    """The data set, and how the model does on it unharmed."""

    name: str
    count: int = Field(description="images audited")
    labels: Literal["data", "model", "mixed"] = Field(description="where the labels come from")
    label_note: str
    labelled_count: int
    clean_accuracy: Share | None = Field(description="over the images whose label comes with the data; None: none")
    mean_confidence: float | None = Field(default=None, description="of the clean predictions, in [0, 1]")
    skipped: list[SkippedFile] = []
    sha256: str = Field(description="over the images as the model saw them, in order")


class AttackPart(Part):
    """One attack at one eps. It was asked about the images that still stood."""

    attack: str
    access: str = Field(description="what it asks the target for: Decisions, Scores, Gradients or Jacobians")
    asked: int = Field(description="images attacked: those that stood when its turn came")
    fell: int = Field(description="of those, how many it broke")
    success_rate: float | None = Field(description="fell / asked; None when nothing was left to attack")
    fallen_so_far: int = Field(description="union over this and the attacks before it, wrong-from-the-start included")
    robust_accuracy_after: float
    median_size: float | None = Field(description="median distance of its examples, in the threat's norm")
    survives_uint8: int = Field(description="of those that fell, how many still fool the model after 8-bit rounding")
    forwards: int = Field(description="forward passes in all, one image each")
    backwards: int
    checks: int = Field(description="the engine's own looks: clean images, and confirmation of examples")
    seconds: float
    reasons: dict[str, int] = Field(
        default={}, description="how many rows ended why, e.g. FOUND, EXHAUSTED, NO_GRADIENT"
    )


class EpsilonPart(Part):
    """One radius of a threat."""

    eps: float
    eps_text: str = Field(description="as the user would write it, e.g. 4/255")
    robust_accuracy: Share
    robust_accuracy_uint8: Share = Field(description=UINT8)
    wrong_before: int = Field(description="images wrong before any attack")
    fallen_at_smaller_eps: int = Field(description="images whose example at a smaller eps of this norm serves here too")
    attacks: list[AttackPart]


class CurvePoint(Part):
    """Robust accuracy at a radius; eps 0 is the accuracy without an attack."""

    eps: float
    robust_accuracy: Share


class ThreatPart(Part):
    """One norm, all its radii in rising order."""

    norm: Literal["Linf", "L2", "L1", "L0"]
    epsilons: list[EpsilonPart]
    curve: list[CurvePoint]


class Prediction(Part):
    """What the model says of a picture."""

    label: int
    name: str
    confidence: float


class GalleryPart(Part):
    """One image that fell, with its pictures."""

    sample: int = Field(description="position in the data set")
    name: str
    label: int
    label_name: str
    label_source: Literal["data", "model"]
    before: Prediction
    after: Prediction
    attack: str
    norm: str
    eps: float
    eps_text: str
    sizes: dict[str, float] = Field(description="of the perturbation, by norm: linf, l2, l1, l0")
    queries: int = Field(description="forward passes until it fell")
    survives_uint8: bool
    original: str
    perturbation: str = Field(description="0.5 + magnification * (adversarial - original)")
    adversarial: str
    magnification: float
    width: int
    height: int


class Provenance(Part):
    """All that is needed to do it again."""

    command: str = Field(description="a command line, or the Python call")
    plan: dict[str, Any]
    versions: dict[str, str]
    device: str
    precision: str
    started: str = Field(description="ISO 8601, UTC")
    seconds: float = Field(description="of work, interruptions left out")
    seed: int
    resumed: int = Field(default=0, description="how often the run was taken up again")
    records: str = Field(default="records.sqlite", description="relative to the run folder")


class Caution(Part):
    """Something that the reader of a number must know."""

    code: str
    severity: Literal["note", "warning", "severe"]
    message: str
    advice: str = ""


class Report(Part):
    """An audit's result."""

    format: int = FORMAT
    title: str
    confidence: float = Field(default=0.95, description="of every interval")
    model: ModelPart
    data: DataPart
    threats: list[ThreatPart]
    gallery: list[GalleryPart]
    warnings: list[Caution]
    provenance: Provenance

    def worst(self) -> tuple[ThreatPart, EpsilonPart]:
        """The threat and radius under which the model holds least."""
        pairs = [(threat, part) for threat in self.threats for part in threat.epsilons]
        return min(pairs, key=lambda pair: pair[1].robust_accuracy.share)
