"""C13: detectors, from one attack to another and against who knows of them: `python -m benchmarks.defenses.detection`.

    python -m benchmarks.defenses.detection [NAME ...] [--print]

Measures the named parts (all by default), writes each into records/defenses/detection.json and prints its tables;
--print prints what the record holds. All on `zoo:mnist-plain`, but for the photographs.

matrix       every detector fitted on one (attack, eps) and tested on all: AUROC, TPR at 5 % FPR, noise as a control
noise        the same detectors, shown noisy clean images as clean when they are fitted
adaptive     undetected and misclassified: an attacker who knows of no detector, many who do; goes on where it stopped
squeezing    why feature squeezing stands on digits: the same attackers at radii around the 0.5 at which a bit turns
photographs  detectors that need no adversarial examples, on EfficientNet-Lite0
art          the two binary detectors of ART, of the same architecture, on the same images
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits
from sparring import L2, Classifier, Engine, Linf, Misclassify, run
from sparring.access import Attack
from sparring.attacks import APGD, FGSM, PGD, CarliniWagner, DeepFool, Square
from sparring.attacks.gradient.orthogonal import OrthogonalPGD
from sparring.defenses.detection import (
    LID,
    AdversarialSet,
    DetectorEstimator,
    ExtraClass,
    FeatureDetector,
    FeatureSqueezing,
    FittedDetector,
    InputDetector,
    Interval,
    KernelDensity,
    MagNet,
    Mahalanobis,
    Subspace,
    auroc,
    detector_generalization,
    evaluate_detector,
    make_adversarial_set,
)
from sparring.defenses.detection.evaluation import DetectorEvaluation
from sparring.defenses.purification import BitDepth, Median
from sparring.intervals import clopper_pearson
from sparring.random import Key
from sparring.targets import Defended, Target
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "defenses" / "detection.json"
FPR = 0.05
FIT, VALIDATION, TEST = 1000, 1000, 300
ATTACKED, EPS, STEPS = 100, 0.2, 100
PICTURE_STEPS = 20
DETECTORS: dict[str, DetectorEstimator] = {
    "Gong: input": InputDetector(),
    "Metzen: features": FeatureDetector(),
    "Grosse: extra class": ExtraClass(),
    "Ma: LID": LID(),
    "Lee: Mahalanobis": Mahalanobis(),
    "Feinman: KD + BU": KernelDensity(n_samples=10),
    "Xu: feature squeezing": FeatureSqueezing(),
    "Meng: MagNet": MagNet(),
    "subspace": Subspace(),
}
FITS: tuple[Attack[Any, Any], ...] = (
    FGSM(Linf(0.2)), PGD(Linf(0.1)), PGD(Linf(0.2)), PGD(Linf(0.3)), PGD(L2(2.0)), DeepFool(),
)  # fmt: skip
TESTS: tuple[Attack[Any, Any], ...] = (
    FGSM(Linf(0.2)), PGD(Linf(0.1)), PGD(Linf(0.2)), PGD(Linf(0.3)), PGD(L2(1.0)), PGD(L2(2.0)), DeepFool(),
    CarliniWagner(binary_search_steps=4, steps=100),
)  # fmt: skip
Found = dict[str, Any]
Weighted = dict[str, tuple[float, Attack[Any, Any]]]


@dataclass(frozen=True)
class Digits:
    """The model, and three sets of digits that have none in common; the model learned from none of the last two."""

    target: Classifier
    fit: tuple[Tensor, Tensor]
    validation: Tensor
    test: tuple[Tensor, Tensor]

    def made(self, attack: Attack[Any, Any], part: str) -> AdversarialSet:
        images, labels = self.fit if part == "fit" else self.test
        first = 0 if part == "fit" else 100_000
        ids = torch.arange(len(images)) + first
        return make_adversarial_set(attack, self.target, images, labels, indices=ids, engine=Engine(250))


@cache
def task() -> Digits:
    target = load_model("zoo:mnist-plain").target
    assert isinstance(target, Classifier)
    (images, labels), (test, right) = digits("mnist-train"), digits("mnist")
    validation = images[10_000 : 10_000 + VALIDATION]
    return Digits(target, (images[:FIT], labels[:FIT]), validation, (test[:TEST], right[:TEST]))


def numbers(interval: Interval | None) -> Found | None:
    return None if interval is None else plain(vars(interval))


def plain(cell: Found) -> Found:
    """Of no images there is no share: None, which JSON knows."""
    return {**cell, "value": cell["value"] if cell["of"] else None}


def cell(found: DetectorEvaluation) -> Found:
    measured = ("auroc", "tpr", "fpr", "noisy", "auroc_noisy", "undetected")
    return {name: numbers(getattr(found, name)) for name in measured} | {
        "fooling": found.fooling, "attack": found.attack, "notes": found.notes
    }  # fmt: skip


def matrix(say: Callable[[str], None], noise: bool = False) -> Found:
    """Every detector fitted on each of FITS, tested on all of TESTS."""
    at = task()
    chosen = FITS if not noise else (PGD(Linf(EPS)),)
    fits = [at.made(attack, "fit") for attack in chosen]
    tests = [at.made(attack, "test") for attack in TESTS]
    say(f"  crafted; fooling: {[int(test.fooling.sum()) for test in tests]} of {int(tests[0].correct.sum())}")
    rows = []
    for name, detector in DETECTORS.items():
        if noise and not detector.needs_adversarial:
            continue
        began = time.process_time()
        options: Found = {"target": at.target, "labels": at.fit[1], "noise": noise, "fpr": FPR}
        found = detector_generalization({name: detector}, fits, tests, at.validation, **options)
        rows += [
            {"detector": name, "fitted_on": row.fitted_on, "cells": [cell(each) for each in row.cells]}
            for row in found.rows
        ]
        say(f"  {name}: {time.process_time() - began:.0f} s of the processor")
    sizes = {"fit": FIT, "validation": VALIDATION, "test": TEST}
    return {"fpr": FPR, "images": sizes, "attacks": [test.attack for test in tests], "rows": rows}


def noise(say: Callable[[str], None]) -> Found:
    return matrix(say, noise=True)


def known(eps: float, steps: int) -> Weighted:
    """Attacks by who knows of the detector, with the weight of the alarm in their joint loss."""
    ball = Linf(eps)
    return {
        "joint, weight 0.1": (0.1, PGD(ball, steps=steps)),
        "joint, weight 1": (1.0, PGD(ball, steps=steps)),
        "joint, weight 10": (10.0, PGD(ball, steps=steps)),
        "APGD, weight 1": (1.0, APGD(ball, steps=steps)),
        "orthogonal": (1.0, OrthogonalPGD(ball, steps=steps)),
        "selective": (1.0, OrthogonalPGD(ball, steps=steps, orthogonal=False)),
    }


def harder(eps: float) -> Weighted:
    """More steps and other weights, for what still stands."""
    ball = Linf(eps)
    return {
        "joint, weight 0.3, 400 steps": (0.3, PGD(ball, steps=400)),
        "joint, weight 3, 400 steps": (3.0, PGD(ball, steps=400)),
        "joint, weight 30, 400 steps": (30.0, PGD(ball, steps=400)),
        "orthogonal, 300 steps": (1.0, OrthogonalPGD(ball, steps=300)),
        "orthogonal, lead 1, 300 steps": (1.0, OrthogonalPGD(ball, steps=300, lead=1.0)),
    }


@dataclass(frozen=True)
class Siege:
    """A model behind a detector, and the digits that it is right on and lets pass."""

    defended: Defended
    images: Tensor
    labels: Tensor

    def fell(self, attack: Attack[Any, Any], target: Target[Any], rows: Tensor, seed: int = 0) -> Tensor:
        """(N,) bool: misclassified and undetected, of the rows (N,) bool that were attacked."""
        places = rows.nonzero().squeeze(1)
        fallen = torch.zeros_like(rows)
        if len(places):
            goal, engine = Misclassify(self.labels[places]), Engine(100, seed=seed)
            fallen[places] = run(attack, target, goal, self.images[places], indices=places, engine=engine).success
        return fallen

    def all_of(self, attacks: Weighted, rows: Tensor, narrow: bool) -> dict[str, Tensor]:
        """What each brings down; with `narrow` only what the ones before it have left."""
        found: dict[str, Tensor] = {}
        for number, (name, (weight, attack)) in enumerate(attacks.items()):
            draws = {"draws": 1} if self.defended.stochastic else {}
            found[name] = self.fell(attack, self.defended.adaptive_view(weight=weight, **draws), rows, seed=number)
            rows = rows & ~found[name] if narrow else rows
        return found


def besieged(fitted: FittedDetector, target: Classifier, count: int = ATTACKED) -> Siege:
    """The first digits that the model is right on, behind the detector."""
    images, labels = digits("mnist")
    inside = fitted.classifier if hasattr(fitted, "classifier") else target
    with inside.frozen(), torch.no_grad():
        right = inside(images[:1000]).argmax(1) == labels[:1000]
    rows = right.nonzero().squeeze(1)[:count]
    return Siege(Defended(inside, fitted), images[rows], labels[rows])


def adaptive(say: Callable[[str], None]) -> Found:
    """Undetected and misclassified, of digits that the model is right on, for every detector fitted on PGD at EPS."""
    at = task()
    metadata = at.made(PGD(Linf(EPS)), "fit")
    rows = recorded().get("unfinished", [])
    for name, detector in DETECTORS.items():
        if name in [row["detector"] for row in rows]:
            continue
        began = time.process_time()
        fitted = detector.fit(metadata.originals, metadata, target=at.target, labels=at.fit[1])
        rows.append({"detector": name, **attacked(fitted.calibrate(at.validation, FPR), at.target)})
        rows[-1]["seconds"] = round(time.process_time() - began)
        kept({"unfinished": rows})
        shown = {key: round(100 * each["value"]) for key, each in rows[-1]["attacks"].items()}
        say(f"  {name}: {shown}, union { ({k: round(100 * v['value']) for k, v in rows[-1]['union'].items()}) }")
    kept({"unfinished": []})
    learned_on = metadata.attack
    return {"fpr": FPR, "eps": EPS, "steps": STEPS, "digits": ATTACKED, "fitted_on": learned_on, "rows": rows}


def attacked(fitted: FittedDetector, target: Classifier) -> Found:
    """One detector under every attack at EPS, and the union of them at half and at one and a half of it."""
    siege = besieged(fitted, target)
    everything = torch.ones(len(siege.labels), dtype=torch.bool)
    small = torch.stack([*siege.all_of(known(EPS / 2, STEPS), everything, narrow=True).values()]).any(0)
    naive = siege.fell(PGD(Linf(EPS), steps=STEPS), siege.defended.naive_view(), everything)
    found = siege.all_of(known(EPS, STEPS), everything, narrow=False)
    found["Square, 500 queries"] = siege.fell(Square(Linf(EPS), n_queries=500), siege.defended, everything)
    union = torch.stack([small, *found.values()]).any(0)
    later = siege.all_of(harder(EPS), ~union, narrow=True)
    union = torch.stack([union, *later.values()]).any(0)
    large = siege.all_of(known(1.5 * EPS, STEPS), ~union, narrow=True)
    large |= siege.all_of(harder(1.5 * EPS), ~torch.stack([union, *large.values()]).any(0), narrow=True)
    unions = {EPS / 2: small, EPS: union, 1.5 * EPS: torch.stack([union, *large.values()]).any(0)}
    made = {"naive": naive, **found, "harder, on what stood": torch.stack([*later.values()]).any(0)}
    return {
        "attacks": {name: counted(fallen) for name, fallen in made.items()},
        "union": {f"{radius:.1f}": counted(fallen) for radius, fallen in unions.items()},
    }


class Steep(BitDepth):
    """Bit depth 1 with a slope that is steep where a bit turns, in place of the identity's."""

    def differentiable_approximation(self, images: Tensor, key: Key) -> Tensor:
        return torch.sigmoid(10 * (images - 0.5))


