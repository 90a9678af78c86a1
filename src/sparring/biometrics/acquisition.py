"""Every picture embedded once: what a verifier makes of a data set before anybody attacks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import InputError, TargetError
from ..targets import Target
from ..tasks import Verification
from .pictures import FEWEST, PersonPicture, PersonPictures

BATCH = 32


@dataclass(frozen=True)
class Acquisition:
    """The embeddings of N pictures of persons.

    Attributes:
        pictures: where they are read from.
        names, persons: of each picture, in the order of the data.
        embeddings: (N, D); NaN where the verifier found no face (a failure to acquire).
        metric: how they are compared, "cosine" or "euclidean".
    """

    pictures: PersonPictures
    names: tuple[str, ...]
    persons: tuple[str, ...]
    embeddings: Tensor
    metric: str

    @property
    def acquired(self) -> Tensor:
        """(N,) bool: a face was found."""
        return self.embeddings.isfinite().all(1)

    def rows_of(self, persons: Iterable[str]) -> Tensor:
        """Return the positions (M,) of the pictures of these persons, in their order."""
        wanted = set(persons)
        return torch.tensor([row for row, person in enumerate(self.persons) if person in wanted], dtype=torch.long)

    def alike(self, rows: Tensor, others: Tensor) -> Tensor:
        """Return the similarities (M, K) of pictures by position, as `tasks.similarity` has them."""
        own, theirs = self.embeddings[rows], self.embeddings[others]
        if self.metric == "cosine":
            return normalize(own, dim=1) @ normalize(theirs, dim=1).mT
        return -torch.cdist(own, theirs, compute_mode="donot_use_mm_for_euclid_dist")


def acquire(
    verifier: Target[Any],
    pictures: PersonPictures,
    *,
    batch_size: int = BATCH,
    progress: Callable[[int], None] = lambda _: None,
) -> Acquisition:
    """Embed every picture as deployed: the face looked for, aligned, embedded.

    Args:
        verifier: a target of the task `Verification`, as `Verifier`.
        progress: is told after each batch how many pictures are done.

    Raises: TargetError for another task; InputError where fewer than two persons are shown, or no face is found.
    """
    task = verifier.task
    if not isinstance(task, Verification):
        kind = "no task" if task is None else f"the task {task.name}"
        raise TargetError(
            f"{verifier.name} has {kind}, and persons are told apart by embeddings; pass a Verifier, or say how a bare "
            "network's embeddings are compared: --metric cosine"
        )
    names, persons, parts, waiting = [], [], [], []
    for picture in pictures:
        names.append(picture.name)
        persons.append(picture.person)
        waiting.append(picture)
        if len(waiting) == batch_size:
            parts.append(_embedded(verifier, waiting))
            progress(len(names))
            waiting = []
    if waiting:
        parts.append(_embedded(verifier, waiting))
    if len(set(persons)) < FEWEST:
        raise InputError(
            f"{pictures.name} shows {len(set(persons))} person{'' if len(set(persons)) == 1 else 's'}; impostors need "
            "two at least: make a sub-folder for each person"
        )
    found = Acquisition(pictures, tuple(names), tuple(persons), torch.cat(parts), task.metric)
    if not bool(found.acquired.any()):
        raise InputError(
            f"{verifier.name} finds no face in any of the {len(names)} pictures of {pictures.name}; give "
            "photographs of "
            "faces, or where they are cut out already say so: --aligned"
        )
    return found


def _embedded(verifier: Target[Any], pictures: Sequence[PersonPicture]) -> Tensor:
    images = torch.stack([picture.image for picture in pictures])
    embeddings: Tensor = verifier.predict(images, batch_size=len(images))
    return embeddings.cpu().float()
