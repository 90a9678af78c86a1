from dataclasses import replace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks import MIFGSM, PGD, TransferAttack
from sparring.errors import ConfigError
from sparring.goals import ClassifyAs, Dodge, Impersonate
from sparring.physical import AffinePrinter, BoxAnchor, Camera, Exposure, PhysicalChain, Planar, optimization_family
from sparring.physical.lab_distance import LabDistance
from sparring.physical.recipes import advhat, advhat_chain, eot_image, find_hot_mask, glasses, glasses_chain, rp2
from sparring.random import Key
from sparring.tasks import Verification

FEW = sp.Engine(confirmation_samples=1)
STILL = PhysicalChain(printer=AffinePrinter(), placement=Planar(anchor=BoxAnchor(1.0))).at_severity(0.0)


class SeesCorner(nn.Module):
    """Class 1 where the upper left quarter of a picture is bright, and nothing else counts."""

    def forward(self, images):
        bright = images[:, :, : images.shape[2] // 2, : images.shape[3] // 2].mean((1, 2, 3)) - 0.5
        return torch.stack((-bright, bright), 1) * 10


class Blind(nn.Module):
    """Two logits that no pixel changes."""

    def forward(self, images):
        return images.sum((1, 2, 3))[:, None] * images.new_zeros(2) + images.new_tensor([3.0, 0.0])


def scenes(count=3, size=24):
    return sp.Scene(torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)))


def towards(count=3):
    return ClassifyAs(torch.ones(count, dtype=torch.long))


def noisy(*shape):
    return torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1))


def test_distance_in_lab_holds_a_picture_to_the_clean_one():
    """Where no pixel counts, the picture goes back from a random start; both are seen in the same light."""
    x = noisy(8, 8)
    camera = Camera(illumination=Exposure())
    attack = TransferAttack(PGD(sp.Linf(0.2), steps=40, step_size=0.01), LabDistance(1.0, (camera,)))
    ended = sp.craft(attack, sp.Classifier(Blind()), torch.tensor([0]), x)
    assert (ended - x).abs().mean() < 0.03  # a random start is 0.1 away in the mean
    with pytest.raises(ConfigError, match="pass transforms"):
        TransferAttack(PGD(sp.Linf(0.2)), LabDistance(1.0, ("camera",)))


def test_colour_distance_of_a_row_is_its_own():
    x = noisy(3, 8).double().permute(2, 1, 0, 3).expand(3, 3, 8, 8)
    attack = TransferAttack(PGD(sp.Linf(0.1), steps=3), LabDistance(1.0, (Camera(illumination=Exposure()),)))
    target, labels = sp.Classifier(SeesCorner()), torch.tensor([0, 1, 0])
    together = sp.craft(attack, target, labels, x)
    alone = sp.craft(attack, target, labels[1:2], x[1:2], indices=torch.tensor([1]))
    assert (together[1] - alone[0]).abs().max() < 1e-12


def test_stickers_belong_where_the_model_looks():
    sign = torch.full((3, 24, 24), 0.4)
    mask, heat = find_hot_mask(
        sp.Classifier(SeesCorner()), towards(), scenes(), sign, STILL, area=0.2, steps=10, engine=FEW
    )
    assert mask.sum() == round(0.2 * 24 * 24)
    assert mask[:12, :12].sum() == mask.sum()
    assert heat[13:, 13:].max() < 0.1 * heat.max()
    fitted = rp2(
        sp.Classifier(SeesCorner()),
        towards(),
        scenes(),
        sign,
        STILL,
        stickers=mask,
        steps=20,
        nps_weight=0.0,
        engine=FEW,
    )
    assert torch.equal(fitted.image[:, ~mask], sign[:, ~mask])
    assert fitted.image[:, mask].min() > 0.9
    assert fitted.success_rate == 1.0
    with pytest.raises(ConfigError, match="area=2"):
        find_hot_mask(sp.Classifier(SeesCorner()), towards(), scenes(), sign, STILL, area=2)


