"""`GraphModel`: a graph of TensorFlow.js as a torch module, differentiable and for batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError, TargetError
from .convolution import filters_in_order
from .graph import Node, Source, default_outputs, ordered, read_nodes, source_of
from .manifest import field, read_json
from .operations import DEPTHWISE_FILTERS, FILTERS, OPERATIONS, compute
from .weights import read_weights


class GraphModel(nn.Module):
    """A graph as a module: one real tensor, (B, H, W, C) as the graph has it -> a tuple of tensors, one per output.

    Axes are in the graph's own order. Convolutions see a (B, C, H, W) view of the same memory, so nothing is copied.
    Constants of real numbers are parameters (single numbers buffers), under `weights` by number. A graph that was
    exported for one image (a first side of 1) is run on each row of a batch by itself, all at once
    (`torch.vmap`), so that shapes that are written down in it stay true.

    Args:
        nodes: the graph (`read_nodes`).
        constants: the values of its `Const` nodes by name (`read_weights`).
        outputs: the nodes whose values are returned, `name` or `name:port`.

    Raises: TargetError for a graph that cannot be run: an operation that is not known is named with its node. In a
        forward pass InputError for an input of another shape, TargetError for nodes whose inputs do not fit.
    """

    def __init__(self, nodes: Mapping[str, Node], constants: Mapping[str, Tensor], outputs: Sequence[str]) -> None:
        super().__init__()
        if not outputs:
            raise TargetError("the graph has no output; name one, as outputs=['Identity']")
        self.outputs = tuple(source_of(name) for name in outputs)
        order = ordered(nodes, self.outputs, {*OPERATIONS, "Const", "Placeholder"})
        inputs = [node for node in order if node.op == "Placeholder"]
        if len(inputs) != 1 or inputs[0].dtype("dtype") != "DT_FLOAT":
            found = ", ".join(f"{node} of {node.dtype('dtype'):.40}" for node in inputs) or "none"
            raise TargetError(f"the outputs need one input of real numbers (DT_FLOAT), and the graph has {found}")
        self.input_name, self.input_shape = inputs[0].name, inputs[0].shape()
        self.steps = tuple(node for node in order if node.op not in ("Const", "Placeholder"))
        self.weights = nn.ParameterDict()
        self._places: dict[str, str] = {}  # constants that are parameters or buffers, and where
        self._integers: dict[str, Tensor] = {}
        for node in order:
            if node.op == "Const":
                self._keep(node, constants)
        self._drop = _last_uses(self.steps, self.outputs)
        self.digest = _digest(order, self._integers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for x (B, ...), each with one row per input."""
        self._check(x)
        rows = len(x)
        for_one = self.input_shape is not None and self.input_shape[:1] == (1,)
        outputs = self._run_rows(x) if for_one and rows > 1 else self._run(x)
        for source, one in zip(self.outputs, outputs, strict=True):
            if one.ndim == 0 or len(one) != rows:
                raise TargetError(f"output {source.name!r:.120} has shape {tuple(one.shape)} for {rows} inputs")
        return outputs

    def extra_repr(self) -> str:
        """Return the shape of the input, the outputs and a hash of the graph."""
        outputs = ", ".join(source.name for source in self.outputs)
        return f"input={self.input_shape}, outputs={outputs}, nodes={len(self.steps)}, sha256={self.digest}"

    def _keep(self, node: Node, constants: Mapping[str, Tensor]) -> None:
        if node.name not in constants:
            raise TargetError(f"the constant {node.name!r:.120} has no value among the weights")
        value = constants[node.name]
        if not value.is_floating_point():
            self._integers[node.name] = value
            return
        read_by = {step.op for step in self.steps for source in step.inputs[1:2] if source.name == node.name}
        for kinds, depthwise in ((FILTERS, False), (DEPTHWISE_FILTERS, True)):
            if read_by & {*kinds}:
                value = filters_in_order(value, depthwise)
        place = f"constant_{len(self._places)}"
        if value.ndim:
            self.weights[place] = nn.Parameter(value)
        else:
            self.register_buffer(place, value)
        self._places[node.name] = place

    def _check(self, x: Tensor) -> None:
        wanted = self.input_shape
        if not x.is_floating_point() or x.ndim == 0 or len(x) == 0:
            raise InputError(f"a graph takes a batch of real numbers; got {x.dtype} {tuple(x.shape)}")
        if wanted is None:
            return
        fits = x.ndim == len(wanted) and all(
            want in (-1, have) for want, have in zip(wanted[1:], x.shape[1:], strict=True)
        )
        if not fits or wanted[0] not in (-1, 1, len(x)):
            raise InputError(f"the graph takes inputs of shape {wanted} (-1: any), and these are {tuple(x.shape)}")

    def _run_rows(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run the graph on each row as a batch of one."""
        return tuple(one.flatten(0, 1) for one in torch.vmap(self._run)(x[:, None]))

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Tensor | tuple[Tensor, ...]] = {self.input_name: x, **self._integers}
        for name, place in self._places.items():
            values[name] = self.weights[place] if place in self.weights else self.get_buffer(place)
        for step, drop in zip(self.steps, self._drop, strict=True):
            values[step.name] = compute(step, [_taken(values, source) for source in step.inputs])
            for name in drop:
                del values[name]
        return tuple(_taken(values, source) for source in self.outputs)


def load_graph_model(file: Path | str, outputs: Sequence[str] | None = None) -> GraphModel:
    """Load a graph model from its `model.json`, with the files of weights beside it.

    Args:
        file: the JSON file; weights are read from its own folder only.
        outputs: names of nodes; None: those of the model's signature, else all that no other node reads.

    Raises: TargetError for files that are no such model, too large, or that hold an operation that cannot be run.
    """
    file = Path(file).expanduser()
    model = read_json(file)
    nodes = read_nodes(field(model, "modelTopology", dict, str(file)))
    constants = read_weights(field(model, "weightsManifest", list, str(file)), file.parent)
    return GraphModel(nodes, constants, default_outputs(model, nodes) if outputs is None else outputs)


def _taken(values: Mapping[str, Tensor | tuple[Tensor, ...]], source: Source) -> Tensor:
    found = values[source.name]
    several = found if isinstance(found, tuple) else (found,)
    if source.port >= len(several):
        raise TargetError(f"node {source.name!r:.120} has {len(several)} outputs, and number {source.port} is read")
    return several[source.port]


def _last_uses(steps: Sequence[Node], outputs: Sequence[Source]) -> tuple[tuple[str, ...], ...]:
    """Return for each step the names of the values that no later step reads."""
    kept = {source.name for source in outputs}
    drops: list[tuple[str, ...]] = []
    for step in reversed(steps):
        names = {source.name for source in step.inputs} - kept
        drops.append(tuple(names))
        kept |= names
    return tuple(reversed(drops))


def _digest(order: Sequence[Node], integers: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the nodes and of the constants that are no parameters."""
    total = hashlib.sha256()
    for node in order:
        total.update(json.dumps([node.name, node.op, node.inputs, node.attributes], sort_keys=True).encode())
        if node.name in integers:
            total.update(json.dumps(integers[node.name].tolist()).encode())
    return total.hexdigest()
