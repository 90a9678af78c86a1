"""The linear program of a domain in which every activation is linear.

    min  tau + M t   subject to   <c_k, x> + o_k <= tau for every function k
                                  s_i (<g_i, x> + h_i - v_i) >= -t for every split neuron i,   t >= 0,   x in the region

Its multipliers lambda_k (which sum to 1) and beta_i are a certificate, whatever they are: the least value in the region
of  sum_k lambda_k (<c_k, x> + o_k) - sum_i beta_i s_i (<g_i, x> + h_i - v_i)  bounds the functions' maximum from below
in the domain. So nothing depends on the solver's tolerances. A domain without points is proven by large beta (M).
In L2 balls the multipliers are found by L-BFGS on this dual, which is concave.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import Bounds, linprog, minimize  # type: ignore[import-untyped]
from torch import Tensor

from .concretize import InputSet
from .reduced import ReducedNetwork, Relaxation

PENALTY = 1e4  # M, times the size of the objective


class LeafSolution(NamedTuple):
    """A lower bound of the functions' maximum in the domain, and the point (1, ...) at which the program has it."""

    bound: float
    point: Tensor


class _Program(NamedTuple):
    """Functions <c, x> + o (S, n), (S,), and constraints <g, x> + h >= 0 (m, n), (m,), of one flattened input."""

    c: Tensor
    o: Tensor
    g: Tensor
    h: Tensor


@torch.no_grad()
def solve_leaf(network: ReducedNetwork, low: Tensor, high: Tensor, chosen: Tensor) -> LeafSolution:
    """Return the solution for one domain.

    Args:
        low, high: (1, N) bounds of the neurons, between which all activations are linear.
        chosen: (F,) bool, the functions of which the greatest is to be bounded.
    """
    given = Relaxation(low, high, *network.slopes(low, high))
    objective = network.bound(network.matrix[chosen], network.bias[chosen], given)
    rows, shifts = [objective.coefficients[:0]], [objective.offset[:0]]
    for layer in network.layers:
        functions, bias = network.functions(layer)
        for sign, own, root in ((1, low, network.low), (-1, high, network.high)):
            values = own[0, layer.neurons]
            at = (sign * values > sign * root[layer.neurons]).nonzero().squeeze(1)
            found = network.bound(functions[at], bias[at], given)
            rows.append(sign * found.coefficients)
            shifts.append(sign * (found.offset - values[at]))
    program = _Program(objective.coefficients, objective.offset, torch.cat(rows), torch.cat(shifts))
    inputs = network.inputs
    solved = _by_ascent(program, inputs) if inputs.norm == 2 else _by_simplex(program, inputs)
    shares, multipliers, point = solved
    coefficients, offset = _lagrangian(program, shares, multipliers)
    bound = float(inputs.least(coefficients[None, None]) + offset)
    if point is None:
        point = inputs.minimizer(coefficients[None, None])[0, 0]
    return LeafSolution(bound, point.view(inputs.x.shape))


def _lagrangian(program: _Program, shares: Tensor, multipliers: Tensor) -> tuple[Tensor, Tensor]:
    coefficients = shares @ program.c - multipliers @ program.g
    return coefficients, shares @ program.o - multipliers @ program.h


def _by_simplex(program: _Program, inputs: InputSet) -> tuple[Tensor, Tensor, Tensor | None]:
    """Shares, multipliers and the point, in a box or an L1 ball."""
    c, o, g, h = (one.cpu().numpy() for one in program)
    x, low, high = (one.flatten().cpu().numpy() for one in (inputs.x, inputs.low, inputs.high))
    n, count, split = c.shape[1], len(c), len(g)
    if inputs.is_box:
        columns, origin, limits = np.eye(n), np.zeros(n), [*zip(low, high, strict=True)]
    else:  # x = x0 + p - q
        columns, origin = np.hstack((np.eye(n), -np.eye(n))), x
        limits = [*zip(np.zeros(2 * n), np.concatenate((high - x, x - low)), strict=True)]
    size = max(1.0, float(np.abs(c).sum(1).max()) + float(np.abs(o).max()))
    cost = np.concatenate((np.zeros(columns.shape[1]), [1.0, PENALTY * size]))
    matrix = np.vstack(
        (
            np.hstack((c @ columns, -np.ones((count, 1)), np.zeros((count, 1)))),
            np.hstack((-(g @ columns), np.zeros((split, 1)), -np.ones((split, 1)))),
        )
    )
    right = np.concatenate((-o - c @ origin, h + g @ origin))
    if not inputs.is_box:
        matrix = np.vstack((matrix, np.concatenate((np.ones(2 * n), [0.0, 0.0]))))
        right = np.append(right, float(inputs.eps[0]))
    solved = linprog(cost, A_ub=matrix, b_ub=right, bounds=[*limits, (None, None), (0, None)], method="highs")
    if solved.x is None or solved.ineqlin is None:
        return _uniform(program), program.h.new_zeros(split), None
    marginals = torch.as_tensor(-np.asarray(solved.ineqlin.marginals)).to(program.c).clamp(min=0)
    shares = marginals[:count]
    shares = shares / shares.sum() if float(shares.sum()) > 0 else _uniform(program)
    point = torch.as_tensor(origin + columns @ solved.x[:-2]).to(program.c)
    return shares, marginals[count : count + split], point


def _uniform(program: _Program) -> Tensor:
    return torch.full_like(program.o, 1 / len(program.o))


def _by_ascent(program: _Program, inputs: InputSet) -> tuple[Tensor, Tensor, Tensor | None]:
    """Shares and multipliers by L-BFGS on the dual; the shares are a softmax of free numbers."""
    count, split = len(program.c), len(program.g)

    def parts(values: Tensor) -> tuple[Tensor, Tensor]:
        return values[:count].softmax(0), values[count:]

    def negative(values: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        given = torch.as_tensor(values).to(program.c).requires_grad_()
        with torch.enable_grad():
            coefficients, offset = _lagrangian(program, *parts(given))
            value = -(inputs.least(coefficients[None, None])[0, 0] + offset)
        (gradient,) = torch.autograd.grad(value, given)
        return float(value), gradient.cpu().double().numpy()

    least = np.concatenate((np.full(count, -np.inf), np.zeros(split)))
    found = minimize(negative, np.zeros(count + split), jac=True, bounds=Bounds(least, np.inf), method="L-BFGS-B")
    return *parts(torch.as_tensor(found.x).to(program.c)), None
