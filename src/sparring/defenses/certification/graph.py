"""`Network`: a classifier as a graph of affine operations, activations and maxima, from images to logits.

torch.export traces it, normalisation included, and what depends on weights alone is computed anew from the weights
as they are, each time that bounds are asked for. So bounds can be differentiated with respect to them, and a network
under training has to be captured once. The trace is then compared with the classifier itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...errors import SparringError, TargetError
from ...targets import Classifier
from .activations import Activation
from .affine import Affine
from .maximum import Maximum
from .operations import Unsupported, preserved, same_as_operand, translate

TRACED_ROWS = 3  # images that are traced; the graph takes any number
CHECKED_ROWS = 5  # random images at which the graph is compared with the classifier
AGREEMENT = 1e-3  # by which they may differ, relative to the largest logit: float32 rounds

Weights = dict[str, Tensor]


class Reach(Enum):
    """What a node's components are of the input."""

    APART = 1  # each is affine in components of the input that no other component depends on
    AFFINE = 2  # each is affine in the input, in a sum in which no component of the input comes twice
    MIXED = 3


@dataclass(frozen=True)
class Node:
    """A step of the network whose result depends on the input.

    Args:
        label: where it comes from, for messages.
        operation: None for the input.
        operands: the nodes that it takes, by number, all earlier.
        constants: the names of the constants that it takes.
        shape: of one row of the result.
    """

    label: str
    operation: Affine | Activation | Maximum | None
    operands: tuple[int, ...]
    constants: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def affine(self) -> bool:
        """Is it affine in its operands?"""
        return isinstance(self.operation, Affine)