def squeezing(say: Callable[[str], None]) -> Found:
    """Feature squeezing at radii up to where every bit can turn; its bit depth with the identity's slope or `Steep`."""
    at, rows = task(), []
    for name, stage in {"identity": BitDepth(1), "sigmoid": Steep(1)}.items():
        detector = FeatureSqueezing((stage, Median(2)))
        fitted = detector.fit(at.fit[0], target=at.target).calibrate(at.validation, FPR)
        siege = besieged(fitted, at.target, 50)
        every, radii = torch.ones(50, dtype=torch.bool), dict[str, Found]()
        for eps in (0.2, 0.3, 0.45, 0.6):
            found = siege.all_of(known(eps, STEPS), every, narrow=True)
            radii[f"{eps}"] = counted(torch.stack([*found.values()]).any(0))
        rows.append({"slope": name, "radii": radii})
        say(f"  {name}: {[(eps, cell['value']) for eps, cell in radii.items()]}")
    return {"fpr": FPR, "digits": 50, "steps": STEPS, "rows": rows}


def counted(fallen: Tensor) -> Found:
    return plain(vars(clopper_pearson(int(fallen.sum()), len(fallen))))


def photographs(say: Callable[[str], None]) -> Found:
    """Views of eleven photographs to fit on; twenty ImageNet pictures, views of one half of them for the threshold.

    The other half is tested, and then the halves change places. Views of one picture are no independent images: the
    FPR is therefore measured too.
    """
    loaded = load_model("zoo:efficientnet-lite0")
    target, spec = loaded.target, loaded.input
    assert isinstance(target, Classifier)
    assert spec is not None
    large = replace(spec, height=288, width=288, crop_fraction=1.0)
    photos, pictures = (whole(name, large)[0] for name in ("photos", "imagenet-20"))
    tested, labels = whole("imagenet-20", spec)
    attacks: tuple[Attack[Any, Any], ...] = (
        FGSM(Linf(4 / 255)), PGD(Linf(1 / 255), steps=10), PGD(Linf(4 / 255), steps=10), PGD(L2(1.0), steps=10)
    )  # fmt: skip
    made = [make_adversarial_set(attack, target, tested, labels, engine=Engine(20)) for attack in attacks]
    say(f"  crafted; fooling: {[int(each.fooling.sum()) for each in made]} of {int(made[0].correct.sum())}")
    halves = torch.arange(20) % 2 == 0, torch.arange(20) % 2 == 1
    rows = []
    for name, detector in {"subspace": Subspace(), "Xu: feature squeezing": FeatureSqueezing()}.items():
        fitted = detector.fit(views(photos), target=target)
        folds = [fitted.calibrate(views(pictures[~half]), FPR) for half in halves]
        both = [*zip(folds, halves, strict=True)]
        parts = [[evaluate_detector(fold, part(each, half)) for fold, half in both] for each in made]
        everything = fitted.score(tested[made[0].correct])
        cells = [
            {**pooled(two), "auroc": numbers(auroc(everything, fitted.score(each.fooling_examples)))}
            for two, each in zip(parts, made, strict=True)
        ]
        rows.append({"detector": name, "cells": cells, "adaptive": known_to_all(folds, halves, target, tested, labels)})
        say(f"  {name}: {[(each['tpr']['value'], each['fpr']['value']) for each in cells]}, {rows[-1]['adaptive']}")
    attacks_made = [each.attack for each in made]
    return {"fpr": FPR, "views": 8 * len(photos), "steps": PICTURE_STEPS, "attacks": attacks_made, "rows": rows}


