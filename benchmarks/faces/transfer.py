"""Transfer between three face verifiers: iterations, momentum, TI and DI, and ensembles of the two others (C2, C23).

    python -m benchmarks.faces.transfer

Examples are made on each net, and on the two others together (`Ensemble(fuse="losses")`, each by its own template and
threshold), and tried on each; ten steps, landmarks of the clean picture, persons on whom no net has met the goal. What
is done stays in records/faces/transfer.json; `--again` measures anew.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

import sparring as sp
from benchmarks.faces.page import page
from benchmarks.faces.setting import ALL_NAMES, PAGE, RECORDS, kept, setting, share_of
from benchmarks.provenance import provenance
from sparring.access import Attack
from sparring.attacks import BIM, MIFGSM, InputDiversity, TransferAttack, TranslationInvariance
from sparring.targets import Ensemble
from sparring.transfer import leave_one_out, transfer_matrix

RECORD = RECORDS / "transfer.json"
RADII, STEPS, KERNEL = (16, 8), 10, 7


def attacks(ball: sp.Linf) -> dict[str, Attack[Any, Any]]:
    """The attacks by their names in the field."""
    momentum = MIFGSM(ball, steps=STEPS)
    return {
        "MI": momentum,
        "TI-DI-MI": TransferAttack(momentum, TranslationInvariance(KERNEL), InputDiversity()),
        "I-FGSM": BIM(ball, steps=STEPS),
        "DI-MI": TransferAttack(momentum, InputDiversity()),
        "TI-MI": TransferAttack(momentum, TranslationInvariance(KERNEL)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["I-FGSM", "MI", "TI-DI-MI"], metavar="ATTACK")
    parser.add_argument("--again", action="store_true", help="also cells that are done")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = kept(RECORD)
    settings = {name: setting(name) for name in ALL_NAMES}
    nets = {name: one.target for name, one in settings.items()}
    first = settings[ALL_NAMES[0]]
    for levels in RADII:
        for name in given.names:
            for word in first.goals:
                cell = f"{name}/{levels}/{word}"
                if cell in record and not given.again:
                    continue
                began, attack = time.perf_counter(), attacks(sp.Linf(levels / 255))[name]
                goals = {net: one.goals[word] for net, one in settings.items()}
                alone = transfer_matrix(nets, nets, attack, goals, first.images, context=first.scene)
                both = leave_one_out(nets, Ensemble, attack, goals, first.images, context=first.scene)
                counts = alone.append_rows(both)
                record[cell] = {
                    "attack": repr(attack),
                    "persons": counts.images,
                    "rows": list(counts.rows),
                    "columns": list(counts.columns),
                    "success": [[share_of(fell, counts.images) for fell in row] for row in counts.fell.tolist()],
                    "seconds": time.perf_counter() - began,
                } | provenance(f"python -m benchmarks.faces.transfer {name}", "cpu")
                RECORD.write_text(json.dumps(record, indent=1) + "\n")
                print(cell, counts, flush=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
