"""Attacks on the zoo's PointNet, point by point, and two defences: records/lidar/classifier.json.

python -m benchmarks.lidar.classifier
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.lidar.data import HELD_OUT, crop_set
from benchmarks.lidar.measuring import Save, share, write
from sparring.lidar import (
    AddPoints,
    CarliniWagnerPoints,
    DropPoints,
    LidarScene,
    MovePoints,
    OutlierRemoval,
    PointDistance,
    RandomSampling,
    RangeShift,
)
from sparring.random import Key

COUNT, STEPS, DRAWS = 80, 40, 4
RADII = (0.02, 0.05, 0.1, 0.2)  # metres
COUNTS = (10, 20, 40)  # points
RATE = 2e-4  # of Carlini & Wagner's variable: 2 cm in clouds of -100 to 100 m
ADDED_WITHIN = 0.5  # metres from a point of the object


def measure(save: Save) -> None:
    target = sp.zoo.load_model("zoo:lidar-pointnet").target
    points, present, labels = crop_set(HELD_OUT, COUNT)
    scene, goal = LidarScene(points=points, present=present), sp.Misclassify(labels)
    mask = present[:, :, None].expand_as(points)
    clean = target.predict(points, context=scene).argmax(1) == labels
    found: dict[str, Any] = {"clean": share(clean), "steps": STEPS, "draws": DRAWS, "radii": {}, "counts": {}}

    def broken(outcome: sp.Outcome) -> dict[str, Any]:
        return share(outcome.success[clean])

    for eps in RADII:
        attack = sp.attacks.PGD(sp.Linf(eps), steps=STEPS)
        moved = sp.run(attack, target, goal, points, context=scene, mask=mask)
        shifts = sp.Pipeline(target, RangeShift(1.0))
        ranged = sp.run(attack, shifts, goal, torch.zeros(points.shape[:2]), context=scene, mask=present)
        bounded = sp.Pipeline(target, MovePoints(eps))
        per_point = sp.attacks.PGD(sp.Linf(1.0), steps=STEPS)
        each = sp.run(per_point, bounded, goal, torch.zeros_like(points), context=scene, mask=mask)
        noise = Key(torch.arange(COUNT), 5).signs("noise", points.shape[1:]) * eps
        noisy = target.predict(points + noise * mask, context=scene).argmax(1) != labels
        found["radii"][str(eps)] = {
            "noise": share(noisy[clean]),
            "points": broken(moved),
            "range": broken(ranged),
            "each": broken(each),
            **{name: defended(target, part, attack, goal, points, scene, mask, clean) for name, part in PARTS.items()},
        }
        print(eps, found["radii"][str(eps)], flush=True)
        save(found)
    for count in COUNTS:
        dropping = sp.Pipeline(target, DropPoints())
        ones = torch.ones(points.shape[:2])
        dropped = sp.run(sp.attacks.PGD(sp.L0(count), steps=STEPS), dropping, goal, ones, context=scene, mask=present)
        order = Key(torch.arange(COUNT), 6).uniform("order", present.shape[1:]).masked_fill(~present, 2)
        anyhow = present & (order.argsort(dim=1).argsort(dim=1) >= count)
        random = target.predict(points, context=LidarScene(present=anyhow)).argmax(1) != labels
        adding, start = sp.Pipeline(target, AddPoints()), AddPoints.start(scene, count, Key(torch.arange(COUNT), 7))
        near = sp.attacks.PGD(sp.Linf(ADDED_WITHIN), steps=STEPS)
        added = sp.run(near, adding, goal, start, context=scene)
        loose = Key(torch.arange(COUNT), 8).uniform("loose", start.shape[1:]) * 2 * ADDED_WITHIN - ADDED_WITHIN
        scattered = adding_wrong(target, points, present, start + loose, labels)
        found["counts"][str(count)] = {
            "dropped": broken(dropped),
            "dropped_at_random": share(random[clean]),
            "added": broken(added),
            "added_at_random": share(scattered[clean]),
        }
        print(count, found["counts"][str(count)], flush=True)
        save(found)
    found["minimum_norm"] = smallest(target, goal, points, present, scene, mask, clean)
    save(found)


PARTS = {"outlier_removal": OutlierRemoval(), "random_sampling": RandomSampling(0.5)}


def defended(
    target: Any, part: Any, attack: Any, goal: Any, points: Tensor, scene: Any, mask: Tensor, clean: Tensor
) -> dict[str, Any]:
    """Success against a defence whose attacker does not know it, and one who does; and its accuracy on clean clouds."""
    wall = sp.targets.Defended(target, part)
    engine = sp.Engine(confirmation_samples=10)
    result = {}
    for view, name in ((wall.naive_view(), "naive"), (wall.adaptive_view(DRAWS if wall.stochastic else 1), "adaptive")):
        outcome = sp.run(attack, view, goal, points, context=scene, mask=mask, engine=engine)
        result[name] = share(outcome.success[clean])
        already = (outcome.reason == int(sp.Reason.ALREADY))[clean]
        result["already"] = share(already)
    return result


def adding_wrong(target: Any, points: Tensor, present: Tensor, more: Tensor, labels: Tensor) -> Tensor:
    """Which clouds are taken for something else with these points added."""
    seen = LidarScene(present=torch.cat((present, torch.ones(more.shape[:2], dtype=torch.bool)), dim=1))
    logits: Tensor = target.predict(torch.cat((points, more), dim=1), context=seen)
    return logits.argmax(1) != labels


def smallest(
    target: Any, goal: Any, points: Tensor, present: Tensor, scene: Any, mask: Tensor, clean: Tensor
) -> dict[str, Any]:
    """The smallest examples by three distances, each measured in all of them: square roots, in metres."""
    rows = torch.arange(16)
    points, present, mask, clean = points[rows], present[rows], mask[rows], clean[rows]
    goal, scene = sp.rows.take(goal, rows), sp.rows.take(scene, rows)
    settings: dict[str, Any] = {"binary_search_steps": 5, "steps": 150, "learning_rate": RATE}
    attacks = {
        "L2": sp.attacks.CarliniWagner(**settings),
        **{one.value: CarliniWagnerPoints(distance=one, **settings) for one in PointDistance},
    }
    found = {}
    for name, attack in attacks.items():
        outcome = sp.run(attack, target, goal, points, context=scene, mask=mask)
        won = outcome.success & clean
        sizes = {one.value: one.between(outcome.examples, points, present)[won].sqrt() for one in PointDistance}
        sizes["L2"] = (outcome.examples - points).flatten(1).norm(dim=1)[won]
        found[name] = {"success": share(outcome.success[clean]), **{k: float(v.median()) for k, v in sizes.items()}}
        print(name, found[name], flush=True)
    return found


if __name__ == "__main__":
    write("classifier", "python -m benchmarks.lidar.classifier", measure)
