"""VNN-LIB 1.0 and 2.0, the specifications of the verification competition, read into a `Query`.

    1.0   (declare-const X_0 Real) ... (declare-const Y_0 Real) ... (assert (<= X_0 0.5)) (assert (or (and ...) ...))
    2.0   (vnnlib-version <2.0>)
          (declare-network f (declare-input X float32 [1,5]) (declare-output Y float32 [1,5]))
          (assert (<= X[0,3] 0.5)) ...

(www.vnnlib.org.) Assertions are comparisons (<=, <, >=, >, ==, !=) of linear expressions (+, -, * by numbers), joined
by `and` and `or`. They are brought into disjunctive normal form; of each disjunct, bounds of single inputs make a box,
and all else are constraints. Refused by name: several networks, inputs or outputs, hidden nodes, products of variables,
inputs without bounds.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from ....errors import InputError
from .packed_files import read_packed
from .query import Conjunction, Constraint, Query, Region, Tensor
from .s_expressions import Atom, Expression, Form, read_forms

LARGEST_FILE = 512 * 2**20  # bytes, unpacked
LARGEST_TENSOR = 2**24  # components
DISJUNCTS = 20_000  # of the disjunctive normal form
LITERALS = 5_000_000  # comparisons of all disjuncts together
NUMBERS = 20_000_000  # of all boxes together

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMBERED = re.compile(r"([XY])_(\d{1,8})")
_ELEMENT = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_INTEGER = re.compile(r"\d{1,8}")
_KINDS = ("real", "float32", "float64")
_COMPARISONS = ("<=", "<", ">=", ">", "==", "=", "!=")

Clause = tuple[Constraint, ...]  # all of them; while a file is read, output j has the place -1 - j
Linear = tuple[dict[int, float], float]


def read_vnnlib(file: Path | str) -> Query:
    """Return the query of a VNN-LIB file, plain or packed by gzip (.gz).

    Raises:
        InputError: a file that is none, with the line; one that asks for something that is not supported, by name.
    """
    content = read_packed(Path(file), LARGEST_FILE)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8 ({error}); name a .vnnlib file") from error
    return parse_vnnlib(text, str(file))


def parse_vnnlib(text: str, name: str = "the specification") -> Query:
    """Return the query of a text in VNN-LIB; `name` is what messages call it.

    Raises:
        InputError: see `read_vnnlib`.
    """
    reader = _Reader(name)
    for form in read_forms(text, name):
        reader.take(form)
    return reader.query()


@dataclass
class _Reader:
    name: str
    version: int = 0  # not known yet
    inputs: Tensor | None = None
    outputs: Tensor | None = None
    declared: dict[str, set[int]] = field(default_factory=lambda: {"X": set(), "Y": set()})  # of VNN-LIB 1.0
    common: list[Constraint] = field(default_factory=list)
    choices: list[list[Clause]] = field(default_factory=list)  # of each assertion with several disjuncts
    asserted: int = 0
    impossible: bool = False

    def wrong(self, at: Expression, what: str) -> InputError:
        return InputError(f"{self.name}, line {at.line}: {what}")

    # top level

    def take(self, form: Form) -> None:
        """Take a top-level form into account."""
        word = self.head(form)
        if word == "vnnlib-version":
            self.take_version(form)
        elif word in ("declare-const", "declare-fun"):
            self.need_version(form, 1)
            self.declare_numbered(form)
        elif word == "declare-network":
            self.need_version(form, 2)
            self.declare_network(form)
        elif word == "assert":
            self.take_assertion(form)
        else:
            known = "vnnlib-version, declare-const, declare-fun, declare-network or assert"
            raise self.wrong(form, f"({word} ...) is not part of VNN-LIB; it has {known}")

    def head(self, form: Expression) -> str:
        if isinstance(form, Form) and form.parts and isinstance(form.parts[0], Atom):
            return form.parts[0].text
        raise self.wrong(form, "an expression begins with a word, as in (assert (<= X_0 0.5))")

    def take_version(self, form: Form) -> None:
        given = form.parts[1].text if len(form.parts) == 2 and isinstance(form.parts[1], Atom) else ""
        if given.strip("<>") not in ("1.0", "2.0"):
            raise self.wrong(form, f"version {given!r} of VNN-LIB is not known; 1.0 and 2.0 are read")
        self.need_version(form, int(given.strip("<>")[0]))

    def need_version(self, form: Form, version: int) -> None:
        if self.version not in (0, version):
            raise self.wrong(
                form, f"this belongs to VNN-LIB {version}.0, and what stands before it to {self.version}.0"
            )
        self.version = version

    def declare_numbered(self, form: Form) -> None:
        """(declare-const X_0 Real), (declare-fun X_0 () Real)."""
        parts = form.parts[1:]
        if self.head(form) == "declare-fun" and len(parts) == 3 and parts[1] == Form((), parts[1].line):
            parts = (parts[0], parts[2])
        words = [one.text for one in parts if isinstance(one, Atom)]
        match = _NUMBERED.fullmatch(words[0]) if len(words) == len(parts) == 2 else None
        if match is None or words[1] != "Real":
            raise self.wrong(form, "in VNN-LIB 1.0 variables are declared as (declare-const X_0 Real), inputs as X_, "
                                   "outputs as Y_ with a number")  # fmt: skip
        letter, number = match[1], int(match[2])
        if number >= LARGEST_TENSOR:
            raise self.wrong(form, f"{words[0]}: at most {LARGEST_TENSOR:,} variables are read")
        if number in self.declared[letter]:
            raise self.wrong(form, f"{words[0]} is declared twice")
        self.declared[letter].add(number)

    def declare_network(self, form: Form) -> None:
        parts = form.parts[1:]
        if not parts or not isinstance(parts[0], Atom) or not _NAME.fullmatch(parts[0].text):
            raise self.wrong(form, "a network has a name: (declare-network f ...)")
        network = parts[0].text
        if self.inputs is not None:
            raise self.wrong(form, f"{network} is a second network; properties of one network are certified")
        found: dict[str, list[Tensor]] = {"declare-input": [], "declare-output": []}
        for part in parts[1:]:
            word = self.head(part)
            assert isinstance(part, Form)
            if word not in found:
                known = word in ("declare-hidden", "equal-to", "isomorphic-to")
                cure = "is not supported: leave it out" if known else "has no place in a network"
                raise self.wrong(part, f"({word} ...) {cure}; a network has one declare-input and one declare-output")
            found[word].append(self.tensor(part))
        for word, tensors in found.items():
            if len(tensors) != 1:
                names = ", ".join(one.name for one in tensors) or "none"
                raise self.wrong(form, f"{network} has {len(tensors)} times {word} ({names}), and one is supported")
        self.inputs, self.outputs = found["declare-input"][0], found["declare-output"][0]
        if self.inputs.name == self.outputs.name:
            raise self.wrong(form, f"{self.inputs.name} is declared twice")

    def tensor(self, form: Form) -> Tensor:
        """(declare-input X float32 [1,5]), with a name in quotation marks behind it where the ONNX file's is meant."""
        words = [one.text for one in form.parts[1:] if isinstance(one, Atom)]
        named = len(words) == 4 and words[3].startswith('"')
        if len(words) != len(form.parts) - 1 or len(words) != 3 + named or not _NAME.fullmatch(words[0]):
            raise self.wrong(form, f"a tensor is declared as ({self.head(form)} X float32 [1,5])")
        kind = words[1].lower()
        if kind not in _KINDS:
            raise self.wrong(form, f"{words[0]} has type {words[1]!r}; {', '.join(_KINDS)} are supported")
        shape = self.integers(form, words[2])
        size = math.prod(shape)
        if not 0 < size <= LARGEST_TENSOR:
            raise self.wrong(form, f"{words[0]} has {size:,} components; 1 to {LARGEST_TENSOR:,} are read")
        return Tensor(words[0], kind, shape, size, words[3].strip('"') if named else None)

    def integers(self, at: Expression, text: str) -> tuple[int, ...]:
        """[1, 5]."""
        if not (text.startswith("[") and text.endswith("]")):
            raise self.wrong(at, f"{text!r} stands where a shape or an index does, as [1,5]")
        inner = text[1:-1].strip()
        parts = [one.strip() for one in inner.split(",")] if inner else []
        if not all(_INTEGER.fullmatch(one) for one in parts):
            raise self.wrong(at, f"{text} holds something other than whole numbers from 0 on")
        return tuple(int(one) for one in parts)

    # assertions

    def take_assertion(self, form: Form) -> None:
        if len(form.parts) != 2:
            raise self.wrong(form, f"an assertion has one expression, and this one has {len(form.parts) - 1}")
        self.asserted += 1
        clauses = self.clauses(form.parts[1])
        if len(clauses) == 1:
            self.common += clauses[0]
        elif clauses:
            self.choices.append(clauses)
        else:
            self.impossible = True

    def clauses(self, expression: Expression) -> list[Clause]:
        """The disjunctive normal form of an expression: one of the clauses has to hold."""
        word = self.head(expression)
        assert isinstance(expression, Form)
        parts = _with_indices(expression.parts[1:])
        if word == "or":
            found: list[Clause] = []
            size = 0
            for part in parts:
                more = self.clauses(part)
                size += sum(map(len, more))
                self.bounded(part, len(found) + len(more), size)
                found += more
            return found
        if word == "and":
            return self.product(expression, [self.clauses(part) for part in parts])
        if word not in _COMPARISONS:
            raise self.wrong(expression, f"({word} ...) is no comparison; {', '.join(_COMPARISONS)}, and, or are read")
        if len(parts) != 2:
            raise self.wrong(expression, f"({word} ...) compares two expressions, and has {len(parts)}")
        return self.comparison(expression, word, *(self.linear(part) for part in parts))

    def product(self, at: Expression, factors: Sequence[list[Clause]]) -> list[Clause]:
        count = math.prod(map(len, factors))
        self.bounded(at, count, 0)
        if count == 1:
            return [tuple(one for clauses in factors for one in clauses[0])]
        self.bounded(at, count, multiplied(factors))
        return [tuple(itertools.chain.from_iterable(chosen)) for chosen in itertools.product(*factors)]

    def bounded(self, at: Expression, count: int, size: int) -> None:
        if count > DISJUNCTS or size > LITERALS:
            raise self.wrong(at, f"the normal form has {count:,} disjuncts of {size:,} comparisons; at most "
                                 f"{DISJUNCTS:,} and {LITERALS:,} are read: split the specification")  # fmt: skip

    def comparison(self, at: Expression, word: str, left: Linear, right: Linear) -> list[Clause]:
        if word in ("<=", "<"):
            return self.single(at, right, left, word == "<")
        if word in (">=", ">"):
            return self.single(at, left, right, word == ">")
        strict = word == "!="
        both = [self.single(at, left, right, strict), self.single(at, right, left, strict)]
        return [*both[0], *both[1]] if strict else self.product(at, both)

    def single(self, at: Expression, large: Linear, small: Linear, strict: bool) -> list[Clause]:
        """large >= small, or >; no clause where no variable is left and it is false, an empty one where it is true."""
        terms = dict(large[0])
        for place, coefficient in small[0].items():
            terms[place] = terms.get(place, 0.0) - coefficient
        constant = large[1] - small[1]
        terms = {place: coefficient for place, coefficient in terms.items() if coefficient != 0}
        if not all(map(math.isfinite, (constant, *terms.values()))):
            raise self.wrong(at, "a number is too large for float64")
        if not terms:
            return [()] if constant > 0 or (constant == 0 and not strict) else []
        return [(Constraint(tuple(terms), tuple(terms.values()), constant, strict),)]

    # arithmetic

    def linear(self, expression: Expression) -> Linear:
        """An expression as coefficients by place, and a constant."""
        if isinstance(expression, Atom):
            if _NUMBER.fullmatch(expression.text):
                return {}, float(expression.text)
            return {self.variable(expression): 1.0}, 0.0
        word = self.head(expression)
        parts = [self.linear(part) for part in _with_indices(expression.parts[1:])]
        if word not in ("+", "-", "*", "/") or not parts:
            raise self.wrong(expression, f"({word} ...) is no arithmetic; +, - and * of expressions are read")
        if word in ("+", "-"):
            signs = [1.0] + [1.0 if word == "+" else -1.0] * (len(parts) - 1)
            if word == "-" and len(parts) == 1:
                signs = [-1.0]
            return _combined(parts, signs)
        found = parts[0]
        for part in parts[1:]:
            if word == "/":
                if part[0] or part[1] == 0:
                    raise self.wrong(expression, "divisions are by numbers other than 0")
                found = ({place: one / part[1] for place, one in found[0].items()}, found[1] / part[1])
            elif found[0] and part[0]:
                raise self.wrong(expression, "a product of variables is not linear, and not supported")
            else:
                terms, factor = (found, part[1]) if found[0] else (part, found[1])
                found = ({place: one * factor for place, one in terms[0].items()}, terms[1] * factor)
        return found

    def variable(self, atom: Atom) -> int:
        """The place of a variable: inputs from 0 up, outputs from -1 down."""
        if self.version == 2 and self.inputs is not None:
            return self.element(atom)
        match = _NUMBERED.fullmatch(atom.text)
        if match is None or int(match[2]) not in self.declared[match[1]]:
            cure = "declare it, as (declare-const X_0 Real)" if match else "variables are X_0, X_1, ..., Y_0, ..."
            raise self.wrong(atom, f"{atom.text!r} is neither a number nor a variable; {cure}")
        return int(match[2]) if match[1] == "X" else -1 - int(match[2])

    def element(self, atom: Atom) -> int:
        assert self.inputs is not None
        assert self.outputs is not None
        match = _ELEMENT.fullmatch(atom.text)
        name, index = (match[1], f"[{match[2]}]") if match else (atom.text, "[]")
        for tensor, sign in ((self.inputs, 1), (self.outputs, -1)):
            if name == tensor.name:
                places, shape = self.integers(atom, index), tensor.shape
                assert shape is not None
                if len(places) != len(shape) or any(at >= side for at, side in zip(places, shape, strict=True)):
                    raise self.wrong(atom, f"{atom.text} is outside of {name}, whose shape is {list(shape)}")
                flat = 0
                for at, side in zip(places, shape, strict=True):
                    flat = flat * side + at
                return flat if sign > 0 else -1 - flat
        known = f"{self.inputs.name} and {self.outputs.name} are declared"
        raise self.wrong(atom, f"{atom.text!r} is neither a number nor a variable; {known}")

    # the result

    def query(self) -> Query:
        """Return what was read."""
        inputs, outputs = self.tensors()
        if not self.asserted:
            raise InputError(
                f"{self.name} asserts nothing; add (assert ...) with the inputs' bounds and what is unsafe"
            )
        n = inputs.size
        common = _Box.unbounded(n)
        shared: list[Constraint] = []
        for one in self.common:
            if not common.take(one):
                shared.append(one)
        count = math.prod(map(len, self.choices))
        boxes: dict[tuple[Constraint, ...], tuple[_Box, list[Conjunction]]] = {}
        if count > DISJUNCTS or multiplied(self.choices) > LITERALS:
            raise InputError(f"{self.name}: the assertions have {count:,} combinations of disjuncts, and "
                             f"{DISJUNCTS:,} of {LITERALS:,} comparisons are the most; split it")  # fmt: skip
        for chosen in [] if self.impossible else itertools.product(*self.choices):
            literals = [one for clause in chosen for one in clause]
            key = tuple(one for one in literals if _bounds_input(one))
            if key not in boxes:
                box = common.copy()
                rest = [one for one in key if not box.take(one)]
                boxes[key] = (box, [])
                if n * len(boxes) > NUMBERS:
                    raise InputError(f"{self.name} has over {len(boxes):,} boxes of {n:,} inputs; split it")
                boxes[key][0].rest = rest
            box, conjunctions = boxes[key]
            extra = (*shared, *box.rest, *(one for one in literals if not _bounds_input(one)))
            conjunctions.append(tuple(_placed(one, n) for one in dict.fromkeys(extra)))
        regions = []
        for box, conjunctions in boxes.values():
            if not box.empty:
                self.check_bounded(box, inputs)
                regions.append(box.region(tuple(dict.fromkeys(conjunctions))))
        return Query(self.version, inputs, outputs, tuple(regions))

    def tensors(self) -> tuple[Tensor, Tensor]:
        if self.version == 2 and self.inputs is not None and self.outputs is not None:
            return self.inputs, self.outputs
        found = []
        for letter, places in self.declared.items():
            if not places or max(places) != len(places) - 1:
                absent = next((k for k in range(len(places) + 1) if k not in places), 0)
                raise InputError(
                    f"{self.name} declares no {letter}_{absent}; VNN-LIB declares inputs X_0, X_1, ... and outputs "
                    "Y_0, Y_1, ... without gaps, and version 2.0 a network"
                )
            found.append(Tensor(letter, "real", None, len(places)))
        return found[0], found[1]

    def check_bounded(self, box: _Box, inputs: Tensor) -> None:
        for bound, word in ((box.low, ">="), (box.high, "<=")):
            if not np.isfinite(bound).all():
                place = int((~np.isfinite(bound)).argmax())
                name = f"X_{place}"
                if inputs.shape is not None:
                    name = f"{inputs.name}{[int(k) for k in np.unravel_index(place, inputs.shape)] or ''}"
                raise InputError(
                    f"{self.name} leaves the input {name} without a bound; add (assert ({word} {name} ...)): "
                    "certificates are for boxes of inputs"
                )


