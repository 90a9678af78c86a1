import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.errors import ConfigError, InputError, TargetError
from sparring.goals import ClassifyAs
from sparring.physical import BoxAnchor, held_out_family, optimization_family
from sparring.physical.judging import SceneAlone, judge_physical
from sparring.physical.printed import export_png
from sparring.random import Key
from sparring.targets import Target
from sparring.tasks import Classification

ANCHOR = BoxAnchor(0.6)
FIT, HELD_OUT = optimization_family(ANCHOR), held_out_family(ANCHOR)
RED = torch.tensor([0.9, 0.1, 0.1])[:, None, None].expand(3, 12, 12)


class IsRed(nn.Module):
    """Class 1 where the middle of the picture is redder than it is green, by 0.2: more than a camera tints gray."""

    def forward(self, images):
        middle = images[:, :, 12:20, 12:20].mean((2, 3))
        redder = middle[:, 0] - middle[:, 1] - 0.2
        return torch.stack((-redder, redder), 1)


@pytest.fixture
def scenes():
    """Four pictures, gray in the mean."""
    draws = torch.Generator().manual_seed(0)
    return sp.Scene(torch.rand(4, 3, 32, 32, generator=draws) * 0.4 + 0.3)


@pytest.fixture
def target():
    return sp.Classifier(IsRed())


def judged(artifact, target, scenes, **options):
    goal = ClassifyAs(torch.ones(4, dtype=torch.long))
    options = {"fitted_through": FIT, "held_out": HELD_OUT, "n_draws": 2} | options
    return judge_physical(artifact, target, goal, scenes, **options)


def test_red_paper_is_red_through_every_camera_and_controls_are_not(tmp_path, target, scenes):
    found = judged(export_png(tmp_path / "red.png", RED, 60.0), target, scenes)
    assert found.views == ("digital", "same family", "held out x1", "held out x1.5")
    for view in found.views:
        assert {kind: found.row(kind, view).success.value for kind in ("artifact", "nothing", "gray", "natural")} == {
            "artifact": 1.0, "nothing": 0.0, "gray": 0.0, "natural": 0.0,
        }  # fmt: skip
        assert found.row("noise", view).success.value == 1.0  # the pixels of one colour in another order
        assert found.row("artifact", view).draws == (1 if view == "digital" else 2)
    assert found.held_out.view == "held out x1"
    assert found.held_out.success.of == 4
    assert found.held_out.success.low < 1.0
    kept = json.loads(found.save(tmp_path / "judged.json").read_text())
    assert kept["rows"][0]["kind"] == "artifact"
    assert kept["made"]["size_mm"] == pytest.approx([60.0, 60.0], rel=1e-2)
    assert "100 % [40, 100]" in str(found)  # Clopper-Pearson's for 4 of 4 scenes, whatever the draws


def test_controls_fill_the_stickers_alone(tmp_path, target, scenes):
    """A red sign is a success by itself, and no attack: paired success leaves it out."""
    sticker = torch.zeros(12, 12, dtype=torch.bool)
    sticker[:2, :2] = True
    printed = export_png(tmp_path / "sign.png", torch.where(sticker, 0.5, RED), 60.0)
    found = judged(printed, target, scenes, bare=RED, changed=sticker, severities=(1.0,))
    for kind in ("artifact", "nothing", "gray", "noise", "natural"):
        assert found.row(kind, "same family").success.value == 1.0
    assert found.row("artifact", "same family").paired.of == 0


def test_nothing_is_seen_through_the_same_draws(scenes):
    away = {"placement": replace(FIT.placement, anchor=BoxAnchor(0.6, offset=(5.0, 0.0)))}
    chain = replace(FIT, **away)
    key, paper = Key(torch.arange(4), 3), RED.expand(4, -1, -1, -1)
    with_paper, _ = chain.apply(paper, key, scenes)
    alone, _ = SceneAlone(chain).apply(paper, key, scenes)
    assert (with_paper - alone).abs().max() < 1e-6
    assert (alone - scenes.images).abs().max() > 0.05


class Drifting(Target[sp.Scores]):
    """A model that is another after each pass."""

    access, name, task = sp.Scores, "drifting", Classification()
    passes = 0

    def __call__(self, images, key=None, context=None):
        self.passes += 1
        return IsRed()(images)

    def identity(self):
        return ("drifting", self.passes)


@pytest.mark.wrong_types
def test_what_would_deceive_the_reader_is_refused(tmp_path, target, scenes):
    printed = export_png(tmp_path / "red.png", RED, 60.0)
    with pytest.raises(InputError, match="a tensor is not what is printed"):
        judged(RED, target, scenes)
    with pytest.raises(ConfigError, match=r"shares .*Exposure"):
        judged(printed, target, scenes, held_out=replace(HELD_OUT, camera=FIT.camera))
    with pytest.raises(TargetError, match="drifting has changed while it was judged"):
        judged(printed, Drifting(), scenes, n_draws=1, severities=(1.0,))
    with pytest.raises(ConfigError, match="n_draws=0"):
        judged(printed, target, scenes, n_draws=0)
    with pytest.raises(InputError, match="changed is bool"):
        judged(printed, target, scenes, changed=torch.ones(3, 3, dtype=torch.bool))
    export_png(tmp_path / "red.png", RED.flip(0), 60.0)
    with pytest.raises(InputError, match="has changed since it was read"):
        judged(printed, target, scenes)
    with pytest.raises(ConfigError, match="nothing is known of 'artifact', 'rain'"):
        judged(tmp_path / "red.png", target, scenes, n_draws=1, severities=(1.0,)).row("artifact", "rain")
