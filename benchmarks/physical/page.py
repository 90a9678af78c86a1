"""The page docs/physical-results.md, made of records/physical/*.json, and of nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.faces.page import filled, percent, table
from benchmarks.provenance import ROOT
from sparring.intervals import cluster_bootstrap
from sparring.physical.destruction import values_of

PAGE, PICTURES, RECORDS = ROOT / "docs" / "physical-results.md", ROOT / "docs", ROOT / "records" / "physical"
Found = dict[str, Any]
HEAD = """# Attacks on paper, judged through cameras that they were not made for

Made by `python -m benchmarks.physical.destruction`, `.hats`, `.signs` and `.detectors` of `records/physical/`, and of
nothing else. Nothing here was printed: all of it is simulation, and what a simulated camera undoes says how much of an
attack can be claimed, not how much a real one does. Attacks are optimised through one family of printers, placements
and cameras (`optimization_family`), and judged through another, with which it shares no mechanism (`held_out_family`).
The result is that of the held-out family. Artifacts are exported as PNG of 8 bits and read again before they are
judged. Brackets hold 95 % intervals by a bootstrap over pictures, scenes or persons; where all came out one way, those
of Clopper-Pearson.

```python
from sparring.physical import export_pdf, export_png, held_out_family, judge_physical

printed = export_png("sticker.png", image, width_mm=120)
export_pdf("sticker.pdf", printed)  # true size, with markers and a strip of colours; print it at 100 %
judged = judge_physical(printed, model, goal, scenes, fitted_through=chain, held_out=held_out_family(anchor))
print(judged)
judged.save("sticker.json")
```

A photograph of the printed sheet is read again by `physical.read_photograph("IMG_0001.jpg", sheet)`: it finds the
four markers, undoes perspective and uneven light, cuts the artifact out, and gives the colours of the strip as the
camera has them. Recipes are in `sparring.physical.recipes`: `eot_image`, `rp2`, `advhat`, `glasses`.

"""


def text() -> str:
    """The page, of the records that there are."""
    parts = {"destruction": destruction, "hats": hats, "signs": signs, "detectors": detectors}
    made = [HEAD]
    for name, part in parts.items():
        file = RECORDS / f"{name}.json"
        if file.exists():
            record = json.loads(file.read_text())
            made.append(part(record) + filled(f"\n{source(record)}\n\n"))
    return "".join(made).rstrip("\n") + "\n"


def source(record: Found) -> str:
    """Where the numbers of a section come from."""
    return (
        f"Measured by `{record['command']}` at commit `{record['commit'][:12]}`, {record['date'][:10]}; one core of "
        f"{record['cpu']}, torch {record['versions']['torch']}."
    )


def share(one: Found) -> str:
    """A share with its interval, in per cent."""
    return "none" if one["value"] is None else percent(one)


def destruction(record: Found) -> str:
    """C19."""
    intro = f"""## What the camera undoes (Kurakin et al. 2016)

{record["pictures"]} labelled ImageNet pictures that EfficientNet-Lite0 has right, printed whole and photographed
{record["captures"]} times at each severity. FGSM, BIM and PGD ({record["steps"]} steps) know of no camera; EOT is PGD
of as many steps through the optimisation family, {record["eot_draws"]} draws each. *Digital*: share that is wrong,
rounded to 8 bits. *Destroyed*: of those, the share that is right again through the held-out camera, as the paper counts
it. *Paired*: the same, where the clean picture is right through the very same capture. *Wrong*: where the clean picture
is right, the share that is wrong; against random signs of the same size (noise) it says what is the attack's own work.

