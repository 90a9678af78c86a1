"""Request and answer formats: the Open Inference Protocol v2 of KServe and Triton, or plain JSON."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, InputError, TargetError
from .answers import at, parsed
from .http_client import HttpClient

MODEL = re.compile(r"^(?P<root>.*)/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/infer)?/?$")
KINDS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}


@dataclass(frozen=True)
class Card:
    """The metadata of a model, known before the first query; None or "": not given by the server."""

    name: str
    version: str = ""
    input: str = ""
    kind: str = "FP32"
    shape: tuple[int, ...] | None = None  # (images, C, H, W) or (images, H, W, C), -1 where anything goes
    output: str = ""
    classes: int | None = None
    binary: bool = False
    scores: str | None = None  # what a server of ours says of its answers; it says the classes of labels too


@dataclass(frozen=True)
class Request:
    """One POST, the same to the byte whenever it is sent again."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class Protocol(ABC):
    """Writes requests and finds the scores in answers."""

    @abstractmethod
    def card(self, url: str, link: HttpClient) -> Card:
        """Return the server's metadata of the model."""

    @abstractmethod
    def write(self, url: str, card: Card, images: NDArray[np.floating], mark: str) -> Request:
        """The request for `images`, with `mark` as its id."""

    @abstractmethod
    def find(self, url: str, card: Card, answer: Any, count: int, mark: str) -> Any:
        """The nested numbers, or labels, in the answer."""

    def most(self, card: Card) -> int | None:
        """The most images of one request; None: any number."""
        return None


