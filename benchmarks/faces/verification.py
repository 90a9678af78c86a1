"""Two real face verifiers on the ORL faces: error rates, dodging, impersonation (P1, C2).

    python -m benchmarks.faces.verification face-dlib face-faceres

Pictures are gray, and so are perturbations. Persons 1 to 30 calibrate the thresholds, persons 31 to 40 are attacked:
the first picture of each is enrolled, the second asks. One attack is given the landmarks of the clean picture, the
other goes through the detector, which looks for the face in each query; of each the example of the highest margin is
rounded to 8 bits and judged as deployed, with the face looked for anew. Random signs of the same size are the
control. Each verifier has its entry in records/faces/verification.json; docs/faces.md is made of the record (`--show`
measures nothing). Embeddings and landmarks lie in runs/. Five to ten minutes a verifier on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.faces.page import text
from benchmarks.provenance import ROOT, provenance
from sparring.attacks import PGD, Square
from sparring.error_rates import Comparisons, ScoreMap, Threshold, calibrate_threshold, compare_all
from sparring.goals import Dodge, Impersonate, VerificationGoal
from sparring.intervals import clopper_pearson
from sparring.storage import read_tensors, write_tensors
from sparring.targets import PublishedScores
from sparring.zoo import InputSpec, load_data, load_model

RECORD, PAGE = ROOT / "records" / "faces" / "verification.json", ROOT / "docs" / "faces.md"
RUNS = ROOT / "runs" / "faces"
NAMES = ("face-dlib", "face-faceres")
CALIBRATING, PICTURES = 30, 10  # persons, pictures of each
RATES, RADII, STEPS, QUERIES = (1e-2, 1e-3), (2, 4, 8), 10, 200
ENDS = {"euclidean": (-1.5, 0.0), "cosine": (0.0, 1.0)}  # similarities with score 0 and 100


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
    return sp.Verifier(Gray(theirs.target.model), align.size, metric=theirs.metric, detector=align.detector, name=name)


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


def error_rates(pairs: Comparisons, threshold: float) -> dict[str, Any]:
    return {word: asdict(one) if word != "threshold" else one for word, one in vars(pairs.rates(threshold)).items()}


def share(rows: Tensor) -> dict[str, Any]:
    """The share of rows, with its interval."""
    return asdict(clopper_pearson(int(rows.sum()), len(rows)))


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


def attacked(
    target: sp.Verifier, others: dict[str, tuple[sp.Verifier, VerificationGoal]], goal: VerificationGoal,
    scores: ScoreMap, images: Tensor, scene: sp.Scene,
) -> list[dict[str, Any]]:  # fmt: skip
    """PGD at each radius, with its control and its transfer to the other verifiers."""
    rows = [{"eps": 0, **judged(target, goal, scores, images)}]
    for levels in RADII:
        row: dict[str, Any] = {"eps": levels}
        for word, context in (("fixed", scene), ("searched", None)):
            attack = PGD(sp.Linf(levels / 255), steps=STEPS)
            start = time.perf_counter()
            outcome = sp.run(attack, target, goal, images, context=context, keep=sp.Keep.HIGHEST_MARGIN)
            seconds = time.perf_counter() - start
            deployed = judged(target, goal, scores, outcome.examples)
            row[word] = {"as_attacked": share(outcome.success), "seconds": seconds, **deployed}
        row["transfer"] = {
            other: share(theirs.margin(them.predict(outcome.examples)) > 0) for other, (them, theirs) in others.items()
        }
        noise = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        control = (images + noise * levels / 255).clamp(0, 1)
        rows.append(row | {"control": judged(target, goal, scores, control)})
        print(target.name, type(goal).__name__, rows[-1], flush=True)
    return rows


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


def measure(name: str) -> dict[str, Any]:
    """Everything about one verifier."""
    images, persons = load_data("zoo:orl-faces", input=InputSpec(1, 112, 92)).tensors()
    assert persons is not None
    target, embeddings, alike, thresholds, found = prepared(name, images, persons)
    pairs = compare_all(alike, persons)
    equal, threshold = pairs.equal_error_rate(), thresholds[0].value
    low, high = ENDS[target.metric]
    scores = ScoreMap(low, threshold, high)
    first = CALIBRATING * PICTURES
    asking = torch.arange(first + 1, len(images), PICTURES)
    landmarks, _ = landmarks_of(target, images)
    scene, probes = sp.Scene(landmarks=landmarks[asking]), images[asking]
    wanted = goals(target, embeddings, persons[asking], threshold)
    others = {}
    for other in NAMES:
        if other != name:
            theirs, their_embeddings, _, their_thresholds, _ = prepared(other, images, persons)
            others[other] = (theirs, goals(theirs, their_embeddings, persons[asking], their_thresholds[0].value))
    service = PublishedScores(target, scores)
    queried = sp.run(Square(sp.Linf(8 / 255), n_queries=QUERIES), service, wanted["dodge"], probes, context=scene)
    entry = {
        "metric": target.metric,
        "found": found,
        "pictures": len(images),
        "genuine": len(pairs.genuine),
        "impostor": len(pairs.impostor),
        "equal_error_rate": asdict(equal),
        "published": error_rates(pairs, -0.6) if name == "face-dlib" else None,
        "thresholds": [
            asdict(one) | {"unseen": error_rates(compare_all(alike[first:, first:], persons[first:]), one.value)}
            for one in thresholds
        ],
        "scores": asdict(scores),
        "probes": len(probes),
        "steps": STEPS,
        "goals": {
            word: attacked(target, {o: (t, g[word]) for o, (t, g) in others.items()}, goal, scores, probes, scene)
            for word, goal in wanted.items()
        },
        "service": {
            "attack": repr(Square(sp.Linf(8 / 255), n_queries=QUERIES)),
            "queries": QUERIES,
            "success": share(queried.success),
            "judged": judged(target, wanted["dodge"], scores, queried.examples),
        },
    }
    return entry | provenance(f"python -m benchmarks.faces.verification {name}", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in () if given.show else given.names:
        record[name] = measure(name)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(text(record))


if __name__ == "__main__":
    main()
