"""C21: plain and robust test accuracy against the number of training images, at the same number of updates."""

from __future__ import annotations

from typing import Any

from benchmarks.training.measures import clean, pgd40, strongest
from benchmarks.training.nets import ADAM, Job, Nets, ramp
from sparring import Linf
from sparring.attacks import PGD
from sparring.defenses.training import Adversary, Averaging, Madry, Objective, Plain, TrainingConfig, Validation

SIZES = (600, 2_000, 6_000, 20_000, 60_000)
UPDATES, BATCH, EPS = 2_400, 128, 0.3


def jobs(size: int) -> dict[str, Job]:
    held_out = min(1000, size // 10)
    epochs = max(1, round(UPDATES / -(-(size - held_out) // BATCH)))
    config = TrainingConfig(epochs=epochs, optimizer=ADAM, averaging=Averaging(decay=0.998))
    validation = Validation(val_size=held_out, steps=5, collapse="ignore")
    adversary = Adversary((PGD(Linf(EPS), steps=7, step_size=0.1),), eps_schedule=ramp(epochs / 3))

    def job(kind: str, objective: Objective, against: Adversary) -> Job:
        return Job(f"samples-{kind}-{size}", objective, against, config, validation, size)

    return {"plain": job("plain", Plain(), Adversary()), "robust": job("robust", Madry(), adversary)}


def measure(nets: Nets) -> dict[str, Any]:
    rows = []
    for size in SIZES:
        row: dict[str, Any] = {"images": size}
        for kind, job in jobs(size).items():
            made = nets(job)
            row[kind] = {**made.facts(), "clean": clean(made.target)}
            if kind == "robust":
                row[kind] |= {"pgd40": pgd40(made.target, EPS), "auto": strongest(made.target, Linf(EPS))}
        rows.append(row)
        robust = row["robust"]
        nets.say(
            f"  {size} images: plain {row['plain']['clean']['share']:.1%}, adversarially trained "
            f"{robust['clean']['share']:.1%} clean, {robust['auto']['share']:.1%} robust"
        )
    return {"updates": UPDATES, "eps": EPS, "rows": rows}
