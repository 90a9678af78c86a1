"""Spoofed points before the zoo's detector of bird's-eye views: records/lidar/spoofing.json.

python -m benchmarks.lidar.spoofing
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.lidar.data import HELD_OUT, VALIDATION, Scanned, street_set
from benchmarks.lidar.measuring import Save, share, write
from sparring.lidar import FreeSpaceCheck, LidarScene, RandomSampling, SpoofPoints
from sparring.lidar.defenses import calibrate_free_space
from sparring.lidar.nets import FOUND
from sparring.random import Key

COUNT, STEPS, DRAWS = 20, 40, 2
POINTS = (20, 40, 60)
REGION = (5.0, -1.5, 10.0, 1.5)  # metres: where an obstacle is to be found
WINDOW = SpoofPoints(azimuth=0.0, width=10.0, elevations=(-14.0, 0.0), ranges=(5.0, 10.0), step=0.4)


def empty_ahead(data: Scanned) -> Tensor:
    """Streets without an object in the region or before it."""
    boxes = data.streets.footprints()
    apart = (boxes[..., 0] > REGION[2] + 1) | (boxes[..., 1] > REGION[3] + 0.5) | (boxes[..., 3] < REGION[1] - 0.5)
    return apart.all(1).nonzero()[:, 0]


def scenes(target: Any, count: int) -> tuple[LidarScene, sp.goals.Create]:
    """Streets in which the detector finds nothing in the region, and the goal that it finds something there."""
    data = street_set(HELD_OUT, 6 * count, 1000)
    rows = empty_ahead(data)
    scene = LidarScene(points=data.points[rows], present=data.present[rows])
    region = torch.tensor(REGION).expand(len(rows), -1)
    goal = sp.goals.Create(region)
    outputs = target.predict(scene.points, context=scene)
    kept = (goal.margin(outputs) < 0).nonzero()[:count, 0]
    return sp.rows.take(scene, kept), sp.rows.take(goal, kept)


def free_space_limit(quantile: float = 0.99) -> float:
    """The share of rays behind true objects, calibrated on streets of validation."""
    data = street_set(VALIDATION, 60)
    row, place = data.wanted().nonzero(as_tuple=True)
    return calibrate_free_space(data.points[row], data.present[row], data.streets.footprints()[row, place], quantile)


def measure(save: Save) -> None:
    target = sp.zoo.load_model("zoo:lidar-bev").target
    scene, goal = scenes(target, COUNT)
    limit = free_space_limit()
    checked = FreeSpaceCheck(target, limit)
    sampled = sp.targets.Defended(target, RandomSampling(0.5))
    views = {
        "none": target,
        "random sampling, naive": sampled.naive_view(),
        "random sampling, adaptive": sampled.adaptive_view(DRAWS),
    }
    found: dict[str, Any] = {
        "scenes": len(goal),
        "steps": STEPS,
        "draws": DRAWS,
        "free_space_limit": limit,
        "clean": kept_objects(target, checked, sampled),
        "points": {},
    }
    for count in POINTS:
        start = torch.zeros(len(goal), count, 3)
        anywhere = Key(torch.arange(len(goal)), 9).uniform("anywhere", start.shape[1:]) * 2 - 1
        random = sp.Pipeline(target, WINDOW).predict(anywhere, context=scene)
        row = found["points"][str(count)] = {"at random": share(goal.margin(random) > 0)}
        cars = sp.goals.Create(goal.boxes, torch.full((len(goal),), FOUND.index("car")))
        asked = [(name, view, goal) for name, view in views.items()]
        won: dict[str, Tensor] = {}
        for name, view, aim in [*asked, ("none, a car", target, cars)] if count == max(POINTS) else asked:
            attack = sp.attacks.PGD(sp.Linf(1.0), steps=STEPS)
            outcome = sp.run(
                attack, sp.Pipeline(view, WINDOW), aim, start, context=scene, engine=sp.Engine(confirmation_samples=10)
            )
            won[name] = outcome.success
            row[name] = share(outcome.success)
            print(count, name, row[name], flush=True)
        # who knows a defence may also forget it
        row["random sampling, either"] = share(won["random sampling, naive"] | won["random sampling, adaptive"])
        save(found)


def kept_objects(target: Any, checked: Any, sampled: Any) -> dict[str, Any]:
    """Of the objects that the detector finds in streets nobody attacks, the share that it finds behind each defence."""
    data = street_set(HELD_OUT, 60)
    scene = LidarScene(present=data.present)
    row, place = data.wanted().nonzero(as_tuple=True)
    goal = sp.goals.Vanish(data.streets.footprints()[row, place])
    seen = {}
    for name, one in (("none", target), ("free space", checked), ("random sampling", sampled)):
        outputs = one.predict(data.points, context=scene, batch_size=16)
        seen[name] = goal.margin(sp.rows.take(outputs, row)) < 0
    return {name: share(flags[seen["none"]]) for name, flags in seen.items()} | {"found": share(seen["none"])}


if __name__ == "__main__":
    write("spoofing", "python -m benchmarks.lidar.spoofing", measure)
