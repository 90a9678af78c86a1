"""Targets behind an HTTP server, which never ask the same question twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...access import Decisions, Scores
from ...errors import ConfigError, TargetError, nearest
from ...random import Key
from ..classifier import Classifier
from ..journal import Journal
from ..target import Restricted
from .address import Address
from .answers import labels, numbers, parsed
from .http_client import HttpClient, check_number
from .protocols import KINDS, MOST_CLASSES, Card, OpenInference, Protocol, check_images

T = TypeVar("T", bound=Decisions)
Reader = Callable[[Address, Any, int], NDArray[np.float64]]
PER_REQUEST, MOST_PER_REQUEST = 64, 1 << 16
PERCENT = "percent (every row is >= 0 and sums to 100), no logits or probabilities; have the server divide by 100"


class Endpoint:
    """A function from images as the server wants them to (images, K) float64, request by request."""

    def __init__(
        self, protocol: Protocol, link: HttpClient, read: Reader, journal: Path | str | None, per_request: int
    ) -> None:
        self.address, self.protocol, self.link, self.read = link.address, protocol, link, read
        self.path, self.per_request = journal, per_request
        self.width: int | None = None  # numbers per image, as the first answer has them
        self._salt, self._asked = os.urandom(16).hex(), 0
        self._journal: Journal | None = None
        self._session: int | None = None

    @cached_property
    def card(self) -> Card:
        return self.protocol.card(self.address.url, self.link)

    def __call__(self, images: Tensor, key: Key | None = None) -> Tensor:
        array = images.detach().cpu().numpy().astype(KINDS[self.card.kind])
        check_images(self.address, self.card, array)
        size = min(self.per_request, self.protocol.most(self.card) or self.per_request)
        rows = [row for start in range(0, len(array), size) for row in self._some(array[start : start + size])]
        for row in rows:  # those of the journal too
            self._check_width(len(row))
        return torch.from_numpy(np.stack(rows))

    def _some(self, images: NDArray[np.floating]) -> Iterable[NDArray[np.float64]]:
        """One answer per image."""
        if self.path is None:
            self._asked += 1
            return self._ask(images, f"{self._salt}-{self._asked}")
        if self._journal is None:
            self._journal = Journal(self.path, self.owner, self._session)
            self._session = self._journal.session
        shape = f"{images.dtype.str}{images.shape[1:]}".encode()
        questions = [shape + image.tobytes() for image in images]
        return self._journal.answer(questions, lambda places, mark: self._ask(images[places], mark))

    def _ask(self, images: NDArray[np.floating], mark: str) -> NDArray[np.float64]:
        request = self.protocol.write(self.address.url, self.card, images, mark)
        shown = str(self.address)
        answer = parsed(shown, self.link.ask(request.url, request.body, request.headers))
        found = self.protocol.find(shown, self.card, answer, len(images), mark)
        scores = self.read(self.address, found, len(images))
        self._check_width(scores.shape[1])  # before the journal writes it down
        return scores

    def _check_width(self, width: int) -> None:
        """Raise TargetError where an answer has another number of scores per image than the first one had."""
        if self.width is None:
            self.width = width
        if width != self.width:
            raise TargetError(
                f"{self.address}: {width} scores per image came back, and {self.width} before; a model has the same "
                "classes in every answer"
            )

    @property
    def owner(self) -> str:
        """What a journal belongs to: the address, the model and its version, and how answers are read."""
        return f"{self.address} (version {self.card.version or '?'}, read by {self.protocol})"

    def close(self) -> None:
        """Close the connection and the journal."""
        self.link.close()
        if self._journal is not None:
            self._journal.close()
            self._journal = None


class Asking(TypedDict, total=False):
    """The options of queries to a remote model.

    protocol: the Open Inference Protocol v2 by default.
    classes, mean, std, layout: as for `Classifier`; the server sees (images - mean) / std.
    journal: a file in which every answer is written down; a run that was killed asks nothing twice.
    per_request: the most images of one request (64).
    timeout: seconds for one whole answer (30). retries, pause: tries after a failure that may pass (5), and the
        seconds before the first of them (0.5), doubled each time.
    headers: sent with every request, never recorded.
    """

    protocol: Protocol | None
    classes: int | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    layout: str
    journal: Path | str | None
    per_request: int
    timeout: float
    retries: int
    pause: float
    headers: Mapping[str, str] | None


DEFAULTS: Asking = {
    "protocol": None, "classes": None, "mean": None, "std": None, "layout": "NCHW", "journal": None,
    "per_request": PER_REQUEST, "timeout": 30.0, "retries": 5, "pause": 0.5, "headers": None,
}  # fmt: skip


def make_link(url: str | Address, options: Asking) -> HttpClient:
    """Return the client of an address; ConfigError for options that are unknown or make no sense."""
    address = url if isinstance(url, Address) else Address(url)
    unknown = next((name for name in options if name not in DEFAULTS), None)
    if unknown is not None:
        known = ", ".join(DEFAULTS)
        raise ConfigError(f"{address} has no option {unknown}= (there are {known}).{nearest(unknown, DEFAULTS)}")
    protocol, classes, path = options["protocol"], options["classes"], options["journal"]
    if protocol is not None and not isinstance(protocol, Protocol):
        raise ConfigError(f"protocol={protocol!r:.80}: pass OpenInference() or Fields(images=..., answer=...)")
    fits = classes is None or (type(classes) is int and 1 < classes <= MOST_CLASSES)
    check_number("classes", classes, fits, f"a count from 2 to {MOST_CLASSES:,}")
    each = options["per_request"]
    wanted = f"the most images of one request, at least 1 and at most {MOST_PER_REQUEST:,}"
    check_number("per_request", each, type(each) is int and 1 <= each <= MOST_PER_REQUEST, wanted)
    if path is not None and not isinstance(path, str | Path):
        raise ConfigError(f"journal={path!r:.80}: pass the name of a file")
    headers = options["headers"]
    return HttpClient(
        address, options["timeout"], options["retries"], options["pause"], {} if headers is None else headers
    )


class _Remote(Restricted[T]):
    """Base class of remote models that return scores or labels."""

    target: Classifier

    def __init__(
        self, url: str | Address, access: type[T], read: Reader, soft: bool = False, **asking: Unpack[Asking]
    ) -> None:
        options: Asking = {**DEFAULTS, **asking}
        link = make_link(url, options)
        protocol = options["protocol"] or OpenInference()
        self.endpoint = at = Endpoint(protocol, link, read, options["journal"], options["per_request"])
        self.address = link.address
        shown = Classifier(
            at,
            mean=options["mean"],
            std=options["std"],
            layout=options["layout"],
            classes=options["classes"],
            probabilities=soft,
            name=str(link.address),
            identity="remote",
        )
        super().__init__(shown, access)

    def __call__(self, images: Tensor, key: Key | None = None, context: Any = None) -> Tensor:
        scores: Tensor = self.target(images)
        return scores.to(images.dtype)

    @property
    def metered(self) -> bool:
        return True

    @property
    def classes(self) -> int | None:
        """The number of classes that was given for the model."""
        return self.target.classes or self.endpoint.card.classes

    @property
    def card(self) -> Card:
        """Return the server's metadata of the model."""
        return self.endpoint.card

    def identity(self) -> tuple[object, ...]:
        return (*super().identity(), self.endpoint.owner)

    def check(self, outputs: Tensor) -> None:
        promised = self.classes
        if promised is not None and outputs.shape[1] != promised:
            raise TargetError(f"{self.name} was said to have {promised} classes, and gives {outputs.shape[1]} scores")
        if outputs.shape[1] < 2:
            raise TargetError(f"{self.name} gives one score per image; a classifier has one for each class")
        if not bool(outputs.isfinite().any()):
            raise TargetError(f"{self.name} returned no finite score for the first images; see the server's log")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Close connection and journal at the end of this context; a server cannot be frozen."""
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection and the journal; the next query opens both again."""
        self.endpoint.close()