"""
    clean = ", ".join(f"{share(one)} at severity {one['severity']:g}" for one in record["clean"])
    rows = [
        [f"{row['eps']}/255", row["attack"], f"{100 * row['digital']:.0f} %", f"{row['severity']:g}",
         share(row["paper"]), share(row["paired"]), share(row["wrong_through"])]
        for row in record["rows"]
    ]  # fmt: skip
    lines = table(["Linf", "attack", "digital", "severity", "destroyed", "paired", "wrong"], rows)
    return filled(intro) + filled(f"Clean pictures right through the camera: {clean}.\n\n") + lines + claim_c19(record)


def claim_c19(record: Found) -> str:
    """Whether the camera weakens attacks and EOT wins some of it back, in words."""
    plain = [row for row in record["rows"] if row["attack"] in ("FGSM", "BIM", "PGD") and row["paired"]["of"]]
    weaker = [row for row in plain if row["paired"]["low"] > 0]
    gains = record["gains"]
    won = [one for one in gains if one["eot_over_pgd"]["low"] > 0]
    lost = [one for one in gains if one["eot_over_pgd"]["high"] < 0]
    told = ", ".join(
        f"{100 * one['eot_over_pgd']['value']:+.0f} [{100 * one['eot_over_pgd']['low']:+.0f}, "
        f"{100 * one['eot_over_pgd']['high']:+.0f}] at {one['eps']}/255 and severity {one['severity']:g}"
        for one in gains
    )
    first = (
        f"That the camera weakens an attack: the paired destruction rate of FGSM, BIM and PGD is above 0, its interval "
        f"too, in {len(weaker)} of {len(plain)} cases."
    )
    second = (
        f"That EOT wins some of it back: it is wrong more often than PGD through the same captures, its interval above "
        f"0, in {len(won)} of {len(gains)} cases, and less often in {len(lost)} (points of per cent: {told})."
    )
    return filled(f"\n{first} {second}\n")


def views(rows: list[Found]) -> tuple[list[str], list[str]]:
    """Kinds and views of a judgement, in order."""
    return list(dict.fromkeys(row["kind"] for row in rows)), list(dict.fromkeys(row["view"] for row in rows))


def hats(record: Found) -> str:
    """C23."""
    persons = record["persons"]
    steps = " and ".join(f"{count} steps of 1/{round(1 / size)}" for count, size, _ in record["stages"])
    many = f"{len(persons)} persons" if len(persons) > 1 else "One person"
    intro = f"""## A sticker on the forehead (AdvHat, Komkov & Petiushko 2019)

{many} of the ORL faces against `zoo:face-dlib`, one sticker for each person and goal: {steps}, far fewer than the
paper's. Fitted to {record["fitted_to"]} pictures of the person, judged on {record["judged_on"]} others, the face looked
for anew in each image. The threshold is that of a false accept rate of 1 %. The second number is the mean margin: for
dodging the threshold less the similarity, for impersonation the reverse; the goal is met above 0.

"""
    made = filled(intro)
    ends = {}
    for goal, word in (("dodge", "Dodging"), ("impersonate", "Impersonation")):
        kinds, seen = views(next(iter(persons.values()))[goal]["rows"])
        lines = []
        for kind in kinds:
            cells = [kind]
            for view in seen:
                every = (one for each in persons.values() for one in each[goal]["rows"])
                rows = [one for one in every if (one["kind"], one["view"]) == (kind, view)]
                both = np.array([one["success"]["value"] for one in rows]), np.ones(len(rows))
                over = values_of(cluster_bootstrap(*both, np.arange(len(rows))))
                margin = float(np.mean([one["margin"] for one in rows]))
                cells.append(f"{share(over)}, {margin:+.2f}")
                ends[goal, kind, view] = over
            lines.append(cells)
        made += f"{word}:\n\n{table(['paper', *seen], lines)}\n"
    easy, hard = (ends[goal, "artifact", seen[-1]] for goal in ("dodge", "impersonate"))
    gaps = np.array([held(each, "dodge", seen[-1]) - held(each, "impersonate", seen[-1]) for each in persons.values()])
    drawn = np.random.default_rng(0).integers(len(gaps), size=(2000, len(gaps)))
    low, high = np.quantile(gaps[drawn].mean(1), (0.025, 0.975))
    verdict = "it is" if low > 0 else "it is the other way round" if high < 0 else "these persons do not show it"
    verdict += f" (difference {100 * gaps.mean():+.0f} [{100 * low:+.0f}, {100 * high:+.0f}] points, person by person)"
    faces = ", ".join(f"`{line}`" for line in ("as photographed", "digital", "same family", "held out"))
    return (
        made
        + filled(
            f"Is dodging far easier than impersonation? Through the held-out camera {share(easy)} against "
            f"{share(hard)}: {verdict}.\n\n"
        )
        + "![faces with stickers](physical-hats.png)\n\n"
        + filled(
            f"Above dodging, below impersonation; from the left {faces}. The faces are of the ORL database of AT&T "
            "Laboratories Cambridge.\n"
        )
    )


def held(person: Found, goal: str, view: str) -> float:
    """The share of a person's pictures in which the artifact succeeds."""
    rows = person[goal]["rows"]
    return next(row["success"]["value"] for row in rows if (row["kind"], row["view"]) == ("artifact", view))


