"""An adversarial car: one displacement of a car's surface for all scenes, on poses it was not made on.

    python -m benchmarks.lidar.mesh

Writes records/lidar/mesh.json, and the displacements to records/lidar/mesh.safetensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.lidar.data import HELD_OUT, STREET_SENSOR, TRAINING, street_set
from benchmarks.lidar.measuring import RECORDS, Save, share, write
from sparring.lidar import LidarScene, MeshInScene
from sparring.lidar.meshes import car, subdivided
from sparring.lidar.streets import footprint
from sparring.random import Key
from sparring.storage import write_tensors

SIZE = (4.3, 1.75, 1.55)  # metres
RADII = (0.1, 0.2, 0.3)  # metres: of each coordinate of a displacement
MADE_ON, JUDGED_ON, STEPS, AT_ONCE = 24, 40, 40, 4
NEAR = 0.1  # the overlap from which a box, of any class, counts as finding the car
CONTROLS = 2  # random displacements


def built() -> MeshInScene:
    """A car of some hundred triangles before the scanner."""
    return MeshInScene.of(subdivided(subdivided(car())), STREET_SENSOR, size=SIZE, max_metres=max(RADII), smoothing=2)


def scenes(seed: int, count: int, first: int) -> tuple[LidarScene, sp.goals.Vanish]:
    """Streets with a place for the car, 7 to 22 m ahead, where no other object touches it or hides it."""
    data = street_set(seed, 8 * count, first)
    key = Key(torch.arange(first, first + len(data.points)), seed)
    drawn = key.uniform("pose", (4,))
    yaw = key.integers("side", (1,), 4)[:, 0] * (torch.pi / 2) + 0.3 * (2 * drawn[:, 3] - 1)
    poses = torch.stack((7 + 15 * drawn[:, 0], 10 * drawn[:, 1] - 5, yaw), dim=1)
    boxes = footprint(torch.tensor(SIZE).expand(len(poses), -1), poses)
    others = data.streets.footprints()
    grown = boxes + 0.5 * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    touching = (others[..., 0] < grown[:, None, 2]) & (others[..., 2] > grown[:, None, 0])
    touching &= (others[..., 1] < grown[:, None, 3]) & (others[..., 3] > grown[:, None, 1])
    before = (others[..., 0] < grown[:, None, 0]) & (near_line(others, poses) < 2.5)
    rows = (~(touching | before).any(1)).nonzero()[:count, 0]
    scene = LidarScene(ranges=data.ranges[rows], poses=poses[rows])
    return scene, sp.goals.Vanish(boxes[rows], iou=NEAR)


def near_line(others: Tensor, poses: Tensor) -> Tensor:
    """How far the middles of other objects lie from the line to each pose, in metres."""
    middle = (others[..., :2] + others[..., 2:]) / 2
    towards = torch.nn.functional.normalize(poses[:, :2], dim=1)
    return (middle[..., 0] * towards[:, None, 1] - middle[..., 1] * towards[:, None, 0]).abs()


def loosely(goal: sp.goals.Vanish) -> sp.goals.Vanish:
    """The goal that no box overlaps the car by 0.3, whatever is found beside it."""
    return sp.goals.Vanish(goal.boxes, iou=0.3)


def vanished(target: Any, shape: Tensor, scene: LidarScene, goal: Any, seed: int) -> Tensor:
    """In which scenes (N,) the goal is met by the car of these displacements (1, V, 3)."""
    key = Key(torch.arange(len(goal)), seed)
    with torch.no_grad(), target.frozen():
        outputs = target(shape.expand(len(goal), -1, -1), key, scene)
    margin: Tensor = goal.margin(outputs)
    return margin > 0


def measure(save: Save) -> None:
    mesh = built()
    target = sp.Pipeline(sp.zoo.load_model("zoo:lidar-bev").target, mesh)
    scene, goal = scenes(TRAINING, MADE_ON, 5000)
    others, aim = scenes(HELD_OUT, JUDGED_ON, 5000)
    still = torch.zeros(1, *mesh.vertices.shape)
    plain = vanished(target, still, others, aim, 1)
    found: dict[str, Any] = {
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "size": SIZE,
        "made_on": len(goal),
        "judged_on": len(aim),
        "steps": STEPS,
        "scenes_per_question": AT_ONCE,
        "undisplaced": share(plain),
        "undisplaced_loosely": share(vanished(target, still, others, loosely(aim), 1)),
        "radii": {},
    }
    kept = {}
    for eps in RADII:
        over = sp.targets.OverScenes(target, goal, scene, scenes_per_question=AT_ONCE)
        attack = sp.attacks.PGD(sp.Linf(eps), steps=STEPS)
        outcome = sp.run(
            attack, over, sp.goals.FoolScenes(torch.zeros(1)), still, engine=sp.Engine(confirmation_samples=5)
        )
        shape = outcome.examples
        kept[f"displacements-{eps}"] = shape[0]
        random = [
            vanished(
                target,
                Key(torch.zeros(1, dtype=torch.long), seed).signs("control", still.shape[1:]) * eps,
                others,
                aim,
                1,
            )
            for seed in range(CONTROLS)
        ]
        moved = (mesh.displaced(shape) - mesh.displaced(still)).norm(dim=2)
        found["radii"][str(eps)] = {
            "made_on": share(vanished(target, shape, scene, goal, 1)),
            "unseen": share(vanished(target, shape, others, aim, 1)),
            "unseen_loosely": share(vanished(target, shape, others, loosely(aim), 1)),
            "random": share(torch.cat(random)),
            "mean_displacement": float(moved.mean()),
            "largest_displacement": float(moved.max()),
        }
        print(eps, found["radii"][str(eps)], flush=True)
        save(found)
        write_tensors(RECORDS / "mesh.safetensors", kept, {"size": SIZE})


if __name__ == "__main__":
    write("mesh", "python -m benchmarks.lidar.mesh", measure)
