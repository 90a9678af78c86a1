"""The picture docs/lidar.png: a street from above, with spoofed points, and with a car of another shape.

python -m benchmarks.lidar.picture        # after benchmarks.lidar.mesh, whose displacements it takes
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

import sparring as sp
from benchmarks.lidar.data import HELD_OUT
from benchmarks.lidar.measuring import RECORDS
from benchmarks.lidar.mesh import RADII, built, scenes, vanished
from benchmarks.lidar.spoofing import REGION, STEPS, WINDOW
from benchmarks.lidar.spoofing import scenes as streets
from benchmarks.provenance import ROOT
from sparring.lidar import LidarScene
from sparring.lidar.nets import FOUND
from sparring.random import Key
from sparring.storage import read_tensors

SPOOFED = 60
INK, POINTS, FOUND_INK, SPOOF_INK, TRUE_INK = "#1f2328", "#57606a", "#0969da", "#cf222e", "#9a6700"


def main() -> None:
    torch.set_num_threads(1)
    detector = sp.zoo.load_model("zoo:lidar-bev").target
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 8.8), sharex=True, sharey=True, layout="constrained")
    spoofing(detector, axes[0])
    shaping(detector, axes[1])
    for axis in axes.flat:
        axis.set_aspect("equal")
        axis.set_xlim(16, -16)
        axis.set_ylim(0, 34)
        axis.tick_params(labelsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("metres ahead", fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("metres to the left", fontsize=9)
    figure.suptitle(
        "Synthetic simulator: what the scanner measures, from above, and what zoo:lidar-bev finds", fontsize=11
    )
    figure.savefig(ROOT / "docs" / "lidar.png", dpi=110)


def spoofing(detector: Any, axes: Any) -> None:
    """Sixty points by a laser at the front, in the first street where they succeed."""
    scene, goal = streets(detector, 6)
    attack, start = sp.attacks.PGD(sp.Linf(1.0), steps=STEPS), torch.zeros(len(goal), SPOOFED, 3)
    spoofed = sp.Pipeline(detector, WINDOW)
    outcome = sp.run(attack, spoofed, goal, start, context=scene)
    row = outcome.success.nonzero()[:1, 0]
    one = sp.rows.take(scene, row)
    assert one.points is not None
    assert one.present is not None
    draw(axes[0], detector, one.points[0], one.present, "nobody attacks")
    cloud, context = WINDOW.apply(outcome.examples[row], Key(row, 0), one)
    draw(axes[1], detector, cloud[0], context.present, f"{SPOOFED} spoofed points within {WINDOW.width:g} degrees")
    axes[1].scatter(cloud[0, -SPOOFED:, 1], cloud[0, -SPOOFED:, 0], s=2, color=SPOOF_INK, zorder=3)
    x1, y1, x2, y2 = REGION
    for axis in axes:
        axis.add_patch(Rectangle((y1, x1), y2 - y1, x2 - x1, fill=False, ls=":", lw=1, color=SPOOF_INK))


def shaping(detector: Any, axes: Any) -> None:
    """A car as it is, and with the displacements of the largest radius, in a street it was not made on."""
    mesh = built()
    target = sp.Pipeline(detector, mesh)
    tensors, _ = read_tensors(RECORDS / "mesh.safetensors", "measure again with python -m benchmarks.lidar.mesh")
    shape = tensors[f"displacements-{max(RADII)}"][None]
    scene, goal = scenes(HELD_OUT, 40, 5000)
    gone = vanished(target, shape, scene, goal, 1) & ~vanished(target, torch.zeros_like(shape), scene, goal, 1)
    row = gone.nonzero()[:1, 0] if bool(gone.any()) else torch.tensor([0])
    one = sp.rows.take(scene, row)
    for axis, x, words in (
        (axes[0], torch.zeros_like(shape), "a car"),
        (axes[1], shape, f"the car, moved by at most {max(RADII):g} m along each axis"),
    ):
        cloud, context = mesh.apply(x, Key(row, 1), one)
        draw(axis, detector, cloud[0], context.present, words)
        x1, y1, x2, y2 = goal.boxes[row][0].tolist()
        axis.add_patch(Rectangle((y1, x1), y2 - y1, x2 - x1, fill=False, ls=":", lw=1.5, color=TRUE_INK))


def draw(axis: Any, detector: Any, cloud: Tensor, present: Tensor, words: str) -> None:
    """The points from above, and the boxes that are found."""
    kept = cloud[present[0]]
    axis.scatter(kept[:, 1], kept[:, 0], s=0.4, color=POINTS, linewidths=0)
    found = detector.task.decode(detector.predict(cloud[None], context=LidarScene(present=present)))
    named: list[tuple[float, float]] = []
    for box, kind, there in zip(found.boxes[0], found.classes[0], found.present[0], strict=True):
        if bool(there):
            x1, y1, x2, y2 = box.tolist()
            axis.add_patch(Rectangle((y1, x1), y2 - y1, x2 - x1, fill=False, lw=1.2, color=FOUND_INK, zorder=4))
            if all(abs(x2 - x) + abs(y2 - y) > 3 for x, y in named):  # one name for boxes that lie together
                axis.text(y2, x2 + 0.2, FOUND[int(kind)], fontsize=7, color=FOUND_INK, va="bottom", clip_on=True)
                named.append((x2, y2))
    axis.set_title(words, fontsize=9, color=INK)


if __name__ == "__main__":
    main()