def whole(name: str, spec: Any) -> tuple[Tensor, Tensor]:
    chunks = [*load_data(f"zoo:{name}", input=spec, classes=1000).chunks(1)]
    labels = [-1 if chunk.labels is None else int(chunk.labels) for chunk in chunks]
    return torch.cat([chunk.images for chunk in chunks]), torch.tensor(labels)


def views(images: Tensor, side: int = 224) -> Tensor:
    """The four corners of images (N, C, H, W), and their mirror images: (8 N, C, side, side)."""
    far = images.shape[2] - side
    both = torch.cat([images[:, :, y:, x:][:, :, :side, :side] for y in (0, far) for x in (0, far)])
    return torch.cat((both, both.flip(3)))


def part(made: AdversarialSet, rows: Tensor) -> AdversarialSet:
    return replace(made, **{name: getattr(made, name)[rows] for name in ("originals", "examples", "fooling", "right")})


def pooled(folds: Sequence[DetectorEvaluation]) -> Found:
    """The counts of two halves as one."""

    def both(name: str) -> Found:
        each = [getattr(fold, name) for fold in folds]
        count = sum(round(one.value * one.of) for one in each if one.of)
        return plain(vars(clopper_pearson(count, sum(one.of for one in each))))

    return {name: both(name) for name in ("tpr", "fpr", "noisy", "undetected")} | {"attack": folds[0].attack}


