"""C16: what cleans an image, against who does not know of it and who does.

`python -m benchmarks.defenses.purification [NAME ...]`: on digits around `zoo:mnist-plain`, within Linf 0.1 and 0.2,
judged by `judged.worth`; on photographs around EfficientNet-Lite0, within Linf 4/255, by PGD alone: unaware, and
adaptive (BPDA where a stage has no slope). Beside it ART's preprocessors on the same digits: do they say the same, and
how long do they take? Only images that the bare net gets right. Writes records/defenses/purification.json row by row;
names choose rows and leave the others as they were. What must be trained is measured by `cost`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.defenses.judged import Setting, milliseconds, rates, standing, unharmed, worth
from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits
from sparring.defenses import purification as pure
from sparring.random import Key
from sparring.targets import Classifier, Defended
from sparring.transforms import Stage
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "defenses" / "purification.json"
RADII, DIGITS, PHOTOGRAPHS, PHOTO_EPS, TRAINING = (0.1, 0.2), 100, 8, 4 / 255, 20_000

ON_DIGITS: dict[str, Callable[[], Stage]] = {
    "JPEG 75": lambda: pure.JPEGCompression(75),
    "JPEG 10": lambda: pure.JPEGCompression(10),
    "bit depth 3": lambda: pure.BitDepth(3),
    "bit depth 1": lambda: pure.BitDepth(1),
    "median 2": lambda: pure.Median(2),
    "median 3": lambda: pure.Median(3),
    "wavelet": lambda: pure.Wavelet(),
    "total variation": lambda: pure.TotalVariation(),
    "quilting": lambda: pure.Quilting(pure.clean_patches(digits("mnist-train")[0][:TRAINING], n_patches=10_000)),
}
LIMITS = {"total variation": (50, 4, 60, 20), "quilting": (50, 2, 60, 20)}  # digits, draws, steps, looks: slow ones
ON_PHOTOGRAPHS: dict[str, Callable[[], Stage]] = {
    "JPEG 75": lambda: pure.JPEGCompression(75),
    "bit depth 3": lambda: pure.BitDepth(3),
    "median 3": lambda: pure.Median(3),
    "total variation": lambda: pure.TotalVariation(),
    "quilting": lambda: pure.Quilting(pure.clean_patches(scenes(), n_patches=5000)),
}


def scenes() -> Tensor:
    """Photographs of another collection, for patches: the left upper 256 x 256 of each."""
    rows = load_data("zoo:photos", input=None).rows()
    crops = [row.image[:, :256, :256] for row in rows]
    return torch.stack([crop for crop in crops if crop.shape == (3, 256, 256)])


def right(target: Classifier, images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first images that the bare net gets right."""
    with target.frozen(), torch.no_grad():
        rows = (target(images).argmax(1) == labels).nonzero().squeeze(1)[:count]
    return images[rows], labels[rows]


def on_digits(names: list[str], write: Callable[[dict[str, Any]], None]) -> None:
    target = load_model("zoo:mnist-plain").target
    images, labels = (tensor[: 2 * DIGITS] for tensor in digits("mnist"))
    for name in names:
        stage = ON_DIGITS[name]()
        count, *limits = LIMITS.get(name, (DIGITS,))
        chosen = right(target, images, labels, count)
        for eps in RADII:
            found = worth(Defended(target, stage), Setting(*chosen, sp.Linf(eps)), *limits)
            write({"on": "digits", "defense": name, "eps": eps, **found})


def on_photographs(names: list[str], write: Callable[[dict[str, Any]], None]) -> None:
    loaded = load_model("zoo:efficientnet-lite0")
    data = load_data("zoo:imagenet-20", input=loaded.input, class_names=loaded.class_names)
    (chunk,) = data.chunks(20)
    setting = Setting(
        *right(loaded.target, chunk.images, chunk.labels, PHOTOGRAPHS), sp.Linf(PHOTO_EPS), PHOTOGRAPHS, looks=5
    )
    for name in names:
        defended = Defended(loaded.target, ON_PHOTOGRAPHS[name]())
        row: dict[str, Any] = {"on": "photographs", "defense": name, "eps": PHOTO_EPS}
        row |= {"clean": unharmed(defended, setting), "milliseconds": milliseconds(defended, setting)}
        began = time.process_time()
        attack = sp.attacks.PGD(setting.ball, steps=40, step_size=PHOTO_EPS / 10)
        for word, view in (("unaware", defended.naive_view()), ("adaptive", defended.adaptive_view(1))):
            engine = sp.Engine(batch_size=PHOTOGRAPHS, confirmation_samples=1)
            examples = sp.run(attack, view, setting.goal, setting.images, engine=engine).examples
            row[word] = standing(rates(defended, setting, examples))
        write(row | {"steps": attack.steps, "draws": 1, "attack_seconds": time.process_time() - began})


