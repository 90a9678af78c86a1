"""The defences, each around its net, and what its attackers have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.defenses.randomization.options import Options
from benchmarks.training.nets import digits
from sparring.defenses.randomization import InputNoise, ResizePad, add_activation_pruning, add_noise_layers
from sparring.defenses.training import Optimizer, Plain, TrainingConfig, train
from sparring.errors import AssetError
from sparring.storage import read_tensors, write_tensors
from sparring.targets import Classifier, Defended
from sparring.zoo import load_data, load_model
from sparring.zoo.mnist_net import MnistNet

DRAWS, VOTES, NOISE = (1, 5, 20, 50), 10, 0.2
ON_A_CORE = 20, 8, ("4/255",)  # draws, photographs and radii, of a net for photographs
LEARN = TrainingConfig(epochs=3, optimizer=Optimizer(name="adam", lr=2e-3, weight_decay=0.0))
Make = Callable[[Classifier], Defended]


@dataclass(frozen=True)
class Contest:
    """A defence, what its attackers have, and the images that they change."""

    defended: Defended
    bare: Classifier
    other: Classifier | None  # another net, without the defence
    other_defended: Defended | None
    images: Tensor
    labels: Tensor
    radii: dict[str, float]
    steps: int
    draws: tuple[int, ...] = DRAWS
    looks: int = 40  # fresh answers
    costly: bool = True  # are attacks made that take as many passes as 20 draws and say less?

    @property
    def goal(self) -> sp.Misclassify:
        return sp.Misclassify(self.labels)


def learned(options: Options, seed: int, noisy: bool) -> Classifier:
    """`MnistNet` after three epochs of MNIST's training digits, with or without noise before its convolutions."""
    path = options.runs / f"mnist-{'noisy' if noisy else 'plain'}-{seed}.safetensors"
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net: nn.Module = MnistNet()
    net = (add_noise_layers(net) if noisy else net).to(options.device)
    target = Classifier(net, classes=10, name=path.stem)
    if not path.exists():
        began = perf_counter()
        done = train(target, digits("mnist-train"), Plain(), config=LEARN.model_copy(update={"seed": seed}))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, done.weights, {})
        print(f"  {path.stem}: {done}, {perf_counter() - began:.0f} s", flush=True)
    net.load_state_dict(read_tensors(path, "delete it to train again")[0])
    return target


def on_digits(options: Options, make: Make, noisy: bool = False) -> Contest:
    """The first test digits; the victim is the zoo's plain net, or one that learned with its noise."""
    images, labels = (part[: options.images].to(options.device) for part in digits("mnist"))
    victim = learned(options, 0, noisy) if noisy else load_model("zoo:mnist-plain").target
    assert isinstance(victim, Classifier)
    assert isinstance(victim.model, nn.Module)
    victim.model.to(options.device)
    other = learned(options, 1, noisy)
    bare = [one.disable_noise() if one.stochastic else one for one in (victim, other)]
    radii = {"0.1": 0.1, "0.2": 0.2}
    return Contest(make(victim), bare[0], bare[1], make(other), images, labels, radii, options.steps)


def on_photographs(options: Options) -> Contest:
    """Twenty of ImageNet's pictures, eight on a CPU; the attacker's other net is EfficientNet-Lite1, if it is here."""
    loaded = load_model("zoo:efficientnet-lite0")
    (chunk,) = load_data("zoo:imagenet-20", input=loaded.input).chunks(20)
    nets = [loaded.target]
    with suppress(AssetError):
        nets.append(load_model("zoo:efficientnet-lite1").target)
    for net in nets:
        assert isinstance(net, Classifier)
        assert isinstance(net.model, nn.Module)
        net.model.to(options.device)
    assert chunk.labels is not None
    images, labels = chunk.images.to(options.device), chunk.labels.to(options.device)
    device = options.device.startswith("cuda")
    draws, radii, steps = DRAWS, {"4/255": 4 / 255, "8/255": 8 / 255}, max(1, options.steps // 2)
    if not device:
        most, count, kept = ON_A_CORE
        draws, radii = tuple(k for k in DRAWS if k <= most), {word: radii[word] for word in kept}
        images, labels = images[:count], labels[:count]
    (victim, bare), (theirs, other) = [*((Defended(net, ResizePad()), net) for net in nets), (None, None)][:2]
    looks = 40 if device else 20
    return Contest(victim, bare, other, theirs, images, labels, radii, steps, draws, looks, costly=device)


def thinned(net: Classifier) -> Defended:
    """As many draws as activations, behind each ReLU."""
    assert isinstance(net.model, nn.Module)
    return Defended(Classifier(add_activation_pruning(net.model), classes=10, name=f"pruned {net.name}"))


CONTESTS: dict[str, Callable[[Options], Contest]] = {
    "resize-pad": lambda options: on_digits(options, lambda net: Defended(net, ResizePad(24 / 28, 1, 1))),
    "resize-pad-31": lambda options: on_digits(options, lambda net: Defended(net, ResizePad())),
    "input-noise": lambda options: on_digits(options, lambda net: Defended(net, InputNoise(NOISE))),
    "self-ensemble": lambda options: on_digits(options, lambda net: Defended(net, votes=VOTES), noisy=True),
    "pruning": lambda options: on_digits(options, thinned),
    "photographs": on_photographs,
}
