"""AdvGAN beside PGD: success on unseen digits, the spread over seeds, seconds per image, a black box by distillation.

    python -m benchmarks.generators [--out FILE]

Generators are made on the first digits of MNIST's training set (labels given) and judged on the first 1,000 test
digits at Linf 0.3. Success is of the test digits that the victim had right before.
Writes records/universal/generators.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.nets import load_victim
from benchmarks.provenance import ROOT, provenance
from sparring import Classifier, ClassifyAs, Decisions, Engine, Linf, Misclassify, Restricted, Scores, fit, run
from sparring.attacks import PGD, AdvGAN, Artifact, ArtifactAttack
from sparring.intervals import wilson
from sparring.rows import take
from sparring.transfer import distill_advgan
from sparring.zoo import load_data

RECORD = ROOT / "records" / "universal" / "generators.json"
BALL = Linf(0.3)
SEEDS, HELD_OUT = range(5), 1000
Row = dict[str, Any]


def digits(name: str, count: int) -> tuple[Tensor, Tensor]:
    chunk = next(iter(load_data(f"zoo:{name}", input=None, limit=count).chunks(count)))
    return chunk.images, chunk.labels


def victim(name: str) -> Classifier:
    return Classifier(load_victim(name, 1, "cpu").net, name=name)


def judged(found: Artifact | PGD, target: Classifier, wanted: int | None, seed: int = 0) -> Row:
    """Success on the test digits that stand, with its interval, and microseconds per image."""
    images, labels = digits("mnist", HELD_OUT)
    goal = Misclassify(labels) if wanted is None else ClassifyAs(torch.full_like(labels, wanted))
    with torch.no_grad():
        parts = torch.arange(HELD_OUT).split(250)
        kept = torch.cat([take(goal, rows).margin(target(images[rows])) <= 0 for rows in parts])
    goal, images = take(goal, kept), images[kept]
    attack = ArtifactAttack(found) if isinstance(found, Artifact) else found
    clock = time.process_time()
    outcome = run(attack, target, goal, images, engine=Engine(seed=seed))
    seconds = time.process_time() - clock
    if isinstance(found, Artifact):  # the generator alone
        clock = time.process_time()
        found.apply(images)
        seconds = time.process_time() - clock
    fell = int(outcome.success.sum())
    row = {"fell": fell, "stood": len(images), "interval": wilson(fell, len(images))}
    return row | {"microseconds_per_image": 1e6 * seconds / len(images)}


def by_pgd(name: str, seed: int, wanted: int | None = None) -> Row:
    head = {"net": name, "attack": "PGD-40", "seed": seed, "target": wanted}
    return head | judged(PGD(BALL), victim(name), wanted, seed)


def by_gan(name: str, seed: int, epochs: int, count: int, wanted: int | None = None) -> Row:
    target, attack, (images, labels) = victim(name), AdvGAN(BALL, epochs=epochs), digits("mnist-train", count)
    goal = Misclassify(labels) if wanted is None else ClassifyAs(torch.full_like(labels, wanted))
    clock = time.process_time()
    fitted = fit(attack, target, goal, images, engine=Engine(seed=seed))
    seconds = time.process_time() - clock
    head: Row = {"net": name, "attack": f"AdvGAN, {epochs} epochs of {count}", "seed": seed, "target": wanted}
    return head | {"seconds_to_make": seconds} | judged(fitted.artifact, target, wanted)


def student() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(400, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip


def by_student(name: str, access: type[Decisions], dynamic: bool, count: int = 2000, rounds: int = 4) -> Row:
    target, (images, labels) = victim(name), digits("mnist-train", count)
    attack = AdvGAN(BALL, epochs=5)
    options: Row = {"budget": rounds * count, "rounds": rounds, "dynamic": dynamic, "epochs": 5}
    clock = time.process_time()
    found = distill_advgan(Restricted(target, access), student(), attack, Misclassify(labels), images, **options)
    seconds = time.process_time() - clock
    words = f"AdvGAN by a student that sees {access.__name__.lower()}, {'dynamic' if dynamic else 'static'}"
    head: Row = {"net": name, "attack": words, "seed": 0, "target": None, "seconds_to_make": seconds}
    return head | {"queries": found.queries, "agreement": found.agreement} | judged(found.artifact, target, None)


def plan() -> list[Callable[[], Row]]:
    todo: list[Callable[[], Row]] = []
    for name in ("mnist-plain", "mnist-pgd"):
        todo += [lambda name=name, seed=seed: by_pgd(name, seed) for seed in SEEDS]
        todo.append(lambda name=name: by_gan(name, 0, 20, 4000))
    todo += [lambda seed=seed: by_gan("mnist-plain", seed, 10, 2000) for seed in SEEDS]
    todo += [lambda: by_pgd("mnist-plain", 0, 3), lambda: by_gan("mnist-plain", 0, 10, 4000, 3)]
    kinds = ((Scores, True), (Scores, False), (Decisions, True))
    todo += [lambda access=access, way=way: by_student("mnist-plain", access, way) for access, way in kinds]
    return todo


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generators", description=__doc__)
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: Row = {"suite": "generators", "made": provenance("python -m benchmarks.generators", "cpu"), "rows": []}
    for part in plan():
        record["rows"].append(part())
        print(json.dumps(record["rows"][-1]), flush=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