class Network:
    """The graph of a classifier. `Network(target, images)` captures it.

    Args:
        target: a `Classifier`, or a module from images in [0, 1] to logits.
        images: (B, ...) inputs like those that are to be certified; the shape and the device count.

    Raises:
        TargetError: a target that is no classifier, is random or takes a context; a network that cannot be traced, has
            an operation without bounds (the message names it), lets its images depend on one another, or does
            something else than its trace.
    """

    def __init__(self, target: Classifier | nn.Module, images: Tensor) -> None:
        self.target = as_classifier(target)
        self.name = self.target.name
        example = images[:1].detach().expand(TRACED_ROWS, *images.shape[1:])
        with self.target.frozen(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export's own
            example = example.clone()
            with torch.no_grad():
                self.target(example)  # what the network itself raises is not of the tracing
            self._module = _Traced(self.target)  # which knows by now whether the model changes its input
            program = self._exported(example)
            self._sources = _sources(program)
            self._constants = dict(program.constants)
            self._graph: fx.Graph = program.graph_module.graph
            try:
                self._read_graph(example.shape)
            except Unsupported as error:
                raise TargetError(
                    f"{self.name} has {error}, for which there are no bounds; certify a network without it"
                ) from error
            self._check(images)
        self.set_nodes(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def set_nodes(self, nodes: list[Node]) -> None:
        """Take these nodes, which compute the same logits."""
        self.nodes = nodes
        self.reach = self._reaches()
        nonlinear = [node.operands[0] for node in nodes[1:] if not node.affine]
        self.bounded = sorted(set(nonlinear))  # the nodes whose bounds relaxations need

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.nodes[-1].shape[0]

    # evaluation

    def weights(self, dtype: torch.dtype, replaced: Weights | None = None) -> Weights:
        """Return all constants, computed from the weights as they are now: floats in `dtype`, others as they are.

        `replaced` has tensors that are taken in the place of weights or buffers, by their name in the model.
        """
        held = {
            **dict(self._module.named_parameters(remove_duplicate=False)),
            **dict(self._module.named_buffers(remove_duplicate=False)),
            **{f"model.{name}": value for name, value in (replaced or {}).items()},
        }
        values: dict[fx.Node, Any] = {}
        for node in self._constant_nodes:
            if node.op == "placeholder":
                source = self._sources[node.name]
                values[node] = held[source] if source in held else self._constants[source]
            else:
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda one: values[one])
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        found = {name: made(values) for name, made in self._made.items()}
        return {name: one.to(dtype) if one.is_floating_point() else one for name, one in found.items()}

    def constants_of(self, node: Node, weights: Weights) -> list[Tensor]:
        """Return the constants of a node."""
        return [weights[name] for name in node.constants]

    def __call__(self, images: Tensor, weights: Weights | None = None) -> Tensor:
        """Return the logits (B, K) of the graph at images (B, ...), in the dtype of the images."""
        weights = self.weights(images.dtype) if weights is None else weights
        results: list[Tensor] = [images]
        for node in self.nodes[1:]:
            operands = [results[one] for one in node.operands]
            if isinstance(node.operation, Affine):
                results.append(node.operation.apply(operands, self.constants_of(node, weights)))
            else:
                assert node.operation is not None
                results.append(node.operation(operands[0]))
        return results[-1]

    # capture

    def _exported(self, example: Tensor) -> torch.export.ExportedProgram:
        try:
            table = preserved()
            program = torch.export.export(self._module, (example,), strict=False)
            whole: torch.export.ExportedProgram = program.run_decompositions(table)
            return whole
        except Exception as error:  # of many kinds; one that the classifier passed on has its cause
            cause = error.__cause__ if isinstance(error, SparringError) and error.__cause__ is not None else error
            text = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            raise TargetError(
                f"{self.name} cannot be traced by torch.export: {text}; a certificate needs a module whose operations "
                "do not depend on the values of the images"
            ) from error

    def _read_graph(self, shape: torch.Size) -> None:
        """Sort the traced operations into constants and nodes."""
        self.nodes = []
        self._constant_nodes: list[fx.Node] = []
        self._made: dict[str, Callable[[dict[fx.Node, Any]], Tensor]] = {}
        place: dict[fx.Node, int] = {}
        for node in self._graph.nodes:
            if node.op == "placeholder":
                if node.name in self._sources:
                    self._constant_nodes.append(node)
                else:
                    place[node] = self._add(Node("the input", None, (), (), tuple(shape[1:])))
            elif node.op == "output":
                result = node.args[0][0]
                if result not in place:
                    raise TargetError(f"{self.name} gives logits that do not depend on its images")
                last = place[result]
            elif not any(one in place for one in node.all_input_nodes):
                if not node.users:
                    continue  # an assertion of torch.export
                self._constant_nodes.append(node)
            elif node.users:
                place[node] = self._translated(node, place)
        if last != len(self.nodes) - 1:  # nothing that comes later is used
            self.nodes = self.nodes[: last + 1]
        self._keep_used()
        if len(self.nodes[-1].shape) != 1 or self.nodes[-1].shape[0] < 2:
            raise TargetError(
                f"{self.name} gives outputs of shape {self.nodes[-1].shape} per image; pass logits (B, K)"
            )

    def _translated(self, node: fx.Node, place: dict[fx.Node, int]) -> int:
        """Add the node that stands for a traced operation, and return its number."""
        if same_as_operand(node):
            return place[node.args[0]]  # type: ignore[index]
        value = node.meta["val"]
        value = value[0] if isinstance(value, tuple | list) else value
        shape = tuple(int(size) for size in value.shape)
        if not shape or shape[0] != TRACED_ROWS:
            raise Unsupported.at(node, "a result that has no row for each image")
        for step, (operation, operands, constants) in enumerate(translate(node, place)):
            names = tuple(f"{node.name}.{step}.{number}" for number in range(len(constants)))
            self._made.update(zip(names, constants, strict=True))
            numbers = tuple(len(self.nodes) + one if one < 0 else one for one in operands)
            added = self._add(Node(Unsupported.place(node), operation, numbers, names, shape[1:]))
        return added

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _keep_used(self) -> None:
        """Leave out nodes that the logits do not depend on."""
        used = {len(self.nodes) - 1, 0}
        for number in reversed(range(len(self.nodes))):
            if number in used:
                used.update(self.nodes[number].operands)
        numbers = {old: new for new, old in enumerate(sorted(used))}
        self.nodes = [
            Node(one.label, one.operation, tuple(numbers[k] for k in one.operands), one.constants, one.shape)
            for number, one in enumerate(self.nodes)
            if number in used
        ]

    def _reaches(self) -> list[Reach]:
        """What each node is of the input: intervals of what is not MIXED are exact in a box."""
        found = [Reach.APART]
        for node in self.nodes[1:]:
            operation, before = node.operation, [found[one] for one in node.operands]
            reach = Reach.MIXED
            if isinstance(operation, Affine) and len(before) == 1:
                alone = operation.injective or operation.elementwise
                if before[0] is Reach.APART:
                    same = operation.injective or node.shape == self.nodes[node.operands[0]].shape
                    reach = Reach.APART if alone and same else Reach.AFFINE
                elif before[0] is Reach.AFFINE and alone:
                    reach = Reach.AFFINE
            found.append(reach)
        return found

    @torch.no_grad()
    def _check(self, images: Tensor) -> None:
        """Compare the graph with the classifier at random inputs, batch by batch and row by row."""
        low, high = self.target.inputs.range_like(images[:1])
        generator = torch.Generator().manual_seed(0)
        drawn = torch.rand(CHECKED_ROWS, *images.shape[1:], generator=generator).to(images)
        width = torch.as_tensor(high, dtype=images.dtype) - torch.as_tensor(low, dtype=images.dtype)
        if bool(width.isfinite().all()):
            drawn = low + drawn * width.to(images.device)
        else:
            drawn = images[:1] + self.target.inputs.scale * (drawn - 0.5)
        self.compare(torch.cat((drawn, images[:1])))

    @torch.no_grad()
    def compare(self, images: Tensor) -> None:
        """Raise TargetError where the graph, in float64, gives other logits than the classifier at these images."""
        theirs = self.target(images).double()
        weights = self.weights(torch.float64)
        try:
            rows = torch.cat([self(row[None].double(), weights) for row in images])
            together = self(images.double(), weights)
        except (RuntimeError, IndexError) as error:
            raise TargetError(
                f"{self.name} works for {TRACED_ROWS} images at a time, and not for another number: {error}; a "
                "certificate needs a network whose answer for an image does not depend on the other images"
            ) from error
        finite = torch.where(theirs.isfinite(), theirs, 0)
        limit = AGREEMENT * (1 + float(finite.abs().max()))
        if not bool(((rows - theirs).abs() <= limit).all()) or not bool(((together - rows).abs() <= limit).all()):
            gap = float((rows - theirs).abs().max())
            raise TargetError(
                f"{self.name} differs from its trace by {gap:.3g} in a logit; its answer for an image depends on the "
                "other images, on its values by Python code, or on chance, and bounds for it would not hold"
            )


class _Traced(nn.Module):
    """The classifier as a module with its model's weights; the target itself is not touched while it is traced."""

    def __init__(self, target: Classifier) -> None:
        super().__init__()
        twin = copy(target)
        vars(twin)["_places"] = {}  # where it keeps mean and std: traced ones are no tensors
        vars(twin)["_held"] = None
        self.target = twin
        if isinstance(target.model, nn.Module):
            self.model = target.model

    def forward(self, images: Tensor) -> Tensor:
        return self.target(images)


def as_classifier(target: Any) -> Classifier:
    """Return the classifier: a module is taken as one of images in [0, 1], without normalisation.

    Raises:
        TargetError: anything else, or a classifier that is random or takes a context.
    """
    if isinstance(target, nn.Module):
        target = Classifier(target)
    if not isinstance(target, Classifier):
        raise TargetError(
            f"{getattr(target, 'name', type(target).__name__)} is a {type(target).__name__}, and deterministic "
            "certificates are of a Classifier(module, mean, std); pass that"
        )
    if target.stochastic:
        raise TargetError(f"{target.name} is random, and a deterministic certificate is of one function; use smoothing")
    if target.takes_context:
        raise TargetError(f"{target.name} takes a context; certificates are of functions of the image alone")
    return target


def _sources(program: torch.export.ExportedProgram) -> dict[str, str]:
    """The name of each placeholder's weight, buffer or constant."""
    signature = program.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