def test_a_picture_attacked_through_the_camera_survives_it():
    """A dim corner: 8/255 lift it over the threshold digitally; through a darker camera only what goes on is enough."""
    x = torch.full((2, 3, 16, 16), 0.48)
    camera = optimization_family().camera
    found = eot_image(
        sp.Classifier(SeesCorner()), towards(2), x, (camera,), sp.Linf(0.3), steps=20, draws=4, engine=FEW
    )
    assert bool(found.success.all())
    assert (found.examples - x).abs().amax() <= 0.3 + 1e-6
    near = eot_image(
        sp.Classifier(SeesCorner()),
        towards(2),
        x,
        (camera,),
        sp.Linf(0.3),
        steps=20,
        draws=4,
        lab_weight=1.0,
        engine=FEW,
    )
    assert (near.examples - x).abs().mean() < (found.examples - x).abs().mean()
    with pytest.raises(ConfigError, match="pass transforms"):
        eot_image(sp.Classifier(SeesCorner()), towards(2), x, camera, sp.Linf(0.3))


class Colours(nn.Module):
    """An embedding: the mean colours of four quarters of a face."""

    def forward(self, faces):
        return nn.functional.adaptive_avg_pool2d(faces, 2).flatten(1) - 0.5


def faces():
    landmarks = torch.tensor([[16.0, 22.0], [32.0, 22.0], [24.0, 36.0]]).expand(3, -1, -1)
    images = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    return sp.Scene(images, landmarks=landmarks.clone())


@pytest.mark.parametrize("goal", ["dodge", "impersonate"])
def test_a_sticker_moves_the_similarity_its_way(goal):
    beside = faces()
    target = sp.Model(Colours(), Verification())
    own = target.predict(beside.images)
    wanted = Dodge(own, 0.9) if goal == "dodge" else Impersonate(-own[:, None], -0.5)
    chain = advhat_chain(severity=0.3)
    fitted = advhat(
        target,
        wanted,
        beside,
        chain,
        size=(12, 24),
        stages=((8, 1 / 20, 0.9), (2, 1 / 255, 0.99)),
        scenes_per_question=4,
        engine=FEW,
    )
    worn, _ = chain.apply(fitted.image.expand(3, -1, -1, -1), Key(torch.arange(3), 0), beside)
    grey, _ = chain.apply(torch.full((3, 3, 12, 24), 0.5), Key(torch.arange(3), 0), beside)
    margins = [float(wanted.margin(target.predict(images)).mean()) for images in (worn, grey)]
    assert margins[0] > margins[1]
    assert fitted.backwards == 10 * 4


def test_glasses_are_a_frame():
    chain = glasses_chain(size=(20, 50))
    mask = chain.placement.mask
    assert 0.3 < mask.mean() < 0.6
    assert torch.equal(mask, mask.flip(1))  # two lenses alike
    eyes = round((0.5 - 0.5 / 2.2) * 50)
    assert mask[10, eyes] == 0  # one sees through them
    assert mask[9, 25] == 1  # and a bridge
    beside = faces()
    target = sp.Model(Colours(), Verification())
    goal = Dodge(target.predict(beside.images), 0.9)
    fitted = glasses(target, goal, beside, chain, steps=3, scenes_per_question=3, engine=FEW)
    assert (fitted.image[:, mask == 0] == 0.5).all()
    assert (fitted.image[:, mask > 0] != 0.5).any()
    with pytest.raises(ConfigError, match="has no mask"):
        glasses(target, goal, beside, replace(chain, placement=replace(chain.placement, mask=None)))


def test_momentum_is_carried_by_no_artifact():
    """The second stage begins at the artifact of the first, so that no step is lost."""
    from sparring.physical.recipes import fit_artifact

    step = MIFGSM(sp.Linf(1.0), steps=3, step_size=0.1)
    fitted = fit_artifact(sp.Classifier(SeesCorner()), towards(), scenes(), STILL, torch.zeros(3, 24, 24), (step, step))
    assert fitted.image[:, :11, :11].mean() == pytest.approx(0.6, abs=1e-5)