def known_to_all(
    folds: Sequence[FittedDetector], halves: Sequence[Tensor], target: Classifier, x: Tensor, y: Tensor
) -> Found:
    """Naive and adaptive at Linf 4/255: undetected and misclassified of the pictures that it is right on."""
    ball, counts, right = Linf(4 / 255), dict[str, int](), 0
    for fold, half in zip(folds, halves, strict=True):
        defended, images, labels = Defended(target, fold), x[half], y[half]
        with target.frozen(), torch.no_grad():
            kept = target(images).argmax(1) == labels
        siege, every = Siege(defended, images[kept], labels[kept]), torch.ones(int(kept.sum()), dtype=torch.bool)
        right += len(every)
        pgd = PGD(ball, steps=PICTURE_STEPS)
        aware: Weighted = {"joint, weight 1": (1.0, pgd), "joint, weight 10": (10.0, pgd)}
        aware["orthogonal"] = (1.0, OrthogonalPGD(ball, steps=PICTURE_STEPS))
        fell = {"naive": siege.fell(pgd, defended.naive_view(), every)} | siege.all_of(aware, every, narrow=False)
        fell["union"] = torch.stack([value for name, value in fell.items() if name != "naive"]).any(0)
        counts = {name: counts.get(name, 0) + int(value.sum()) for name, value in fell.items()}
    return {name: vars(clopper_pearson(count, right)) for name, count in counts.items()}


