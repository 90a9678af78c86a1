"""C23: a sticker on the forehead (AdvHat, Komkov & Petiushko 2019), dodging and impersonating, on the ORL faces.

    python -m benchmarks.physical.hats [--persons N] [--show]

Against zoo:face-dlib, one sticker for each person and goal. Of ten pictures the first is enrolled, four are fitted to,
and five are judged, none of which the fit has seen; the face is looked for anew in each image. The threshold is that of
a false accept rate of 1 % in records/faces/verification.json. Each person that is done is kept in runs/physical/hats/;
a run adds those that are missing. --show measures nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

import sparring as sp
from benchmarks.physical.page import PAGE, PICTURES, text
from benchmarks.provenance import ROOT, provenance
from sparring.goals import Dodge, Impersonate
from sparring.physical import Cylinder, PhysicalChain, held_out_family
from sparring.physical.judging import judge_physical
from sparring.physical.printed import export_png
from sparring.physical.recipes import advhat, advhat_chain, as_deployed
from sparring.physical.recipes.advhat import FOREHEAD
from sparring.random import Key
from sparring.zoo import InputSpec, load_data, load_model

RECORD, RUNS = ROOT / "records" / "physical" / "hats.json", ROOT / "runs" / "physical" / "hats"
MODEL, DATA = "zoo:face-dlib", "zoo:orl-faces"
FACES = ROOT / "records" / "faces" / "verification.json"
FIRST, EACH, FITTED = 30, 10, 4  # persons before them calibrated the threshold; pictures of each; fitted to
LARGER, WIDTH_MM = 2, 120.0
STAGES, SCENES, DRAWS = ((60, 1 / 30, 0.9), (20, 1 / 255, 0.99)), 4, 1
GOALS = ("dodge", "impersonate")


def held_out() -> PhysicalChain:
    """The chain that judges: a sticker around a cylinder, printed with inks, through a camera of other parts."""
    surface = Cylinder(anchor=FOREHEAD, radius=(0.6, 1.2), turn=6.0, pitch=(8.0, 8.0), scale=0.05, shift=0.02, roll=2.0)
    return replace(held_out_family(), placement=surface)


def person(number: int, images: Any, landmarks: Any, verifier: Any, threshold: float, persons: int) -> dict[str, Any]:
    """Both stickers of one person."""
    following = FIRST + (number - FIRST + 1) % 10
    rows = torch.arange(number * EACH, (number + 1) * EACH)
    beside = sp.Scene(images[rows], landmarks=landmarks[rows])
    scenes = [sp.Scene(beside.images[part], landmarks=beside.landmarks[part]) for part in (
        slice(1, 1 + FITTED), slice(1 + FITTED, EACH)
    )]  # fmt: skip
    enrolled = {
        goal: verifier.enroll(images[who * EACH][None], context=sp.Scene(landmarks=landmarks[who * EACH][None]))
        for goal, who in (("dodge", number), ("impersonate", following))
    }
    found: dict[str, Any] = {}
    for word in GOALS:
        kind = Dodge if word == "dodge" else Impersonate
        goals = []
        for part in scenes:
            template = enrolled[word].expand(len(part.images), -1)
            shaped = template if word == "dodge" else template[:, None]
            goals.append(kind(shaped, threshold, metric=verifier.metric))
        start = time.process_time()
        fitted = advhat(
            verifier, goals[0], scenes[0], stages=STAGES, scenes_per_question=SCENES,
            engine=sp.Engine(confirmation_samples=2),
        )  # fmt: skip
        printed = export_png(RUNS / f"{number}-{word}.png", fitted.image, WIDTH_MM)
        judged = judge_physical(
            printed, as_deployed(verifier), goals[1], scenes[1], fitted_through=advhat_chain(), held_out=held_out(),
            n_draws=DRAWS, severities=(1.0,),
        )  # fmt: skip
        print(number, word, f"{time.process_time() - start:.0f} s", judged, sep="\n", flush=True)
        found[word] = {
            "fit": {"success": fitted.success_rate, "forwards": fitted.forwards, "backwards": fitted.backwards},
            "seconds": time.process_time() - start, **judged.values(),
        }  # fmt: skip
        worn = fitted.image.expand(1, -1, -1, -1)
        one = sp.Scene(scenes[1].images[:1], landmarks=scenes[1].landmarks[:1])
        key = Key(torch.zeros(1, dtype=torch.long), 0)
        views = [chain.apply(worn, key, one)[0] for chain in (advhat_chain(severity=0.0), advhat_chain(), held_out())]
        save_picture(RUNS / f"{number}-{word}-worn.png", torch.cat((one.images, *views)))
    return found


def save_picture(path: Path, images: Any) -> None:
    """A row of images (N, 3, H, W) as one PNG."""
    from PIL import Image

    row = torch.cat(tuple(images), 2).clamp(0, 1).mul(255).round().to(torch.uint8)
    Image.fromarray(row.permute(1, 2, 0).contiguous().numpy()).save(path)


def measure(count: int) -> dict[str, Any]:
    """All persons up to `count`; those that are done already are read."""
    RUNS.mkdir(parents=True, exist_ok=True)
    verifier = load_model(MODEL).target
    threshold = json.loads(FACES.read_text())["face-dlib"]["thresholds"][0]["value"]
    gray, _ = load_data(DATA, input=InputSpec(1, 112, 92)).tensors()
    few = gray[FIRST * EACH :]
    large = interpolate(few, scale_factor=LARGER, mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    images = torch.cat((torch.zeros(FIRST * EACH, *large.shape[1:]), large))
    landmarks = torch.zeros(len(images), 3, 2)
    everyone: dict[str, Any] = {}
    for number in range(FIRST, FIRST + count):
        kept = RUNS / f"{number}.json"
        if not kept.exists():
            for who in (number, FIRST + (number - FIRST + 1) % 10):
                rows = torch.arange(who * EACH, (who + 1) * EACH)
                with torch.no_grad():
                    landmarks[rows] = verifier.parts[0].detector(images[rows])[0]
            kept.write_text(json.dumps(person(number, images, landmarks, verifier, threshold, count)))
        everyone[str(number)] = json.loads(kept.read_text())
    return {
        "model": MODEL, "data": DATA, "threshold": threshold, "stages": STAGES, "fitted_to": FITTED,
        "judged_on": EACH - 1 - FITTED, "persons": everyone,
    } | provenance(f"python -m benchmarks.physical.hats --persons {count}", "cpu")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=5, choices=range(1, 11), help="how many")
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.show:
        RECORD.write_text(json.dumps(measure(given.persons), indent=1) + "\n")
        shown = [RUNS / f"{FIRST}-{word}-worn.png" for word in GOALS]
        stack(shown, PICTURES / "physical-hats.png")
    PAGE.write_text(text())


def stack(files: list[Path], path: Path) -> None:
    """Pictures of one width below each other."""
    from PIL import Image

    pictures = []
    for file in files:
        with Image.open(file) as picture:
            pictures.append(picture.copy())
    made = Image.new("RGB", (pictures[0].width, sum(one.height for one in pictures)))
    top = 0
    for one in pictures:
        made.paste(one, (0, top))
        top += one.height
    made.save(path)


if __name__ == "__main__":
    main()
