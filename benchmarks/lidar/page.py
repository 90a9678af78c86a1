"""The page docs/lidar.md, made of records/lidar/*.json, and of nothing else.

python -m benchmarks.lidar.page
"""

from __future__ import annotations

import json
import textwrap
from typing import Any

from benchmarks.faces.page import filled, table
from benchmarks.lidar.measuring import RECORDS
from benchmarks.provenance import ROOT

HEAD = """# LiDAR, on a synthetic simulator

Everything on this page is measured on scenes that `sparring.lidar` makes itself: boxes and cylinders on flat ground,
without trees, slopes, glass or rain, and models trained on them. It says something about methods, and **nothing about
real scanners, real detectors or real traffic**. Your own scans go in by `sparring.lidar.read_points` (KITTI `.bin`,
PCD, PLY), your own models as `Classifier(net, inputs=PointClouds(...), takes_context=True)` or
`Model(net, Detection(), ...)`. Made of `records/lidar/` by `python -m benchmarks.lidar.page`; brackets hold Wilson
intervals of 95 %.

```python
from sparring.lidar import LidarScene, SpoofPoints, padded_clouds, read_points

points, present = padded_clouds([read_points(path).points for path in paths])
detector = sp.zoo.load_model("zoo:lidar-bev").target  # boxes x1, y1, x2, y2 in metres, seen from above
scene = LidarScene(points=points, present=present)
goal = sp.goals.Create(torch.tensor([[5.0, -1.5, 10.0, 1.5]]).expand(len(points), -1))
spoofed = sp.Pipeline(detector, SpoofPoints(width=10.0, ranges=(5.0, 10.0)))
outcome = sp.run(sp.attacks.PGD(sp.Linf(1.0)), spoofed, goal, torch.zeros(len(points), 60, 3), context=scene)
```

Points of a cloud are moved by any attack (`mask=present[..., None].expand_as(points)`); everything else that an
attacker can change is a transform with inputs of its own, so that every attack runs on it: `MovePoints` (a bound for
each point), `RangeShift` (one number for each ray), `AddPoints`, `DropPoints` (with `L0(n)`), `SpoofPoints`, and
`MeshInScene`, an object whose surface is displaced and which the ray caster shows to the scanner. `CarliniWagnerPoints`
minimises Chamfer's or Hausdorff's distance. `OutlierRemoval`, `RandomSampling` and `FreeSpaceCheck` are defences;
gradients go through all of them.

![A street from above, before and after](lidar.png)

"""


def text() -> str:
    """The page."""
    records = {
        name: json.loads((RECORDS / f"{name}.json").read_text())
        for name in ("training", "classifier", "spoofing", "free_space", "mesh", "speed")
    }
    parts = [HEAD, models(records["training"])]
    parts += [
        spoofing(records["spoofing"], records["free_space"]),
        mesh(records["mesh"]),
        classifier(records["classifier"]),
    ]
    parts += [speed(records["speed"]), sources(records)]
    return "".join(parts)


def models(record: dict[str, Any]) -> str:
    """How good the models are where nobody attacks."""
    net, bev = record["pointnet"], record["bev"]
    found = ", ".join(f"{hit} of {of} {name}s" for name, (hit, of) in bev["found"].items())
    return filled(
        f"""
## The models

`zoo:lidar-pointnet` ({net["weights"]:,} weights) tells cars, trucks, pedestrians, poles and walls apart in single
objects scanned by 32 beams at 6 to 14 m: {100 * net["accuracy"]:.1f} % of {net["of"]:,} held-out clouds, trained on
{net["crops"]:,} in {net["cpu_seconds"]:.0f} CPU seconds.

`zoo:lidar-bev` ({bev["weights"]:,} weights) finds cars, trucks and pedestrians in streets scanned by 64 beams: in
{bev["held_out_streets"]} held-out streets {found} (an overlap of 0.3 or more, objects with at least ten points), and
{bev["false_anchors"]} anchors find something where nothing is. Trained on {bev["streets"]} streets in
{bev["cpu_seconds"]:.0f} CPU seconds.
""".strip("\n")
        + "\n\n"
    )


