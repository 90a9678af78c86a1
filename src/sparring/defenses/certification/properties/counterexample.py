"""Answers and counterexamples as the verification competition (VNN-COMP) writes them.

VNN-LIB 1.0     sat                 VNN-LIB 2.0     sat
                ((X_0 0.25)                         X float32 [1,2]
                (X_1 -0.5)                          0.25
                (Y_0 1.125))                        -0.5
                                                    Y float32 [1,1]
                                                    1.125
"""

from __future__ import annotations

from .query import Query, Vector
from .verify_query import Verdict


def result_text(query: Query, verdict: Verdict) -> str:
    """Return the answer on the first line and, where it is sat, the counterexample behind it."""
    lines = [verdict.answer.value]
    if verdict.x is not None and verdict.y is not None:
        lines += counterexample_lines(query, verdict.x, verdict.y)
    return "\n".join(lines) + "\n"


def counterexample_lines(query: Query, x: Vector, y: Vector) -> list[str]:
    """Return inputs (n,) and outputs (m,), in numbers that are read back as they are."""
    if query.version == 1:
        values = [f"({letter}_{place} {value!r})" for letter, many in (("X", x), ("Y", y))
                  for place, value in enumerate(many.tolist())]  # fmt: skip
        values[0], values[-1] = f"({values[0]}", f"{values[-1]})"
        return values
    lines = []
    for tensor, many in ((query.inputs, x), (query.outputs, y)):
        lines.append(f"{tensor.name} {tensor.kind} [{','.join(map(str, tensor.shape or ()))}]")
        lines += [repr(value) for value in many.tolist()]
    return lines
