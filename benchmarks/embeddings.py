"""Embedding goals and a zero-shot classifier on digits: an encoder, and one embedding for each class.

    python -m benchmarks.embeddings

The encoder is `zoo:mnist-plain` without its last layer. The embeddings of the classes are synthetic: where CLIP has
those of texts, the mean embedding of each digit among the pictures that the net learned from stands here. Three attacks
on held-out digits: PGD on the labels, PGD that leaves the clean embedding and knows no label, and noise of the same
size. Everything lies in records/embeddings.json, of which docs/embeddings.md is made (`--show` measures nothing).
"""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.provenance import ROOT, provenance
from sparring.intervals import clopper_pearson
from sparring.targets import Model, ZeroShotClassifier
from sparring.tasks import Verification

RECORD, PAGE = ROOT / "records" / "embeddings.json", ROOT / "docs" / "embeddings.md"
DIGITS, RADII, STEPS = 200, (0.05, 0.1), 40


def accuracy(target: ZeroShotClassifier, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """The share of digits that the zero-shot classifier gets right, with its interval."""
    return asdict(clopper_pearson(int((target.predict(images).argmax(1) == labels).sum()), len(labels)))


def measured() -> dict[str, Any]:
    """Accuracy and cosines with the clean embedding at each radius."""
    net = sp.zoo.load_model("zoo:mnist-plain").target.model.layers[:-1]  # pictures -> embeddings (B, 100)
    encoder = Model(net, Verification(), name="encoder")
    known, digits = sp.load_data("zoo:mnist-4k").tensors()
    texts = torch.stack([encoder.predict(known[digits == digit]).mean(0) for digit in range(10)])
    target = ZeroShotClassifier(net, texts)
    images, labels = (one[:DIGITS] for one in sp.load_data("zoo:mnist-heldout").tensors())
    clean = encoder.predict(images)
    rows = []
    for eps in RADII:
        attack, keep = sp.attacks.PGD(sp.Linf(eps), steps=STEPS), sp.Keep.HIGHEST_LOSS
        signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        leaving = sp.goals.Dodge(clean, threshold=0.5)
        made = {
            "noise": (images + eps * signs).clamp(0, 1),
            "labels": sp.run(attack, target, sp.Misclassify(labels), images, keep=keep).examples,
            "embedding": sp.run(attack, encoder, leaving, images, keep=keep).examples,
        }
        for word, moved in made.items():
            cosine = float(sp.tasks.similarity(encoder.predict(moved), clean).mean())
            rows.append({"eps": eps, "attack": word, "accuracy": accuracy(target, moved, labels), "cosine": cosine})
    return {"digits": DIGITS, "steps": STEPS, "clean": accuracy(target, images, labels), "rows": rows}


NAMES = {"noise": "random signs", "labels": "PGD, knows the label", "embedding": "PGD, leaves the embedding"}
HEAD = """# Embeddings and zero-shot classifiers

Any encoder is attacked as a verifier of faces is: its task is `Verification`, its goals are distances from given
embeddings (`Dodge`) and to given ones (`Impersonate`), by the cosine or the Euclidean distance.

```python
encoder = sp.Model(image_encoder, sp.tasks.Verification())  # or Verification("euclidean")
clean = encoder.predict(images)

away = sp.goals.Dodge(clean, threshold=0.5)  # no label needed: success where the cosine falls below 0.5
outcome = sp.run(sp.attacks.PGD(sp.Linf(4 / 255)), encoder, away, images, keep="highest-loss")

towards = sp.goals.Impersonate(others[:, None], threshold=0.9)  # (B, N, D): to one of N embeddings for each image
outcome = sp.run(sp.attacks.PGD(sp.Linf(4 / 255)), encoder, towards, images)
```

The first is the unsupervised embedding attack: `keep="highest-loss"` goes on after the threshold is crossed and keeps
the example that is furthest from the clean embedding. At the clean image itself a distance has no direction, so that an
attack which begins there (FGSM, BIM, MI-FGSM) has no gradient by the Euclidean distance, and says so, and by the cosine
one of rounding errors; PGD and APGD begin at a random point.

A zero-shot classifier, as CLIP is used, is an image encoder and an embedding of a text for each class. It is a
`Classifier`, and everything that attacks and audits those takes it:

```python
target = sp.targets.ZeroShotClassifier(image_encoder, texts, mean=MEAN, std=STD, temperature=0.01)  # texts: (K, D)
outcome = sp.run(sp.attacks.PGD(sp.Linf(4 / 255)), target, sp.Misclassify(labels), images)
```

`hf:ORG/NAME#texts=FILE.safetensors` in the place of a model is the same with a model of the Hugging Face hub that has
`get_image_features`, and the embeddings (K, D) of a file; the temperature is the model's own. Embed the texts once, by
the model's own text encoder, and save them: `safetensors.torch.save_file({"texts": embeddings}, "texts.safetensors")`.

Several encoders at once, each with embeddings of its own, are `Ensemble(members, fuse="losses")` with the goal
`FoolMembers(goal, other_goal)`.

## On digits

"""
ABOUT = """The encoder is `zoo:mnist-plain` without its last layer. In the place of texts stands the mean embedding of
each digit among the pictures that the net learned from, so the embeddings of the classes are synthetic. {digits}
held-out digits, accuracy without an attack {clean}; PGD of {steps} steps in Linf, the example of the highest loss.
Brackets hold Clopper-Pearson intervals of 95 %. *Cosine*: the mean cosine of the embedding with the clean one.

"""


def percent(one: dict[str, Any]) -> str:
    return f"{100 * one['value']:.0f} % [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"


def page(record: dict[str, Any]) -> str:
    """The page, of the record."""
    about = ABOUT.format(digits=record["digits"], steps=record["steps"], clean=percent(record["clean"]))
    lines = ["| Linf | attack | accuracy | cosine |", "| --- | --- | ---: | ---: |"]
    for row in record["rows"]:
        cells = [f"{row['eps']:g}", NAMES[row["attack"]], percent(row["accuracy"]), f"{row['cosine']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    source = (
        f"Measured by `{record['command']}` at commit `{record['commit'][:12]}` on {record['date'][:10]}; one core of "
        f"{record['cpu']}, torch {record['versions']['torch']}."
    )
    filled = [textwrap.fill(about.strip(), 120), "\n".join(lines), textwrap.fill(source, 120)]
    return HEAD + "\n\n".join(filled) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.show:
        record = measured() | provenance("python -m benchmarks.embeddings", "cpu")
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page(json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