def art(say: Callable[[str], None]) -> Found:
    """The same networks with two outputs, trained by ART; thresholds as ours, on the difference of the logits."""
    import numpy as np
    from art.defences.detector.evasion import BinaryActivationDetector, BinaryInputDetector
    from art.estimators.classification import PyTorchClassifier

    from sparring.defenses.detection.nets import ConvDetectorNet
    from sparring.defenses.detection.threshold import conformal_threshold

    at = task()
    metadata, tested = at.made(PGD(Linf(EPS)), "fit"), [at.made(attack, "test") for attack in TESTS[:4]]
    both = torch.cat((metadata.originals, metadata.fooling_examples)).numpy()
    labels = np.eye(2, dtype=np.float32)[[0] * len(metadata) + [1] * int(metadata.fooling.sum())]

    def wrapped(net: torch.nn.Module, shape: tuple[int, ...], classes: int) -> Any:
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        return PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), shape, classes, optimizer, clip_values=None)

    def judge(channels: int) -> torch.nn.Module:
        torch.manual_seed(0)
        net = ConvDetectorNet(channels, 16)
        net.last = torch.nn.Linear(32, 2)
        net.forward = lambda x: net.last(net.layers(x).mean((2, 3)))  # type: ignore[method-assign]
        return net

    model = wrapped(at.target.model.get_submodule("layers"), (1, 28, 28), 10)
    theirs = {
        "Gong: input": BinaryInputDetector(wrapped(judge(1), (1, 28, 28), 2)),
        "Metzen: features": BinaryActivationDetector(model, wrapped(judge(32), (32, 7, 7), 2), layer=3),
    }
    rows = []
    for name, detector in theirs.items():
        began = time.process_time()
        detector.fit(both, labels, batch_size=128, nb_epochs=10)
        spent = time.process_time() - began

        def score(images: Tensor, detector: Any = detector) -> Tensor:
            logits = detector.detect(images.numpy())[0]["predictions"]
            return torch.from_numpy(logits[:, 1] - logits[:, 0])

        began = time.process_time()
        mine = DETECTORS[name]
        mine = replace(mine, layer="layers.3") if isinstance(mine, FeatureDetector) else mine
        ours = mine.fit(metadata.originals, metadata, target=at.target).calibrate(at.validation, FPR)
        ours_spent = time.process_time() - began
        limit = conformal_threshold(score(at.validation), FPR)
        for made in tested:
            caught = score(made.fooling_examples)
            clean = score(made.originals[made.correct])
            found = {
                "auroc": numbers(auroc(clean, caught)),
                "tpr": vars(clopper_pearson(int((caught > limit.value).sum()), len(caught))),
                "fpr": vars(clopper_pearson(int((clean > limit.value).sum()), len(clean))),
            }
            cells = {"art": found, "ours": cell(evaluate_detector(ours, made))}
            rows.append({"detector": name, "attack": made.attack, **cells,
                         "seconds": {"art": round(spent, 1), "ours": round(ours_spent, 1)}})  # fmt: skip
            say(f"  {name} on {made.attack}: ART {found['auroc']}")
    return {"fpr": FPR, "fitted_on": metadata.attack, "rows": rows}


PARTS: dict[str, Callable[[Callable[[str], None]], Found]] = {
    "matrix": matrix, "noise": noise, "adaptive": adaptive, "squeezing": squeezing, "photographs": photographs,
    "art": art,
}  # fmt: skip


def recorded() -> Found:
    found: Found = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


def kept(part: Found) -> None:
    """Write one part of the record, and leave the others as they are; what is empty is left out."""
    record = {name: found for name, found in (recorded() | part).items() if found}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


def main() -> int:
    from benchmarks.defenses import detection_page

    parser = argparse.ArgumentParser(prog="python -m benchmarks.defenses.detection")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--print", action="store_true", help="measure nothing, print the record")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; name some of {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for name in options.names or PARTS:
        if not options.print:
            print(name, flush=True)
            found = PARTS[name](lambda text: print(text, flush=True))
            kept({name: {"made": provenance(f"python -m benchmarks.defenses.detection {name}", "cpu"), **found}})
        record = recorded()
        if name in record:
            print(detection_page.TABLES[name](record[name]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
