"""Row-wise records: narrowed, flattened, built again."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest
import torch
from torch import Tensor

from sparring.engine.rows import flatten, rebuild, take
from sparring.random import Key

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


def test_every_tensor_is_narrowed_however_deep():
    kept = torch.tensor([False, True, False, True])
    part = take(record(), kept)
    assert part.x.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert part.inner.key.ids.tolist() == [1, 3]
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
        with pytest.raises(TypeError, match="a state holds tensors, dataclasses and plain values; got a "):
            function(Outer(torch.ones(4), held))
