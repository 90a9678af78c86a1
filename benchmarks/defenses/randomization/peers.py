"""Foolbox's and ART's expectation over draws, with the same nets, digits, steps and draws; judged on fresh answers."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sparring as sp
from benchmarks.defenses.randomization.contests import NOISE, VOTES, learned
from benchmarks.defenses.randomization.measures import accuracy, judged
from benchmarks.defenses.randomization.options import Options
from benchmarks.training.nets import digits
from sparring.defenses.randomization import InputNoise
from sparring.targets import Classifier, Defended
from sparring.zoo import load_model

EPS, DRAWS, LOOKS = 0.1, (1, 5, 20), 40
Found = Callable[[int], Tensor]  # of a number of draws: the examples


def measure(options: Options) -> dict[str, Any]:
    """Accuracy left by each library's PGD with an expectation, at its last iterate; ours at what `run` keeps too."""
    images, labels = (part[: options.images].to(options.device) for part in digits("mnist"))
    noisy, plain = learned(options, 0, True), load_model("zoo:mnist-plain").target
    assert isinstance(plain, Classifier)
    assert isinstance(plain.model, nn.Module)
    plain.model.to(options.device)
    ensemble = Defended(noisy, votes=VOTES)
    clipped = Defended(plain, InputNoise(NOISE, clip=True))
    rows: list[dict[str, Any]] = []

    def add(name: str, library: str, defended: Defended, found: Found) -> None:
        for draws in DRAWS:
            began = perf_counter()
            examples = found(draws)
            seconds = perf_counter() - began
            assert float((examples - images).abs().max()) <= EPS + 1e-6
            left = accuracy(judged(defended, examples, labels, LOOKS), LOOKS)
            rows.append({"defence": name, "library": library, "draws": draws, "seconds": seconds, **left})
            print(f"  {name}, {library}, {draws} draws: {100 * left['share']:.1f} % left, {seconds:.0f} s", flush=True)

    def ours(defended: Defended, kept: bool) -> Found:
        attack, goal = sp.attacks.PGD(sp.Linf(EPS), steps=options.steps), sp.Misclassify(labels)
        engine = sp.Engine(options.batch_size)

        def found(draws: int) -> Tensor:
            if kept:
                return sp.run(attack, defended.adaptive_view(draws), goal, images, engine=engine).examples
            return sp.craft(attack, defended.adaptive_view(draws), goal, images, engine=engine)

        return found

    for name, defended in (("self-ensemble", ensemble), ("input noise, clipped", clipped)):
        add(name, "sparring, last iterate", defended, ours(defended, kept=False))
        add(name, "sparring", defended, ours(defended, kept=True))
    add("self-ensemble", "Foolbox 3.3.4", ensemble, with_foolbox(noisy, images, labels, options.steps))
    add("input noise, clipped", "ART 1.20.1", clipped, with_art(plain.model, images, labels, options.steps))
    return {"eps": EPS, "steps": options.steps, "looks": LOOKS, "rows": rows}


def with_foolbox(target: Classifier, images: Tensor, labels: Tensor, steps: int) -> Found:
    """The gradient of the cross-entropy of the mean of logits over `draws` passes."""
    import foolbox

    def found(draws: int) -> Tensor:
        torch.manual_seed(0)
        with target.frozen():
            single = foolbox.PyTorchModel(target.model, bounds=(0, 1), device=images.device)
            model = foolbox.models.ExpectationOverTransformationWrapper(single, n_steps=draws)
            attack = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * EPS / steps, steps=steps, random_start=True)
            examples: Tensor = attack.run(model, images, foolbox.criteria.Misclassification(labels), epsilon=EPS)
        return examples.clamp(0, 1)

    return found


def with_art(net: nn.Module, images: Tensor, labels: Tensor, steps: int) -> Found:
    """Its noise as a transformation with so many samples of each image, clipped, of one standard deviation."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier
    from art.preprocessing.expectation_over_transformation import EoTGaussianNoisePyTorch

    def found(draws: int) -> Tensor:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002, the generator that ART draws from
        noise = EoTGaussianNoisePyTorch(nb_samples=draws, clip_values=(0.0, 1.0), std=(NOISE, NOISE))
        classifier = PyTorchClassifier(
            net,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=10,
            clip_values=(0.0, 1.0),
            preprocessing_defences=[noise],
            device_type="gpu" if images.is_cuda else "cpu",
        )
        attack = ProjectedGradientDescentPyTorch(
            classifier, norm=np.inf, eps=EPS, eps_step=2.5 * EPS / steps, max_iter=steps, num_random_init=1,
            batch_size=len(images), verbose=False,
        )  # fmt: skip
        examples = attack.generate(images.cpu().numpy(), labels.cpu().numpy())
        return torch.from_numpy(examples).to(images)

    return found
