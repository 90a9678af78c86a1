"""The page docs/faces.md, made of records/faces/verification.json and tfjs.json, and of nothing else."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from benchmarks.provenance import ROOT

PARITY = ROOT / "records" / "faces" / "tfjs.json"
GOALS = {"dodge": "Dodging", "impersonate": "Impersonation"}
HEAD = """# Face verification on real faces, measured

Made by `python -m benchmarks.faces.verification` and `python -m benchmarks.faces.parity` of `records/faces/`, and of
nothing else. Brackets hold Clopper-Pearson intervals of 95 %.

```python
verifier = sp.zoo.load_model("zoo:face-dlib").target       # sparring zoo get face-dlib face-faceres orl-faces
images, persons = sp.load_data("zoo:orl-faces").tensors()
template = verifier.enroll(images[:1])                      # finds the face, aligns it, embeds it
goal = sp.goals.Dodge(template, threshold=-0.5, metric=verifier.metric)
outcome = sp.run(sp.attacks.PGD(sp.Linf(4 / 255)), verifier, goal, images[1:2])
```

`sp.Verifier(embedder, size)` puts any embedding network in its place. Landmarks are found by BlazeFace in each image that
is asked about, or given as `context=Scene(landmarks=...)`; the square around them is cut out differentiably
(`transforms.AlignFace`), and no gradient goes through the detector. Embeddings are compared by their cosine or by their
distance with its sign reversed, so that higher is always more alike. `sp.error_rates` has the rest: `compare_all`,
`Comparisons.curve` (ROC and DET), `equal_error_rate`, `calibrate_threshold`, `ScoreMap`, `identify`.
`Restricted(verifier, "decisions")` and `targets.PublishedScores(verifier, scores)` are services of yes and no, and of
whole numbers from 0 to 100.

## The networks are those of TensorFlow.js

The same input, through TensorFlow.js {tfjs} on its CPU backend and through our torch modules. Weights come out of npm
packages: 8 bits (face-dlib), float16 (faceres, centernet), float32 (blazeface).

"""
SETUP = """
## Error rates, nobody attacked

The ORL faces: {persons} persons, ten gray pictures of each, all {pictures} found by the detector, so {genuine:,} genuine
comparisons and {impostor:,} of impostors. Thresholds are calibrated on persons 1 to 30, and *unseen* is what they do on
31 to 40, who are attacked below. Comparisons share pictures, so the intervals, which take them as independent, are
narrower than the truth. The ORL faces are easy (frontal, one studio): on others these nets make more errors.

"""
ATTACKS = """
## Attacks

{probes} pictures of ten persons against the enrolled picture of the same (dodging) or of another person (impersonation), at
the threshold of a false accept rate of 1 %. PGD of {steps} steps, white box, gray perturbations; the landmarks are those
of the clean picture. *As attacked*: success by those landmarks. *Deployed*: rounded to 8 bits, and the face looked for
anew; a face that is not found is no success (*not found* counts them). *Control*: random signs of the same size,
deployed. *Score*: the mean of 0 to 100, deployed, with 60 at the threshold; the map is ours, and each verifier has its
own: scores of two verifiers cannot be compared. *Other verifier*: success of the same examples on the other one, at its
threshold, deployed but for the rounding.

"""
SERVICE = """
A service that answers whole numbers from 0 to 100 alone, dodging at Linf 8/255 with {queries} queries of Square: {found}.

"""


def text(record: dict[str, Any]) -> str:
    """The page."""
    parity = json.loads(PARITY.read_text())
    parts = [HEAD.format(tfjs=parity["tfjs"]["tfjs-core"] if "tfjs-core" in parity["tfjs"] else parity["tfjs"]["tfjs"])]
    rows = [
        [model, f"`{name}`", f"{one['largest_difference']:.1e}", f"{one['largest']:.3g}"]
        for model, outputs in parity["models"].items()
        for name, one in outputs.items()
    ]
    parts.append(table(["network", "output", "largest difference", "largest number"], rows))
    first = next(iter(record.values()), None)
    if first is None:
        return "".join(parts)
    parts.append(filled(SETUP.format(persons=first["pictures"] // 10, **first)))
    parts.append(rates(record))
    parts.append(filled(ATTACKS.format(**first)))
    for name, entry in record.items():
        for word, each in entry["goals"].items():
            parts.append(f"{GOALS[word]}, `zoo:{name}`:\n\n" + attacks(each) + "\n")
    answered = [f"`zoo:{name}` {percent(entry['service']['success'])}" for name, entry in record.items()]
    parts.append(
        filled(SERVICE.format(queries=first["service"]["queries"], found=", ".join(answered))).rstrip("\n") + "\n"
    )
    commits = ", ".join(f"`{entry['command']}` at commit `{entry['commit'][:12]}`" for entry in record.values())
    parts.append(filled(f"\nMade by {commits}, one core of {first['cpu']}, torch {first['versions']['torch']}.\n"))
    return "".join(parts)


def rates(record: dict[str, Any]) -> str:
    rows = []
    for name, entry in record.items():
        equal = entry["equal_error_rate"]
        rows.append(
            [
                f"`zoo:{name}`",
                entry["metric"],
                "equal error rate",
                f"{equal['threshold']:.3f}",
                *[f"{100 * equal['rate']:.2f} %"] * 2,
            ]
        )
        for one in entry["thresholds"]:
            unseen = one["unseen"]
            cells = [percent(unseen["false_accept"]), percent(unseen["false_reject"])]
            rows.append(["", "", f"FAR {one['requested']:g}, unseen", f"{one['value']:.3f}", *cells])
        if entry["published"]:
            known = entry["published"]
            cells = [percent(known["false_accept"]), percent(known["false_reject"])]
            rows.append(["", "", "as published, all", f"{known['threshold']:.3f}", *cells])
    return table(["verifier", "metric", "at", "threshold", "false accepts", "false rejects"], rows)


def attacks(rows: list[dict[str, Any]]) -> str:
    others = list(rows[-1]["transfer"])
    head = ["Linf", "as attacked", "deployed", "not found", "control", "score", *(f"on {name}" for name in others)]
    lines = [
        [
            "0",
            "",
            percent(rows[0]["success"]),
            str(rows[0]["not_found"]),
            "",
            f"{rows[0]['score']:.0f}",
            *[""] * len(others),
        ]
    ]
    for row in rows[1:]:
        moved = [percent(row["transfer"][name]) for name in others]
        cells = [
            percent(row["attack"]),
            percent(row["success"]),
            str(row["not_found"]),
            percent(row["control"]["success"]),
        ]
        lines.append([f"{row['eps']}/255", *cells, f"{row['score']:.0f}", *moved])
    return table(head, lines)


def percent(one: dict[str, Any]) -> str:
    small = one["of"] > 1000
    digits = 2 if small else 0
    ends = f"[{100 * one['low']:.{digits}f}, {100 * one['high']:.{digits}f}]"
    return f"{100 * one['value']:.{digits}f} % {ends}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(paragraphs: str) -> str:
    """Paragraphs at the width of the other pages."""
    parts = [part if part.startswith(("#", "|")) else textwrap.fill(part, 120) for part in paragraphs.split("\n\n")]
    lead = "\n" if paragraphs.startswith("\n") and not parts[0].startswith("\n") else ""
    return lead + "\n\n".join(part.strip("\n") for part in parts) + ("\n" if not paragraphs.endswith("\n\n") else "")