@dataclass
class _Box:
    """A box while it is read; `rest` are bounds that it holds only nearly, by the rounding of a division."""

    low: np.ndarray[tuple[int], np.dtype[np.float64]]
    high: np.ndarray[tuple[int], np.dtype[np.float64]]
    open_low: np.ndarray[tuple[int], np.dtype[np.bool_]]
    open_high: np.ndarray[tuple[int], np.dtype[np.bool_]]
    rest: list[Constraint] = field(default_factory=list)

    @classmethod
    def unbounded(cls, n: int) -> _Box:
        return cls(np.full(n, -np.inf), np.full(n, np.inf), np.zeros(n, bool), np.zeros(n, bool))

    def copy(self) -> _Box:
        return _Box(self.low.copy(), self.high.copy(), self.open_low.copy(), self.open_high.copy())

    def take(self, one: Constraint) -> bool:
        """Narrow the box by a bound of one input; tell whether it now says the same, or the constraint is needed."""
        if not _bounds_input(one):
            return False
        (place,), (coefficient,) = one.places, one.coefficients
        bound = -one.constant / coefficient + 0.0
        exact = abs(coefficient) == 1 or Fraction(bound) * Fraction(coefficient) == -Fraction(one.constant)
        is_low = coefficient > 0
        if not exact:
            bound = math.nextafter(bound, -math.inf if is_low else math.inf)
        edges, opened = (self.low, self.open_low) if is_low else (self.high, self.open_high)
        tighter = bound > edges[place] if is_low else bound < edges[place]
        if tighter:
            edges[place], opened[place] = bound, one.strict and exact
        elif bound == edges[place]:
            opened[place] |= one.strict and exact
        return exact

    @property
    def empty(self) -> bool:
        return bool(((self.low > self.high) | ((self.low == self.high) & (self.open_low | self.open_high))).any())

    def region(self, conjunctions: tuple[Conjunction, ...]) -> Region:
        return Region(self.low, self.high, self.open_low, self.open_high, conjunctions)


