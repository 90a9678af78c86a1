"""Attacks at the very radii that certificates claim: `python -m benchmarks.certification.violations`.

For each net, image, norm and method the largest radius that is certified is found by bisection; then the strongest
attacks (Auto, and PGD with restarts) are run at exactly that radius, one for each image. A success would prove a
certificate wrong. Beside it, how near an attack came: the smallest radius at which PGD succeeds, in steps of 1 %, 5 %,
20 %, 50 % and 100 % beyond the largest certified one, over the certified one. Writes
records/certification/violations.json after each norm of each net, first all nets in Linf, the cheapest; what it holds
already is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.provenance import ROOT, provenance
from sparring.attacks import PGD, Auto, Restarts
from sparring.defenses.certification import METHODS, Network, SlopeSearch, certify_bounds
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "certification" / "violations.json"
BISECTIONS = 6
SEARCH = SlopeSearch(steps=5)
LARGEST = {"Linf": 0.5, "L2": 4.0, "L1": 20.0}
NORMS: tuple[type[Any], ...] = (sp.Linf, sp.L2, sp.L1)
BEYOND = (1.01, 1.05, 1.2, 1.5, 2.0)


def dense(activation: Callable[[], nn.Module], widths: tuple[int, ...]) -> nn.Module:
    """A dense net on digits pooled to 7 x 7."""
    layers: list[nn.Module] = [nn.AvgPool2d(4), nn.Flatten()]
    for before, after in zip((49, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def convolutional(activation: Callable[[], nn.Module], pool: bool) -> nn.Module:
    """A convolutional net on digits pooled to 14 x 14."""
    reduced: list[nn.Module] = [nn.MaxPool2d(2)] if pool else [nn.Conv2d(6, 6, 2, 2)]
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(1, 6, 4, 2, 1), nn.BatchNorm2d(6), activation(), *reduced, nn.Flatten(),
        nn.Linear(54, 20), activation(), nn.Linear(20, 10),
    )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {  # the cheap ones first
    "dense, ReLU": lambda: dense(nn.ReLU, (30, 30)),
    "dense, ReLU, deep": lambda: dense(nn.ReLU, (20, 20, 20, 20)),
    "dense, leaky ReLU": lambda: dense(lambda: nn.LeakyReLU(0.1), (30, 30)),
    "dense, tanh": lambda: dense(nn.Tanh, (30, 30)),
    "dense, sigmoid": lambda: dense(nn.Sigmoid, (40,)),
    "dense, ReLU6": lambda: dense(nn.ReLU6, (30, 30)),
    "dense, GELU": lambda: dense(nn.GELU, (30, 30)),
    "convolutional, ReLU, max pooling": lambda: convolutional(nn.ReLU, True),
    "convolutional, ReLU": lambda: convolutional(nn.ReLU, False),
    "convolutional, hardswish, max pooling": lambda: convolutional(nn.Hardswish, True),
}


def trained(name: str, images: Tensor, labels: Tensor) -> nn.Module:
    """A net after a short training, in eval mode."""
    torch.manual_seed(0)
    net = NETS[name]()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(200):
        rows = torch.randint(len(images), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
    return net.eval()


def certified_radii(network: Network, goal: Any, images: Tensor, norm: type[Any], method: str) -> Tensor:
    """The largest radii (B,) that are certified, found by bisection from below; 0 where none is."""
    high = torch.full((len(images),), LARGEST[norm.__name__])
    low = torch.zeros_like(high)
    for _ in range(BISECTIONS):
        middle = (low * high).sqrt().where(low > 0, high / 4)
        with torch.no_grad():
            ball = norm(float(middle.max()))
            margin = certify_bounds(network, goal, images, ball, eps=middle, method=method, search=SEARCH).margin
        proven = margin > 1e-5
        low, high = torch.where(proven, middle, low), torch.where(proven, high, middle)
    return low


def attacked(network: Network, goal: Any, images: Tensor, norm: type[Any], radii: Tensor) -> Tensor:
    """Which rows (B,) bool an attack breaks at these radii."""
    ball = norm(float(radii.max()))
    broken = torch.zeros(len(images), dtype=torch.bool)
    for attack in (Auto(ball), Restarts(PGD(ball, steps=20), n_restarts=2)):
        broken |= sp.run(attack, network.target, goal, images, eps=radii).success
    return broken


def measured(name: str, network: Network, images: Tensor, labels: Tensor, norm: type[Any]) -> list[dict[str, Any]]:
    """One net in one norm: a row for each method."""
    with torch.no_grad():
        right = network.target.predict(images).argmax(1) == labels
    images, labels = images[right], labels[right]
    goal = sp.Misclassify(labels)
    radii: dict[str, Tensor] = {}
    for method in METHODS:
        try:
            radii[method] = certified_radii(network, goal, images, norm, method)
        except sp.errors.TargetError:  # a method that is of ReLU networks only
            continue
    most = torch.stack(list(radii.values())).amax(0)
    beyond = torch.full_like(most, torch.inf)  # the smallest radius at which an attack succeeded
    for factor in reversed(BEYOND):
        found = sp.run(PGD(norm(1.0), steps=20), network.target, goal, images, eps=factor * most.clamp(min=1e-4))
        beyond = torch.where(found.success, factor * most, beyond)
    every = torch.cat(list(radii.values()))
    tried = every > 0
    count = len(radii)
    began = time.process_time()
    broken = torch.zeros_like(tried)
    again, repeated = images.repeat(count, 1, 1, 1)[tried], sp.Misclassify(labels.repeat(count)[tried])
    broken[tried] = attacked(network, repeated, again, norm, every[tried])
    seconds = round(time.process_time() - began, 1)
    rows = []
    for (method, radius), lost in zip(radii.items(), broken.chunk(count), strict=True):
        ratio = (beyond / radius)[radius > 0]
        rows.append(
            {
                "net": name,
                "norm": norm.__name__,
                "method": method,
                "images": len(images),
                "pairs": int((radius > 0).sum()),
                "violations": int(lost.sum()),
                "mean_radius": round(float(radius.mean()), 5),
                "nearest": round(float(ratio.min()), 3) if bool(ratio.isfinite().any()) else None,
                "attack_seconds_of_all_methods": seconds,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--zoo-images", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RECORD)
    given = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"rows": []}
    command = f"python -m benchmarks.certification.violations --images {given.images}"
    record["provenance"] = provenance(command, "cpu")
    chunk = next(iter(load_data("zoo:mnist-heldout", limit=500).chunks(500)))
    training = next(iter(load_data("zoo:mnist-5k", limit=4000).chunks(4000)))
    assert chunk.labels is not None
    assert training.labels is not None
    done = {(row["net"], row["norm"]) for row in record["rows"]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for norm, name in itertools.product(NORMS, (*NETS, "zoo:mnist-plain")):
        if (name, norm.__name__) in done:
            continue
        count = given.images if name in NETS else given.zoo_images
        images, labels = chunk.images[:count], chunk.labels[:count]
        target = trained(name, training.images, training.labels) if name in NETS else load_model(name).target
        record["rows"] += measured(name, Network(target, images), images, labels, norm)
        given.out.write_text(json.dumps(record, indent=1) + "\n")
        pairs = sum(row["pairs"] for row in record["rows"])
        broken = sum(row["violations"] for row in record["rows"])
        print(f"{name}, {norm.__name__}: {pairs} pairs, {broken} violations", flush=True)


if __name__ == "__main__":
    main()
