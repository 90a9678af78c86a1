"""Networks and inputs that the tests of certificates share, and values of all nodes at points of a region."""

import itertools

import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn

import sparring as sp
from sparring.geometry.region import Region
from sparring.random import Key


def dense(seed, widths=(6, 8, 7, 3), activation=nn.ReLU, scale=1.5):
    """A dense network on images (1, 2, 3), with weights that make its activations unstable."""
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        linear = nn.Linear(before, after)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(after, before, generator=generator) * scale / before**0.5)
            linear.bias.copy_(0.3 * torch.randn(after, generator=generator))
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1]).double()


def convolutional(seed, activation=nn.ReLU):
    """A small convolutional network on images (2, 5, 5)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        activation(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        activation(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(16, 6),
        activation(),
        nn.Linear(6, 3),
    ).double()


def points_of(region, seed, count):
    """Inputs (count, B, ...) of a region: uniform ones, and ones at its edge in few components or in all."""
    points = []
    x, ball = region.x, region.ball
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        key = Key(torch.arange(len(x)), seed * 100_003 + number)
        if number % 3 == 0:
            delta = region.sample(key)
        else:
            signs = torch.sign(torch.randn(x.shape, generator=generator, dtype=x.dtype))
            kept = torch.rand(x.shape, generator=generator) < (0.3 if number % 3 == 1 else 2)
            delta = region.masked(signs * kept)
            norm = ball.norm(delta).clamp(min=1e-9)
            delta = delta * (region.eps / norm).view(-1, *[1] * (x.ndim - 1))
        moved = region.x + region.project(delta)
        points.append(moved)
    return torch.stack(points)


def values_at(network, weights, points):
    """The values of all nodes at points (N, ...)."""
    values = [points]
    for node in network.nodes[1:]:
        operands = [values[one] for one in node.operands]
        if node.affine:
            values.append(node.operation.apply(operands, network.constants_of(node, weights)))
        else:
            values.append(node.operation(operands[0]))
    return values


def region_of(images, ball, **rest):
    """The region of images in [0, 1]."""
    return Region.around(images, ball, **rest)


def least_margin(net, image, label, ball):
    """The least z_label - z_k over k and the region, by enumerating activation patterns; Linf and L1, ReLU, dense."""
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    weights = [(one.weight.detach().numpy(), one.bias.detach().numpy()) for one in layers]
    x, eps, found = image.flatten().numpy(), ball.eps, np.inf
    n = len(x)
    low, high = np.maximum(x - eps, 0), np.minimum(x + eps, 1)
    # x' = x + p - q with p, q >= 0, so that both norms are linear
    limits = [*zip(np.zeros(2 * n), np.concatenate((high - x, x - low)), strict=True)]
    spread = np.hstack((np.eye(n), -np.eye(n)))
    rows, right = [], []
    if isinstance(ball, sp.L1):
        rows, right = [np.ones(2 * n)], [eps]

    def solve(objective, rows, right):
        return linprog(objective, A_ub=np.array(rows) if rows else None, b_ub=right or None, bounds=limits)

    def descend(layer, matrix, shift, rows, right):
        """All activation patterns from this layer on; the layer's input is matrix @ (p, q) + shift."""
        nonlocal found
        weight, bias = weights[layer]
        matrix, shift = weight @ matrix, weight @ shift + bias
        if layer == len(weights) - 1:
            for rival in range(len(bias)):
                if rival != label:
                    solved = solve(matrix[label] - matrix[rival], rows, right)
                    if solved.status == 0:
                        found = min(found, solved.fun + shift[label] - shift[rival])
            return
        for pattern in itertools.product((0, 1), repeat=len(bias)):
            signs = 2 * np.array(pattern) - 1
            more = [*rows, *(-signs[:, None] * matrix)]
            limit = [*right, *(signs * shift)]
            if solve(np.zeros(2 * n), more, limit).status == 0:
                on = np.array(pattern)
                descend(layer + 1, on[:, None] * matrix, on * shift, more, limit)

    descend(0, spread, x, rows, right)
    return found