def multiplied(factors: Sequence[list[Clause]]) -> int:
    """Return how many comparisons the product of such disjunctions has."""
    count = math.prod(map(len, factors))
    return sum(sum(map(len, clauses)) * (count // len(clauses)) for clauses in factors if clauses)


def _with_indices(parts: Sequence[Expression]) -> list[Expression]:
    """The parts of an expression, with an index that stands apart, `X [0,1]`, at its name."""
    found: list[Expression] = []
    for part in parts:
        before = found[-1] if found else None
        if isinstance(part, Atom) and part.text.startswith("[") and isinstance(before, Atom) and "[" not in before.text:
            found[-1] = Atom(before.text + part.text, before.line)
        else:
            found.append(part)
    return found


def _bounds_input(one: Constraint) -> bool:
    return len(one.places) == 1 and one.places[0] >= 0


def _placed(one: Constraint, n: int) -> Constraint:
    """The constraint with outputs behind the n inputs."""
    places = tuple(at if at >= 0 else n - 1 - at for at in one.places)
    return Constraint(places, one.coefficients, one.constant, one.strict)


def _combined(parts: Sequence[Linear], signs: Sequence[float]) -> Linear:
    terms: dict[int, float] = {}
    for (coefficients, _), sign in zip(parts, signs, strict=True):
        for place, one in coefficients.items():
            terms[place] = terms.get(place, 0.0) + sign * one
    return terms, math.fsum(sign * constant for (_, constant), sign in zip(parts, signs, strict=True))


__all__ = ["parse_vnnlib", "read_vnnlib"]
