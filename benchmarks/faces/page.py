"""The page docs/faces.md, made of the records in records/faces/, and of nothing else."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks.provenance import ROOT

RECORDS = ROOT / "records" / "faces"
GOALS = {"dodge": "Dodging", "impersonate": "Impersonation"}
SERVICES = {"square": "Square", "hopskipjump_linf": "HopSkipJump in Linf", "hopskipjump_l2": "HopSkipJump in L2"}
HEAD = """# Face verification on real faces, measured

Made of `records/faces/`, and of nothing else, by the scripts in `benchmarks/faces/` that are named with each result.
Brackets hold Clopper-Pearson intervals of 95 %.

```python
verifier = sp.zoo.load_model("zoo:face-dlib").target  # sparring zoo get face-dlib face-faceres orl-faces
images, persons = sp.load_data("zoo:orl-faces").tensors()
template = verifier.enroll(images[:1])  # finds the face, aligns it, embeds it
goal = sp.goals.Dodge(template, threshold=-0.5, metric=verifier.metric)
outcome = sp.run(sp.attacks.PGD(sp.Linf(4 / 255)), verifier, goal, images[1:2])
```

`sp.Verifier(embedder, size)` puts any embedding network in its place. Landmarks are found by BlazeFace in each image
that is asked about, or given as `context=Scene(landmarks=...)`; the square around them is cut out differentiably
(`transforms.AlignFace`), and no gradient goes through the detector. Nets that were trained on faces turned upright are
given their `template=`, the places of eyes and mouth. Embeddings are compared by their cosine or by their
distance with its sign reversed, so that higher is always more alike. `sp.error_rates` has the rest: `compare_all`,
`Comparisons.curve` (ROC and DET), `equal_error_rate`, `calibrate_threshold`, `ScoreMap`, `identify`.
`Restricted(verifier, "decisions")` and `targets.PublishedScores(verifier, scores)` are services of yes and no, and of
whole numbers from 0 to 100.

## The networks are those of TensorFlow.js

The same input, through TensorFlow.js {tfjs} on its CPU backend and through our torch modules. Weights come out of npm
packages: 8 bits (face-dlib), float16 (faceres, centernet), float32 (blazeface, mobileface).

"""
SETUP = """
## Error rates, nobody attacked

The ORL faces: {persons} persons, ten gray pictures of each, {found} of {pictures} found by the detector, so
{genuine:,} genuine comparisons and {impostor:,} of impostors. Thresholds are calibrated on persons 1 to 30; the false
accepts beside them are on those. *On others* is what they do on 31 to 40, who are attacked below. Comparisons share
pictures, and the intervals, which take them as independent, are narrower than the truth. The ORL faces are easy
(frontal, one studio): on others these nets make more errors.

"""
ATTACKS = """
## Attacks

{probes} persons, one picture of each against the enrolled picture of the same (dodging) or of another person
(impersonation), at the threshold of a false accept rate of 1 %. PGD of {steps} steps, white box, gray perturbations.
Two attacks: with the landmarks of the *clean* picture, or through the detector, which looks for the face *anew* in
each query; each keeps the example of the highest margin. *Attack* is success as the attack itself has it. *Deployed*:
rounded to 8 bits, the face looked for anew; a face that is not found is no success (there were {not_found}). *Noise*:
random signs of the same size, deployed. *Score*: the mean of 0 to 100, deployed, of the second attack, with 60 at the
threshold (at Linf 0 of the pictures themselves); the map is ours, and each verifier has its own, so that scores of
two verifiers cannot be compared. *On the other*: success of the second attack's examples on the other verifier,
deployed but for the rounding.

"""
ALIGNMENT = """
## Alignment

The equal error rate of all pairs by where the face is put: an upright square around eyes and mouth, or turned, shifted
and scaled so that they come to the places of a template. In bold what the zoo gives the net.

"""
PICTURE = """
![A pair of pictures before an attack and after, on two verifiers](faces.png)

One pair, scores as deployed, by PGD of {steps} steps through the detector: with the enrolled picture on the left, and
with its own original. The face is one of the ORL database of AT&T Laboratories Cambridge.

"""
SMALLEST = """
## The smallest perturbation

The smallest L2 that takes a pair across the threshold of a false accept rate of 1 %, for each of {persons} persons: the
smaller of what {attacks} find, white box, gray, landmarks of the clean picture, pixels in [0, 1], {sites:,} of them (a
change of 1/255 in all of them has an L2 of {unit:.2f}). These lie on the threshold, and rounding to 8 bits may take one
back. *Noise*: Gaussian noise of the same length, {draws} draws for each.

"""
BLACK_BOX = """
## Black box

A service answers whole numbers from 0 to 100 (Square, Linf 8/255) or yes and no (HopSkipJump, the smallest Linf), and
is asked {queries:,} times for each person, with the landmarks of the clean picture. *Success* is that at Linf 8/255, as
the service has it. *Deployed*: the same examples rounded to 8 bits, the face looked for anew. These attacks end on the
threshold, where that takes many of them back. Sizes are those of the examples that were found. HopSkipJump begins at a
picture of another person, or for impersonation at another picture of the target.