@dataclass(frozen=True)
class OpenInference(Protocol):
    """`http://HOST/v2/models/NAME`, by name of its `output` where it has several."""

    output: str | None = None

    def card(self, url: str, link: HttpClient) -> Card:
        root, name, version = _split(url)
        place = _place(root, name, version)
        about = parsed(place, link.ask(place))
        sent, given = _tensors(place, about, "inputs"), _tensors(place, about, "outputs")
        if len(sent) != 1:
            raise TargetError(f"{place}: the model has inputs {sorted(sent)}; a model of images has one")
        wanted = self.output or next(iter(given))
        if wanted not in given or (self.output is None and len(given) > 1):
            raise TargetError(f"{place}: the model's outputs are {', '.join(sorted(given))}; name one as output=")
        ((image, (kind, shape)),) = sent.items()
        if kind not in KINDS or len(shape) != 4:
            raise TargetError(f"{place}: the input {image} is {kind} {list(shape)}; images are floats of 4 axes")
        versions = about.get("versions")
        remarks = about.get("parameters")
        remarks = remarks if isinstance(remarks, dict) else {}
        last, message = given[wanted][1][-1:], remarks.get("classes")
        classes = last[0] if last and last[0] > 1 and len(given[wanted][1]) > 1 else None
        return Card(
            name=name,
            version=version or (str(versions[-1]) if isinstance(versions, list) and versions else ""),
            input=image,
            kind=kind,
            shape=shape,
            output=wanted,
            classes=message if type(message) is int and message > 1 else classes,
            binary=_takes_binary(root, link),
            scores=str(remarks["scores"]) if "scores" in remarks else None,
        )

    def write(self, url: str, card: Card, images: NDArray[np.floating], mark: str) -> Request:
        tensor: dict[str, Any] = {"name": card.input, "shape": list(images.shape), "datatype": card.kind}
        packed = np.ascontiguousarray(images, dtype=np.dtype(KINDS[card.kind]).newbyteorder("<")).tobytes()
        if card.binary:
            tensor["parameters"] = {"binary_data_size": len(packed)}
        else:
            tensor["data"] = images.reshape(-1).tolist()
        wanted = {"name": card.output, "parameters": {"binary_data": False}}
        head = json.dumps({"id": mark, "inputs": [tensor], "outputs": [wanted]}).encode()
        headers = {"Content-Type": "application/json", "X-Request-Id": mark}
        if card.binary:
            headers |= {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        root, name, version = _split(url)
        return Request(_place(root, name, version) + "/infer", head + packed if card.binary else head, headers)

    def find(self, url: str, card: Card, answer: Any, count: int, mark: str) -> Any:
        message = answer.get("id", mark) if isinstance(answer, dict) else mark
        if message not in (mark, "", None):
            raise TargetError(f"{url}: the answer is to the question {str(message)[:80]!r}, which was not asked")
        outputs = at(url, answer, "outputs")
        named = [one for one in outputs if isinstance(one, dict) and one.get("name") == card.output]
        if len(named) != 1:
            raise TargetError(f"{url}: the answer holds {len(named)} outputs named {card.output!r}, not one")
        shape, data = at(url, named[0], "shape"), at(url, named[0], "data")
        if not isinstance(shape, list) or not shape or shape[0] != count:
            raise TargetError(f"{url}: the answer has shape {shape!r} for {count} images; scores are (images, classes)")
        flat = len(data) if isinstance(data, list) and not any(isinstance(part, list) for part in data) else None
        if flat is not None and flat != np.prod([side if type(side) is int else 0 for side in shape], dtype=object):
            raise TargetError(f"{url}: {flat} scores came back under the shape {shape!r}")
        return data

    def most(self, card: Card) -> int | None:
        return card.shape[0] if card.shape and card.shape[0] > 0 else None


@dataclass(frozen=True)
class Fields(Protocol):
    """Plain JSON: where in the request the images lie, and where in the answer the scores or labels.

    Args:
        images: a path, as "instances" or "request.data"; numbers (images, C, H, W) are put there.
        answer: a path, as "predictions" or "results.*.scores"; `*` stands for each entry of a list.
        extra: what else the request holds.
        single: one image per request, (C, H, W), and its scores (K,) or label in the answer.
    """

    images: str
    answer: str
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold a key
    single: bool = False

    def card(self, url: str, link: HttpClient) -> Card:
        if not self.images or "*" in self.images:
            raise ConfigError(f"images={self.images!r} is no field of a request; write a name, as 'instances'")
        return Card(urlsplit(url).path.rstrip("/").rpartition("/")[2] or "model")

    def write(self, url: str, card: Card, images: NDArray[np.floating], mark: str) -> Request:
        value: Any = (images[0] if self.single else images).tolist()
        for step in reversed(self.images.split(".")):
            value = {step: value}
        body = json.dumps({**self.extra, **value}).encode()
        return Request(url, body, {"Content-Type": "application/json", "X-Request-Id": mark})

    def find(self, url: str, card: Card, answer: Any, count: int, mark: str) -> Any:
        found = at(url, answer, self.answer)
        if not self.single and (not isinstance(found, list) or len(found) != count):
            got = f"{len(found)} entries" if isinstance(found, list) else type(found).__name__
            raise TargetError(f"{url}: {self.answer!r} holds {got} for {count} images; one entry per image")
        return found

    def most(self, card: Card) -> int | None:
        return 1 if self.single else None


def fits(url: str, card: Card, images: NDArray[np.floating]) -> None:
    """InputError where the model says that it takes other images."""
    if card.shape is not None and any(
        want not in (-1, have) for want, have in zip(card.shape[1:], images.shape[1:], strict=True)
    ):
        raise InputError(
            f"{url} takes images of shape {list(card.shape[1:])}, and these are {list(images.shape[1:])}; "
            "resize them, or pass layout='NHWC' where the channels come last"
        )


def _split(url: str) -> tuple[str, str, str | None]:
    found = MODEL.match(url)
    if found is None or urlsplit(url).query:
        raise ConfigError(
            f"{url} is no model of the Open Inference Protocol; write http://HOST:PORT/v2/models/NAME, "
            "or say where a plain JSON endpoint has images and scores: protocol=Fields(images=..., answer=...)"
        )
    return found["root"], found["name"], found["version"]


def _place(root: str, name: str, version: str | None) -> str:
    return f"{root}/v2/models/{name}" + (f"/versions/{version}" if version else "")


def _takes_binary(root: str, link: HttpClient) -> bool:
    """Does the server take tensors as bytes? A server that does not say so gets JSON."""
    place = f"{root}/v2"
    try:
        about = parsed(place, link.ask(place))
    except TargetError:
        return False
    return isinstance(about, dict) and "binary_tensor_data" in (about.get("extensions") or ())


def _tensors(url: str, about: Any, word: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (datatype, shape) of the model's inputs or outputs."""
    try:
        found = {str(one["name"]): (str(one["datatype"]), tuple(one["shape"])) for one in about[word]}
    except (KeyError, TypeError) as error:
        raise TargetError(f"{url}: this is no metadata of a model ({word} cannot be read); give its address") from error
    if not found or any(type(side) is not int for _, shape in found.values() for side in shape):
        raise TargetError(f"{url}: the metadata's {word} have no usable shape; see the server's model configuration")
    return found
