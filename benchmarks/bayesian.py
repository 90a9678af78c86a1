"""What Bayesian defences are worth (C17, C18): `python -m benchmarks.bayesian [NAME ...]`, on digits, on one CPU core.

`adv-bnn`: Adv-BNN, random self-ensemble and PGD training of one network, under PGD with the gradient of one draw and
averaged over 20 (Zimmermann 2019). `abs`: analysis by synthesis under decision attacks, gradients and its own attack.
Each has its entry in records/bayesian.json; `--show` measures nothing. docs/bayesian-results.md is made of the record.
Networks lie in runs/ and are trained where they are missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.bayesian_page import text
from benchmarks.defenses.randomization.measures import accuracy, judged
from benchmarks.provenance import ROOT, provenance
from benchmarks.training.measures import share
from benchmarks.training.nets import digits
from sparring.access import Budget
from sparring.attacks import FMN, PGD, Boundary, HopSkipJump, SigmaZero
from sparring.defenses.bayesian import ABS, ClassVAE, LatentDescent, fit_class_vae
from sparring.defenses.fitting import FitConfig
from sparring.defenses.purification import BitDepth
from sparring.storage import read_tensors, write_tensors
from sparring.targets import Classifier, Defended
from sparring.zoo import load_model

RUNS, RECORD, PAGE = ROOT / "runs", ROOT / "records" / "bayesian.json", ROOT / "docs" / "bayesian-results.md"
NETS = ("mnist-small-linf", "mnist-small-adv-bnn", "mnist-small-rse")
DRAWS, STEPS, VOTES, LOOKS, RADII = 20, 10, 10, 3, (0.2, 0.25)
VAE = {"latent_dim": 8, "hidden": 128, "sigma": 0.25}
FIT = FitConfig(epochs=20, batch_size=64, lr=3e-3)
SEARCH = {"n_samples": 300, "starts": 1, "steps": 30, "temperature": 20.0}
NORMS = {"L0": (sp.L0(), 12), "L2": (sp.L2(), 1.5), "Linf": (sp.Linf(), 0.3)}


def net(plan: str) -> Classifier:
    """The network of a plan, trained if it is not there."""
    folder = RUNS / plan
    if not (folder / "best.safetensors").exists():
        command = [sys.executable, "-m", "sparring", "train", plan, "--out", str(folder)]
        subprocess.run([*command, *["--resume"] * folder.exists()], check=True)
    target = load_model(f"trained:{folder}").target
    assert isinstance(target, Classifier)
    return target


def adv_bnn(count: int) -> dict[str, Any]:
    """Each network at each radius: what PGD leaves of the predictive mean, by the gradient of one draw and of many."""
    images, labels = (part[:count] for part in digits("mnist"))
    engine, goal = sp.Engine(100, confirmation_samples=LOOKS), sp.Misclassify(labels)
    rows = []
    for plan in NETS:
        classifier = net(plan)
        random = classifier.stochastic
        target = Defended(classifier, votes=VOTES) if random else classifier
        looks = LOOKS if random else 1
        row: dict[str, Any] = {
            "net": plan,
            "clean": accuracy(judged(target, images, labels, LOOKS), LOOKS),
            "radii": {},
        }
        for eps in RADII:
            views: dict[str, tuple[Any, int]] = {"one draw": (classifier, STEPS)}
            if isinstance(target, Defended):
                views = {
                    "one draw": (target.adaptive_view(1), STEPS),
                    f"{DRAWS} draws": (target.adaptive_view(DRAWS), STEPS),
                }
            else:
                views[f"{DRAWS} draws"] = (classifier, STEPS * DRAWS)  # as many passes, of what draws nothing
            found = {}
            worst = torch.zeros(count)
            for word, (view, steps) in views.items():
                attack = PGD(sp.Linf(eps), steps=steps, **({} if steps == STEPS else {"step_size": 0.01}))
                outcome = sp.run(attack, view, goal, images, engine=engine)
                worst = torch.maximum(worst, outcome.success_rate.float())
                found[word] = accuracy(outcome.success_rate, LOOKS) | {"steps": steps, "seconds": outcome.seconds}
                print(plan, eps, word, f"{100 * found[word]['share']:.1f} %, {outcome.seconds:.0f} s", flush=True)
            found["the worst of them"] = accuracy(worst, LOOKS)
            row["radii"][str(eps)] = found
        rows.append(row | {"looks": looks})
    return {"rows": rows, "images": count, "votes": VOTES, "looks": LOOKS, "draws": DRAWS, "steps": STEPS}


def class_vae(images: Tensor, labels: Tensor, name: str) -> tuple[ClassVAE, float]:
    """The autoencoders of the digits, trained if they are not there; and the seconds that took."""
    path = RUNS / f"{name}.safetensors"
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        vae = ClassVAE(10, (1, 28, 28), **VAE)  # type: ignore[arg-type]
    if path.exists():
        weights, values = read_tensors(path, "")
        vae.load_state_dict(weights)
        return vae.eval(), float(values["seconds"])
    began = time.process_time()
    fit_class_vae(vae, images, labels, config=FIT)
    seconds = time.process_time() - began
    write_tensors(path, dict(vae.state_dict()), {"seconds": seconds})
    return vae, seconds


def analysis_by_synthesis(count: int, queries: int) -> dict[str, Any]:
    """The distances of the nearest examples that any attack finds, in each norm."""
    images, labels = digits("mnist")
    learned, classes = digits("mnist-train")
    models: dict[str, tuple[Any, ABS | None]] = {}
    seconds = {}
    for name, seen in (("ABS", learned), ("binary ABS", (learned > 0.5).float())):
        vae, seconds[name] = class_vae(seen, classes, name.lower().replace(" ", "-"))
        model = ABS(vae, **SEARCH).eval()  # type: ignore[arg-type]
        whole = Classifier(model, name=name)
        models[name] = (Defended(whole, BitDepth(1)) if name.startswith("binary") else whole, model)
    for name in ("mnist-robust-linf", "mnist-plain"):
        models[f"zoo:{name}"] = (load_model(f"zoo:{name}").target, None)
    found = {}
    for name, (target, model) in models.items():
        right = judged(target, images[:1000], labels[:1000], 1) == 0
        entry = against(target, model, images[:count], labels[:count], queries)
        found[name] = {"clean": share(int(right.sum()), 1000), "fit_seconds": seconds.get(name), **entry}
    return {
        "models": found, "images": count, "queries": queries, "vae": VAE, "search": SEARCH,
        "radii": {norm: radius for norm, (_, radius) in NORMS.items()},
    }  # fmt: skip


def against(target: Any, model: ABS | None, images: Tensor, labels: Tensor, queries: int) -> dict[str, Any]:
    """Every attack, and of all examples together the nearest of each image, in each norm."""
    view = target.adaptive_view() if isinstance(target, Defended) else target
    few = Budget(forwards=queries)
    goal, engine = sp.Misclassify(labels), sp.Engine(50)
    rows, sizes = list[dict[str, Any]](), list[Tensor]()
    begin: dict[str, Tensor] = {}

    def attack(word: str, asked: Any, kind: Any, budget: Budget | None = None, start: Tensor | None = None) -> Tensor:
        outcome = sp.run(kind, asked, goal, images, budget=budget, start=start, engine=engine)
        each = torch.stack([ball.norm(outcome.examples - images) for ball, _ in NORMS.values()])
        sizes.append(each.masked_fill(~outcome.success, torch.inf))
        passes = int(outcome.passes.forwards.float().mean())
        zero = int(outcome.zero_gradient.sum())
        row = {"attack": word, "passes": passes, "seconds": outcome.seconds, "zero_gradient": zero}
        rows.append(row | measured(sizes[-1]))
        print(
            asked.name, word, {norm: rows[-1][norm]["median"] for norm in NORMS}, f"{outcome.seconds:.0f} s", flush=True
        )
        return outcome.examples

    for norm, (ball, _) in NORMS.items():
        attack(f"FMN, {norm}", view, FMN(ball, steps=100))
        if model is not None:
            walk = LatentDescent(ball, model, steps=40, step_size=0.05)
            begin[norm] = attack(f"latent descent, {norm}", target, walk)
    attack("sigma-zero", view, SigmaZero(sp.L0(), steps=100))
    after = " after latent descent" * bool(begin)
    attack(f"Boundary{after}", target, Boundary(steps=queries), few, begin.get("L2"))
    for norm in ("L2", "Linf"):
        kind = HopSkipJump(NORMS[norm][0], init_num_evals=30)
        attack(f"HopSkipJump, {norm}{after}", target, kind, few, begin.get(norm))
    return {"attacks": rows, "strongest": measured(torch.stack(sizes).amin(0))}


def measured(each: Tensor) -> dict[str, Any]:
    """Of distances (norms, N): the median, and the share of images without an example within the radius."""
    found = {}
    for (norm, (_, radius)), distance in zip(NORMS.items(), each, strict=True):
        median = float(distance.sort().values[(len(distance) - 1) // 2])
        left = share(int((distance > radius).sum()), len(distance))
        found[norm] = {"median": None if median == float("inf") else median, "left": left}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bayesian", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="adv-bnn, abs (default: both)")
    parser.add_argument("--images", type=int, default=500, help="digits of adv-bnn (500)")
    parser.add_argument("--few", type=int, default=50, help="digits of abs (50)")
    parser.add_argument("--queries", type=int, default=500, help="per digit, of decision attacks (500)")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in () if given.show else given.names or ("adv-bnn", "abs"):
        if name not in ("adv-bnn", "abs"):
            parser.error(f"there is no experiment {name!r}; name adv-bnn or abs")
        found = adv_bnn(given.images) if name == "adv-bnn" else analysis_by_synthesis(given.few, given.queries)
        how = f"--images {given.images}" if name == "adv-bnn" else f"--few {given.few} --queries {given.queries}"
        keep(RECORD, name, {"made": provenance(f"python -m benchmarks.bayesian {name} {how}", "cpu"), **found})
    PAGE.write_text(text(json.loads(RECORD.read_text())), encoding="utf-8")
    return 0


def keep(path: Path, name: str, entry: dict[str, object]) -> None:
    """Put an experiment into the record, beside those that are there."""
    record = json.loads(path.read_text()) if path.exists() else {"experiments": {}}
    record["experiments"][name] = entry
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
