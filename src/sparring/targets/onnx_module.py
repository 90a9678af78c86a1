"""The network of an ONNX file as a torch module, so that it has gradients and can be bounded.

The table of operations is `onnx_operations`. Nothing in the file is run: an operation of another domain, a subgraph, or
weights that lie in other files are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import TargetError
from .onnx_operations import OPERATIONS, OnnxNode, OnnxUnsupported, Operand
from .optional_imports import import_optional

OLDEST = 7  # operation set: broadcasting was another before
MOST_NODES = 100_000
_KINDS = {1: torch.float32, 11: torch.float64}  # of inputs and outputs, by ONNX's number


class OnnxModule(nn.Module):
    """The function of an ONNX file: inputs (B, *in_shape) to outputs (B, m), in float64.

    Each row is one input of the graph, whose own axes, its batch axis of length 1 among them, are `in_shape`. Integer
    and other constants are folded; weights are buffers.

    Args:
        content: the file.
        name: of the file, for messages.
        shape: of the input, for files that leave lengths open; None: an open first axis has length 1.

    Attributes:
        in_name, in_shape, in_kind: the input's name, shape and dtype (torch.float32 or float64) in the file.
        out_name, out_shape, out_kind: those of the output.
        widest: components of the largest value that depends on the input.

    Raises:
        TargetError: what is no ONNX file; several inputs or outputs; an operation that is not in the table, by name.
    """

    def __init__(self, content: bytes, name: str, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.name = name
        graph, opset = self._graph(content)
        self._steps: list[OnnxNode] = []
        self._constants: dict[str, str] = {}  # names of buffers, by those of the graph
        self._numbers: dict[str, tuple[float, ...] | None] = {}
        with torch.no_grad():
            self._build(graph, opset, shape)

    def _graph(self, content: bytes) -> tuple[Any, int]:
        onnx = import_optional("onnx", "a network in an ONNX file", "onnx")
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # of protobuf
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TargetError(f"{self.name} is no valid ONNX model: {words}") from error
        opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
        if opset < OLDEST:
            raise TargetError(
                f"{self.name} uses operation set {opset} of ONNX; export it with {OLDEST} or newer "
                "(onnx.version_converter)"
            )
        if len(model.graph.node) > MOST_NODES:
            raise TargetError(f"{self.name} has {len(model.graph.node):,} nodes, and {MOST_NODES:,} are the most")
        outside = [one.name for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL]
        if outside:
            raise TargetError(f"{self.name} keeps its weights ({outside[0]}, ...) in another file; save it as one file")
        return model.graph, opset

    def _build(self, graph: Any, opset: int, shape: Sequence[int] | None) -> None:
        known: dict[str, Operand] = {}
        for one in graph.initializer:
            known[one.name] = Operand.constant(self._tensor(one))
        inputs = [one for one in graph.input if one.name not in known]
        if len(inputs) != 1 or len(graph.output) != 1:
            names = [", ".join(one.name for one in many) for many in (inputs, graph.output)]
            raise TargetError(
                f"{self.name} has inputs {names[0] or 'none'} and outputs {names[1] or 'none'}; certificates are for "
                "networks with one of each"
            )
        self.in_name, self.in_shape, self.in_kind = self._declared(inputs[0], shape)
        self.widest = max(1, self.in_size)
        self.out_name = graph.output[0].name
        self.out_kind = _KINDS.get(graph.output[0].type.tensor_type.elem_type, torch.float32)
        known[self.in_name] = Operand(torch.zeros(1, *self.in_shape, dtype=torch.float64), True)
        for proto in graph.node:
            node = self._node(proto, opset)
            found = self._run(node, known)
            known.update(found)
            self.widest = max([self.widest, *(math.prod(one.shape) for one in found.values() if one.batched)])
            if any(one.batched for one in found.values()):
                self._steps.append(node)
        if self.out_name not in known or not known[self.out_name].batched:
            raise TargetError(f"{self.name} gives outputs that do not depend on its inputs")
        self.out_shape = known[self.out_name].shape
        self._drop_unused()
        self._join_biases(known)
        for node in self._steps:
            for name in node.inputs:
                if name and not known[name].batched and name not in self._constants:
                    self._constants[name] = f"constant_{len(self._constants)}"
                    self.register_buffer(self._constants[name], known[name].value)
                    self._numbers[name] = known[name].numbers

    def _drop_unused(self) -> None:
        needed, kept = {self.out_name}, []
        for node in reversed(self._steps):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self._steps = kept[::-1]

    def _join_biases(self, known: dict[str, Operand]) -> None:
        """Make one step of a product with a matrix and the sum with a bias that follows it."""
        uses: dict[str, int] = {self.out_name: 1}
        for name in (name for node in self._steps for name in node.inputs):
            uses[name] = uses.get(name, 0) + 1
        products = {node.outputs[0]: node for node in self._steps if node.kind == "MatMul"}
        for place, node in enumerate(self._steps):
            for name, bias in (node.inputs, node.inputs[::-1]) if node.kind == "Add" else ():
                product = products.get(name)
                if product is None or uses[name] > 1 or known[bias].batched:
                    continue
                x, weight, shift = known[product.inputs[0]], known[product.inputs[1]], known[bias].value
                fits = weight.rank == 2 and shift.shape[-1:] == weight.value.shape[-1:] and shift.ndim <= x.rank
                if x.batched and not weight.batched and fits and shift.numel() == shift.shape[-1]:
                    self._steps[place] = OnnxNode("Gemm", {}, (*product.inputs, bias), node.outputs, node.opset)
                    self._steps[self._steps.index(product)] = OnnxNode("Identity", {}, (), (), node.opset)
        self._steps = [node for node in self._steps if node.outputs]

    def _declared(self, value: Any, shape: Sequence[int] | None) -> tuple[str, tuple[int, ...], torch.dtype]:
        kind = _KINDS.get(value.type.tensor_type.elem_type)
        if kind is None:
            raise TargetError(f"{self.name} takes {value.name} of a type other than float32 or float64")
        given = [side.dim_value for side in value.type.tensor_type.shape.dim]
        fits = shape is not None and len(shape) == len(given)
        if shape is not None and fits and all(a in (0, b) for a, b in zip(given, shape, strict=True)):
            return value.name, tuple(shape), kind
        found = [1 if side == 0 and place == 0 else side for place, side in enumerate(given)]
        if 0 in found:
            raise TargetError(
                f"{self.name} leaves the shape of {value.name} open ({given}); export it with a fixed one"
            )
        return value.name, tuple(found), kind

    def _tensor(self, proto: Any) -> Tensor:
        onnx = import_optional("onnx", "a network in an ONNX file", "onnx")
        try:
            tensor = torch.from_numpy(np.array(onnx.numpy_helper.to_array(proto)))
        except Exception as error:  # of numpy, onnx and torch, for a damaged or an odd tensor
            raise TargetError(f"{self.name}: the constant {proto.name!r} cannot be read: {error}") from error
        if not tensor.is_floating_point():
            return tensor
        if not bool(tensor.isfinite().all()) and tensor.numel() > 1:
            raise TargetError(f"{self.name}: the constant {proto.name!r} holds NaN or infinity")
        return tensor.double()

    def _node(self, proto: Any, opset: int) -> OnnxNode:
        if proto.domain not in ("", "ai.onnx") or proto.op_type not in OPERATIONS:
            domain = f"{proto.domain}." if proto.domain not in ("", "ai.onnx") else ""
            where = proto.name or "".join(proto.output[:1])
            raise TargetError(
                f"{self.name} has the operation {domain}{proto.op_type} ({where}), which is not read; known are "
                f"{', '.join(OPERATIONS)}"
            )
        onnx = import_optional("onnx", "a network in an ONNX file", "onnx")
        attributes: dict[str, Any] = {}
        for one in proto.attribute:
            try:
                value = onnx.helper.get_attribute_value(one)
            except ValueError as error:
                raise TargetError(f"{self.name}: {proto.op_type} has a damaged attribute {one.name!r}") from error
            if isinstance(value, bytes):
                value = value.decode(errors="replace")
            elif isinstance(value, onnx.TensorProto):
                value = self._tensor(value)
            elif isinstance(value, list | tuple):
                value = list(value)
            attributes[one.name] = value
        return OnnxNode(proto.op_type, attributes, tuple(proto.input), tuple(proto.output), opset, proto.name)

    def _run(self, node: OnnxNode, known: dict[str, Operand]) -> dict[str, Operand]:
        where = f"{self.name}: {node.kind} ({node.name or ''.join(node.outputs[:1])})"
        missing = [name for name in node.inputs if name and name not in known]
        if missing:
            raise TargetError(f"{where} takes {missing[0]!r}, which no node before it gives")
        given = [known[name] if name else None for name in node.inputs]
        try:
            found = OPERATIONS[node.kind](node, given)
        except OnnxUnsupported as error:
            raise TargetError(f"{where}: {error} is not read") from error
        except (RuntimeError, IndexError, ValueError, TypeError) as error:  # of torch, for shapes that do not fit
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TargetError(f"{where} does not fit its inputs: {words}") from error
        whole = [one if one.batched else Operand.constant(one.value) for one in found]
        return {name: one for name, one in zip(node.outputs, whole, strict=False) if name}

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (B, m) at inputs (B, *in_shape)."""
        known = {
            name: Operand(getattr(self, buffer), False, self._numbers[name]) for name, buffer in self._constants.items()
        }
        known[self.in_name] = Operand(x, True)
        for node in self._steps:
            given = [known[name] if name else None for name in node.inputs]
            known.update(zip(node.outputs, OPERATIONS[node.kind](node, given), strict=False))
        result: Tensor = known[self.out_name].value.flatten(1)
        return result

    @property
    def in_size(self) -> int:
        """The number of input components."""
        return math.prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """The number of output components."""
        return math.prod(self.out_shape)
