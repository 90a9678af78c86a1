"""Train the robust nets that attacks are compared on: `python -m benchmarks.train_nets [NAME ...]`.

All are `MnistNet`s on MNIST's 60,000 training digits, images in [0, 1]; weights go to benchmarks/weights. Plain
code of the benchmark's own: no attack and no word of sparring's takes part in training, so no attack is compared on
a net that was trained against it. Ten to twenty minutes a net on one CPU core.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sparring.zoo import load_data
from sparring.zoo.mnist_net import MnistNet

WEIGHTS = Path(__file__).parent / "weights"
Loss = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one net is trained; `eps` grows linearly over the first `ramp` of the epochs."""

    about: str
    loss: Loss
    eps: float
    epochs: int
    ramp: float = 0.5


def climb(net: nn.Module, start: Tensor, images: Tensor, eps: float, steps: int, rate: float, loss: Loss) -> Tensor:
    """Sign steps on `loss(net, x)`, kept in the Linf ball and in [0, 1]."""
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(loss(net, x), x)  # type: ignore[call-arg, arg-type]
        x = (x.detach() + rate * grad.sign()).clamp(images - eps, images + eps).clamp(0, 1)
    return x.detach()


def madry(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """PGD adversarial training (Madry et al. 2018), seven steps from a random start."""
    start = (images + (2 * torch.rand_like(images) - 1) * eps).clamp(0, 1)
    x = climb(net, start, images, eps, 7, eps / 3, lambda n, z: F.cross_entropy(n(z), labels, reduction="sum"))
    return F.cross_entropy(net(x), labels)


def trades(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """TRADES (Zhang et al. 2019), beta 6, seven steps on the divergence."""
    with torch.no_grad():
        clean = F.softmax(net(images), 1)

    def divergence(n: nn.Module, z: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(n(z), 1), clean, reduction="sum")

    start = (images + 0.001 * torch.randn_like(images)).clamp(0, 1)
    x = climb(net, start, images, eps, 7, eps / 3, divergence)
    logits = net(images)
    divergence_now = F.kl_div(F.log_softmax(net(x), 1), F.softmax(logits, 1), reduction="batchmean")
    return F.cross_entropy(logits, labels) + 6 * divergence_now


def fast(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Fast adversarial training (Wong et al. 2020): one step from a random start; its gradients may mislead."""
    start = (images + (2 * torch.rand_like(images) - 1) * eps).clamp(0, 1)
    x = climb(net, start, images, eps, 1, 1.25 * eps, lambda n, z: F.cross_entropy(n(z), labels, reduction="sum"))
    return F.cross_entropy(net(x), labels)


def interval(net: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Interval bound propagation (Gowal et al. 2018); the bound's share grows with eps to one half at 0.2."""
    low, high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    for layer in net.layers:  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d | nn.Linear):
            middle, radius = layer((low + high) / 2), (high - low) / 2
            if isinstance(layer, nn.Conv2d):
                spread = F.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
            else:
                spread = F.linear(radius, layer.weight.abs())
            low, high = middle - spread, middle + spread
        else:
            low, high = layer(low), layer(high)
    own = F.one_hot(labels, low.shape[1]).bool()
    share = min(0.5, eps / 0.4)
    bound = F.cross_entropy(torch.where(own, low, high), labels)
    return (1 - share) * F.cross_entropy(net(images), labels) + share * bound


RECIPES = {
    "mnist-pgd": Recipe("PGD adversarial training, eps 0.3", madry, 0.3, 10),
    "mnist-trades": Recipe("TRADES, beta 6, eps 0.3", trades, 0.3, 6),
    "mnist-fast": Recipe("fast adversarial training, eps 0.3", fast, 0.3, 10),
    "mnist-ibp": Recipe("interval bound propagation, eps 0.2", interval, 0.2, 12, ramp=0.8),
}


def train(recipe: Recipe, images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = MnistNet()
    steps = recipe.epochs * -(-len(images) // 128)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    done = 0
    for epoch in range(recipe.epochs):
        for rows in torch.randperm(len(images)).split(128):
            eps = recipe.eps * min(1.0, done / (recipe.ramp * steps))
            loss = recipe.loss(net, images[rows], labels[rows], eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
        print(f"  epoch {epoch + 1:2d}  eps {eps:.3f}  loss {float(loss.detach()):.4f}", flush=True)
    return net


def distilled(images: Tensor, labels: Tensor, seed: int, temperature: float = 100.0, epochs: int = 6) -> nn.Module:
    """Defensive distillation (Papernot et al. 2016): teacher and pupil at a temperature, the pupil used at 1."""
    nets: list[nn.Module] = []
    for _ in range(2):
        torch.manual_seed(seed + len(nets))
        net = MnistNet()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(128):
                logits = net(images[rows]) / temperature
                if nets:
                    with torch.no_grad():
                        wanted = F.softmax(nets[0](images[rows]) / temperature, 1)
                    loss = F.cross_entropy(logits, wanted)
                else:
                    loss = F.cross_entropy(logits, labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        nets.append(net)
    return nets[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_nets", description=__doc__)
    names = [*RECIPES, "mnist-distilled"]
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chunks = list(load_data("zoo:mnist-train", input=None).chunks(10_000))
    images, labels = torch.cat([c.images for c in chunks]), torch.cat([c.labels for c in chunks])
    WEIGHTS.mkdir(exist_ok=True)
    for name in options.names or names:
        recipe = RECIPES.get(name)
        print(name, flush=True)
        net = distilled(images, labels, options.seed) if recipe is None else train(recipe, images, labels, options.seed)
        about = "defensive distillation, temperature 100" if recipe is None else recipe.about
        save_file(net.state_dict(), WEIGHTS / f"{name}.safetensors", {"about": about, "seed": str(options.seed)})


if __name__ == "__main__":
    main()
