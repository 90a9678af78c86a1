"""`Target.predict`: outputs for many images, in eval mode, without gradients, and nothing changed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.errors import ConfigError, InputError, TargetError


@pytest.fixture
def images():
    return torch.rand(11, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 3), nn.Dropout(0.5)).train()


def test_the_model_is_in_eval_mode_and_keeps_its_mode_and_statistics(module, images):
    mean = module[0].running_mean.clone()
    outputs = sp.Classifier(module, mean=0.5).predict(images)
    assert module.training
    assert torch.equal(module[0].running_mean, mean)
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, module.eval()(images - 0.5))


def test_batches_give_what_all_images_give(module, images):
    target = sp.Classifier(module)
    sizes = []
    module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    torch.testing.assert_close(target.predict(images, batch_size=4), target.predict(images))
    assert sizes == [4, 4, 3, 11]


def test_arrays_and_wrapped_targets_are_served(module, images):
    target = sp.Classifier(module)
    assert torch.equal(target.predict(images.numpy()), target.predict(images))
    assert torch.equal(sp.Restricted(target, sp.Scores).predict(images), target.predict(images))


@pytest.mark.wrong_types
def test_what_are_no_images_is_refused(module, images):
    target = sp.Classifier(module)
    for wrong in (images * 255, images[0], "images", None, (images * 255).byte()):
        with pytest.raises(InputError):
            target.predict(wrong)
    with pytest.raises(ConfigError, match="batch_size"):
        target.predict(images, batch_size=0)


@dataclass(frozen=True)
class Weight:
    value: Tensor


def test_a_context_goes_with_its_rows(images):
    target = sp.Classifier(lambda x, beside: x.flatten(1)[:, :3] * beside.value[:, None], takes_context=True)
    weight = Weight(torch.arange(11.0))
    wanted = images.flatten(1)[:, :3] * torch.arange(11.0)[:, None]
    torch.testing.assert_close(target.predict(images, context=weight, batch_size=4), wanted)


@pytest.mark.parametrize("spoil", [Tensor.to_sparse, lambda logits: logits.to("meta")], ids=["sparse", "meta"])
def test_outputs_without_plain_values_are_refused(images, spoil):
    target = sp.Classifier(lambda x: spoil(x.flatten(1)[:, :3]))
    with pytest.raises(TargetError, match="outputs are"):
        target.predict(images)
