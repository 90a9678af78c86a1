"""The data model of a report: the content of report.json, which is all that report.html may show.

Shares carry their Wilson interval. Nothing is infinite or NaN: what is not known is None. Pictures are PNG files
named relative to the run folder.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ...tasks import Box, Plot, Table, Words
from ..records.statistics import Part, Share

FORMAT = 1
UINT8 = (
    "when only examples that survive 8-bit rounding count; one that does not is stretched to each larger radius and "
    "tried again, but no new search is made: an upper bound"
)


class ModelPart(Part):
    """The target that was attacked, and the access that attacks had to it."""

    name: str
    source: str | None = None
    sha256: str | None = Field(default=None, description="of the weights, where there is one file")
    task: str = Field(default="classification", description="what its answers are: classification, verification, ...")
    inputs: str = Field(default="images", description="what it takes: images, point clouds, ...")
    classes: int | None = Field(default=None, description="of a classifier; None: another task")
    access: str = Field(description="what attacks were granted: Jacobians, Gradients, Scores or Decisions")
    views: list[str] = Field(
        default=[], description="of a defended model: naive (an attacker who knows of no defence), then adaptive"
    )
    stochastic: bool = Field(default=False, description="answers are random: shares are expectations")
    rejects: bool = Field(default=False, description="may reject an image; the attacker must pass undetected")
    draws: int = Field(default=1, description="passes that each question of the adaptive attacker is averaged over")
    input_shape: list[int] = Field(description="of one input; of images (channels, height, width)")


class SkippedFile(Part):
    """An image that could not be read."""

    name: str
    reason: str


class PredictedValue(Part):
    """One thing that the task says of an answer: a class, a similarity, a number of objects, yes or no."""

    kind: Literal["class", "number", "count", "flag"]
    value: bool | int | float | None = Field(description="None: the answer is no number")
    text: str = Field(description="as a reader sees it: the name of a class, a share in percent")


class DataPart(Part):
    """The data set, and how the model does on it unharmed."""

    name: str
    count: int = Field(description="images audited")
    labels: Literal["data", "model", "mixed"] = Field(description="where the labels come from")
    label_note: str
    labelled_count: int
    clean_accuracy: Share | None = Field(description="over the images whose label comes with the data; None: none")
    prediction: dict[str, PredictedValue] = Field(
        default={},
        description="what the task says of the clean inputs, in the mean: confidence, similarity, objects, ...",
    )
    rejected: Share | None = Field(default=None, description="clean images that a detector rejects; None: it has none")
    skipped: list[SkippedFile] = Field(default=[])
    sha256: str = Field(description="over the images as the model saw them, in order")


class AttackPart(Part):
    """One attack at one eps, on the images that were not broken before."""

    attack: str
    access: str = Field(description="what it asks the target for: Decisions, Scores, Gradients or Jacobians")
    asked: int = Field(description="images attacked: those that stood when its turn came")
    fell: int = Field(description="of those, how many it broke")
    success_rate: float | None = Field(description="fell / asked; None when nothing was left to attack")
    fallen_so_far: int = Field(description="union over this and the attacks before it, wrong-from-the-start included")
    robust_accuracy_after: float
    median_size: float | None = Field(description="median distance of its examples, in the threat's norm")
    survives_uint8: int | None = Field(
        default=None,
        description="of those that fell, how many still fool the model after 8-bit rounding; None: they are no images",
    )
    survives_jpeg90: int | None = Field(
        default=None, description="and after JPEG at quality 90; None: JPEG has no such channels"
    )
    view: str = Field(default="", description="naive or adaptive; empty where there is no defence")
    rate: float | None = Field(
        default=None, description="mean over the images asked of the share of answers in which the attacker won"
    )
    forwards: int = Field(description="forward passes in all, one image each")
    backwards: int
    checks: int = Field(description="the engine's own looks: clean images, and confirmation of examples")
    seconds: float
    reasons: dict[str, int] = Field(
        default={}, description="how many rows ended why, e.g. FOUND, EXHAUSTED, NO_GRADIENT"
    )


class ViewPart(Part):
    """What a defended model withstands from one view, and from those before it."""

    name: str
    robust_accuracy: Share


class ImageCertificate(Part):
    """What is known of one image at a radius, and by what."""

    sample: int = Field(description="position in the data set")
    name: str
    verdict: Literal["proven", "broken", "open", "contradicted"] = Field(
        description="contradicted: recorded as proven, and broken by an example"
    )
    method: str = Field(
        description="what decided: clean (wrong before any attack), an attack, ibp, crown, alpha-crown, "
        "branch-and-bound; of open images what gave the best bound, or none"
    )
    bound: float | None = Field(description="of the margin that an attack has to push below 0, from below; None: none")
    gap: float | None = Field(description="of open images, what is missing of the bound for a proof")
    seconds: float = Field(description="that the certificate took, or the attack that broke the image")
    domains: int = Field(description="how many branch and bound looked at")


class CertificatePart(Part):
    """What is proven, broken and open at a radius: proven <= robust accuracy of any attacker <= not broken."""

    proven: Share
    broken: int = Field(description="by an attack, by branch and bound, or before any attack")
    open: int
    contradicted: int = Field(description="recorded as proven, and broken by an example: the proof is worth nothing")
    methods: dict[str, int] = Field(description="how many images each kind of bounds proved")
    median_gap: float | None = Field(description="of the open images; None: there are none, or they have no bound")
    seconds: float = Field(description="of bounds and of branch and bound; a proof at a larger radius serves free")
    images: list[ImageCertificate]


class CertificationPart(Part):
    """How certificates were made, and what a proof assumes."""

    timeout: float = Field(description="seconds of proofs for each image and radius")
    assumptions: str
    uncertified: list[str] = Field(description="threats that have no certificates")


class EpsilonPart(Part):
    """One radius of a threat."""

    eps: float
    eps_text: str = Field(description="as the user would write it, e.g. 4/255")
    robust_accuracy: Share
    robust_accuracy_uint8: Share | None = Field(default=None, description=f"{UINT8}; None: the inputs are no images")
    wrong_before: int = Field(description="images wrong before any attack")
    fallen_at_smaller_eps: int = Field(description="images whose example at a smaller eps of this norm serves here too")
    attacks: list[AttackPart]
    certificates: CertificatePart | None = Field(
        default=None, description="None: none were asked for, or the norm has none"
    )
    views: list[ViewPart] = Field(default=[], description="of a defended model, each view's own number, naive first")


class CurvePoint(Part):
    """Robust accuracy at a radius; eps 0 is the accuracy without an attack."""

    eps: float
    robust_accuracy: Share


class SmallestPart(Part):
    """The sizes of the smallest examples that were found, one for each image that was right."""

    attacked: int
    found: int
    quartiles: list[float | None] = Field(
        description="sizes within which a quarter, half and three quarters of the attacked fell; None: fewer fell"
    )


class ThreatPart(Part):
    """One norm, all its radii in rising order.

    Where smallest examples were searched there is one radius, the median size, and the curve has all of them.
    """

    norm: Literal["Linf", "L2", "L1", "L0"]
    epsilons: list[EpsilonPart]
    curve: list[CurvePoint]
    smallest: SmallestPart | None = Field(default=None, description="None: radii were given")


class ClassPart(Part):
    """One class: clean, under the threat that the model holds least against, and at every radius."""

    label: int
    name: str
    count: int
    clean_accuracy: Share
    robust_accuracy: Share
    standing: list[float] = Field(
        description="of its images those that stand at each radius of each threat in turn; where answers are random, "
        "the expected number",
    )


class MaskPart(Part):
    """The mask that attacks worked under: which components may move."""

    share: float = Field(description="of the components that may move, in [0, 1]")
    each: bool = Field(description="every input has a mask of its own")
    picture: str | None = Field(default=None, description="of the one mask of images: white may move")


class RadiiPart(Part):
    """The radii where each input has one of its own."""

    low: float
    high: float


class GalleryPart(Part):
    """One input that fell; with pictures, where it is an image."""

    sample: int = Field(description="position in the data set")
    name: str
    label: int | None = Field(default=None, description="of a classifier")
    label_name: str | None = None
    label_source: Literal["data", "model"]
    before: dict[str, PredictedValue] = Field(description="what the task says of the input, by name")
    after: dict[str, PredictedValue] = Field(description="and of the example")
    attack: str
    norm: str
    eps: float
    eps_text: str
    sizes: dict[str, float] = Field(description="of the perturbation, by norm: linf, l2, l1, l0")
    queries: int = Field(description="forward passes until it fell")
    survives_uint8: bool | None = Field(default=None, description="None: it is no image")
    original: str | None = Field(default=None, description="None, as the five that follow: it is no image")
    perturbation: str | None = Field(default=None, description="0.5 + magnification * (adversarial - original)")
    adversarial: str | None = None
    magnification: float | None = None
    width: int | None = None
    height: int | None = None


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


class Finding(Part):
    """A finding: something that the reader of a number must know."""

    code: str
    severity: Literal["note", "warning", "severe"]
    message: str
    advice: str = ""
    when: str = Field(default="", description="when findings of this code are raised")
    why: str = Field(default="", description="why it matters")
    accepted: bool = Field(default=False, description="somebody has taken note of it: --accept CODE")

    @property
    def blocks(self) -> bool:
        """Does it keep the audit from being green?"""
        return self.severity == "severe" and not self.accepted


class ShownPicture(Part):
    """A picture of a section."""

    label: str
    file: str = Field(description="PNG, relative to the run folder")
    width: int
    height: int
    boxes: list[Box] = Field(default=[], description="in pixels of the picture; dashed: of the truth")


class StripPart(Part):
    """Pictures that belong together."""

    title: str
    pictures: list[ShownPicture]
    note: str = ""


class SectionPart(Part):
    """What the task adds to the report: tables, plots and pictures of its own measures."""

    title: str
    text: str = ""
    tables: list[Table]
    plots: list[Plot]
    strips: list[StripPart]


class Report(Part):
    """The whole result of an audit, as report.json has it."""

    format: int = FORMAT
    title: str
    confidence: float = Field(default=0.95, description="of every interval")
    goal: str = Field(default="misclassify", description="what the attacker wants, with its plain values")
    words: Words = Field(default=Words(), description="of the goal, for what is measured")
    mask: MaskPart | None = Field(default=None, description="None: every component may move")
    radii: RadiiPart | None = Field(default=None, description="None: the threats' radii are those of every input")
    certification: CertificationPart | None = Field(default=None, description="None: no certificates were asked for")
    model: ModelPart
    data: DataPart
    threats: list[ThreatPart]
    gallery: list[GalleryPart]
    warnings: list[Finding]
    provenance: Provenance
    per_class: list[ClassPart] = Field(default=[], description="of classes in the data, under `worst()`")
    sections: list[SectionPart] = Field(default=[], description="of the task, made of what was recorded")
    probes: dict[str, Any] = Field(default={}, description="what was measured on a small sample before the attacks")

    def worst(self) -> tuple[ThreatPart, EpsilonPart]:
        """The threat and radius under which the model holds least, of several the one where least is proven.

        A radius that was given goes before a median.
        """

        def held(part: EpsilonPart) -> tuple[float, float]:
            return part.robust_accuracy.share, part.certificates.proven.share if part.certificates else 1.0

        given = [threat for threat in self.threats if threat.smallest is None]
        pairs = [(threat, part) for threat in given or self.threats for part in threat.epsilons]
        return min(pairs, key=lambda pair: held(pair[1]))
