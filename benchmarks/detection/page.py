"""The page docs/detection-results.md, made of records/detection, and its picture, of the examples in runs/detection.

python -m benchmarks.detection.page [--pictures]
"""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from PIL import Image

from benchmarks.detection.digital import RECORD as DIGITAL
from benchmarks.detection.digital import RUNS
from benchmarks.detection.person_patch import RECORD as PATCH
from benchmarks.detection.photographs import NAMES, PUBLIC, detector, drawn, photographs, rounded
from benchmarks.provenance import ROOT
from sparring.intervals import wilson
from sparring.storage import read_tensors
from sparring.zoo.coco_classes import COCO_CLASSES

PAGE, PICTURE = ROOT / "docs" / "detection-results.md", ROOT / "docs" / "detection.png"
RADIUS = 2
HEAD = """# Persons and object detectors, measured

Made by `python -m benchmarks.detection.page` of `records/detection/`, and of nothing else. Brackets hold intervals of
Wilson of 95 %; persons of one photograph are not independent, so that the truth is wider.

Eight photographs with 24 persons: two of scikit-image, and six of groups that come with face-api.js. The boxes of the
persons were drawn by eye (`benchmarks/detection/persons.json`). Detectors are those of the zoo, as they come out of
their packages: CenterNet on a MobileNetV3 at 512 pixels (threshold 0.3) and NanoDet-m at 416 (0.35). Few photographs
and two small detectors: these are no figures of detectors in general.

## Attacks on the pixels

The goal is that no anchor on any person of the photograph reaches the threshold as a person. Each example is rounded to
8 bits and goes through the detector anew, with its suppression. *Lost* are persons that no detection of a person
overlaps by one half. *AP50* is the average precision of persons at that overlap. *Random signs* of the same size are
the control; *on the other* detector the same examples.

"""
PATCH_HEAD = """
## A patch on a person

A patch with a side of 0.2 of the diagonal of the person's box (Thys et al. 2019), optimised through a chain that
prints, places and captures it, on {seen} persons of four photographs, and judged on these and on {new} persons of four
others. It is pasted as it is; goes through the same chain, with other draws; and through a chain that has no mechanism
in common with it (a thin-plate spline as of cloth, lens and sensor). Only the last says something about another camera.
A number without those of the controls in its row says nothing: a patch of any kind hides part of a person.

"""
PUBLISHED = """
For comparison: the abstract of Ad-YOLO (Ji et al. 2021) says that a white-box patch of this kind leaves YOLOv2 an
average precision of 33.93 % on INRIA. YOLOv2 has an objectness; these detectors have none, so that "cls" is what is
left to climb.
"""


def text(digital: dict[str, Any], patch: dict[str, Any]) -> str:
    """The page."""
    parts = [HEAD]
    if PICTURE.exists():
        parts.append(
            f"![Persons found before, and nothing of them after PGD at Linf {RADIUS}/255]({PICTURE.name})\n\n"
            f"*Left as photographed, right after PGD at Linf {RADIUS}/255; boxes are what CenterNet finds, red where\n"
            "it is a person. Photographs: scikit-image.*\n\n"
        )
    for key, entry in digital.items():
        parts.append(digital_table(key, entry))
    for key, entry in patch.items():
        parts.append(patch_table(key, entry))
    return "".join(parts)


def lost(judged: dict[str, Any]) -> str:
    rate = judged["rates"][0]
    gone = judged["persons"] - rate["found"]
    low, high = wilson(gone, judged["persons"])
    return f"{gone} of {judged['persons']} [{100 * low:.0f}, {100 * high:.0f}]"


