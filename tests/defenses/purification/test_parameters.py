"""Parameters and images that a stage refuses, and what it says."""

import math

import pytest
import torch
from torch import nn

from sparring.defenses.purification import (
    JPEG,
    BitDepth,
    DefenseGAN,
    Denoiser,
    Generator,
    Median,
    NonLocalMeans,
    TotalVariation,
    Wavelet,
)
from sparring.errors import ConfigError, InputError, TargetError
from sparring.random import Key

KEY = Key(torch.arange(2), 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BitDepth(0), "BitDepth bits=0; pass an int from 1 to 8"),
        (lambda: BitDepth(9), "BitDepth bits=9; pass an int from 1 to 8"),
        (lambda: BitDepth(2.0), "BitDepth bits=2.0; pass an int from 1 to 8"),
        (lambda: BitDepth(True), "BitDepth bits=True; pass an int from 1 to 8"),
        (lambda: JPEG(0), "JPEG quality=0; pass an int from 1 to 100"),
        (lambda: JPEG(101), "JPEG quality=101; pass an int from 1 to 100"),
        (lambda: JPEG(75, "up"), "JPEG rounding='up'; pass one of halfway, cubic, straight"),
        (lambda: Median(0), "Median size=0; pass an int >= 1"),
        (lambda: TotalVariation(drop=1.0), "TotalVariation drop=1.0; pass a number >= 0 and <= 0.99"),
        (lambda: TotalVariation(strength=0), "TotalVariation strength=0; pass a number above 0"),
        (lambda: TotalVariation(strength=math.inf), "TotalVariation strength=inf; pass a number above 0"),
        (lambda: TotalVariation(strength="much"), "TotalVariation strength='much'; pass a number above 0"),
        (lambda: TotalVariation(steps=0), "TotalVariation steps=0; pass an int >= 1"),
        (lambda: NonLocalMeans(window=4), "NonLocalMeans window=4, patch=3; pass odd widths"),
        (lambda: NonLocalMeans(strength=0.0), "NonLocalMeans strength=0.0; pass a number above 0"),
        (lambda: Wavelet("hard"), "Wavelet rule='hard'; pass one of bayes, universal"),
        (lambda: Wavelet(sigma=-1.0), "Wavelet sigma=-1.0; pass a number >= 0"),
        (lambda: Wavelet(levels=0), "Wavelet levels=0; pass an int from 1 to 10"),
        (lambda: DefenseGAN(nn.Identity(), 4, restarts=0), "DefenseGAN restarts=0; pass an int >= 1"),
        (
            lambda: DefenseGAN(nn.Identity(), 4, momentum=1.0),
            "DefenseGAN momentum=1.0; pass a number >= 0 and <= 0.999",
        ),
        (lambda: Generator(1, (0, 8)), "Generator size=0; pass an int >= 1"),
    ],
)
def test_parameters_out_of_range(make, said):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == said


def test_a_denoiser_is_a_network():
    with pytest.raises(TargetError, match=r"Denoiser is built around a torch\.nn\.Module, not a function"):
        Denoiser(lambda x: x)


@pytest.mark.parametrize("channels", [2, 4])
def test_jpeg_holds_one_or_three_channels(channels):
    with pytest.raises(InputError, match=f"JPEG holds 1 or 3 channels, and the images have {channels}"):
        JPEG()(torch.zeros(2, channels, 8, 8), KEY)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_jpeg_wraps_nothing_around(value):
    images = torch.full((2, 1, 8, 8), 0.5)
    images[1, 0, 3, 3] = value
    with pytest.raises(InputError, match=r"JPEG stores pixels in \[0, 1\]"):
        JPEG()(images, KEY)
