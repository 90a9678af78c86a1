"""The equal error rate of the face verifiers with each alignment: an upright square, or turned to a template.

    python -m benchmarks.faces.alignment face-dlib face-faceres face-mobileface

All pairs of the 400 ORL faces, landmarks of BlazeFace. Results lie in records/faces/alignment.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import torch

import sparring as sp
from benchmarks.faces.page import page
from benchmarks.faces.setting import ALL_NAMES, PAGE, RECORDS, kept, landmarks_of, pictures, verifier
from benchmarks.provenance import provenance
from sparring.error_rates import compare_all
from sparring.transforms import ARCFACE_TEMPLATE, DLIB_TEMPLATE

RECORD = RECORDS / "alignment.json"
TEMPLATES = {"upright square": None, "dlib's mean face": DLIB_TEMPLATE, "ArcFace's five points": ARCFACE_TEMPLATE}


def measured(name: str) -> dict[str, Any]:
    """The equal error rate of a net with each alignment."""
    images, persons = pictures()
    theirs, entry = verifier(name), {}
    scene = sp.Scene(landmarks=landmarks_of(theirs, images)[0])
    for word, template in TEMPLATES.items():
        net, size = theirs.target.model, theirs.parts[0].size
        target = sp.Verifier(net, size, metric=theirs.metric, template=template)
        embeddings = target.enroll(images, context=scene)
        pairs = compare_all(target.similarity(embeddings[:, None], embeddings[None]), persons)
        entry[word] = asdict(pairs.equal_error_rate()) | {"own": template == theirs.parts[0].template}
        print(name, word, entry[word], flush=True)
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=ALL_NAMES, metavar="NAME")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = kept(RECORD)
    for name in given.names:
        said = f"python -m benchmarks.faces.alignment {name}"
        record[name] = {"alignments": measured(name)} | provenance(said, "cpu")
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
