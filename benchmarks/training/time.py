"""What adversarial training costs beside its passes: PGD-7 on digits, one update after another.

    python -m benchmarks.training.time [--repeats 7] [--out FILE]

The bare cost of an update is seven forward and backward passes to the images, with the weights frozen, and one to the
weights: nothing else, on the same minibatches. Beside ours: two loops as they are written by hand (the gradient asked
for at the images alone, and the loss sent backward through everything, as many published loops do), and ART's
AdversarialTrainerMadryPGD. All take turns in one process; seconds are the processor's, per update, without looks at
held-out images. Writes records/training/time.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.provenance import ROOT, provenance
from sparring import Classifier, Linf
from sparring.attacks import PGD
from sparring.defenses.training import Adversary, Madry, Optimizer, TrainingConfig, Validation, train
from sparring.zoo import load_data
from sparring.zoo.mnist_net import MnistNet

RECORD = ROOT / "records" / "training" / "time.json"
EPS, STEPS, RATE, BATCH, UPDATES = 0.3, 7, 0.1, 128, 40
Minibatches = list[tuple[Tensor, Tensor]]


def fresh(width: int) -> nn.Module:
    torch.manual_seed(0)
    return MnistNet(width)


def bare(net: nn.Module, batches: Minibatches) -> float:
    """Seconds of the passes alone."""
    weights = list(net.parameters())
    began = time.process_time()
    for images, labels in batches:
        for weight in weights:
            weight.requires_grad_(False)
        for _ in range(STEPS):
            x = images.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(net(x), labels), x)
        for weight in weights:
            weight.requires_grad_(True)
        F.cross_entropy(net(images), labels).backward()
        net.zero_grad(set_to_none=True)
    return time.process_time() - began


def loop(net: nn.Module, batches: Minibatches, through_all: bool) -> float:
    """Seconds of Madry's loop as one writes it."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    began = time.process_time()
    for images, labels in batches:
        net.eval()
        x = (images + EPS * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
        for _ in range(STEPS):
            x = x.detach().requires_grad_()
            loss = F.cross_entropy(net(x), labels)
            if through_all:
                loss.backward()
                slope = x.grad
            else:
                (slope,) = torch.autograd.grad(loss, x)
            x = x.detach() + RATE * slope.sign()
            x = torch.min(torch.max(x, images - EPS), images + EPS).clamp(0, 1)
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(x.detach()), labels).backward()
        optimizer.step()
    return time.process_time() - began


def ours(net: nn.Module, batches: Minibatches) -> float:
    """Seconds of `train`, from its first update to its last; the first is not among them."""
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    marks: list[float] = []
    train(
        Classifier(net),
        (torch.cat((images, images[:1])), torch.cat((labels, labels[:1]))),
        Madry(),
        Adversary((PGD(Linf(EPS), steps=STEPS, step_size=RATE),)),
        config=TrainingConfig(epochs=1, batch_size=BATCH, optimizer=Optimizer(name="adam", lr=1e-3, weight_decay=0)),
        validation=Validation(val_size=1, steps=1),
        progress=lambda at: marks.append(time.process_time()),
    )
    return (marks[-1] - marks[0]) / (len(marks) - 1) * UPDATES


def art(net: nn.Module, batches: Minibatches) -> float:
    """Seconds of ART's trainer, every example adversarial."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 28, 28), 10, optimizer, clip_values=(0, 1))
    attack = ProjectedGradientDescentPyTorch(
        model, eps=EPS, eps_step=RATE, max_iter=STEPS, num_random_init=1, batch_size=BATCH, verbose=False
    )
    trainer = AdversarialTrainer(model, attack, ratio=1.0)
    images, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    began = time.process_time()
    trainer.fit(images, labels, batch_size=BATCH, nb_epochs=1)
    return time.process_time() - began


LOOPS: dict[str, Callable[[nn.Module, Minibatches], float]] = {
    "bare passes": bare,
    "sparring": ours,
    "by hand, gradient at the images": lambda net, batches: loop(net, batches, False),
    "by hand, loss.backward()": lambda net, batches: loop(net, batches, True),
    "ART AdversarialTrainer": art,
}


def measured(width: int, batches: Minibatches, repeats: int) -> dict[str, Any]:
    """Seconds per update of each loop, in rounds that take turns, and the medians of their ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    for repeat in range(repeats + 1):  # the first round warms up
        for name in list(LOOPS) if repeat % 2 == 0 else list(LOOPS)[::-1]:
            spent = LOOPS[name](fresh(width), batches) / UPDATES
            if repeat:
                seconds[name].append(spent)
    passes = seconds["bare passes"]
    ratios = {
        name: median(one / base for one, base in zip(values, passes, strict=True)) for name, values in seconds.items()
    }
    return {"width": width, "seconds_per_update": seconds, "over_bare": ratios}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    chunk = next(iter(load_data("zoo:mnist-train", input=None, limit=BATCH * UPDATES).chunks(BATCH * UPDATES)))
    batches = list(zip(chunk.images.split(BATCH), chunk.labels.split(BATCH), strict=True))
    found = []
    for width in (16, 32):
        found.append(measured(width, batches, options.repeats))
        for name, ratio in found[-1]["over_bare"].items():
            print(f"width {width}  {name}: {ratio:.3f} of the bare passes", flush=True)
    made = provenance(f"python -m benchmarks.training.time --repeats {options.repeats}", "cpu")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    settings = {"eps": EPS, "steps": STEPS, "step_size": RATE, "batch": BATCH, "updates": UPDATES}
    options.out.write_text(json.dumps({"made": made, "settings": settings, "rows": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