"""
TRANSFER = """
## Transfer

Examples made on one verifier, or on the two others together (`Ensemble(fuse="losses")`: each by its own template and
threshold), tried on each at its threshold of a false accept rate of 1 %, landmarks of the clean picture. Ten steps,
gray, the example of the highest loss; MI momentum, TI a kernel of 7 pixels, DI resizing and padding. Persons on whom a
verifier has met the goal already are left out.

"""


def page() -> str:
    """The page, of all records that are there."""
    record = json.loads((RECORDS / "verification.json").read_text())
    parity = json.loads((RECORDS / "tfjs.json").read_text())
    parts = [HEAD.replace("{tfjs}", parity["tfjs"]["tfjs"])]
    rows = [
        [model, f"`{name}`", f"{one['largest_difference']:.1e}", f"{one['largest']:.3g}"]
        for model, outputs in parity["models"].items()
        for name, one in outputs.items()
    ]
    parts.append(table(["network", "output", "largest difference", "largest number"], rows))
    first = next(iter(record.values()))
    lost = sum(
        one["not_found"] for entry in record.values() for rows in entry["goals"].values() for one in parts_of(rows)
    )
    parts.append(filled(SETUP.format(persons=first["pictures"] // 10, **first)))
    parts.append(rates(record))
    parts.append(filled("\n" + unseen(record)))
    parts.append(filled(ATTACKS.format(not_found=lost or "none", **first)))
    for name, entry in record.items():
        parts += [f"{GOALS[word]}, `zoo:{name}`:\n\n{attacks(rows)}\n" for word, rows in entry["goals"].items()]
    parts.append(measured_by(record.values()))
    parts += [picture(), alignment(), smallest(), black_box(), transfer()]
    return "".join(parts)


def kept(name: str) -> dict[str, Any]:
    """A record that may not be there yet."""
    path = RECORDS / name
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def measured_by(entries: Iterable[dict[str, Any]]) -> str:
    """The commands and commits of measurements, each once, and their machine."""
    known: dict[str, None] = {}
    for entry in entries:
        known[f"`{entry['command']}` at commit `{entry['commit'][:12]}` on {entry['date'][:10]}"] = None
        machine = f"one core of {entry['cpu']}, torch {entry['versions']['torch']}"
    return filled(f"\nMeasured by {', '.join(known)}; {machine}.")


def picture() -> str:
    record = kept("picture.json")
    return filled(PICTURE.format(**record)).rstrip("\n") + "\n" + measured_by([record]) if record else ""


def alignment() -> str:
    record = kept("alignment.json")
    if not record:
        return ""
    words = list(next(iter(record.values()))["alignments"])
    rows = []
    for name, entry in record.items():
        shown = {word: f"{100 * one['rate']:.2f} %" for word, one in entry["alignments"].items()}
        own = {word: one["own"] for word, one in entry["alignments"].items()}
        rows.append([f"`zoo:{name}`", *(f"**{shown[word]}**" if own[word] else shown[word] for word in words)])
    return filled(ALIGNMENT) + table(["verifier", *words], rows) + measured_by(record.values())


def smallest() -> str:
    record = kept("smallest.json")
    if not record:
        return ""
    first = next(iter(record.values()))["goals"]["dodge"]
    steps = re.findall(r"steps=(\d+)", next(iter(first["attacks"].values()))["attack"])[0]
    attacks = f"{' and '.join(first['attacks'])} of {steps} steps"
    sites = 112 * 92
    about = SMALLEST.format(
        persons=len(first["smallest"]),
        attacks=attacks,
        sites=sites,
        unit=sites**0.5 / 255,
        draws=first["noise"]["draws"],
    )
    head = ["verifier", "goal", "smallest", "a quarter within", "half", "three quarters", "all", "noise", "its score"]
    rows = []
    for name, entry in record.items():
        for word, one in entry["goals"].items():
            lengths = one["smallest"]
            marks = [lengths[0], *(lengths[-(-len(lengths) * part // 4) - 1] for part in (1, 2, 3, 4))]
            noise = [percent(one["noise"]["success"]), f"{one['noise']['score']:.0f}"]
            rows.append([f"`zoo:{name}`", GOALS[word].lower(), *(f"{mark:.2f}" for mark in marks), *noise])
    return filled(about) + table(head, rows) + measured_by(record.values())


def black_box() -> str:
    record = kept("black_box.json")
    if not record:
        return ""
    head = [
        "verifier",
        "goal",
        "service, attack",
        "persons",
        "success",
        "median queries",
        "median L2",
        "median Linf",
        "deployed",
    ]
    rows, entries = [], []
    for name, entry in record.items():
        for word, one in entry.items():
            attack, _, goal = word.partition("/")
            queries = "" if one["median_queries"] is None else f"{one['median_queries']:,.0f}"
            sizes = [median(one["l2"]), 255 * median(one["linf"])] if one["l2"] else [math.nan] * 2
            moved = [f"{sizes[0]:.2f}", f"{sizes[1]:.1f}/255"]
            row = [f"`zoo:{name}`", GOALS[goal].lower(), f"{one['service']}, {SERVICES[attack]}", str(one["persons"])]
            rows.append([*row, percent(one["success"]), queries, *moved, percent(one["deployed"]["success"])])
            entries.append(one)
    about = BLACK_BOX.format(queries=entries[0]["queries"])
    return filled(about) + table(head, rows) + measured_by(entries)


def transfer() -> str:
    record = kept("transfer.json")
    if not record:
        return ""
    parts = [filled(TRANSFER)]
    cells = {tuple(cell.split("/")): one for cell, one in record.items()}
    for levels, word in sorted({(int(levels), word) for _, levels, word in cells}):
        rows = []
        for (attack, size, goal), one in cells.items():
            if (int(size), goal) != (levels, word):
                continue
            for made, shares in zip(one["rows"], one["success"], strict=True):
                rows.append([made, attack, *map(percent, shares)])
        rows.sort(key=lambda row: [one["rows"].index(row[0]), row[1]])
        persons, columns = one["persons"], [f"on {name}" for name in one["columns"]]
        title = f"{GOALS[word]} at Linf {levels}/255, {persons} persons:\n\n"
        parts.append(f"{title}{table(['made on', 'by', *columns], rows)}\n")
    return "".join(parts).rstrip("\n") + "\n" + measured_by(record.values())


def parts_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The attacks of the rows."""
    return [row[word] for row in rows[1:] for word in ("fixed", "searched")]