def spoofing(record: dict[str, Any], checked: dict[str, Any]) -> str:
    """Success of spoofed points, before and after defences."""
    names = {
        "at random": "points at random in the window",
        "none": "no defence",
        "none, a car": "no defence, to be found as a car",
        "random sampling, naive": "random sampling of a half, attacker does not know it",
        "random sampling, adaptive": f"random sampling of a half, adaptive (EOT of {record['draws']} draws)",
        "random sampling, either": "the better of both, street by street",
    }
    counts = list(record["points"])
    rows = [
        [words, *(percent(found[name]) if name in found else "" for found in record["points"].values())]
        for name, words in names.items()
    ]
    told = {
        "naive": "free-space check, attacker does not know it",
        "adaptive": "free-space check, adaptive (joint loss, begun where the attack without it ends)",
        "either": "the better of both, street by street",
    }
    rows += [[words, *(percent(checked["points"][count][name]) for count in counts)] for name, words in told.items()]
    clean = record["clean"]
    return (
        filled(
            f"""
## Spoofed points

A laser places points within 10 degrees ahead, 5 to 10 m away; success is a detection between 5 and 10 m ahead where
nothing is (`Create`), of any class unless it says so. {record["scenes"]} streets, PGD of {record["steps"]} steps on
azimuth, elevation and range of each point. A genuine echo at the angle of a spoofed one is lost.
""".strip("\n")
            + "\n\n"
        )
        + table(["", *(f"{count} points" for count in counts)], rows)
        + filled(
            f"""
Of the objects found in streets that nobody attacks, the free-space check (limit {record["free_space_limit"]:.3f},
calibrated so that 99 % of true objects pass) keeps {percent(clean["free space"])}, random sampling
{percent(clean["random sampling"])}. {stronger(checked)}Published, on real scans and other detectors: Cao et al. 2019
(arXiv:1907.06826) about 75 % by optimisation and sampling, with 20, 40 and 60 points; Sun et al. 2020
(arXiv:2006.16974) 80 % in the mean, which their CARLO reduces to 5.5 % and sequential view fusion to 2.3 %, without
an attacker who differentiates through the defence. Those figures cannot be compared with ours, and are here for the
order of magnitude alone.

"""
        )
    )


def stronger(checked: dict[str, Any]) -> str:
    """Say so where who knows the check finds less than who does not."""
    found = checked["points"].values()
    if sum(one["adaptive"]["value"] for one in found) >= sum(one["naive"]["value"] for one in found):
        return ""
    return (
        "Gradients through the check, which counts rays, find less than the attack that does not know it and is asked "
        "at every step; so the adaptive attack is a weak one, and a better one would find more. "
    )


def mesh(record: dict[str, Any]) -> str:
    """The adversarial car on unseen poses, beside its controls."""
    rows = [["0", "", percent(record["undisplaced"]), percent(record["undisplaced_loosely"]), "", ""]]
    for eps, one in record["radii"].items():
        sizes = f"{100 * one['mean_displacement']:.0f} / {100 * one['largest_displacement']:.0f}"
        shares = [percent(one[word]) for word in ("made_on", "unseen", "unseen_loosely", "random")]
        rows.append([f"{eps} m", *shares, sizes])
    size = " x ".join(f"{one:g}" for one in record["size"])
    return (
        filled(
            f"""
## An adversarial car

One displacement of the surface of a car ({size} m, {record["vertices"]} vertices, {record["faces"]} faces), smoothed
over neighbours and bounded along each axis, for all scenes: made by PGD of {record["steps"]} steps over
{record["scenes_per_question"]} scenes and poses at a time, drawn from {record["made_on"]}; judged in
{record["judged_on"]} others, by fresh noise. Success: no box of any class overlaps the car by 0.1 or more any more (in
one column by 0.3, the usual bound, which a box beside the car escapes). *Random*: random signs of the same bound,
smoothed alike.
""".strip("\n")
            + "\n\n"
        )
        + table(["bound", "made on", "unseen", "unseen, overlap below 0.3", "random", "mean / largest move, cm"], rows)
        + "\n"
    )