def beside_art(write: Callable[[dict[str, Any]], None]) -> None:
    """The same digits through ART's preprocessor and ours: the greatest difference, and the time they take."""
    from art.defences import preprocessor as art

    images = digits("mnist")[0][:100]
    key = Key(torch.arange(len(images)), 0)
    flat = images.permute(0, 2, 3, 1).numpy()
    pairs: dict[str, tuple[Stage, Any]] = {
        "bit depth 3": (pure.BitDepth(3), art.FeatureSqueezing(clip_values=(0, 1), bit_depth=3)),
        "median 3": (pure.Median(3), art.SpatialSmoothing(window_size=3)),
        "JPEG 75": (pure.JPEGCompression(75), art.JpegCompression(clip_values=(0, 1), quality=75)),
        "total variation": (pure.TotalVariation(), art.TotalVarMin(prob=0.5, lamb=0.03, max_iter=100)),
    }
    for name, (stage, theirs) in pairs.items():
        mine, spent = timed(lambda stage=stage: stage(images, key))
        other, their_time = timed(lambda theirs=theirs: torch.from_numpy(theirs(flat)[0]).permute(0, 3, 1, 2))
        row = {"on": "ART", "defense": name, "milliseconds": spent, "art_milliseconds": their_time}
        write(row | {"largest_difference": None if stage.stochastic else float((mine - other).abs().amax())})


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The answer of a second call, and its milliseconds of the processor per image."""
    call()
    began = time.process_time()
    answer = call()
    return answer, 1000 * (time.process_time() - began) / len(answer)


def line(row: dict[str, Any]) -> str:
    """One row of the printed table."""

    def told(part: dict[str, Any]) -> str:
        return f"{100 * part['share']:5.1f} % ({100 * part['low']:.0f}-{100 * part['high']:.0f})"

    if row["on"] == "ART":
        apart = "random" if row["largest_difference"] is None else f"{row['largest_difference']:.2g} apart"
        return f"{row['defense']:16s} {row['milliseconds']:8.2f} ms, ART {row['art_milliseconds']:8.2f} ms, {apart}"
    shares = "  ".join(f"{word} {told(row[word])}" for word in ("clean", "unaware", "adaptive"))
    head = f"{row['on']:11s} {row['defense']:16s} eps {row['eps']:.3f}"
    return f"{head}  {shares}  of {row['clean']['of']}  {row['milliseconds']:8.2f} ms"


def main() -> int:
    every = [*dict.fromkeys((*ON_DIGITS, *ON_PHOTOGRAPHS)), "art"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defenses.purification")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every)} (default: all)")
    parser.add_argument("--on", choices=("digits", "photographs"), help="only on these")
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(every))
    if unknown:
        parser.error(f"there is no {unknown[0]!r}; name some of {', '.join(every)}")
    torch.set_num_threads(1)
    names = options.names or every
    made = provenance("python -m benchmarks.defenses.purification", "cpu")
    rows: list[dict[str, Any]] = json.loads(options.out.read_text())["rows"] if options.out.exists() else []

    def write(row: dict[str, Any]) -> None:
        print(line(row), flush=True)
        mark = [row.get(word) for word in ("on", "defense", "eps")]
        rows[:] = [old for old in rows if [old.get(word) for word in ("on", "defense", "eps")] != mark]
        rows.append(row | {"date": made["date"]})
        rows.sort(key=lambda old: (old["on"], every.index(old["defense"]), old.get("eps", 0)))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"made": made, "rows": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n")

    if options.on != "photographs":
        on_digits([name for name in names if name in ON_DIGITS], write)
    if options.on != "digits":
        on_photographs([name for name in names if name in ON_PHOTOGRAPHS], write)
    if "art" in names and options.on is None:
        beside_art(write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
