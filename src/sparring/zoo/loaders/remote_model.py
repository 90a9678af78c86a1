"""`http://HOST/v2/models/NAME[#OPTION=VALUE&...]`: a model behind a server. What follows the `#` is never sent.

scores=logits | probabilities | labels     what the answers are (logits, or what a server of ours says)
classes=10   class_names=cat,dog           how many classes, or their names; for labels
layout=NHWC                                the order of axes that the server wants
output=NAME                                which output is read, where there are several
images=FIELD & answer=FIELD [& single=1]   a plain JSON endpoint: see `sparring.targets.Fields`
journal=FILE                               every answer is written there, and none is asked for twice
per_request=64  timeout=30  retries=5      images of one request, seconds for an answer, tries after a failure
authorization=VARIABLE                     the environment variable that holds the header Authorization
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import parse_qsl

from ...errors import ConfigError, nearest
from ...targets import Fields, OpenInference, Remote, RemoteLabels
from ...targets.remote import Address, Protocol
from ..loaded import InputSpec, LoadedModel

NUMBERS = {"classes": int, "per_request": int, "timeout": float, "retries": int}
WORDS = ("layout", "journal")
KNOWN = (*NUMBERS, *WORDS, "scores", "class_names", "output", "images", "answer", "single", "authorization")
KINDS = ("logits", "probabilities", "labels")


def remote_model(spec: str) -> LoadedModel:
    """Return the model at the address, with what it says of itself."""
    url, _, said = spec.partition("#")
    options = dict(parse_qsl(said, keep_blank_values=True))
    for name in options:
        if name not in KNOWN:
            raise ConfigError(f"{spec}: the option {name!r} is unknown ({', '.join(KNOWN)}).{nearest(name, KNOWN)}")
    given: dict[str, Any] = {name: options[name] for name in WORDS if name in options}
    for name, kind in NUMBERS.items():
        if name in options:
            try:
                given[name] = kind(options[name])
            except ValueError as error:
                raise ConfigError(f"{spec}: {name}={options[name]!r} is no number") from error
    if "authorization" in options:
        given["headers"] = {"Authorization": _secret(spec, options["authorization"])}
    protocol, address = _protocol(spec, options), Address(url, said)
    scores = options.get("scores") or _said(address, protocol, given)
    if scores not in KINDS:
        raise ConfigError(f"{spec}: scores={scores!r} is unknown ({', '.join(KINDS)}).{nearest(scores, KINDS)}")
    target: Remote | RemoteLabels
    names = tuple(options["class_names"].split(",")) if "class_names" in options else None
    if scores == "labels":
        target = RemoteLabels(address, protocol=protocol, class_names=names, **given)
    else:
        target = Remote(address, scores=scores, protocol=protocol, **given)
    return LoadedModel(target.name, target, _input(target, options.get("layout", "NCHW")), names, target.name, None)


def _protocol(spec: str, options: dict[str, str]) -> Protocol:
    if ("images" in options) != ("answer" in options):
        raise ConfigError(f"{spec}: a plain JSON endpoint needs both images=FIELD and answer=FIELD")
    if "images" in options:
        single = options.get("single", "") not in ("", "0", "no", "false")
        return Fields(options["images"], options["answer"], single=single)
    return OpenInference(options.get("output"))


def _secret(spec: str, variable: str) -> str:
    """What the environment variable holds."""
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(f"{spec}: the environment variable {variable!r} is not set; export {variable}='Bearer ...'")
    return value


def _said(address: Address, protocol: Protocol, given: dict[str, Any]) -> str:
    """What the server says that its scores are; logits where it does not say."""
    asking = {name: value for name, value in given.items() if name in ("timeout", "retries", "headers")}
    target = Remote(address, protocol=protocol, **asking)
    try:
        return target.card.scores or "logits"
    finally:
        target.close()


def _input(target: Remote | RemoteLabels, layout: str) -> InputSpec | None:
    """The size of pictures, where the server tells it."""
    shape = target.card.shape
    if shape is None:
        return None
    channels, height, width = shape[1:] if layout == "NCHW" else (shape[3], shape[1], shape[2])
    return InputSpec(channels, height, width) if channels in (1, 3) and min(height, width) > 0 else None


def is_address(spec: str) -> bool:
    """Tell whether the spec is http://... or https://..."""
    return re.match(r"https?://", spec) is not None
