"""Train the zoo's LiDAR models on synthetic clouds, and write their weights.

    python -m benchmarks.lidar.train pointnet
    python -m benchmarks.lidar.train bev

Weights go to src/sparring/zoo/weights with the command, the seeds and what was measured on held-out clouds in the file;
records/lidar/training.json has the same.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from benchmarks.lidar.data import HELD_OUT, TRAINING, VALIDATION, Scanned, crop_set, street_set
from benchmarks.provenance import ROOT, provenance
from sparring.lidar import LidarScene
from sparring.lidar.nets import CELL, FOUND, STRIDE, BevDetector, PointNet, anchor_centres, soft_voxels
from sparring.lidar.streets import CLASSES
from sparring.storage import write_tensors
from sparring.tasks import box_iou
from sparring.zoo.catalog import WEIGHTS

RECORD = ROOT / "records" / "lidar" / "training.json"
SEED = 0


def pointnet() -> tuple[nn.Module, dict[str, Any]]:
    """A PointNet of crops of objects; each crop is turned about its axis, anew in each epoch."""
    points, present, labels = crop_set(TRAINING, 4000)
    net, epochs, size = PointNet(len(CLASSES)), 30, 64
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * math.ceil(len(points) / size))
    for epoch in range(epochs):
        for rows in torch.randperm(len(points)).split(size):
            x = turned(points[rows], torch.rand(len(rows)) * 2 * math.pi)
            x = x + 0.02 * torch.randn_like(x)
            loss = cross_entropy(net(x, LidarScene(present=present[rows])), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: {accuracy(net, *crop_set(VALIDATION, 500)):.3f}", flush=True)
    return net, {
        "crops": len(points),
        "epochs": epochs,
        "accuracy": accuracy(net, *crop_set(HELD_OUT, 1000)),
        "of": 1000,
    }


def turned(points: Tensor, angle: Tensor) -> Tensor:
    """Clouds (B, N, 3) turned about the vertical axis."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = points.unbind(2)
    return torch.stack((x * cos - y * sin, x * sin + y * cos, z), dim=2)


def accuracy(net: nn.Module, points: Tensor, present: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (net(points, LidarScene(present=present)).argmax(1) == labels).float().mean().item()


def bev() -> tuple[nn.Module, dict[str, Any]]:
    """A detector of cars, trucks and pedestrians; streets are mirrored at random."""
    data = street_set(TRAINING, 700)
    clouds = zip(data.points.split(20), data.present.split(20), strict=True)
    voxels = torch.cat([soft_voxels(x, present.float()) for x, present in clouds])
    wanted, boxes, weight = targets(data)
    net, epochs, size = BevDetector(), 18, 16
    net.head.bias.data[: len(FOUND)] = -4.0
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * math.ceil(len(voxels) / size))
    rows_, columns = (count // STRIDE for count in voxels.shape[2:])
    mirror = torch.arange(rows_ * columns).view(rows_, columns).flip(1).flatten()
    held = street_set(VALIDATION, 60)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(voxels)).split(size):
            x, y, box, use = voxels[rows], wanted[rows], boxes[rows], weight[rows]
            if torch.rand(()) < 0.5:
                x, y, use = x.flip(3), y[:, mirror], use[:, mirror]
                box = mirrored(box[:, mirror])
            answer = net.answer(x)
            found = y.amax(2) > 0
            chance = answer.logits.sigmoid()
            focal = torch.where(y > 0, 1 - chance, chance).square().detach()
            classes = binary_cross_entropy_with_logits(answer.logits, y, reduction="none") * focal * use[:, :, None]
            inside = box[..., 2] > box[..., 0]
            place = smooth_l1_loss(answer.boxes[inside], box[inside], beta=0.2)
            loss = classes.sum() / found.sum().clamp_min(1) + 0.5 * place
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 3 == 2:
            print(f"epoch {epoch + 1}: loss {total * size / len(voxels):.3f}, {measured(net, held)}", flush=True)
    return net, {"streets": len(voxels), "epochs": epochs, **measured(net, street_set(HELD_OUT, 200))}


def mirrored(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) with right and left exchanged."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((x1, -y2, x2, -y1), dim=-1)


def targets(data: Scanned) -> tuple[Tensor, Tensor, Tensor]:
    """Classes (B, A, K), boxes (B, A, 4) near objects (0 elsewhere), and how much each anchor counts (B, A).

    The anchor that holds an object's middle finds it. Anchors beside it learn its box, and whether they find it is
    not asked; nor near objects that are hidden.
    """
    centres, side = anchor_centres(), CELL * STRIDE
    batch, count = data.streets.kinds.shape
    kinds = torch.tensor([FOUND.index(name) if name in FOUND else -1 for name in CLASSES])[data.streets.kinds]
    footprints, seen = data.streets.footprints(), data.wanted()
    wanted = torch.zeros(batch, len(centres), len(FOUND))
    boxes, weight = torch.zeros(batch, len(centres), 4), torch.ones(batch, len(centres))
    for place in range(count):
        off = (centres - data.streets.poses[:, place, None, :2]).abs().amax(2)  # (B, A)
        near, at = (off < 1.5 * side) & (kinds[:, place] >= 0)[:, None], off <= side / 2
        weight[near] = 0
        learned = near & seen[:, place, None]
        boxes[learned] = footprints[:, place, None].expand(-1, len(centres), -1)[learned]
        row, anchor = (at & seen[:, place, None]).nonzero(as_tuple=True)
        wanted[row, anchor, kinds[row, place]] = 1
    weight[wanted.amax(2) > 0] = 1
    return wanted, boxes, weight


def measured(net: BevDetector, data: Scanned) -> dict[str, Any]:
    """Recall of each class at an overlap of 0.3, and boxes per street that lie on nothing."""
    hits, asked, false = torch.zeros(len(FOUND)), torch.zeros(len(FOUND)), 0
    kinds = torch.tensor([FOUND.index(name) if name in FOUND else -1 for name in CLASSES])[data.streets.kinds]
    footprints, wanted = data.streets.footprints(), data.wanted()
    for rows in torch.arange(len(data.points)).split(20):
        with torch.no_grad():
            answer = net(data.points[rows], LidarScene(present=data.present[rows]))
        score, best = answer.logits.max(2)
        lies = box_iou(answer.boxes, footprints[rows])
        finds = (score > 0)[:, :, None] & (lies >= 0.3) & (best[:, :, None] == kinds[rows, None])
        for kind in range(len(FOUND)):
            these = wanted[rows] & (kinds[rows] == kind)
            asked[kind] += these.sum()
            hits[kind] += (finds.any(1) & these).sum()
        false += int(((score > 0) & (lies.amax(2) < 0.1)).sum())
    recall = {name: [int(hit), int(of)] for name, hit, of in zip(FOUND, hits, asked, strict=True)}
    return {"found": recall, "false_anchors": false, "held_out_streets": len(data.points)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("pointnet", "bev"))
    name = parser.parse_args().model
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    began, cpu = time.time(), time.process_time()
    net, result = {"pointnet": pointnet, "bev": bev}[name]()
    record = {
        **provenance(f"python -m benchmarks.lidar.train {name}", "cpu"),
        "data": "synthetic simulator (sparring.lidar.streets)",
        "seed": SEED,
        "data_seeds": {"training": TRAINING, "validation": VALIDATION, "held_out": HELD_OUT},
        "weights": sum(one.numel() for one in net.parameters()),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.time() - began, 1),
        **result,
    }
    write_tensors(WEIGHTS / f"lidar-{name}.safetensors", dict(net.state_dict()), record)
    whole = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps({**whole, name: record}, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
