"""C10, C14: the zoo's PGD-trained net under the attacks of its kind, and under those of other norms."""

from __future__ import annotations

from typing import Any

from benchmarks.training.measures import attacked, clean, median, pgd40, strongest
from benchmarks.training.nets import Nets
from sparring import Linf
from sparring.access import Attack
from sparring.attacks import EAD, FGSM, CarliniWagner, DecisionRule
from sparring.zoo import load_model

COUNT = 100
FAR: dict[str, Attack[Any, Any]] = {"C&W L2": CarliniWagner(), "EAD L1": EAD(decision_rule=DecisionRule.L1)}
RADII = {"C&W L2": (1.0, 1.5, 2.0), "EAD L1": (5.0, 10.0, 15.0)}
PUBLISHED = {"clean": 0.988, "PGD-40": 0.932, "PGD-100 x 20": 0.893, "the challenge's best": 0.88}


def measure(nets: Nets) -> dict[str, Any]:
    rows = []
    for name in ("zoo:mnist-plain", "zoo:mnist-robust-linf"):
        loaded = load_model(name)
        target: Any = loaded.target
        row: dict[str, Any] = {
            "net": name,
            "sha256": loaded.sha256,
            "clean": clean(target),
            "fgsm": attacked(target, FGSM(Linf(0.3)), 10_000)[0],
            "pgd40": pgd40(target, 0.3, 10_000),
            "auto": strongest(target, Linf(0.3)),
        }
        for word, attack in FAR.items():
            _, found = attacked(target, attack, COUNT)
            within = {f"{radius:g}": float((found.distance > radius).float().mean()) for radius in RADII[word]}
            row[word] = {"success": found.attack_success_rate, "median": median(found), "accuracy_at": within}
        rows.append(row)
        shown = {k: v.get("share", v.get("median")) for k, v in row.items() if isinstance(v, dict)}
        nets.say(f"  {name}: {shown}")
    return {"published": PUBLISHED, "count": COUNT, "rows": rows}
