"""Spoofed points behind the check of free space: records/lidar/free_space.json.

    python -m benchmarks.lidar.free_space

The attacker who does not know the check asks the checked detector, with the gradients of the bare one. Who knows it
begins where the attack on the bare detector ends, and climbs the joint loss of detector and check.
"""

from __future__ import annotations

from typing import Any

import torch

import sparring as sp
from benchmarks.lidar.measuring import Save, share, write
from benchmarks.lidar.spoofing import COUNT, POINTS, STEPS, WINDOW, free_space_limit, scenes
from sparring.lidar import FreeSpaceCheck


def measure(save: Save) -> None:
    target = sp.zoo.load_model("zoo:lidar-bev").target
    scene, goal = scenes(target, COUNT)
    checked = FreeSpaceCheck(target, free_space_limit())
    blind = sp.targets.Surrogate(checked, target)
    attack = sp.attacks.PGD(sp.Linf(1.0), steps=STEPS)
    found: dict[str, Any] = {"scenes": len(goal), "steps": STEPS, "limit": checked.limit, "points": {}}
    for count in POINTS:
        x = torch.zeros(len(goal), count, 3)
        bare = sp.run(attack, sp.Pipeline(target, WINDOW), goal, x, context=scene, keep=sp.Keep.HIGHEST_MARGIN)
        naive = sp.run(attack, sp.Pipeline(blind, WINDOW), goal, x, context=scene)
        known = sp.run(
            sp.attacks.PGD(sp.Linf(1.0), steps=STEPS, step_size=0.02),
            sp.Pipeline(checked, WINDOW),
            goal,
            x,
            context=scene,
            start=bare.examples,
        )
        found["points"][str(count)] = {
            "naive": share(naive.success),
            "adaptive": share(known.success),
            "either": share(naive.success | known.success),
        }
        print(count, found["points"][str(count)], flush=True)
        save(found)


if __name__ == "__main__":
    write("free_space", "python -m benchmarks.lidar.free_space", measure)