def signs(record: Found) -> str:
    """RP2."""
    intro = f"""## Stickers on a stop sign (RP2, Eykholt et al. 2018)

A drawn stop sign before photographs, against EfficientNet-Lite0. Stickers on {100 * record["area"]:.0f} % of it, where
a sparse attack of {record["mask_steps"]} steps changes it most, are to make it a parking meter: {record["steps"]} steps
over {record["scenes_per_question"]} of {record["fitted_scenes"]} scenes each. Judged in other scenes. *Nothing* is the
sign without stickers; the controls fill the stickers alone. Untargeted success is any class but `street sign`, which
the network often misses by itself: what the control *nothing* has there is no attack.

"""
    made = filled(intro)
    for word, one in record["judged"].items():
        kinds, seen = views(one["rows"])
        cells = {(row["kind"], row["view"]): row for row in one["rows"]}
        lines = [[kind, *(share(cells[kind, view]["success"]) for view in seen)] for kind in kinds]
        if word == "untargeted":
            lines.append(["artifact, paired", *(share(cells["artifact", view]["paired"]) for view in seen)])
        made += f"{word.capitalize()}:\n\n{table(['stickers', *seen], lines)}\n"
    cells = {(row["kind"], row["view"]): row["success"] for row in record["judged"]["targeted"]["rows"]}
    same, judged = (cells["artifact", view] for view in ("same family", "held out x1"))
    highest = max(one["value"] for (kind, _), one in cells.items() if kind != "artifact")
    made += filled(
        f"Through the camera that the stickers were made with they succeed in {share(same)}, through the held-out one "
        f"in {share(judged)}; controls in {100 * highest:.0f} % at most. The first figure is the one that a simulation "
        "alone would claim.\n\n"
    )
    return (
        made
        + "![signs](physical-signs.png)\n\n"
        + filled("Above the plain sign, below with stickers; left digital, right through the held-out camera.\n")
    )


def detectors(record: Found) -> str:
    """P7."""
    intro = f"""## Detectors behind a camera

{record["deceiving"]} adversarial digits ({record["attack"].split("(")[0]} at Linf 0.2) and {record["test"]} clean ones
against `zoo:mnist-plain`, digitally and captured. Detectors are fitted and their thresholds set on digital digits, at
{100 * record["fpr"]:.0f} % false alarms. *Again*: with a threshold set on captured clean digits.

"""
    first = [[one["view"], share(one["clean_right"]), share(one["still_wrong"])] for one in record["views"]]
    rows = [
        [one["detector"], one["view"], area(one["auroc"]),
         *(share(one[name]) for name in ("false_alarms", "detected", "false_alarms_again", "detected_again"))]
        for one in record["detectors"]
    ]  # fmt: skip
    head = ["detector", "seen", "AUROC", "false alarms", "detected", "false alarms again", "detected again"]
    return filled(intro) + table(["seen", "clean right", "adversarial still wrong"], first) + "\n" + table(head, rows)


def area(one: Found) -> str:
    """An area under a ROC curve with its interval."""
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
