"""The graph of a TensorFlow.js model: its nodes, checked, in the order in which they are computed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...errors import TargetError, nearest
from .manifest import field

NODES_LIMIT = 100_000
INPUTS_LIMIT = 10_000


class Source(NamedTuple):
    """Where an input of a node comes from: the node, and which of its outputs."""

    name: str
    port: int


@dataclass(frozen=True)
class Node:
    """An operation of the graph; `attributes` are as the file has them, and are checked when they are asked for."""

    name: str
    op: str
    inputs: tuple[Source, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.op} {self.name!r:.120}"

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string attribute, which the file has in base 64."""
        return default if default is not None and name not in self.attributes else self._text(self._value(name, "s"))

    def texts(self, name: str) -> list[str]:
        """Return a list of strings, empty where it is not there."""
        return [self._text(one) for one in self._list(name, "s")]

    def integer(self, name: str, default: int = 0) -> int:
        """Return an integer attribute."""
        return self._integer(self._value(name, "i"), name) if name in self.attributes else default

    def integers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Return a list of integers; `default` where it is not there, or empty."""
        return [self._integer(one, name) for one in self._list(name, "i")] or list(default)

    def number(self, name: str, default: float) -> float:
        """Return a real number."""
        return field(self.attributes[name], "f", float, f"{name} of {self}") if name in self.attributes else default

    def flag(self, name: str) -> bool:
        """Return a truth value, False where it is not there."""
        return bool(self._value(name, "b", False)) if name in self.attributes else False

    def dtype(self, name: str) -> str:
        """Return the name of a type, as `DT_FLOAT`; files also have its number."""
        given = self._value(name, "type")
        numbers = {"1": "DT_FLOAT", "3": "DT_INT32", "9": "DT_INT64", "10": "DT_BOOL"}
        return numbers.get(str(given), str(given))

    def shape(self) -> tuple[int, ...] | None:
        """Return the attribute `shape` of a placeholder, -1 for a side that is not fixed; None where it is unknown."""
        held = self._value("shape", "shape", {}) if "shape" in self.attributes else {}
        if isinstance(held, dict) and "dim" not in held:
            return None
        sides = field(held, "dim", list, f"the shape of {self}")
        each = [one.get("size", -1) if isinstance(one, dict) else None for one in sides]
        return tuple(self._integer(one, "shape") for one in each)

    def _value(self, name: str, kind: str, default: Any = None) -> Any:
        held = self.attributes.get(name)
        found = held.get(kind, default) if isinstance(held, dict) else default
        if found is None:
            raise TargetError(f"{self} has no attribute {name}")
        return found

    def _list(self, name: str, kind: str) -> list[Any]:
        if name not in self.attributes:
            return []
        held = self._value(name, "list", {})
        found = held.get(kind, []) if isinstance(held, dict) else None
        if not isinstance(found, list):
            raise TargetError(f"the attribute {name} of {self} is no list")
        return found

    def _text(self, value: Any) -> str:
        try:
            return base64.b64decode(value, validate=True).decode()
        except (TypeError, ValueError, binascii.Error) as error:
            raise TargetError(f"an attribute of {self} is no text in base 64: {value!r:.80}") from error

    def _integer(self, value: Any, name: str) -> int:
        try:
            number = int(value) if isinstance(value, str | int) else None
        except ValueError:
            number = None
        if number is None or abs(number) >= 2**31:
            raise TargetError(f"the attribute {name} of {self} holds {value!r:.80}, which is no integer of 32 bits")
        return number


def read_nodes(topology: Any) -> dict[str, Node]:
    """Return the nodes of a `modelTopology` by name.

    Raises: TargetError for what is no graph: a node without name or operation, a name twice, too many nodes.
    """
    records = field(topology, "node", list, "the model's topology")
    if len(records) > NODES_LIMIT:
        raise TargetError(f"the graph has {len(records)} nodes, over the limit of {NODES_LIMIT}")
    nodes: dict[str, Node] = {}
    for record in records:
        name = field(record, "name", str, "a node of the graph")
        if name in nodes:
            raise TargetError(f"the graph has two nodes with the name {name!r:.120}")
        given, attributes = record.get("input", []), record.get("attr", {})
        if not isinstance(given, list) or len(given) > INPUTS_LIMIT or not isinstance(attributes, dict):
            raise TargetError(f"the inputs or attributes of node {name!r:.120} are none")
        sources = tuple(source_of(one) for one in given if not (isinstance(one, str) and one.startswith("^")))
        nodes[name] = Node(name, field(record, "op", str, f"node {name!r:.120}"), sources, attributes)
    return nodes


def source_of(text: Any) -> Source:
    """Return what `name` or `name:port` names."""
    name, _, port = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not name or not (port == "" or (port.isdecimal() and port.isascii() and len(port) < 5)):
        raise TargetError(f"{text!r:.80} is no input of a node")
    return Source(name, int(port or 0))


def default_outputs(model: Any, nodes: Mapping[str, Node]) -> list[str]:
    """Return the outputs that the model's signature names, else the nodes that no other reads."""
    for place in (model, model.get("userDefinedMetadata")):
        signature = place.get("signature") if isinstance(place, dict) else None
        outputs = signature.get("outputs") if isinstance(signature, dict) else None
        if isinstance(outputs, dict) and outputs:
            return [field(one, "name", str, f"output {name!r:.80}") for name, one in outputs.items()]
    read = {source.name for node in nodes.values() for source in node.inputs}
    return [name for name in nodes if name not in read]


def ordered(nodes: Mapping[str, Node], outputs: Collection[Source], known: Collection[str]) -> list[Node]:
    """Return the nodes that the outputs need, each after those that it reads.

    Raises: TargetError for an output or an input that is no node, a circle, and operations not among `known`: the first
        is named with its node.
    """
    for source in outputs:
        if source.name not in nodes:
            raise TargetError(f"the graph has no node {source.name!r:.120}.{nearest(source.name, nodes)}")
    order: list[Node] = []
    state: dict[str, bool] = {}  # False: begun, True: in the order
    stack = [(source.name, False) for source in reversed(list(outputs))]
    while stack:
        name, done = stack.pop()
        if done:
            state[name] = True
            order.append(nodes[name])
            continue
        if name in state:
            if not state[name]:
                raise TargetError(f"the graph has a circle through node {name!r:.120}; loops cannot be run")
            continue
        state[name] = False
        node = nodes[name]
        if node.op not in known:
            raise TargetError(
                f"the operation {node.op!r:.80} of node {name!r:.120} cannot be run; choose outputs= without it"
            )
        stack.append((name, True))
        for source in node.inputs:
            if source.name not in nodes:
                raise TargetError(f"{node} reads {source.name!r:.120}, which is no node of the graph")
            if state.get(source.name) is not True:
                stack.append((source.name, False))
    return order
