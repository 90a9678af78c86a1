"""How fast the ray caster is on a scene of 64 beams, and what it keeps in memory: records/lidar/speed.json.

python -m benchmarks.lidar.speed
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.lidar.measuring import Save, write
from sparring.lidar import Lidar, cast, cast_soft
from sparring.lidar.meshes import icosphere, joined
from sparring.lidar.streets import MESHES, draw_streets, posed
from sparring.random import Key

CHUNKS = (1 << 16, 1 << 20)
REPEATS = 3


class Largest(TorchDispatchMode):
    """Remembers the most elements of a tensor that an operation returns."""

    most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor):
                self.most = max(self.most, one.numel())
        return out


def street_mesh(sensor: Lidar, street: int) -> tuple[Tensor, Tensor]:
    """All objects of a street, and its ground, as one mesh."""
    drawn = draw_streets(Key(torch.tensor([street]), 1), objects=20)
    bodies, faces, start = [], [], 0
    for place in range(20):
        mesh = MESHES[int(drawn.kinds[0, place])]()
        bodies.append(posed(mesh.vertices, drawn.sizes[:, place], drawn.poses[:, place], sensor.height)[0])
        faces.append(mesh.faces + start)
        start += len(mesh.vertices)
    ground = torch.tensor([[-150.0, -150], [150, -150], [150, 150], [-150, 150]])
    bodies.append(torch.cat((ground, torch.full((4, 1), -sensor.height)), dim=1))
    faces.append(torch.tensor([[0, 1, 2], [0, 2, 3]]) + start)
    return torch.cat(bodies), torch.cat(faces)


def measure(save: Save) -> None:
    sensor = Lidar.of_beams(64, azimuth_step=0.2)
    rays = sensor.directions()
    sphere = icosphere(5)
    balls = joined(*(sphere.placed((1, 1, 1), (4 + 3 * place, place - 2, 0)) for place in range(4)))
    scenes = {"street of 20 objects": street_mesh(sensor, 0), "four spheres": (balls.vertices, balls.faces)}
    found = {}
    for name, (vertices, faces) in scenes.items():
        row: dict[str, Any] = {"rays": len(rays), "faces": len(faces), "pairs": len(rays) * len(faces), "chunks": {}}
        for chunk in CHUNKS:
            row["chunks"][str(chunk)] = {
                "rays_per_second": len(rays) / best(partial(cast, rays, vertices[None], faces, chunk=chunk)),
                "rays_per_second_with_gradient": len(rays)
                / best(partial(there_and_back, rays, vertices, faces, chunk)),
                "largest_tensor": largest(rays, vertices, faces, chunk),
            }
            print(name, chunk, row["chunks"][str(chunk)], flush=True)
        found[name] = row
    vertices, faces = scenes["street of 20 objects"]
    one = best(lambda: cast_soft(rays, vertices[None], faces, 0.002))
    save({"scenes": found, "soft_rays_per_second": len(rays) / one, "best_of": REPEATS})


def there_and_back(rays: Tensor, vertices: Tensor, faces: Tensor, chunk: int) -> None:
    moved = vertices[None].clone().requires_grad_()
    hits = cast(rays, moved, faces, chunk=chunk)
    torch.where(hits.hit, hits.ranges, 0).sum().backward()


def largest(rays: Tensor, vertices: Tensor, faces: Tensor, chunk: int) -> int:
    with Largest() as seen:
        there_and_back(rays, vertices, faces, chunk)
    return seen.most


def best(work: Any) -> float:
    """CPU seconds of the fastest of some runs: others use this machine too."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    write("speed", "python -m benchmarks.lidar.speed", measure)