def digital_table(key: str, entry: dict[str, Any]) -> str:
    kind, name = key.split()
    (other,) = [one for one in NAMES if one != name]
    effort = f"PGD, {entry['steps']} steps" if kind == "pgd" else f"Square, up to {entry['steps']:,} queries"
    clean = entry["clean"]
    lines = [
        f"**{name}, {effort}** ({len(entry['photographs'])} photographs)\n",
        f"| Linf | persons lost | AP50 | goal met | lost by random signs | AP50 | lost on {other} | AP50 |",
        f"|{'---|' * 8}",
        f"| 0 | {lost(clean)} | {clean['ap50']:.3f} | | | | | |",
    ]
    for radius, one in entry["radii"].items():
        theirs = one["transferred"][other]
        won = one["success_after_rounding"]
        lines.append(
            f"| {radius}/255 | {lost(one['attacked'])} | {one['attacked']['ap50']:.3f} | {sum(won)} of {len(won)} | "
            f"{lost(one['random_signs'])} | {one['random_signs']['ap50']:.3f} | {lost(theirs)} | {theirs['ap50']:.3f} |"
        )
    if kind == "square":
        for radius, one in entry["radii"].items():
            asked = ", ".join(f"{n:,}" if n >= 0 else "none" for n in one["queries_to_success"])
            lines.append(f"\nQueries to the first success at {radius}/255, by photograph: {asked}.")
    return "\n".join(lines) + "\n\n" + source(entry) + "\n\n"


def share(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['missed']} of {one['of']} [{100 * low:.0f}, {100 * high:.0f}], {one['ap50']:.2f}"


def patch_table(key: str, entry: dict[str, Any]) -> str:
    variant, name = key.split()
    head = PATCH_HEAD.format(**entry["persons"]) if variant == "person" else "\n"
    artefacts = list(next(iter(entry["judged"].values())))
    lines = [
        f"**{name}, {variant}**: {entry['steps']} steps of {entry['scenes_per_step']} scenes; persons missed, AP50\n",
        f"| | persons | nothing | {' | '.join(artefacts)} |",
        f"|{'---|' * (len(artefacts) + 3)}",
    ]
    rows = {**entry["judged"], **{f"held out, on {other}": one for other, one in entry.get("transfer", {}).items()}}
    for chain, judged in rows.items():
        for word in ("seen", "new"):
            nothing = share(entry["without"][word]) if name not in chain and "on " not in chain else ""
            cells = [share(judged[artefact][word]) if artefact in judged else "" for artefact in artefacts]
            lines.append(f"| {chain} | {word} | {nothing} | {' | '.join(cells)} |")
    unchanged = "are the same" if entry["victim_unchanged"] else "HAVE CHANGED"
    after = f"\nParameters and buffers of the victim {unchanged} before and after (SHA-256).\n"
    after = overlap(entry["judged"]["held out"]) + after
    beside = PUBLISHED if variant == "person" else ""
    return head + "\n".join(lines) + "\n" + after + "\n" + source(entry) + "\n" + beside


def overlap(judged: dict[str, Any]) -> str:
    """Whether the patch and its controls can be told apart in the last chain, on persons of both kinds."""
    told = []
    for word in ("seen", "new"):
        lowest = judged["patch"][word]["interval"][0]
        highest = max(one[word]["interval"][1] for artefact, one in judged.items() if artefact != "patch")
        apart = "beyond those of all controls" if lowest > highest else "not beyond those of all controls"
        told.append(f"on persons that are {word} the interval is {apart}")
    return f"\nThrough the chain that was held out, {' and '.join(told)}. The optimisation was short.\n"


def source(entry: dict[str, Any]) -> str:
    told = (
        f"`{entry['command']}` at commit `{entry['commit'][:12]}`, {entry['date']}; one core of {entry['cpu']}, torch "
        f"{entry['versions']['torch']}."
    )
    return textwrap.fill(told, 120, break_long_words=False, break_on_hyphens=False)


def pictures() -> None:
    """Draw what CenterNet finds before and after in the photographs that may be shown."""
    target = detector("centernet")
    rows = []
    for photo in photographs(PUBLIC):
        held, _ = read_tensors(RUNS / f"pgd-centernet-{photo.name}-{RADIUS}.safetensors", "")
        pair = (photo.image, rounded(held["example"]))
        rows.append([drawn(one, target.detect(one), COCO_CLASSES).resize((320, 320)) for one in pair])
    sheet = Image.new("RGB", (320 * 4 + 30, 320), "white")
    for place, picture in enumerate(one for row in rows for one in row):
        sheet.paste(picture, (330 * place, 0))
    sheet.quantize(255).save(PICTURE, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", action="store_true", help="draw the picture anew")
    if parser.parse_args().pictures:
        pictures()
    digital, patch = (json.loads(path.read_text()) if path.exists() else {} for path in (DIGITAL, PATCH))
    PAGE.write_text(text(digital, patch))


if __name__ == "__main__":
    main()
