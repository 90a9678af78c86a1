"""What the scripts about the face verifiers share: nets, pictures, thresholds, the persons who are attacked.

Pictures are gray, and so are perturbations. Persons 1 to 30 calibrate the thresholds, persons 31 to 40 are attacked:
the first picture of each is enrolled, the second asks. Embeddings and landmarks lie in runs/.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.provenance import ROOT
from sparring.error_rates import ScoreMap, Threshold, calibrate_threshold, compare_all
from sparring.goals import Dodge, Impersonate, VerificationGoal
from sparring.intervals import clopper_pearson
from sparring.storage import read_tensors, write_tensors
from sparring.zoo import InputSpec, load_data, load_model

RECORDS, PAGE, RUNS = ROOT / "records" / "faces", ROOT / "docs" / "faces.md", ROOT / "runs" / "faces"
NAMES = ("face-dlib", "face-faceres")
ALL_NAMES = (*NAMES, "face-mobileface")
CALIBRATING, PICTURES = 30, 10  # persons, pictures of each
RATES = (1e-2, 1e-3)
ENDS = {"euclidean": (-1.5, 0.0), "cosine": (0.0, 1.0)}  # similarities with score 0 and 100


@dataclass(frozen=True)
class Setting:
    """A verifier, and the persons who are attacked on it.

    Attributes:
        target: the verifier.
        goals: "dodge" and "impersonate", at the threshold of a false accept rate of 1 %.
        scores: the map of similarities to scores.
        images: (P, 1, 112, 92), the pictures that ask.
        scene: their landmarks.
        enrolled: (P, 1, 112, 92), the pictures of the same persons that are enrolled; row p impersonates p + 1.
        spare: (P, 1, 112, 92), further pictures of the same persons, which nobody enrolled.
    """

    target: sp.Verifier
    goals: dict[str, VerificationGoal]
    scores: ScoreMap
    images: Tensor
    scene: sp.Scene
    enrolled: Tensor
    spare: Tensor


class Gray(nn.Module):
    """A network of colour pictures, for gray ones."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> Tensor:
        embeddings: Tensor = self.net(faces.expand(-1, 3, -1, -1))
        return embeddings


def verifier(name: str) -> sp.Verifier:
    """The verifier of the zoo, for gray pictures."""
    theirs = load_model(f"zoo:{name}").target
    assert isinstance(theirs, sp.Verifier)
    (align,) = theirs.parts
    return sp.Verifier(
        Gray(theirs.target.model), align.size, metric=theirs.metric, detector=align.detector, template=align.template,
        name=name,
    )  # fmt: skip


def landmarks_of(target: sp.Verifier, images: Tensor) -> tuple[Tensor, int]:
    """The landmarks of all pictures, and how many faces were found; kept in runs/."""
    kept = RUNS / "orl-landmarks.safetensors"
    if not kept.exists():
        detector = target.parts[0].detector
        with torch.no_grad():
            found = [detector(part) for part in images.split(20)]
        RUNS.mkdir(parents=True, exist_ok=True)
        both = {"landmarks": torch.cat([one for one, _ in found]), "found": torch.cat([one for _, one in found])}
        write_tensors(kept, both, {})
    tensors, _ = read_tensors(kept, "")
    return tensors["landmarks"], int(tensors["found"].sum())


def share(rows: Tensor) -> dict[str, Any]:
    """The share of rows, with its interval."""
    return share_of(int(rows.sum()), len(rows))


def share_of(count: int, whole: int) -> dict[str, Any]:
    """The share of `count` of `whole`, with its interval."""
    return asdict(clopper_pearson(count, whole))


def judged(target: sp.Verifier, goal: VerificationGoal, scores: ScoreMap, images: Tensor) -> dict[str, Any]:
    """What a deployed verifier says of pictures rounded to 8 bits; a face that is not found is no success."""
    answers = target.predict(images.mul(255).round().div(255))
    found = answers.isfinite().all(1)
    similarity = goal.similarity(answers)
    return {
        "success": share((goal.margin(answers) > 0) & found),
        "not_found": int((~found).sum()),
        "score": float(scores(similarity[found]).mean()),
    }


def prepared(name: str, images: Tensor, persons: Tensor) -> tuple[sp.Verifier, Tensor, Tensor, list[Threshold], int]:
    """A verifier, all embeddings and similarities, and its thresholds at each rate."""
    target = verifier(name)
    landmarks, found = landmarks_of(target, images)
    kept = RUNS / f"orl-{name}.safetensors"
    if not kept.exists():
        write_tensors(kept, {"embeddings": target.enroll(images, context=sp.Scene(landmarks=landmarks))}, {})
    embeddings = read_tensors(kept, "")[0]["embeddings"]
    alike = target.similarity(embeddings[:, None], embeddings[None])
    few = CALIBRATING * PICTURES
    impostor = compare_all(alike[:few, :few], persons[:few]).impostor
    return target, embeddings, alike, [calibrate_threshold(impostor, rate) for rate in RATES], found


def goals(target: sp.Verifier, embeddings: Tensor, persons: Tensor, threshold: float) -> dict[str, VerificationGoal]:
    """Dodging oneself, and impersonating the next of those who are attacked."""
    first = CALIBRATING * PICTURES
    enrolled = embeddings[first::PICTURES]
    own = persons - CALIBRATING
    following = (own + 1) % len(enrolled)
    return {
        "dodge": Dodge(enrolled[own], threshold, metric=target.metric),
        "impersonate": Impersonate(enrolled[following][:, None], threshold, metric=target.metric),
    }


def setting(name: str, count: int | None = None) -> Setting:
    """The verifier of that name, and the first `count` persons who are attacked (None: all)."""
    images, persons = pictures()
    target, embeddings, _, thresholds, _ = prepared(name, images, persons)
    first = CALIBRATING * PICTURES
    own = torch.arange(first, len(images), PICTURES)[:count]
    low, high = ENDS[target.metric]
    threshold = thresholds[0].value
    return Setting(
        target,
        goals(target, embeddings, persons[own], threshold),
        ScoreMap(low, threshold, high),
        images[own + 1],
        sp.Scene(landmarks=landmarks_of(target, images)[0][own + 1]),
        images[own],
        images[own + 2],
    )


def pictures() -> tuple[Tensor, Tensor]:
    """The ORL faces (400, 1, 112, 92), and who is in each."""
    images, persons = load_data("zoo:orl-faces", input=InputSpec(1, 112, 92)).tensors()
    assert persons is not None
    return images, persons


def kept(record: Path) -> dict[str, Any]:
    """The record as it is so far."""
    found: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    return found