def classifier(record: dict[str, Any]) -> str:
    """Attacks on the classifier, point by point."""
    words = {
        "noise": "random signs",
        "range": "along the rays (PGD)",
        "each": "points, each within a ball (PGD, L2)",
        "points": "points, each within a cube (PGD, Linf)",
        "outlier_removal naive": "behind outlier removal, naive",
        "outlier_removal adaptive": "adaptive (BPDA)",
        "random_sampling naive": "behind random sampling of a half, naive",
        "random_sampling adaptive": f"adaptive (EOT of {record['draws']} draws)",
    }
    radii = list(record["radii"])

    def cell(eps: str, name: str) -> str:
        first, _, view = name.partition(" ")
        one = record["radii"][eps][first]
        return percent(one[view] if view else one)

    rows = [[told, *(cell(eps, name) for eps in radii)] for name, told in words.items()]
    counts = list(record["counts"])
    several = {
        "added": "added, within 0.5 m of a point of the object",
        "added_at_random": "added at random there",
        "dropped": "dropped (PGD, L0)",
        "dropped_at_random": "dropped at random",
    }
    more = [[told, *(percent(record["counts"][n][name]) for n in counts)] for name, told in several.items()]
    smallest = [
        [name, percent(one["success"]), *(f"{100 * one[size]:.1f}" for size in ("L2", "chamfer", "hausdorff"))]
        for name, one in record["minimum_norm"].items()
    ]
    first = next(iter(record["radii"].values()))
    lost = {name: percent(first[name]["already"]) for name in ("outlier_removal", "random_sampling")}
    return (
        filled(
            f"""
## Points of single objects

`zoo:lidar-pointnet`, {record["clean"]["of"]} held-out objects of at most 192 points, of which it knows
{percent(record["clean"])}; success among those, PGD of {record["steps"]} steps, bounds in metres.
""".strip("\n")
            + "\n\n"
        )
        + table(["", *(f"{eps} m" for eps in radii)], rows)
        + filled(
            f"""
Where nobody attacks the defences lose {lost["outlier_removal"]} (outlier removal) and {lost["random_sampling"]}
(random sampling) of these objects, which are among the successes above.

"""
        )
        + table(["", *(f"{count} points" for count in counts)], more)
        + filled("\nThe smallest examples by three distances; medians of the square roots, in centimetres:\n\n")
        + table(["Carlini & Wagner by", "success", "L2", "Chamfer", "Hausdorff"], smallest)
        + filled("\n" + beaten(record["minimum_norm"]) + "\n\n")
    )


def beaten(found: dict[str, Any]) -> str:
    """Say which distance its own attack does not make the smallest."""
    worse = [name for name in ("chamfer", "hausdorff") if found[name][name] > min(one[name] for one in found.values())]
    if not worse:
        return "Each distance is smallest in its own attack."
    return f"Within these steps another attack finds smaller examples than its own by {' and '.join(worse)}."


def speed(record: dict[str, Any]) -> str:
    """Rays per second, and the largest tensor."""
    rows = []
    for name, one in record["scenes"].items():
        for chunk, row in one["chunks"].items():
            rates = [f"{row[word]:,.0f}" for word in ("rays_per_second", "rays_per_second_with_gradient")]
            size = f"{row['largest_tensor']:,}"
            rows.append([name, f"{one['faces']:,}", f"{one['pairs']:,}", f"{int(chunk):,}", *rates, size])
    head = ["scene", "faces", "rays x faces", "chunk", "rays per second", "with gradient", "largest tensor"]
    return (
        filled(
            f"""
## The ray caster

64 beams, 0.2 degrees, a whole turn: {next(iter(record["scenes"].values()))["rays"]:,} rays, one core of
{record["cpu"]}, CPU time, the best of {record["best_of"]}. Memory follows the chunk (numbers in the largest tensor,
forward and backward pass) and not rays times faces. With a soft outline: {record["soft_rays_per_second"]:,.0f} rays per
second.
""".strip("\n")
            + "\n\n"
        )
        + table(head, rows)
        + "\n"
    )


def sources(records: dict[str, Any]) -> str:
    """Where the figures come from."""
    runs = [record for name, record in records.items() if name != "training"] + list(records["training"].values())
    told = ", ".join(f"`{run['command']}` ({run['date'][:10]}, commit `{run['commit'][:12]}`)" for run in runs)
    first = runs[0]
    return (
        textwrap.fill(f"Measured by {told}; one core of {first['cpu']}, torch {first['versions']['torch']}.", 120)
        + "\n"
    )


def percent(one: dict[str, Any]) -> str:
    return f"{100 * one['value']:.0f} % [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"


if __name__ == "__main__":
    (ROOT / "docs" / "lidar.md").write_text(text())
