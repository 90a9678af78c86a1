"""Train the two nets that segment shapes: `python -m benchmarks.segmentation.train plain|robust`.

Images are drawn anew for each step. The robust net is the plain one trained further, on PGD examples of three steps at
Linf 4/255 (Madry et al. 2018), by plain code of the benchmark's own. Weights go to benchmarks/weights, with
the provenance in their header. About five and twenty minutes on one core.
"""

from __future__ import annotations

import argparse
import json

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.provenance import provenance
from benchmarks.segmentation.shapes import WEIGHTS, Photographs, SegmentationNet, draw_scenes

STEPS, BATCH, RATE = {"plain": 1000, "robust": 500}, 16, 4e-3
EPS, ATTACK_STEPS, WARM_UP = 4 / 255, 3, 100


def attacked(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """PGD examples, from a random start."""
    net.eval()
    x = (images + (2 * torch.rand_like(images) - 1) * eps).clamp(0, 1)
    for _ in range(ATTACK_STEPS):
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net(x), labels), x)
        x = (x.detach() + eps / 2 * grad.sign()).clamp(images - eps, images + eps).clamp(0, 1)
    net.train()
    return x.detach()


def train(kind: str) -> SegmentationNet:
    """The trained net, in eval mode."""
    torch.manual_seed(0)
    photos, net = Photographs.load(test=False), SegmentationNet()
    if kind == "robust":
        net.load_state_dict(load_file(WEIGHTS / "shapes-plain.safetensors"))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS[kind])
    for step in range(STEPS[kind]):
        images, labels = draw_scenes(photos, BATCH, step if kind == "plain" else STEPS["plain"] + step)
        if kind == "robust":
            images = attacked(net, images, labels, EPS * min(1.0, (step + 1) / WARM_UP))
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {float(loss.detach()):.3f}", flush=True)
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=STEPS)
    kind = parser.parse_args().kind
    net = train(kind)
    made = provenance(f"python -m benchmarks.segmentation.train {kind}", "cpu")
    save_file(net.state_dict(), WEIGHTS / f"shapes-{kind}.safetensors", {"provenance": json.dumps(made)})


if __name__ == "__main__":
    main()
