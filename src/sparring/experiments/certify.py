"""Proven, broken or open: every image of a data set at every radius of a threat, by bounds and attacks together.

`out` holds

    certificates.csv    a row for each image and radius: verdict, what decided, the bound, seconds
    certificates.json   the sums, and what the proofs assume
    certify-NUMBER.safetensors   the verdicts of one batch, and the counterexamples; a run that was stopped goes on
                        where it was when it is repeated
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..audit.evaluation.predictions import predict
from ..audit.evaluation.region_limits import RegionLimits
from ..defenses.certification import Certificates, Network, Status
from ..defenses.certification.graph import as_classifier
from ..defenses.certification.radii import CODES, STATUSES, verify_radii
from ..defenses.certification.verify import ASSUMPTIONS
from ..engine import fingerprint
from ..engine.answers import FEW
from ..errors import ConfigError
from ..files import write_atomically
from ..goals import Misclassify
from ..intervals import wilson
from ..storage import read_checkpoint, write_tensors
from ..threats import Threat
from ..zoo import Chunk, Data, LoadedModel
from .attack_dataset import csv_text
from .observer import ExperimentObserver
from .output import report_write_errors
from .resumable import resumable_folder

CALL = "certify.checkpoint"  # what the folder belongs to, as safetensors


@dataclass
class CertifiedCounts:
    """What became of the images at one radius."""

    eps: float
    text: str  # the radius as it was written
    images: int = 0
    right: int = 0  # classified right without an attack
    counts: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(Status, 0))
    methods: dict[str, int] = field(default_factory=dict)  # how many verdicts each method gave
    seconds: float = 0.0

    @property
    def certified_accuracy(self) -> float:
        """The share of all images that are right, and proven to stay so."""
        return self.counts[Status.PROVEN] / self.images

    @property
    def highest_accuracy(self) -> float:
        """The share of all images that are not broken: the robust accuracy is at most this."""
        return 1 - self.counts[Status.BROKEN] / self.images

    def record(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        low, high = wilson(self.counts[Status.PROVEN], self.images)
        return {
            "eps": self.eps,
            "images": self.images,
            "right": self.right,
            **{status.value: count for status, count in self.counts.items()},
            "certified_accuracy": self.certified_accuracy,
            "certified_accuracy_95": [low, high],
            "robust_accuracy_at_most": self.highest_accuracy,
            "methods": dict(sorted(self.methods.items())),
            "seconds": self.seconds,
        }


@dataclass
class CertifyDataset:
    """Prove or break every image of a data set.

    Args:
        loaded: the model, a classifier whose network can be captured.
        data: the images; without labels the model's own predictions stand in.
        threat: a norm and its radii. What is broken at one is broken at all larger ones, and what is proven at one is
            proven at all smaller ones.
        timeout: seconds of branch and bound for each image and radius.
        batch_size: images that are worked on together.
        out: a folder for the verdicts and counterexamples; None: nothing is written.
        mask: bool, like one image or like all of them: true where a value may move; None: everywhere.
    """

    loaded: LoadedModel
    data: Data
    threat: Threat
    timeout: float
    batch_size: int
    out: Path | None
    mask: Tensor | None = None

    def run(self, observer: ExperimentObserver | None = None) -> list[CertifiedCounts]:
        """Return the counts of each radius, the smallest first.

        Raises: TargetError for a network that cannot be captured, with the operation; RunError where `out` holds
            something else, or the disk does not take the verdicts.
        """
        if self.threat.norm == "L0":
            raise ConfigError("bounds are known in Linf, L2 and L1, not in L0; name another --threat")
        observer = observer or ExperimentObserver()
        first = next(iter(self.data.chunks(FEW)))
        limits = RegionLimits.make(self.mask, None, tuple(first.images.shape[1:]))
        target = as_classifier(self.loaded.target)
        network = Network(target, first.images[:1].to(target.device))
        counts = [CertifiedCounts(radius.eps, radius.text) for radius in self.threat.radii]
        rows: list[dict[str, Any]] = []
        mark = fingerprint(self.threat.model_dump(), self.timeout, self.batch_size, self.mask, target.identity())
        other = "other model, threat, timeout, batch size or mask"
        with ExitStack() as kept:
            if self.out is not None:
                kept.enter_context(
                    resumable_folder(self.out / CALL, mark, "certify", other, target, first.images, seed=0)
                )
            try:
                for chunk in self.data.chunks(self.batch_size):
                    mask = limits.rows(chunk.first, len(chunk.images)).mask
                    tensors, values = self.chunk(network, chunk, mask, observer)
                    rows += self.add(chunk, tensors, values, counts)
            finally:
                if self.out is not None and rows:
                    self.write(rows, counts)
        return counts

    def chunk(
        self, network: Network, chunk: Chunk, mask: Tensor | None, observer: ExperimentObserver
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the verdicts (R, B) of one batch, from its file or anew."""
        path = None if self.out is None else self.out / f"certify-{chunk.first:06d}.safetensors"
        data = fingerprint(chunk.images, chunk.labels)
        if path is not None and path.is_file():
            other = "is of other images or labels than there are now; restore the data, or choose another --out"
            return read_checkpoint(path, data, "delete it to work on its images again", other)
        labels = chunk.labels
        if labels is None:
            labels = predict(self.loaded.target, chunk.images, self.batch_size).predicted
        found = self.verdicts(network, chunk, labels, mask, observer)
        tensors = {
            "labels": labels,
            "status": torch.tensor([[CODES[status] for status in one.status] for one in found]).byte(),
            "lower": torch.stack([one.lower for one in found]),
            "seconds": torch.stack([one.seconds for one in found]),
            "domains": torch.stack([one.domains for one in found]),
            "examples": found[-1].examples,
        }
        values = {"mark": data, "methods": [list(one.methods) for one in found]}
        if path is not None:
            write_tensors(path, tensors, values)
        return tensors, values

    def verdicts(
        self, network: Network, chunk: Chunk, labels: Tensor, mask: Tensor | None, observer: ExperimentObserver
    ) -> list[Certificates]:
        """Return the certificates of one batch at each radius; what one radius decides is not asked again at others."""
        device, balls = network.target.device, self.threat.balls()
        images, goal = chunk.images.to(device), Misclassify(labels.to(device))

        def before(number: int) -> None:
            words = f"{balls[number]}: images {chunk.first + 1} to {chunk.first + len(images)} of {len(self.data)}"
            observer.show(words, chunk.first * len(balls) + number * len(images), len(self.data) * len(balls))

        free = None if mask is None else mask.to(device)
        return verify_radii(network, goal, images, balls, timeout=self.timeout, mask=free, before=before)

    def add(
        self,
        chunk: Chunk,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        counts: list[CertifiedCounts],
    ) -> Iterator[dict[str, Any]]:
        """Add one batch to the counts; yield its rows of certificates.csv."""
        names = ("status", "lower", "seconds", "domains")
        for number, count in enumerate(counts):
            columns = zip(*(tensors[name][number].tolist() for name in names), strict=True)
            for row, (code, lower, seconds, domains) in enumerate(columns):
                status, method = STATUSES[code], values["methods"][number][row]
                count.images += 1
                count.right += method != "clean"
                count.counts[status] += 1
                count.methods[method] = count.methods.get(method, 0) + 1
                count.seconds += seconds
                yield {
                    "image": chunk.first + row,
                    "name": chunk.names[row],
                    "label": int(tensors["labels"][row]),
                    "threat": f"{self.threat.norm.lower()}:{count.text}",
                    "verdict": status.value,
                    "method": method,
                    "bound": "" if status is Status.BROKEN else lower,
                    "seconds": seconds,
                    "domains": domains,
                }

    def write(self, rows: list[dict[str, Any]], counts: list[CertifiedCounts]) -> None:
        """Write certificates.csv and certificates.json into `out`."""
        assert self.out is not None
        about = {"model": self.loaded.name, "data": self.data.name, "labels": self.data.label_note}
        how = {"norm": self.threat.norm, "timeout": self.timeout, "assumptions": ASSUMPTIONS}
        whole = {**about, **how, "radii": [one.record() for one in counts]}
        with report_write_errors(self.out):
            write_atomically(self.out / "certificates.csv", csv_text(rows).encode())
            write_atomically(self.out / "certificates.json", json.dumps(whole, indent=1, allow_nan=False).encode())
