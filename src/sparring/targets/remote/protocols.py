"""Request and answer formats: the Open Inference Protocol v2 of KServe and Triton, or plain JSON."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, InputError, TargetError
from .address import Address, plain
from .answers import at, excerpt, flattened, parsed
from .http_client import HttpClient

MODEL = re.compile(r"^(?P<root>.*)/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/infer)?/?$")
MOST_CLASSES = 1 << 17  # that a server may promise
LARGEST_IMAGE = 1 << 26  # values of one image
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

    def __post_init__(self) -> None:
        if self.output is not None and not isinstance(self.output, str):
            raise ConfigError(f"output={self.output!r:.80} is no name of an output; pass a text")

    def card(self, url: str, link: HttpClient) -> Card:
        root, name, version = _split(url, link.address)
        place = _place(root, name, version)
        about = parsed(place, link.ask(place))
        sent, given = _tensors(place, about, "inputs"), _tensors(place, about, "outputs")
        if len(sent) != 1:
            listed = plain(", ".join(sorted(sent)))
            raise TargetError(f"{place}: the model has inputs {listed}; a model of images has one")
        wanted = self.output or next(iter(given))
        if wanted not in given or (self.output is None and len(given) > 1):
            cure = link.address.option("output=", "output=NAME")
            raise TargetError(f"{place}: the model's outputs are {plain(', '.join(sorted(given)))}; name one as {cure}")
        ((image, (kind, shape)),) = sent.items()
        if kind not in KINDS or len(shape) != 4:
            tensor = plain(f"{image} is {kind} {list(shape)}")
            raise TargetError(f"{place}: the input {tensor}; images are floats of 4 axes")
        size = math.prod(side for side in shape[1:] if side > 0)
        if any(side == 0 or side < -1 for side in shape) or size > LARGEST_IMAGE:
            raise TargetError(f"{place}: the input has shape {plain(list(shape), 80)}, which no image has")
        versions, remarks = about.get("versions"), about.get("parameters")
        remarks = remarks if isinstance(remarks, dict) else {}
        return Card(
            name=name,
            version=version or (plain(versions[-1], 80) if isinstance(versions, list) and versions else ""),
            input=image,
            kind=kind,
            shape=shape,
            output=wanted,
            classes=_promised_classes(place, remarks.get("classes"), given[wanted][1]),
            binary=_takes_binary(root, link),
            scores=plain(remarks["scores"], 80) if "scores" in remarks else None,
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
        root, name, version = _split(url, Address(url))
        return Request(_place(root, name, version) + "/infer", head + packed if card.binary else head, headers)

    def find(self, url: str, card: Card, answer: Any, count: int, mark: str) -> Any:
        message = answer.get("id", mark) if isinstance(answer, dict) else mark
        if message not in (mark, "", None):
            raise TargetError(f"{url}: the answer is to the question {plain(message, 80)!r}, which was not asked")
        outputs = at(url, answer, "outputs")
        if not isinstance(outputs, list):
            raise TargetError(f"{url}: the answer's outputs are no list; it is {excerpt(answer)}")
        named = [one for one in outputs if isinstance(one, dict) and one.get("name") == card.output]
        if len(named) != 1:
            wanted = plain(card.output, 80)
            raise TargetError(f"{url}: the answer holds {len(named)} outputs named {wanted!r}, not one")
        shape, data = at(url, named[0], "shape"), at(url, named[0], "data")
        shown = plain(shape, 80)
        if not isinstance(shape, list) or not shape or shape[0] != count:
            raise TargetError(f"{url}: the answer has shape {shown} for {count} images; scores are (images, classes)")
        flat = len(flattened(url, data))
        if flat != math.prod(side if type(side) is int else 0 for side in shape):
            raise TargetError(f"{url}: {flat} scores came back under the shape {shown}")
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

    def __post_init__(self) -> None:
        if not isinstance(self.images, str) or not self.images or "*" in self.images:
            raise ConfigError(f"images={self.images!r:.80} is no field of a request; write a name, as 'instances'")
        if not isinstance(self.answer, str):
            raise ConfigError(f"answer={self.answer!r:.80} is no field of an answer; write a name, as 'predictions'")
        if not isinstance(self.extra, Mapping):
            raise ConfigError(f"extra is a {type(self.extra).__name__}; pass a dict of what else the request holds")

    def card(self, url: str, link: HttpClient) -> Card:
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
            got = f"{len(found)} entries" if isinstance(found, list) else excerpt(found)
            raise TargetError(f"{url}: {self.answer!r} holds {got} for {count} images; one entry per image")
        return found

    def most(self, card: Card) -> int | None:
        return 1 if self.single else None


def check_images(address: Address, card: Card, images: NDArray[np.floating]) -> None:
    """Raise InputError where the model says that it takes other images."""
    if card.shape is None:
        return
    have, wanted = images.shape[1:], card.shape[1:]
    if len(have) != len(wanted) or any(want not in (-1, side) for want, side in zip(wanted, have, strict=True)):
        cure = address.option("layout='NHWC'", "layout=NHWC")
        raise InputError(
            f"{address} takes images of shape {list(wanted)}, and these are {list(have)}; "
            f"resize them, or pass {cure} where the channels come last"
        )


def _split(url: str, address: Address) -> tuple[str, str, str | None]:
    found = MODEL.match(url)
    if found is None or urlsplit(url).query:
        cure = address.option("protocol=Fields(images=..., answer=...)", "images=FIELD&answer=FIELD")
        raise ConfigError(
            f"{address} is no model of the Open Inference Protocol; write http://HOST:PORT/v2/models/NAME, "
            f"or say where a plain JSON endpoint has images and scores: {cure}"
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
    extensions = about.get("extensions") if isinstance(about, dict) else None
    return isinstance(extensions, list) and "binary_tensor_data" in extensions


def _promised_classes(url: str, remark: Any, shape: tuple[int, ...]) -> int | None:
    """The classes that the metadata names; None where they do not, TargetError where there are too many."""
    last = shape[-1] if len(shape) > 1 else -1
    classes = remark if type(remark) is int and remark > 1 else last
    if classes > MOST_CLASSES:
        promised = plain(classes, 40)
        raise TargetError(f"{url}: the metadata promise {promised} classes; more than {MOST_CLASSES:,} are refused")
    return classes if classes > 1 else None


def _tensors(url: str, about: Any, word: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (datatype, shape) of the model's inputs or outputs."""
    try:
        found = {str(one["name"]): (str(one["datatype"]), tuple(one["shape"])) for one in about[word]}
    except (KeyError, TypeError) as error:
        message = f"this is no metadata of a model ({word} cannot be read): {excerpt(about)}; give its address"
        raise TargetError(f"{url}: {message}") from error
    if not found or any(type(side) is not int for _, shape in found.values() for side in shape):
        raise TargetError(f"{url}: the metadata's {word} have no usable shape; see the server's model configuration")
    return found
