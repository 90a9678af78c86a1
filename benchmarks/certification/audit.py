"""What certificates add to an audit of the zoo's digit nets: the bracket of the robust accuracy, and its cost.

    python -m benchmarks.certification.audit [--images 20] [--timeout 5] [--out FILE]

The images are the first of zoo:mnist-heldout, the suite is standard. For each net and radius: images that are right,
that withstand the attacks, that are not broken once branch and bound has searched too, and that are proven, with what
proved them; and seconds of the attacks and of the certificates. Writes records/certification/audit.json.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import sparring as sp
from benchmarks.provenance import ROOT, provenance

RECORD = ROOT / "records" / "certification" / "audit.json"
CASES = (("zoo:mnist-plain", "linf:0.02,0.05"), ("zoo:mnist-robust-linf", "linf:0.1,0.2"))
SEARCH = "branch-and-bound"


def measured(model: str, threat: str, images: int, timeout: float) -> dict[str, Any]:
    """One net at the radii of a threat."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        report = sp.audit(
            model,
            "zoo:mnist-heldout",
            threats=threat,
            limit=images,
            certify=True,
            certify_timeout=timeout,
            out=Path(folder) / "run",
        )
        seconds = time.process_time() - began
    rows = []
    for part in report.threats[0].epsilons:
        found = part.certificates
        assert found is not None
        attacks = [one for one in part.attacks if one.attack != SEARCH]
        rows.append(
            {
                "eps": part.eps,
                "right": report.threats[0].curve[0].robust_accuracy.count,
                "withstand_attacks": images - attacks[-1].fallen_so_far,
                "not_broken": part.robust_accuracy.count,
                "proven": found.proven.count,
                "open": found.open,
                "proven_by": found.methods,
                "median_gap": found.median_gap,
                "attack_seconds": round(sum(one.seconds for one in attacks), 1),
                "certificate_seconds": round(found.seconds, 1),
            }
        )
    return {"model": model, "images": images, "processor_seconds": round(seconds, 1), "radii": rows}


def main() -> None:
    """Measure all cases, and write them after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=RECORD)
    given = parser.parse_args()
    command = f"python -m benchmarks.certification.audit --images {given.images} --timeout {given.timeout:g}"
    record: dict[str, Any] = {**provenance(command, "cpu"), "timeout": given.timeout, "cases": []}
    for model, threat in CASES:
        record["cases"].append(measured(model, threat, given.images, given.timeout))
        print(json.dumps(record["cases"][-1]))
        given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
