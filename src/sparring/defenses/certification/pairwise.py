"""A network whose maxima are written with ReLUs, so that they are split as those are.

    max(a, b) = a + relu(b - a)

A maximum of k members is that of ceil(k / 2) such pairs, and so on. The function stays the same; with an odd number of
members one of them stands in two pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from . import activations
from .affine import Affine, Call, InputSlot, Sum
from .graph import Network, Node
from .maximum import Maximum


def pairwise_maxima(network: Network) -> tuple[Network, dict[int, int]]:
    """Return the network without maxima, and the number there of each of its nodes; itself where it has none."""
    if not any(isinstance(node.operation, Maximum) for node in network.nodes):
        return network, {number: number for number in range(len(network))}
    nodes: list[Node] = []
    numbers: dict[int, int] = {}

    def add(label: str, operation: Affine | activations.Activation, operands: Sequence[int], *shape: int) -> int:
        nodes.append(Node(label, operation, tuple(operands), (), shape))
        return len(nodes) - 1

    for number, node in enumerate(network.nodes):
        if not isinstance(node.operation, Maximum):
            operands = tuple(numbers[one] for one in node.operands)
            nodes.append(Node(node.label, node.operation, operands, node.constants, node.shape))
        else:
            places, present = node.operation.groups
            places = torch.where(present, places, places.gather(1, present.long().argmax(1, keepdim=True)))
            at, (groups, members) = numbers[node.operands[0]], places.shape
            while members > 1:
                half = math.ceil(members / 2)
                first = add(node.label, _taking(places[:, :half].flatten()), (at,), groups * half)
                second = add(node.label, _taking(places[:, -half:].flatten()), (at,), groups * half)
                above = add(node.label, _difference(), (second, first), groups * half)
                above = add(node.label, activations.hinge(0.0), (above,), groups * half)
                at = add(node.label, _sum(), (first, above), groups * half)
                places, members = torch.arange(groups * half, device=places.device).view(groups, half), half
            add(node.label, _taking(places.view(node.shape)), (at,), *node.shape)
        numbers[number] = len(nodes) - 1
    found = copy(network)
    found.set_nodes(nodes)
    return found, numbers


def _taking(places: Tensor) -> Affine:
    """The components at these places of a flattened row."""

    def taken(x: Tensor) -> Tensor:
        return x.flatten(1)[:, places.to(x.device)]

    return Affine(Call(taken, (InputSlot(0),)))


def _difference() -> Sum:
    return Sum(Call(torch.sub, (InputSlot(0), InputSlot(1))), factors=(1.0, -1.0))


def _sum() -> Sum:
    return Sum(Call(torch.add, (InputSlot(0), InputSlot(1))), factors=(1.0, 1.0))
