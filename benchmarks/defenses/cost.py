"""What defences cost and what they are worth, in one run: `python -m benchmarks.defenses.cost [--device cuda]`.

Claim C22 of the survey: adversarial training costs the most; denoising and randomising cost almost nothing. Each
defence is put around the same net for digits, `zoo:mnist-plain`, and judged by `judged.worth` within Linf 0.2 on test
digits that the net gets right. Writes records/defenses/cost.json, row by row, of which `benchmarks.defenses.page` makes
a table and a picture. It takes about an hour of one core. Those that are slow in use get fewer draws, steps and looks
(`LIMITS`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import sparring as sp
from benchmarks.defenses.judged import Setting, worth
from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits, ramp
from sparring.defenses import detection, purification, randomization
from sparring.defenses.training import Adversary, Devices, Madry, Optimizer, Plain, TrainingConfig, Validation, train
from sparring.targets import Classifier, Defended
from sparring.zoo import load_model
from sparring.zoo.mnist_net import MnistNet

EPS, TRAINING, DIGITS = 0.2, 10_000, 100
ADAM = Optimizer(name="adam", lr=2e-3, weight_decay=0.0)
PGD7 = sp.attacks.PGD(sp.Linf(EPS), steps=7, step_size=EPS / 4)


@dataclass(frozen=True)
class Bench:
    """The net, and digits to learn from."""

    target: Classifier
    images: torch.Tensor
    labels: torch.Tensor

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def accelerator(self) -> str:
        return "cuda" if self.images.is_cuda else "cpu"

    def trained(self, net: torch.nn.Module, objective: Any, adversary: Adversary, epochs: int) -> Classifier:
        torch.manual_seed(0)
        target = Classifier(net, classes=10)
        config, validation = TrainingConfig(epochs=epochs, optimizer=ADAM), Validation(val_size=500, steps=10)
        how = {"config": config, "validation": validation}
        devices = Devices(accelerator=self.accelerator)
        train(target, (self.images.cpu(), self.labels.cpu()), objective, adversary, devices=devices, **how)
        return Classifier(net.to(self.device).eval(), classes=10, name=type(objective).__name__)


Made = Callable[[Bench], Classifier | Defended]


def stage(make: Callable[[], Any]) -> Made:
    return lambda bench: Defended(bench.target, make())


def adversarial(bench: Bench) -> Classifier:
    torch.manual_seed(0)
    return bench.trained(MnistNet(), Madry(), Adversary((PGD7,), eps_schedule=ramp(3)), 8)


def denoised(bench: Bench) -> Defended:
    torch.manual_seed(0)
    made = purification.Denoiser(purification.DenoisingAutoencoder(1).to(bench.device))
    purification.fit_denoiser(made, bench.images)
    return Defended(bench.target, made)


def guided(bench: Bench) -> Defended:
    torch.manual_seed(0)
    made = purification.HGD(purification.UNet(1).to(bench.device))
    attacks = (PGD7, sp.attacks.FGSM(sp.Linf(EPS)))
    schedule = purification.FitConfig(epochs=3)
    purification.fit_hgd(made, bench.target, bench.images, bench.labels, attacks, config=schedule)
    return Defended(bench.target, made)


def generated(bench: Bench) -> Defended:
    torch.manual_seed(0)
    generator = purification.VAEGenerator(1, (28, 28)).to(bench.device)
    purification.fit_generator(generator, bench.images)
    return Defended(bench.target, purification.DefenseGAN(generator, generator.latent_dim, steps=40, restarts=2))


def quilted(bench: Bench) -> Defended:
    return Defended(bench.target, purification.Quilting(purification.clean_patches(bench.images, n_patches=20_000)))


def self_ensemble(bench: Bench) -> Defended:
    torch.manual_seed(0)
    net = randomization.add_noise_layers(MnistNet())
    return Defended(bench.trained(net, Plain(), Adversary(), 4), votes=10)


def detected(make: Callable[[], Any]) -> Made:
    def made(bench: Bench) -> Defended:
        learn, validate = slice(0, 3000), slice(3000, 5000)
        found = detection.make_adversarial_set(PGD7, bench.target, bench.images[learn], bench.labels[learn])
        fitted = make().fit(bench.images[learn], found, target=bench.target, labels=bench.labels[learn])
        return Defended(bench.target, fitted.calibrate(bench.images[validate], fpr=0.05))

    return made


DEFENSES: dict[str, Made] = {
    "none": lambda bench: bench.target,
    "adversarial training": adversarial,
    "bit depth, 1 bit": stage(lambda: purification.BitDepth(1)),
    "bit depth, 3 bits": stage(lambda: purification.BitDepth(3)),
    "JPEG 75": stage(lambda: purification.JPEGCompression(75)),
    "median 3": stage(lambda: purification.Median(3)),
    "wavelet": stage(lambda: purification.Wavelet()),
    "non-local means": stage(lambda: purification.NonLocalMeans()),
    "total variation": stage(lambda: purification.TotalVariation(steps=30)),
    "quilting": quilted,
    "autoencoder": denoised,
    "HGD": guided,
    "Defense-GAN": generated,
    "input noise 0.2": stage(lambda: randomization.InputNoise(0.2)),
    "resize-pad": stage(lambda: randomization.ResizePad(24 / 28, 1.0, 1.0)),
    "random self-ensemble": self_ensemble,
    "feature squeezing": detected(lambda: detection.FeatureSqueezing()),
    "MagNet": detected(lambda: detection.MagNet()),
    "Mahalanobis": detected(lambda: detection.Mahalanobis()),
    "input detector": detected(lambda: detection.InputDetector()),
}


LIMITS = {"Defense-GAN": (1, 20, 10), "quilting": (1, 30, 10), "total variation": (4, 40, 20)}  # draws, steps, looks


def measured(name: str, bench: Bench, setting: Setting) -> dict[str, Any]:
    clock, processor = time.perf_counter(), time.process_time()
    target = DEFENSES[name](bench)
    spent = {"train_seconds": time.perf_counter() - clock, "train_cpu_seconds": time.process_time() - processor}
    found = {"defense": name, "target": target.name, **spent, **worth(target, setting, *LIMITS.get(name, ()))}
    unaware = found.get("unaware", {}).get("share")
    print(
        f"{name:22s} fit {found['train_seconds']:7.1f} s  {found['milliseconds']:8.3f} ms  "
        f"clean {found['clean']['share']:.1%}  unaware {'-' if unaware is None else f'{unaware:.1%}'}  "
        f"adaptive {found['adaptive']['share']:.1%}  ({found['attack_seconds']:.0f} s)",
        flush=True,
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.defenses.cost", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DEFENSES)} (default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--digits", type=int, default=DIGITS)
    parser.add_argument("--out", type=Path, default=ROOT / "records" / "defenses" / "cost.json")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(DEFENSES))
    if unknown:
        parser.error(f"there is no defense {unknown[0]!r}; name some of {', '.join(DEFENSES)}")
    names = options.names or list(DEFENSES)
    target = load_model("zoo:mnist-plain", device=options.device).target
    learn = [tensor[:TRAINING].to(options.device) for tensor in digits("mnist-train")]
    setting = right(target, options.digits, options.device)
    command = "python -m benchmarks.defenses.cost" + (f" --device {options.device}" if options.device != "cpu" else "")
    made = provenance(command, options.device)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    if options.names and options.out.exists():  # the others stay as they were measured
        rows = [row for row in json.loads(options.out.read_text())["rows"] if row["defense"] not in names]
    for name in names:
        rows.append(measured(name, Bench(target, *learn), setting) | {"date": made["date"]})
        rows.sort(key=lambda row: list(DEFENSES).index(row["defense"]))
        record = {"eps": EPS, "training_images": TRAINING, "made": made, "rows": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def right(target: Classifier, count: int, device: str) -> Setting:
    """The first test digits that the net gets right."""
    images, labels = (tensor[: 2 * count].to(device) for tensor in digits("mnist"))
    with torch.no_grad():
        kept = (target(images).argmax(1) == labels).nonzero().squeeze(1)[:count]
    return Setting(images[kept], labels[kept], sp.Linf(EPS), batch_size=count if device != "cpu" else 100)


if __name__ == "__main__":
    sys.exit(main())
