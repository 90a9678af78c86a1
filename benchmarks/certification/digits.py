"""What each method proves of the zoo's digit nets, how tight its bounds are, and what it costs.

    python -m benchmarks.certification.digits [--images 20] [--timeout 60] [--out FILE]

The images are the first of zoo:mnist-heldout. For each net and radius: the images that each method of bounds proves,
with its mean margin bound and processor seconds per image; then the verdicts of `verify`, with `--timeout` seconds for
each image, of the processor and not of the wall clock, since the machine does other work (a tenth of it where hardly
an image can be proven). For the widths, the logits' bounds in Linf 0.05 over what 1,000 random inputs and PGD
on each logit reach. Writes records/certification/digits.json after each case; cases that it holds already are kept.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.provenance import ROOT, provenance
from sparring import Linf, Misclassify
from sparring.defenses.certification import METHODS, Network, Status, certify_bounds, verify
from sparring.defenses.certification.certify import margin_bounds
from sparring.defenses.certification.concretize import InputSet
from sparring.defenses.certification.specifications import Specification
from sparring.geometry.region import Region
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "certification" / "digits.json"
CASES = (("zoo:mnist-robust-linf", 0.2, 1.0), ("zoo:mnist-robust-linf", 0.1, 1.0), ("zoo:mnist-plain", 0.02, 0.1),
         ("zoo:mnist-robust-linf", 0.3, 0.1), ("zoo:mnist-plain", 0.05, 0.1))  # fmt: skip
WIDTH = 0.05


def timed(function: Callable[[], Any], count: int) -> tuple[Any, float]:
    """What a function returns, and the processor seconds that it took for each of `count` images."""
    began = time.process_time()
    found = function()
    return found, round((time.process_time() - began) / count, 3)


def digits(model: str, count: int) -> tuple[Network, Tensor, Tensor]:
    """A net of the zoo and the first held-out digits."""
    loaded = load_model(model)
    chunk = next(iter(load_data("zoo:mnist-heldout", input=loaded.input, limit=count).chunks(count)))
    assert chunk.labels is not None
    return Network(loaded.target, chunk.images), chunk.images, chunk.labels


def measured(model: str, eps: float, count: int, timeout: float) -> dict[str, Any]:
    """One net at one radius."""
    network, images, labels = digits(model, count)
    goal, ball = Misclassify(labels), Linf(eps)
    row: dict[str, Any] = {"model": model, "eps": eps, "images": count, "timeout": timeout, "methods": {}}
    for method in METHODS:
        with torch.no_grad():
            found, seconds = timed(
                lambda method=method: certify_bounds(network, goal, images, ball, method=method), count
            )
        row["methods"][method] = {
            "proven": int((found.margin > 0).sum()),
            "mean_margin": round(float(found.margin.mean()), 3),
            "seconds": seconds,
        }
    verdicts, seconds = timed(lambda: verify(network, goal, images, ball, timeout=timeout), count)
    row["verify"] = {
        **{one.value: int(verdicts.which(one).sum()) for one in Status},
        "methods": {one: verdicts.methods.count(one) for one in sorted(set(verdicts.methods))},
        "seconds": seconds,
        "most_seconds": round(float(verdicts.seconds.max()), 1),
        "domains": int(verdicts.domains.sum()),
        "open_bounds": [round(float(one), 3) for one in verdicts.lower[verdicts.which(Status.OPEN)]],
    }
    return row


def widths(model: str, count: int) -> dict[str, Any]:
    """The widths of the logits' bounds, and of what inputs reach."""
    network, images, _ = digits(model, count)
    weights = {name: value.detach() for name, value in network.weights(torch.float64).items()}
    inputs = InputSet.of(Region.around(images, Linf(WIDTH)), torch.float64)
    eye = torch.eye(network.classes, dtype=torch.float64)
    wanted = Specification(torch.cat((eye, -eye)).expand(count, -1, -1), torch.zeros(count, 0), True)
    low, high, k = inputs.low, inputs.high, network.classes
    with torch.no_grad():
        bounds = {one: margin_bounds(network, weights, inputs, wanted, one) for one in METHODS}
        drawn = [network(low + torch.rand_like(low) * (high - low), weights) for _ in range(1000)]
    most, least = torch.stack(drawn).amax(0), torch.stack(drawn).amin(0)
    for sign in (1, -1):  # PGD on each logit
        x = inputs.x.repeat_interleave(k, 0)
        box = low.repeat_interleave(k, 0), high.repeat_interleave(k, 0)
        for _ in range(40):
            x = x.detach().requires_grad_()
            logit = network(x, weights).view(count, k, k).diagonal(dim1=1, dim2=2)
            (slope,) = torch.autograd.grad(sign * logit.sum(), x)
            x = torch.clamp(x.detach() + WIDTH / 10 * slope.sign(), *box)
        with torch.no_grad():
            reached = network(x, weights).view(count, k, k).diagonal(dim1=1, dim2=2)
        most, least = torch.maximum(most, reached), torch.minimum(least, reached)
    reached_width = float((most - least).mean())
    found = {one: float((-lower[:, k:] - lower[:, :k]).mean()) for one, lower in bounds.items()}
    return {
        "model": model,
        "eps": WIDTH,
        "images": count,
        "reached": round(reached_width, 3),
        "width": {one: round(value, 3) for one, value in found.items()},
        "over_reached": {one: round(value / reached_width, 3) for one, value in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=RECORD)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    time.monotonic = time.process_time  # the clock of `verify`
    record: dict[str, Any] = {"widths": [], "verdicts": []}
    if given.out.exists():
        record = json.loads(given.out.read_text())
    record |= {"provenance": provenance("python -m benchmarks.certification.digits", "cpu")}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["model"], row["eps"]) for row in record["verdicts"]}
    for model, eps, share in CASES:
        if (model, eps) not in done:
            record["verdicts"].append(measured(model, eps, given.images, share * given.timeout))
            given.out.write_text(json.dumps(record, indent=1) + "\n")
    for model in sorted({model for model, _, _ in CASES} - {row["model"] for row in record["widths"]}):
        record["widths"].append(widths(model, min(given.images, 5)))
        given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
