"""Madry, TRADES, MART, Fast, Fast with GradAlign, and Free, each for about the same seconds of the processor.

What an update of each costs is measured first, on the machine and in the minute in which it will train; the epochs
follow from it. eps 0.3 on MNIST. Where the validation sees catastrophic overfitting, a training stops there; "rollback"
goes back to its best weights and on with PGD of five steps, which takes longer.
"""

from __future__ import annotations

from time import process_time
from typing import Any

import torch

from benchmarks.training.measures import clean, pgd40, strongest
from benchmarks.training.nets import CONFIG, Job, Nets, digits, ramp
from sparring import Classifier, Linf
from sparring.attacks import PGD, FastFGSM
from sparring.defenses.training import MART, TRADES, Adversary, Free, GradAlign, Madry, Objective, Validation, train
from sparring.zoo.mnist_net import MnistNet

BALL = Linf(0.3)
SECONDS = 150.0
SLOW, FAST = (PGD(BALL, steps=7, step_size=0.1),), (FastFGSM(BALL),)
METHODS: dict[str, tuple[Objective, Any]] = {
    "Madry": (Madry(), SLOW),
    "TRADES": (TRADES(beta=6.0), SLOW),
    "MART": (MART(lambda_=5.0), SLOW),
    "Fast": (Madry(), FAST),
    "Fast, rollback": (Madry(), FAST),
    "Fast, GradAlign": (GradAlign(Madry(), lambda_=0.2), FAST),
    "Free": (Free(m=8), FAST),
}
BATCH, PILOT = 128, 24


def seconds_per_update(objective: Objective, attacks: Any) -> float:
    images, labels = digits("mnist-train")
    count = BATCH * PILOT + 1
    marks: list[float] = []
    train(
        Classifier(MnistNet(), classes=10), (images[:count], labels[:count]), objective, Adversary(attacks),
        config=CONFIG.model_copy(update={"epochs": 1}), validation=Validation(val_size=1, steps=1),
        progress=lambda at: marks.append(process_time()),
    )  # fmt: skip
    return (marks[-1] - marks[3]) / (len(marks) - 4)


def job(name: str, objective: Objective, attacks: Any, cost: float) -> Job:
    epochs = max(1, round(SECONDS / (cost * 59_000 / BATCH)))
    adversary = Adversary(attacks, eps_schedule=ramp(epochs / 3))
    config = CONFIG.model_copy(update={"epochs": epochs})
    validation = Validation(collapse="rollback" if "rollback" in name else "stop")
    return Job(f"time-{name.lower().replace(', ', '-')}", objective, adversary, config, validation)


def measure(nets: Nets) -> dict[str, Any]:
    """One row for each method."""
    rows = []
    for name, (objective, attacks) in METHODS.items():
        wanted = job(name, objective, attacks, 1.0)
        folder = nets.runs / wanted.name
        cost = float((folder / "cost").read_text()) if (folder / "cost").exists() else 0.0
        if not cost:
            cost = seconds_per_update(objective, attacks)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cost").write_text(f"{cost}")
        made = nets(job(name, objective, attacks, cost))
        notes = [epoch.note for epoch in made.log if epoch.note]
        row = {"method": name, "seconds_per_update": cost, **made.facts(), "notes": notes}
        row |= {"clean": clean(made.target), "pgd40": pgd40(made.target, 0.3), "auto": strongest(made.target, BALL)}
        rows.append(row)
        nets.say(f"  {name}: " + ", ".join(f"{k} {row[k]['share']:.1%}" for k in ("clean", "pgd40", "auto")))
    return {"seconds": SECONDS, "eps": 0.3, "threads": torch.get_num_threads(), "rows": rows}
