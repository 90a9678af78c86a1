"""Universal perturbations beside ART's: the same images to make them on, the same unseen ones to judge them on.

    python -m benchmarks.universal [--device cpu] [--out FILE]

Photographs: 20 of ImageNet (and random crops of them) to make it on, crops of eleven other photographs to judge it on.
The fooling rate counts images whose predicted class changes. Writes records/universal/universal.json.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import UniversalPerturbation
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from benchmarks.clock import TimeLimitReached, stopwatch, time_limit
from benchmarks.counting import CountedNet
from benchmarks.nets import AsModule, load_victim
from benchmarks.provenance import ROOT, provenance
from sparring import Classifier, Engine, Linf, Misclassify, fit
from sparring.attacks import GradientUniversal, Universal
from sparring.intervals import wilson
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "universal" / "universal.json"
LIMIT = 900.0  # processor seconds for one run of a library
ROUNDS = 3  # of ART's over the images; its default of 20 takes hours
LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
VIEW, LARGE, CROPS = 224, 448, 9


@dataclass(frozen=True)
class Task:
    """A net, the images to make a perturbation on, others to judge it on, and the radius."""

    name: str
    net: nn.Module
    made_on: Tensor
    held_out: Tensor
    eps: float
    elsewhere: dict[str, nn.Module]  # nets that the perturbation is carried to
    crops: Tensor | None = None  # more images to make it on, for ours alone


def digits(name: str, eps: float, device: str, count: int = 100) -> Task:
    images = load_victim("mnist-pgd", 2500, device).images  # of MNIST's test set
    nets = {other: load_victim(other, 1, device).net for other in NETS}
    return Task(name, nets.pop(name), images[:count], images[count:], eps, nets)


NETS = ("mnist-plain", "mnist-pgd", "mnist-trades", "mnist-fast")


def photographs(eps: float, device: str) -> Task:
    loaded = {name: load_model(f"zoo:{name}", device=device) for name in LITE}
    nets = {name: AsModule(model.target).eval().requires_grad_(False) for name, model in loaded.items()}
    spec = loaded[LITE[0]].input
    whole = _pictures("zoo:imagenet-20", spec)
    made_on = _crops("zoo:imagenet-20", spec, 10)
    held_out = torch.cat((_pictures("zoo:photos", spec), _crops("zoo:photos", spec, CROPS)))
    others = {name: nets[name] for name in LITE[1:]}
    crops = torch.cat((whole, made_on)).to(device)
    return Task(LITE[0], nets[LITE[0]], whole.to(device), held_out.to(device), eps, others, crops)


def _pictures(name: str, spec: Any) -> Tensor:
    return torch.cat([chunk.images for chunk in load_data(name, input=spec).chunks(100)])


def _crops(name: str, spec: Any, each: int) -> Tensor:
    """`each` random crops of every picture, half of its width and height."""
    large = _pictures(name, replace(spec, height=LARGE, width=LARGE))
    places = torch.randint(0, LARGE - VIEW + 1, (len(large), each, 2), generator=torch.Generator().manual_seed(0))
    return torch.stack(
        [
            image[:, top : top + VIEW, left : left + VIEW]
            for image, spots in zip(large, places.tolist(), strict=True)
            for top, left in spots
        ]
    )


def predicted(net: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(part).argmax(1) for part in images.split(50)])


def art(net: nn.Module, task: Task, seed: int) -> Tensor:
    """As its defaults have it, with DeepFool, until 80 % of the images are fooled, but for the number of rounds."""
    random.seed(seed)
    with torch.no_grad():
        classes = task.net(task.made_on[:1]).shape[1]
    gpu = "gpu" if task.made_on.is_cuda else "cpu"
    shape = tuple(task.made_on.shape[1:])
    loss = nn.CrossEntropyLoss()
    model = PyTorchClassifier(net, loss, shape, classes, clip_values=(0.0, 1.0), device_type=gpu)
    quiet = {"verbose": False}
    attack = UniversalPerturbation(model, norm=np.inf, eps=task.eps, max_iter=ROUNDS, attacker_params=quiet, **quiet)
    attack.generate(task.made_on.cpu().numpy())
    return torch.as_tensor(attack.noise[0]).to(task.made_on)


def ours(attack: Any, crops: bool = False) -> Callable[[nn.Module, Task, int], Tensor]:
    def made(net: nn.Module, task: Task, seed: int) -> Tensor:
        images = task.crops if crops and task.crops is not None else task.made_on
        goal = Misclassify(predicted(net, images))
        chosen = attack(Linf(task.eps))
        if len(images) < 100:  # few pictures: as many steps as for some hundred
            chosen = replace(chosen, batch_size=min(chosen.batch_size, 10), epochs=chosen.epochs * 2)
        fitted = fit(chosen, Classifier(net), goal, images, engine=Engine(seed=seed, batch_size=50))
        return fitted.artifact.delta

    return made


def entries(task: Task) -> Iterator[tuple[str, str, Callable[[nn.Module, Task, int], Tensor]]]:
    yield "art", "UniversalPerturbation", art
    if task.crops is None:  # on photographs its DeepFool takes an hour
        yield "sparring", "Universal", ours(Universal)
    yield "sparring", "GradientUniversal", ours(GradientUniversal)
    if task.crops is not None:
        short = ours(lambda ball: GradientUniversal(ball, epochs=1))
        yield "sparring", "GradientUniversal, a twentieth of the epochs", short
        yield "sparring", f"GradientUniversal, {len(task.crops)} crops", ours(GradientUniversal, crops=True)


def measure(task: Task, device: str, seed: int = 0) -> list[dict[str, Any]]:
    rows = []
    before = predicted(task.net, task.held_out)
    seen = predicted(task.net, task.made_on)
    for library, variant, make in entries(task):
        counted, note, delta = CountedNet(task.net).eval(), "", None
        with stopwatch(device) as elapsed:
            try:
                with time_limit(LIMIT, device):
                    delta = make(counted, task, seed)
            except TimeLimitReached:
                note = f"stopped after {LIMIT:.0f} s"
        row: dict[str, Any] = {
            "net": task.name, "eps": task.eps, "library": library, "variant": variant, "images": len(task.made_on),
            "seconds": elapsed.measured, "wall": elapsed.wall, "forwards": counted.forwards,
            "backwards": counted.backwards, "note": note, "held_out": len(task.held_out),
        }  # fmt: skip
        if delta is not None:
            assert float(delta.abs().max()) <= task.eps + 1e-6
            moved = (task.held_out + delta).clamp(0, 1)
            row["fooled"] = int((predicted(task.net, moved) != before).sum())
            row["fooled_seen"] = int((predicted(task.net, (task.made_on + delta).clamp(0, 1)) != seen).sum())
            row["interval"] = wilson(row["fooled"], len(moved))
            signs = torch.randint(0, 2, delta.shape, generator=torch.Generator().manual_seed(1)).to(delta).mul(2).sub(1)
            plain = (task.held_out + task.eps * signs).clamp(0, 1)
            row["fooled_by_noise"] = int((predicted(task.net, plain) != before).sum())
            row["elsewhere"] = {
                name: int((predicted(net, moved) != predicted(net, task.held_out)).sum())
                for name, net in task.elsewhere.items()
            }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def by_volume(device: str) -> list[dict[str, Any]]:
    """How many images it takes: GradientUniversal on mnist-plain at 0.2, as many steps each."""
    rows = []
    task = digits("mnist-plain", 0.2, device, 1000)
    before = predicted(task.net, task.held_out)
    for count in (1, 3, 10, 30, 100, 300, 1000):
        images = task.made_on[:count]
        portion = min(count, 32)
        attack = GradientUniversal(Linf(task.eps), epochs=max(1, 400 * portion // count), batch_size=portion)
        made = fit(attack, Classifier(task.net), Misclassify(predicted(task.net, images)), images)
        moved = made.artifact.apply(task.held_out)
        fooled = int((predicted(task.net, moved) != before).sum())
        rows.append({"images": count, "fooled": fooled, "held_out": len(moved), "interval": wilson(fooled, len(moved))})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.universal", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = provenance(f"python -m benchmarks.universal --device {options.device}", options.device)
    record: dict[str, Any] = {"suite": "universal", "made": made, "rows": [], "by_volume": by_volume(options.device)}
    for net, eps in (("mnist-plain", 0.2), ("mnist-pgd", 0.4)):
        record["rows"] += measure(digits(net, eps, options.device), options.device)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    record["rows"] += measure(photographs(10 / 255, options.device), options.device)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
