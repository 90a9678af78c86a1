"""The chain: identity, laws, colour spaces, families that must not judge themselves, and an attack through it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring import testing
from sparring.engine import fingerprint
from sparring.errors import ConfigError, InputError, TargetError
from sparring.physical import (
    BoxAnchor,
    Camera,
    Exposure,
    GaussianNoise,
    Lens,
    LibJPEG,
    PhysicalChain,
    Planar,
    Resize,
    ThinPlate,
    check_held_out,
    held_out_family,
    optimization_family,
    shared_mechanisms,
)
from sparring.random import Key
from sparring.rows import flatten, take
from sparring.targets import OverScenes
from sparring.testing.cases import draw

SCENE = sp.Scene(images=(0.5 + 0.15 * draw("scene", (3, 3, 18, 20))).clamp(0.1, 0.9))
ARTIFACTS = (0.5 + 0.15 * draw("artifact", (3, 3, 8, 10))).clamp(0.1, 0.9)


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def small(chain: PhysicalChain) -> PhysicalChain:
    return replace(chain, placement=replace(chain.placement, supersampling=1))


def test_a_chain_of_nothing_pastes_the_artifact_as_it_is() -> None:
    chain = PhysicalChain(printer=None, placement=Planar(anchor=BoxAnchor(0.5), supersampling=1))
    made = chain.at_severity(0).apply(ARTIFACTS, key_of(3), SCENE)[0]
    assert SCENE.images is not None
    assert (made[:, :, 5:13, 5:15] - ARTIFACTS).abs().max() < 1e-6
    around = torch.ones(18, 20).bool()
    around[5:13, 5:15] = False
    assert (made - SCENE.images)[:, :, around].abs().max() < 1e-6


@pytest.mark.parametrize("family", [optimization_family, held_out_family])
def test_laws(family: Any) -> None:
    testing.check_transform(small(family()), ARTIFACTS, SCENE, slope=1e-2)


@pytest.mark.parametrize("family", [optimization_family, held_out_family])
def test_parameters_are_drawn_apart(family: Any) -> None:
    """Applying what was drawn is `apply`, also row by row; another artifact is seen through the same camera."""
    chain = small(family())
    drawn = chain.sample(key_of(3), ARTIFACTS, SCENE)
    assert {len(tensor) for tensor in flatten(drawn)[0].values()} == {3}
    whole = chain.apply(ARTIFACTS, key_of(3), SCENE)[0]
    assert torch.equal(chain.apply_parameters(ARTIFACTS, drawn, SCENE), whole)
    one = torch.tensor([1])
    single = chain.apply_parameters(ARTIFACTS[one], take(drawn, one), take(SCENE, one))
    assert (single - whole[one]).abs().max() < 1e-6
    white = chain.apply_parameters(torch.ones_like(ARTIFACTS), drawn, SCENE)
    assert white.mean() > whole.mean()


def test_the_two_families_share_nothing() -> None:
    optimized, judged = optimization_family(), held_out_family()
    assert shared_mechanisms(optimized, judged) == ()
    check_held_out(optimized, judged)
    assert (optimized.families, judged.families) == ({"optimization"}, {"held-out"})


def test_judging_in_the_same_family_is_refused_under_any_name() -> None:
    optimized = optimization_family()
    with pytest.raises(ConfigError, match="Homography"):
        check_held_out(optimized, optimization_family(severity=1.5))
    renamed = replace(held_out_family(), camera=Camera(noise=GaussianNoise(family="held-out")))
    with pytest.raises(ConfigError, match="GaussianNoise"):
        check_held_out(optimized, renamed)
    mixed = replace(held_out_family(), placement=ThinPlate(family="optimization"))
    with pytest.raises(ConfigError, match="optimization"):
        check_held_out(optimized, mixed)


def test_a_checkpoint_knows_its_chain_again() -> None:
    mask = torch.ones(8, 10)
    other = mask.clone()
    other[0, 0] = 0

    def known(chain: PhysicalChain) -> str:
        return fingerprint(*sp.Pipeline(sp.Classifier(Red()), chain).identity())

    chains = [
        optimization_family(),
        optimization_family(severity=0.5),
        optimization_family(BoxAnchor(0.2)),
        optimization_family().with_mask(mask),
        optimization_family().with_mask(other),
        held_out_family(),
    ]
    assert len({known(chain) for chain in chains}) == len(chains)
    assert known(optimization_family().with_mask(mask.clone())) == known(chains[3])


def test_bad_chains_and_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="placement"):
        PhysicalChain(printer=None, placement=Lens())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="context=Scene"):
        optimization_family().apply(ARTIFACTS, key_of(3), None)
    with pytest.raises(InputError, match="cannot be put"):
        optimization_family().apply(ARTIFACTS[:2], key_of(2), SCENE)


class Red(nn.Module):
    """Logits (B, 2): how red an image is, against a grey that it must exceed."""

    def forward(self, x: Tensor) -> Tensor:
        red = (x[:, 0] - x[:, 1:].mean(1)).mean((1, 2))
        return torch.stack((torch.full_like(red, 0.02), red), 1)


def test_an_attack_through_the_chain_makes_an_artifact_that_the_other_family_sees() -> None:
    images = torch.full((6, 3, 24, 24), 0.5)
    goal = sp.goals.ClassifyAs(torch.ones(6).long())
    chain = small(optimization_family(BoxAnchor(0.6)))
    scenes = OverScenes(sp.Pipeline(sp.Classifier(Red()), chain), goal, sp.Scene(images=images), scenes_per_question=6)
    outcome = sp.run(
        sp.attacks.PGD(sp.Linf(0.5), steps=5, random_start=False),
        scenes,
        sp.goals.FoolScenes(torch.zeros(1)),
        torch.full((1, 3, 10, 10), 0.5),
    )
    assert bool(outcome.success.all())
    judged = sp.Pipeline(sp.Classifier(Red()), small(held_out_family(BoxAnchor(0.6))))
    seen = judged(outcome.examples.expand(6, -1, -1, -1), key_of(6), sp.Scene(images=images))
    grey = judged(torch.full((6, 3, 10, 10), 0.5), key_of(6), sp.Scene(images=images))
    assert bool((seen[:, 1] > grey[:, 1]).all())


def test_a_stage_alone_is_a_part_of_a_pipeline_of_srgb_images() -> None:
    """Twice the light is 2 ** (1 / 2.4) of the code, not twice the code."""
    stage = Exposure(stops=1.0, tint=0.0)
    drawn = stage.sample(key_of(3), ARTIFACTS)
    code = ((ARTIFACTS + 0.055) / 1.055) * drawn.gain[:, :, None, None] ** (1 / 2.4) * 1.055 - 0.055
    assert (stage.apply(ARTIFACTS, key_of(3), None)[0] - code.clamp(0, 1)).abs().max() < 1e-9
    seen = sp.Pipeline(sp.Classifier(Red()), stage, LibJPEG()).render(ARTIFACTS, key_of(3))
    assert seen.shape == ARTIFACTS.shape


def test_a_camera_of_another_size_moves_places_along() -> None:
    chain = replace(small(optimization_family()), camera=Camera(resize=Resize(size=(9, 40)), codec=LibJPEG()))
    boxes = torch.tensor([[2.0, 4, 10, 16]]).expand(3, 4)
    made, context = chain.apply(ARTIFACTS, key_of(3), replace(SCENE, boxes=boxes))
    assert made.shape == (3, 3, 9, 40)
    assert context.boxes[0].tolist() == [4, 2, 20, 8]
    testing.check_transform(Resize(size=(9, 40)), ARTIFACTS, sp.Scene(boxes=boxes))
    with pytest.raises(TargetError, match="cannot bring the outputs"):
        sp.Pipeline(sp.targets.Model(Red(), sp.tasks.Detection()), chain)
    assert shared_mechanisms(chain, replace(held_out_family(), camera=chain.camera)) != ()  # both have LibJPEG
    resized = Camera(resize=Resize(size=(9, 40)))
    assert shared_mechanisms(replace(chain, camera=resized), replace(held_out_family(), camera=resized)) == ()
