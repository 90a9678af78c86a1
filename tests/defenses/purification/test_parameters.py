"""Parameters and images that a stage refuses, and what it says."""

import math

import pytest
import torch
from torch import nn

from sparring.defenses.purification import (
    BitDepth,
    DefenseGAN,
    Denoiser,
    JPEGCompression,
    Median,
    NonLocalMeans,
    TotalVariation,
    VAEGenerator,
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
        (lambda: JPEGCompression(0), "JPEGCompression quality=0; pass an int from 1 to 100"),
        (lambda: JPEGCompression(101), "JPEGCompression quality=101; pass an int from 1 to 100"),
        (lambda: JPEGCompression(75, "up"), "JPEGCompression rounding='up'; pass one of mean, cubic, none"),
        (lambda: Median(0), "Median kernel_size=0; pass an int from 1 to 255"),
        (lambda: Median(1_000_001), "Median kernel_size=1000001; pass an int from 1 to 255"),
        (lambda: TotalVariation(drop_prob=1.0), "TotalVariation drop_prob=1.0; pass a number >= 0 and <= 0.99"),
        (lambda: TotalVariation(lambda_=0), "TotalVariation lambda_=0; pass a number above 0"),
        (lambda: TotalVariation(lambda_=math.inf), "TotalVariation lambda_=inf; pass a number above 0"),
        (lambda: TotalVariation(lambda_="much"), "TotalVariation lambda_='much'; pass a number above 0"),
        (lambda: TotalVariation(steps=0), "TotalVariation steps=0; pass an int >= 1"),
        (lambda: NonLocalMeans(search_window=4), "NonLocalMeans search_window=4, patch_size=3; pass odd widths"),
        (lambda: NonLocalMeans(h=0.0), "NonLocalMeans h=0.0; pass a number above 0"),
        (lambda: Wavelet("hard"), "Wavelet method='hard'; pass one of BayesShrink, VisuShrink"),
        (lambda: Wavelet(sigma=-1.0), "Wavelet sigma=-1.0; pass a number >= 0"),
        (lambda: Wavelet(wavelet_levels=0), "Wavelet wavelet_levels=0; pass an int from 1 to 10"),
        (lambda: DefenseGAN(nn.Identity(), 4, restarts=0), "DefenseGAN restarts=0; pass an int >= 1"),
        (
            lambda: DefenseGAN(nn.Identity(), 4, momentum=1.0),
            "DefenseGAN momentum=1.0; pass a number >= 0 and <= 0.999",
        ),
        (lambda: VAEGenerator(1, (0, 8)), "VAEGenerator size=0; pass an int >= 1"),
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
        JPEGCompression()(torch.zeros(2, channels, 8, 8), KEY)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_jpeg_wraps_nothing_around(value):
    images = torch.full((2, 1, 8, 8), 0.5)
    images[1, 0, 3, 3] = value
    with pytest.raises(InputError, match=r"JPEG stores pixels in \[0, 1\]"):
        JPEGCompression()(images, KEY)
