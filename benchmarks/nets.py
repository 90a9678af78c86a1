"""The nets that are attacked and the images they are attacked on, from sparring's zoo."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.judging import predict
from sparring.targets import Classifier
from sparring.zoo import load_data, load_model

IMAGES = {"mnist-plain": "zoo:mnist-heldout", "efficientnet-lite0": "zoo:imagenet-20"}


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
    loaded = load_model(f"zoo:{name}", device=device)
    net = AsModule(loaded.target).eval().requires_grad_(False)
    data = load_data(IMAGES[name], input=loaded.input, class_names=loaded.class_names)
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
