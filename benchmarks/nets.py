"""The nets that are attacked, from sparring's zoo or benchmarks/weights, and the images they are attacked on."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.judging import predict
from benchmarks.train_nets import RECIPES, WEIGHTS
from sparring.targets import Classifier
from sparring.zoo import load_data, load_model
from sparring.zoo.dataset import Data
from sparring.zoo.mnist_net import MnistNet

TRAINED = (*RECIPES, "mnist-distilled", "mnist-plain")  # by benchmarks/train_nets.py and train_plain.py
IMAGES = dict.fromkeys(TRAINED, "zoo:mnist") | {
    "mnist-plain": "zoo:mnist-heldout",
    "mnist-robust-linf": "zoo:mnist",
    "efficientnet-lite0": "zoo:imagenet-20",
}


class WeightsMissing(FileNotFoundError):
    """A net of the benchmark's own that has not been trained here."""


@dataclass(frozen=True)
class Victim:
    """A net with its preprocessing inside (images in [0, 1] in, logits out), its images and labels."""

    net: nn.Module
    images: Tensor
    labels: Tensor
    device: str


class AsModule(nn.Module):
    """A classifier of sparring's as a plain module: what every library is handed, ours too."""

    def __init__(self, target: Classifier) -> None:
        super().__init__()
        self.model = target.model
        self._target = target

    def forward(self, images: Tensor) -> Tensor:
        return self._target(images)


def load_victim(name: str, number: int, device: str, only_right: bool = False) -> Victim:
    """The net frozen and in evaluation mode, with the first images (of those it classifies right)."""
    net, data = _trained(name) if name in TRAINED else _from_zoo(name, device)
    net = net.to(device).eval().requires_grad_(False)
    images, labels = [], []
    for chunk in data.chunks(100):
        wanted = torch.ones(len(chunk.images), dtype=torch.bool)
        if only_right:
            wanted = predict(net, chunk.images.to(device)).cpu() == chunk.labels
        images.append(chunk.images[wanted])
        labels.append(chunk.labels[wanted])
        if sum(map(len, images)) >= number:
            break
    return Victim(net, torch.cat(images)[:number].to(device), torch.cat(labels)[:number].to(device), device)


def _from_zoo(name: str, device: str) -> tuple[nn.Module, Data]:
    loaded = load_model(f"zoo:{name}", device=device)
    data = load_data(IMAGES[name], input=loaded.input, class_names=loaded.class_names)
    return AsModule(loaded.target), data


def _trained(name: str) -> tuple[nn.Module, Data]:
    path = WEIGHTS / f"{name}.safetensors"
    if not path.exists():
        raise WeightsMissing(f"no weights of {name}: run python -m benchmarks.train_nets {name}")
    net = MnistNet()
    net.load_state_dict(load_file(path))
    return net, load_data(IMAGES[name], input=None)
