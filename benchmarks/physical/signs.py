"""RP2 (Eykholt et al. 2018): stickers that make a stop sign another class, fitted in some scenes and judged in others.

    python -m benchmarks.physical.signs [--show]

Against EfficientNet-Lite0, whose class for such signs is `street sign`; the stickers are to make it a parking meter.
The sign is drawn, and stands before parts of photographs: those fitted to are of zoo:imagenet-20, those judged in of
zoo:photos and of the rest of zoo:imagenet-20. Masks and stickers are kept in runs/physical/signs/; --show measures
nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.physical.hats import save_picture, stack
from benchmarks.physical.page import PAGE, PICTURES, text
from benchmarks.provenance import ROOT, provenance
from sparring.goals import ClassifyAs, Misclassify
from sparring.physical import BoxAnchor, held_out_family, optimization_family
from sparring.physical.judging import judge_physical
from sparring.physical.printed import export_png
from sparring.physical.recipes import find_hot_mask, rp2, sign_scenes, stop_sign
from sparring.random import Key
from sparring.storage import read_tensors, write_tensors
from sparring.zoo import load_data, load_model

RECORD, RUNS = ROOT / "records" / "physical" / "signs.json", ROOT / "runs" / "physical" / "signs"
MODEL = "zoo:efficientnet-lite0"
SIGN, METER = 919, 704  # street sign, parking meter
FITTED, JUDGED, SIZE, WIDTH_MM = 8, 6, 96, 600.0
AREA, MASK_STEPS, STEPS, SCENES, DRAWS = 0.25, 12, 120, 4, 2
ANCHOR = BoxAnchor(1.0)


def photographs() -> tuple[Tensor, Tensor]:
    """Those for the scenes that are fitted to, and others."""
    model = load_model(MODEL)
    pictures, more = (load_data(name, model).tensors()[0] for name in ("zoo:imagenet-20", "zoo:photos"))
    return pictures[:FITTED], torch.cat((pictures[FITTED:], more))[:JUDGED]


def fitted(target: Any, scenes: sp.Scene, sign: Tensor, chain: Any) -> tuple[Tensor, Tensor, dict[str, float]]:
    """The sign with its stickers, where they are, and what they took; kept in runs/."""
    kept = RUNS / "stickers.safetensors"
    if kept.exists():
        tensors, values = read_tensors(kept, "delete it")
        return tensors["image"], tensors["stickers"].bool(), values
    goal, engine = ClassifyAs(torch.full((FITTED,), METER)), sp.Engine(confirmation_samples=2)
    start = time.process_time()
    stickers, heat = find_hot_mask(
        target, goal, scenes, sign, chain, area=AREA, steps=MASK_STEPS, scenes_per_question=SCENES, engine=engine
    )
    print("mask", f"{time.process_time() - start:.0f} s", flush=True)
    made = rp2(
        target,
        goal,
        scenes,
        sign,
        chain,
        stickers=stickers,
        steps=STEPS,
        tv_weight=0.2,
        scenes_per_question=SCENES,
        engine=engine,
    )
    took = {"seconds": time.process_time() - start, "success_in_fit": made.success_rate, "backwards": made.backwards}
    print("stickers", took, flush=True)
    write_tensors(kept, {"image": made.image, "stickers": stickers.to(torch.uint8), "heat": heat}, took)
    return made.image, stickers, took


def measure() -> dict[str, Any]:
    """Everything."""
    RUNS.mkdir(parents=True, exist_ok=True)
    target = load_model(MODEL).target
    known, others = photographs()
    sign, mask = stop_sign(SIZE)
    fit, judge = (family(ANCHOR).with_mask(mask) for family in (optimization_family, held_out_family))
    image, stickers, took = fitted(target, sign_scenes(known, FITTED), sign, fit)
    printed = export_png(RUNS / "sign.png", image, WIDTH_MM, alpha=mask[None])
    scenes = sign_scenes(others, JUDGED, seed=1)
    goals = {
        "targeted": ClassifyAs(torch.full((JUDGED,), METER)),
        "untargeted": Misclassify(torch.full((JUDGED,), SIGN)),
    }
    found = {}
    for word, goal in goals.items():
        judged = judge_physical(
            printed, target, goal, scenes, fitted_through=fit, held_out=judge, bare=sign, changed=stickers,
            n_draws=DRAWS, severities=(1.0, 1.5) if word == "targeted" else (1.0,),
        )  # fmt: skip
        print(word, judged, sep="\n", flush=True)
        found[word] = judged.values()
    key, few = Key(torch.arange(4), 5), sp.Scene(scenes.images[:4], boxes=scenes.boxes[:4])
    rows = []
    for paper in (sign, printed.image):
        for chain in (fit.at_severity(0.0), judge):
            rows.append(chain.apply(paper.expand(4, -1, -1, -1), key, few)[0])
    for number, images in enumerate((torch.cat((rows[0], rows[1])), torch.cat((rows[2], rows[3])))):
        save_picture(RUNS / f"row-{number}.png", images)
    return {
        "model": MODEL, "fitted_scenes": FITTED, "area": AREA, "steps": STEPS, "mask_steps": MASK_STEPS,
        "scenes_per_question": SCENES, **took, "judged": found,
    } | provenance("python -m benchmarks.physical.signs", "cpu")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.show:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(measure(), indent=1) + "\n")
        stack([RUNS / "row-0.png", RUNS / "row-1.png"], PICTURES / "physical-signs.png")
    PAGE.write_text(text())


if __name__ == "__main__":
    main()