class Remote(_Remote[Scores]):
    """A model on a server that answers with scores.

    Args:
        url: `http://HOST:PORT/v2/models/NAME`, or the address of a plain JSON endpoint with `protocol=Fields(...)`.
        scores: "logits", or "probabilities", whose logarithm is taken.
        asking: see `Asking`.

    Images are sent as float32 unless the server takes another type. A score that is not finite is read as NaN.
    """

    def __init__(self, url: str | Address, *, scores: str = "logits", **asking: Unpack[Asking]) -> None:
        if scores not in ("logits", "probabilities"):
            raise ConfigError(f"scores={scores!r}; pass 'logits' or 'probabilities', and use RemoteLabels for labels")
        self.scores = scores
        super().__init__(url, Scores, partial(_scores, scores), scores == "probabilities", **asking)

    def check(self, outputs: Tensor) -> None:
        super().check(outputs)
        message = self.card.scores
        if message is not None and message != self.scores:
            cure = self.address.option(f"scores={message!r}", f"scores={message}")
            raise TargetError(f"{self.name} says that it gives {message}, not {self.scores}; pass {cure}")
        sums = outputs.sum(dim=1)
        if self.scores == "logits" and bool(((sums - 100).abs() < 1).all()) and bool((outputs >= 0).all()):
            raise TargetError(f"{self.name} returns {PERCENT}")
        summed = bool(((sums - 1).abs() < 1e-3).all())
        if self.scores == "logits" and summed and bool((outputs >= 0).all()):
            cure = self.address.option("scores='probabilities'", "scores=probabilities")
            raise TargetError(
                f"{self.name} returns probabilities (every row is >= 0 and sums to 1), not logits; pass {cure}"
            )


