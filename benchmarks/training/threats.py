"""C11, C12: does training against one norm, or at one strength, protect against another? And training against several?

Nine nets, each trained at one (norm, eps); AVG, MAX and MSD at the three largest radii together; all attacked at all
nine. The union is the share of digits that withstand the three largest, each digit all of them.
"""

from __future__ import annotations

from typing import Any

from benchmarks.training.measures import share
from benchmarks.training.nets import CONFIG, Job, Nets, digits, ramp
from sparring import L1, L2, Engine, Linf
from sparring.attacks import MSD, PGD, Auto
from sparring.defenses.training import Adversary, Average, Madry, Maximum
from sparring.geometry import Ball
from sparring.transfer import measure_generalization

BALLS: tuple[Ball, ...] = (
    Linf(0.1), Linf(0.2), Linf(0.3), L2(0.5), L2(1.0), L2(2.0), L1(2.5), L1(5.0), L1(10.0),
)  # fmt: skip
TOGETHER = (Linf(0.3), L2(2.0), L1(10.0))  # the radii of Tramer & Boneh 2019 and Maini et al. 2019
PUBLISHED = {"AVG": 34.9, "MAX": 42.1, "MSD": 58.4}  # union accuracy, Maini et al. 2019
STEPS, COUNT = 10, 100
IMAGES = 20_000
SHORT = CONFIG.model_copy(update={"epochs": 8})


def words(ball: Ball) -> str:
    return f"{type(ball).__name__} {ball.eps:g}"


def single(ball: Ball) -> Job:
    name = f"{type(ball).__name__.lower()}-{ball.eps:g}"
    adversary = Adversary((PGD(ball, steps=STEPS),), eps_schedule=ramp(3))
    return Job(f"threat-{name}", Madry(), adversary, SHORT, images=IMAGES)


def together() -> tuple[Job, ...]:
    attacks = tuple(PGD(ball, steps=STEPS) for ball in TOGETHER)
    msd = MSD(TOGETHER, steps=2 * STEPS)
    return (
        Job("threat-avg", Average(), Adversary(attacks, eps_schedule=ramp(3)), SHORT, images=IMAGES),
        Job("threat-max", Maximum(), Adversary(attacks, eps_schedule=ramp(3)), SHORT, images=IMAGES),
        Job("threat-msd", Madry(), Adversary((msd,), eps_schedule=ramp(3)), SHORT, images=IMAGES),
    )


def measure(nets: Nets) -> dict[str, Any]:
    """The whole matrix."""
    jobs = {"plain": Job("plain"), **{words(ball): single(ball) for ball in BALLS}}
    jobs |= dict(zip(("AVG", "MAX", "MSD"), together(), strict=True))
    made = {name: nets(job) for name, job in jobs.items()}
    images, labels = digits("mnist")
    targets = {name: one.target for name, one in made.items()}
    found = measure_generalization(targets, BALLS, images[:COUNT], labels[:COUNT], attacks=Auto, engine=Engine(250))
    rows = [
        {
            "net": name,
            **made[name].facts(),
            "clean": share(int(found.clean[place]), COUNT),
            "robust": {words(ball): share(int(n), COUNT) for ball, n in zip(BALLS, found.robust[place], strict=True)},
            "union": share(int(found.union(TOGETHER)[place]), COUNT),
        }
        for place, name in enumerate(found.models)
    ]
    for row in rows:
        nets.say(f"  {row['net']}: clean {row['clean']['share']:.1%}, union {row['union']['share']:.1%}")
    return {"together": [words(ball) for ball in TOGETHER], "published": PUBLISHED, "rows": rows}
