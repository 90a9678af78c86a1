"""C9: FGSM training (Goodfellow et al. 2015) at eps 0.25: its own attack before and after, and iterated ones after."""

from __future__ import annotations

from typing import Any

from benchmarks.training.measures import attacked, clean, median, pgd40
from benchmarks.training.nets import CONFIG, Job, Nets
from sparring import Linf
from sparring.attacks import FGSM, CarliniWagner
from sparring.defenses.training import Adversary, Goodfellow, Validation

EPS = 0.25
PUBLISHED = {"FGSM error before": 0.894, "FGSM error after": 0.179}  # Goodfellow et al. 2015, section 6
LONG = CONFIG.model_copy(update={"epochs": 10})
VALIDATION = Validation(collapse="ignore")  # overfitting to the single step is what is to be seen


def measure(nets: Nets) -> dict[str, Any]:
    jobs = {
        "plain": Job("plain-10", config=LONG),
        "FGSM-trained": Job(
            "fgsm", Goodfellow(alpha=0.5), Adversary((FGSM(Linf(EPS)),)), LONG, VALIDATION, weights="last"
        ),
    }
    rows = []
    for name, job in jobs.items():
        made = nets(job)
        far, found = attacked(made.target, CarliniWagner(), 200)
        rows.append({
            "net": name,
            **made.facts(),
            "watch": [[epoch.single_step, epoch.robust, epoch.note] for epoch in made.log],
            "clean": clean(made.target),
            "fgsm": attacked(made.target, FGSM(Linf(EPS)), 10_000)[0],
            "pgd40": pgd40(made.target, EPS),
            "carlini_wagner": far,
            "carlini_wagner_median_l2": median(found),
        })  # fmt: skip
        shown = {k: v["share"] for k, v in rows[-1].items() if isinstance(v, dict)}
        nets.say(f"  {name}: {shown}")
    return {"eps": EPS, "published": PUBLISHED, "rows": rows}