def rates(record: dict[str, Any]) -> str:
    rows = []
    for name, entry in record.items():
        equal = entry["equal_error_rate"]
        both = [f"{100 * equal['rate']:.2f} %"] * 2
        rows.append([f"`zoo:{name}`", "equal error rate, all", f"{equal['threshold']:.3f}", *both])
        for one in entry["thresholds"]:
            rows.append(["", f"FAR {one['requested']:g}", f"{one['value']:.3f}", percent(one["false_accept"]), ""])
            rows.append(["", "on others", f"{one['value']:.3f}", *errors(one["unseen"])])
        if entry["published"]:
            rows.append(
                ["", "as published, all", f"{entry['published']['threshold']:.3f}", *errors(entry["published"])]
            )
    return table(["verifier", "at", "threshold", "false accepts", "false rejects"], rows)


def unseen(record: dict[str, Any]) -> str:
    """Whether a threshold keeps what its interval promises, on other persons."""
    said = []
    for name, entry in record.items():
        one = entry["thresholds"][0]
        known, other = one["false_accept"], one["unseen"]["false_accept"]
        holds = "within" if known["low"] <= other["value"] <= known["high"] else "outside"
        said.append(f"`zoo:{name}` {100 * other['value']:.2f} % ({holds} the interval)")
    return (
        f"Of impostors among other persons a threshold calibrated at 1 % accepts: {', '.join(said)}. Persons differ, "
        "and thirty of them are few; calibrate on as many as the claim is to hold for."
    )


def errors(one: dict[str, Any]) -> list[str]:
    return [percent(one["false_accept"]), percent(one["false_reject"])]


def attacks(rows: list[dict[str, Any]]) -> str:
    others = list(rows[-1]["transfer"])
    head = ["Linf", "attack, clean", "deployed", "attack, anew", "deployed", "noise", "score"]
    clean = ["0", "", percent(rows[0]["success"]), "", "", "", f"{rows[0]['score']:.0f}"]
    lines = [clean + [""] * len(others)]
    for row in rows[1:]:
        both = [percent(row[word][part]) for word in ("fixed", "searched") for part in ("as_attacked", "success")]
        moved = [percent(row["transfer"][name]) for name in others]
        score = f"{row['searched']['score']:.0f}"
        lines.append([f"{row['eps']}/255", *both, percent(row["control"]["success"]), score, *moved])
    return table([*head, *(f"on {name}" for name in others)], lines)


def percent(one: dict[str, Any]) -> str:
    small = one["of"] > 1000
    digits = 2 if small else 0
    ends = f"[{100 * one['low']:.{digits}f}, {100 * one['high']:.{digits}f}]"
    return f"{100 * one['value']:.{digits}f} % {ends}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(paragraphs: str) -> str:
    """Paragraphs at the width of the other pages, with the empty lines around them that they have."""
    before = "\n" * (len(paragraphs) - len(paragraphs.lstrip("\n")))
    parts = paragraphs.strip("\n").split("\n\n")
    lines = "\n\n".join(part if part.startswith("#") else textwrap.fill(part, 120) for part in parts)
    return before + lines + ("\n\n" if paragraphs.endswith("\n\n") else "\n")
