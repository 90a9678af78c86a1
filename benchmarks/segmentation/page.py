"""Writes docs/segmentation.md from records/segmentation: `python -m benchmarks.segmentation.page`."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.provenance import ROOT
from benchmarks.segmentation.attacks import RECORD

PAGE = ROOT / "docs" / "segmentation.md"
NETS = {
    "shapes-plain": "A net trained without attacks, on four kinds of shapes over photographs (five classes)",
    "shapes-robust": "The same net trained on PGD examples at Linf 4/255",
    "selfie-segmentation": "`zoo:selfie-segmentation`: persons and background; labels are its own clean answers",
}
HEAD = """# Attacks on semantic segmentation

Made by `python -m benchmarks.segmentation.attacks` of `records/segmentation/`.

```python
import sparring as sp
from sparring.access import Keep

target = sp.targets.Model(net, sp.tasks.Segmentation())  # images (B, 3, H, W) in [0, 1] -> logits (B, K, H, W)
goal = sp.goals.MisclassifyPixels(labels, share=1.0, margin_in="parts")  # labels (B, H, W), 255: not labelled
outcome = sp.run(sp.attacks.SEA(sp.Linf(4 / 255)), target, goal, images, keep=Keep.HIGHEST_MARGIN)
counts = sp.segmentation_metrics.confusion(target.predict(outcome.examples).argmax(1), labels, classes=21)
print(sp.segmentation_metrics.pixel_accuracy(counts), sp.segmentation_metrics.mean_iou(counts))
```

An image counts as broken where the goal's `share` of its labelled pixels are wrong: with `MisclassifyPixels(labels,
0.5)` each attack of the library stops at half of them. To measure what is left of a model, ask for all pixels, as
above: no image then ends early, and the example of the lowest pixel accuracy is kept.

- `SegPGD` (Gu et al. 2022) is PGD whose loss weighs the pixels that are still right more in its first steps.
- `SEA` (Croce, Singh & Hein 2024) runs APGD on three losses: `MaskedCrossEntropy()`, that of the right pixels alone;
  the same balanced over classes; `JensenShannon()`. Its steps are spent at 2, 1.5 and 1 times the radius. For the mean
  IoU `worst_mean_iou` chooses among its three runs for each image.
- The losses have one softmax temperature for all pixels of an image, a fifth of the spread of its logits: a
  segmenter's logits may be in the hundreds, where the plain cross-entropy is flat. "Scaled" below is that. The goal's
  own loss has five times that temperature, by which minimum-norm attacks win more images where a share of the pixels
  suffices.

## Measured

The same number of gradient steps for each row but the three runs that SEA is made of, which have a third each. Pixel
accuracy and mean IoU over all images, in per cent; SEA's are the least that its three runs reach together.
"""


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of one net at one radius."""
    lines = ["| attack | steps | pixel accuracy | mean IoU |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        accuracy, miou = 100 * row["pixel_accuracy"], 100 * row["mean_iou"]
        lines.append(f"| {row['attack']} | {row['steps']} | {accuracy:.1f} | {miou:.1f} |")
    return "\n".join(lines)


def text() -> str:
    """The page."""
    record = json.loads(RECORD.read_text())
    parts = [HEAD]
    for name, about in NETS.items():
        if name not in record:
            continue
        entry = record[name]
        parts.append(f"\n### {about}\n\n{entry['images']} images.\n")
        parts += [f"\nLinf {radius}/255:\n\n{table(rows)}\n" for radius, rows in entry["radii"].items()]
        parts.append(f"\n`{entry['command']}` at commit `{entry['commit'][:12]}`, {entry['date']}.\n")
    return "".join(parts)


def main() -> None:
    PAGE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
