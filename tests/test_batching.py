"""`map_batches`: the batch size changes no answer, and batches are halved where memory runs out."""

import pytest
import torch

from sparring.batching import iterate_batches, map_batches


@pytest.mark.parametrize("size", [1, 3, 7, 250])
def test_batch_size_changes_no_answer(size):
    x, y = torch.arange(7.0), torch.arange(7.0) ** 2
    assert torch.equal(map_batches(lambda a, b: a + b, x, y, batch_size=size), x + y)


def test_no_rows_are_one_empty_batch():
    assert map_batches(lambda x: x[:, None], torch.zeros(0), batch_size=3).shape == (0, 1)


def test_functions_are_called_without_gradients():
    weight = torch.ones(1, requires_grad=True)
    assert not map_batches(lambda x: x * weight, torch.ones(4), batch_size=2).requires_grad


def test_batches_are_halved_where_memory_runs_out():
    sizes = []

    def limited(x):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return 2 * x

    x = torch.arange(7.0)
    assert torch.equal(map_batches(limited, x, batch_size=6), 2 * x)
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    with pytest.raises(torch.OutOfMemoryError):
        list(iterate_batches(limited, x, batch_size=6, halve=False))


def test_other_errors_are_not_caught():
    def broken(x):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        map_batches(broken, torch.zeros(4), batch_size=2)
