"""Properties of ONNX files in VNN-LIB, as the verification competition poses them."""

from .counterexample import counterexample_lines, result_text
from .query import Constraint, Query, Region, Tensor
from .verify_query import Answer, Verdict, load_network, verify_query
from .vnnlib import parse_vnnlib, read_vnnlib

__all__ = [
    "Answer",
    "Constraint",
    "Query",
    "Region",
    "Tensor",
    "Verdict",
    "counterexample_lines",
    "load_network",
    "parse_vnnlib",
    "read_vnnlib",
    "result_text",
    "verify_query",
]
