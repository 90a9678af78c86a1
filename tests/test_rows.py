"""Row-wise records: narrowed, flattened, built again."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest
import torch
from torch import Tensor

from sparring.random import Key
from sparring.rows import detach, flatten, floats_to, join, rebuild, take, to

S = TypeVar("S")


@dataclass(frozen=True)
class Inner:
    key: Key
    maybe: Tensor | None
    count: int


@dataclass(frozen=True)
class Other(Inner):
    pass


@dataclass(frozen=True)
class Outer(Generic[S]):
    x: Tensor
    inner: S


def record():
    return Outer(torch.arange(12.0).view(4, 3), Inner(Key(torch.arange(4), 9), None, 5))


def test_only_real_numbers_are_cast():
    cast = floats_to(record(), torch.float64)
    assert (cast.x.dtype, cast.inner.key.indices.dtype) == (torch.float64, torch.int64)
    assert floats_to(torch.ones(2, dtype=torch.bool), torch.float64).dtype == torch.bool


def test_every_tensor_is_narrowed_however_deep():
    kept = torch.tensor([False, True, False, True])
    part = take(record(), kept)
    assert part.x.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert part.inner.key.indices.tolist() == [1, 3]
    assert (part.inner.key.seed, part.inner.count, part.inner.maybe) == (9, 5, None)


@pytest.mark.parametrize("maybe", [None, torch.ones(4)])
def test_what_is_flattened_is_built_again(maybe):
    old = Outer(torch.arange(4.0), Inner(Key(torch.arange(4), 9), maybe, 5))
    tensors, plain = flatten(old, "state")
    assert all(name.startswith(("state.", "state:")) for name in [*tensors, *plain])
    new = rebuild(Outer[Inner], tensors, plain, "state")
    assert isinstance(new, Outer)
    assert isinstance(new.inner, Inner)
    assert isinstance(new.inner.key, Key)
    again = flatten(new, "state")
    assert again[1] == plain
    assert all(torch.equal(again[0][name], value) for name, value in tensors.items())


def test_of_several_declared_types_the_one_that_was_saved_is_built():
    tensors, plain = flatten(Outer(torch.arange(4.0), Other(torch.ones(4), None, 5)), "state")
    new = rebuild(Outer[Inner | Other], tensors, plain, "state")
    assert isinstance(new.inner, Other)
    with pytest.raises(KeyError, match="Stranger"):
        rebuild(Outer[Inner | Other], tensors, plain | {"state.inner:": "Stranger"}, "state")


@pytest.mark.parametrize("held", [[torch.ones(4)], (torch.ones(4),), {"x": torch.ones(4)}])
def test_containers_of_tensors_are_refused(held):
    """They would be neither narrowed nor saved."""
    for function in (flatten, lambda r: take(r, torch.tensor([0]))):
        with pytest.raises(TypeError, match="a row-wise record holds tensors, dataclasses and plain values; got a "):
            function(Outer(torch.ones(4), held))


def test_an_object_that_hides_tensors_is_refused():
    class Hiding:
        def __init__(self):
            self.labels = torch.ones(4)

    with pytest.raises(TypeError, match=r"Hiding holds tensors \(labels\) and is no dataclass.*frozen=True"):
        take(Hiding(), torch.tensor([0]))


def test_a_record_without_tensors_is_itself():
    inner = Inner("no key", None, 3)
    assert take(inner, torch.tensor([0])) is inner


def test_detached_and_moved():
    x = torch.ones(4, requires_grad=True)
    held = Outer(x * 2, Inner(Key(torch.arange(4), 9), x * 3, 5))
    free = detach(held)
    assert not free.x.requires_grad
    assert not free.inner.maybe.requires_grad
    assert to(free, torch.device("meta")).inner.key.indices.is_meta


@dataclass(frozen=True)
class Boxes:
    corners: Tensor  # (B, N, 4)
    present: Tensor  # (B, N) bool
    scale: float = 1.0


def boxes(rows, count):
    return Boxes(torch.ones(rows, count, 4), torch.ones(rows, count, dtype=torch.bool), 2.0)


def test_joining_fills_up_what_is_shorter():
    whole = join([boxes(2, 3), boxes(1, 5), boxes(3, 0)])
    assert whole.corners.shape == (6, 5, 4)
    assert whole.present.sum(1).tolist() == [3, 3, 5, 0, 0, 0]
    assert whole.corners.sum((1, 2)).tolist() == [12, 12, 20, 0, 0, 0]
    assert whole.scale == 2.0
    assert torch.equal(join([torch.ones(2), torch.zeros(1)]), torch.tensor([1.0, 1.0, 0.0]))


def test_rows_taken_and_joined_again_are_the_record():
    old = record()
    parts = [take(old, torch.tensor([row])) for row in range(4)]
    new = join(parts)
    assert torch.equal(new.x, old.x)
    assert torch.equal(new.inner.key.indices, old.inner.key.indices)


@pytest.mark.parametrize(("records", "error", "told"), [
    ([], ValueError, "there are no records to join"),
    ([boxes(1, 1), torch.ones(1)], TypeError, "only records of one kind can be joined; got Boxes, Tensor"),
    ([[torch.ones(1)], [torch.ones(1)]], TypeError, "a row-wise record holds tensors.*got a list"),
    ([{"a": torch.ones(1)}, {"a": torch.ones(1)}], TypeError, "got a dict"),
])  # fmt: skip
def test_what_cannot_be_joined_is_refused(records, error, told):
    with pytest.raises(error, match=told):
        join(records)