def _scores(kind: str, address: Address, data: Any, count: int) -> NDArray[np.float64]:
    """The scores of `count` images; what cannot be probabilities is noticed in any answer."""
    found = numbers(address, data, count)
    odd = (found < -1e-6) | (found > 1 + 1e-3)
    if kind == "probabilities" and bool(odd.any()):
        if (found >= 0).all() and (abs(found.sum(axis=-1) - 100) < 1).all():
            raise TargetError(f"{address} returns {PERCENT}")
        cure = address.option("scores='logits'", "scores=logits")
        raise TargetError(f"{address}: {found[odd][0]:g} is no probability; pass {cure} where they are logits")
    return found


class RemoteLabels(_Remote[Decisions]):
    """A model on a server that answers with the class alone.

    Args:
        url: as for `Remote`.
        class_names: the names of the classes in their order, where the server answers with names.
        asking: see `Asking`; `classes` is needed where neither the server nor class_names tells.
    """

    def __init__(
        self, url: str | Address, *, class_names: Sequence[str] | None = None, **asking: Unpack[Asking]
    ) -> None:
        if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names or ()):
            raise ConfigError(f"class_names={class_names!r:.80}: pass a list of names, in order, as ['cat', 'dog']")
        self.class_names = None if class_names is None else tuple(class_names)
        if asking.get("classes") is None:
            asking["classes"] = len(self.class_names or ()) or None
        super().__init__(url, Decisions, partial(labels, names=self.class_names), **asking)

    def __call__(self, images: Tensor, key: Key | None = None, context: Any = None) -> Tensor:
        """(B, K) the answer as a goal reads it: 1 for the class, -1 for the others."""
        found, count = self.target(images), self.classes
        cure = self.address.option("classes=", "classes=10")
        if count is None:
            names = self.address.option("class_names=", "class_names=FIRST,SECOND,...")
            raise TargetError(f"{self.name} does not say how many classes it has; pass {cure}, or {names}")
        if bool(((found < 0) | (found >= count)).any()):
            odd = found[(found < 0) | (found >= count)][0]
            raise TargetError(f"{self.name} answers with class {int(odd)}, and it has {count}; pass {cure}")
        return torch.full((len(found), count), -1.0, dtype=images.dtype).scatter(1, found.long(), 1.0)
