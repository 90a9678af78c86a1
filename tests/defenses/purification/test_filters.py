"""Bit depth, median, JPEG, non-local means, wavelets: against formulas, direct loops, scipy and libjpeg."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, median_filter

from sparring.defenses.purification import BitDepth, JPEGCompression, Median, NonLocalMeans, Wavelet
from sparring.defenses.purification.padding import mirror_pad
from sparring.defenses.purification.wavelet import haar_transform, inverse_haar_transform, soft_threshold
from sparring.random import Key
from sparring.transforms.jpeg_codec import (
    CHROMINANCE,
    LUMINANCE,
    cubic_rounding,
    encode_decode,
    mean_rounding,
    no_rounding,
    quantization_table,
)

KEY = Key(torch.arange(2), 0)


def drawn(stream, shape):
    return Key(torch.arange(shape[0]), 2).uniform(stream, shape[1:], dtype=torch.float64)


def pictures(count, channels, height, width):
    """Smooth images with edges, as photographs have them."""
    noise = drawn("pictures", (count, channels, height, width)).numpy()
    blurred = gaussian_filter(noise, (0, 0, 3, 3))
    low, high = blurred.min(), blurred.max()
    smooth = torch.from_numpy((blurred - low) / (high - low))
    smooth[:, :, height // 3 : height // 2, width // 4 : width // 2] = 0.9
    return smooth


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bit_depth_is_the_nearest_of_the_levels(bits):
    images, levels = drawn("x", (2, 3, 8, 8)), np.linspace(0, 1, 2**bits)
    nearest = levels[np.abs(images.numpy()[..., None] - levels).argmin(-1)]
    assert np.allclose(BitDepth(bits)(images, KEY).numpy(), nearest, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_median_is_scipys(size):
    images = drawn("x", (2, 3, 7, 6))
    wanted = median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(Median(size)(images, KEY).numpy(), wanted)


def test_mirrored_goes_on_for_ever():
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert mirror_pad(row, 4, 8)[0, 0, 0].tolist() == [3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1, 2, 3, 3, 2]


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 40, 33), (3, 48, 48), (3, 37, 51)])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
def test_the_floating_codec_is_libjpegs_but_for_its_rounding_to_bytes(channels, height, width, quality):
    images = (pictures(2, channels, height, width) * 255).round() / 255
    true = JPEGCompression(quality)(images, KEY)
    ours = encode_decode(images, quality, torch.round).clamp(0, 1)
    change = (true - images).abs().mean()
    assert (ours - true).abs().mean() < 1.6 / 255
    assert quality > 50 or (ours - true).abs().mean() < 0.4 * change


def test_a_gray_block_is_quantised_by_the_table():
    """One cosine in one block: what is left of it is a multiple of the table's step, within a byte."""
    n = torch.arange(8, dtype=torch.float64)
    wave = torch.cos(math.pi * (2 * n + 1) * 3 / 16)  # row 0, column 3
    step = int(quantization_table(LUMINANCE, torch.tensor([50]))[0, 3])
    assert step == 16
    unit = math.sqrt(2 / 8) * math.sqrt(1 / 8)  # the crest of a coefficient of 1, in levels
    for multiple in (0.4, 0.6, 1.4, 2.3):
        image = (128 + multiple * step * unit * wave.expand(8, 8)) / 255
        left = encode_decode(image[None, None], 50, torch.round)[0, 0]
        wanted = (128 + round(multiple) * step * unit * wave.expand(8, 8)) / 255
        assert torch.allclose(left, wanted, rtol=0, atol=1e-9)


def test_the_tables_follow_libjpegs_quality():
    bright = quantization_table(LUMINANCE, torch.tensor([50, 75, 100])).tolist()
    assert tuple(bright[0]) == LUMINANCE
    assert bright[1][:4] == [8, 6, 5, 8]
    assert set(bright[2]) == {1}
    coloured = quantization_table(CHROMINANCE, torch.tensor([1, 25]))
    assert (int(coloured[0].max()), int(coloured[1, 0])) == (255, 34)


def test_the_roundings():
    x = torch.tensor([0.0, 0.3, 0.5 - 1e-9, 1.2, -2.4], dtype=torch.float64)
    assert torch.equal(no_rounding(x), x)
    assert torch.allclose(cubic_rounding(x), torch.tensor([0.0, 0.027, 0.125, 1.008, -2.064], dtype=torch.float64))
    assert torch.allclose(mean_rounding(x), (cubic_rounding(x) + x) / 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_stand_in_is_nearer_to_jpeg_than_the_image_is(channels):
    images, stage = pictures(2, channels, 48, 48), JPEGCompression(30)
    true = stage(images, KEY)
    assert (stage.differentiable_approximation(images, KEY) - true).abs().mean() < 0.8 * (images - true).abs().mean()


def test_jpeg_reads_back_what_it_wrote():
    """A constant image is one coefficient per block: off by its step at most, and the same on a second pass."""
    gray = torch.full((1, 1, 16, 16), 0.5)
    once = JPEGCompression(75)(gray, KEY)
    assert float(once.std()) == 0
    assert float((once - gray).abs().amax()) <= 1.5 / 255
    assert torch.equal(JPEGCompression(75)(once, KEY), once)


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_is_the_double_loop(channels):
    images, stage = drawn("x", (2, channels, 6, 7)), NonLocalMeans(5, 3, 0.3)
    wide = mirror_pad(images, 3, 3).numpy()
    wanted = np.zeros(images.shape)
    for b in range(2):
        for i in range(6):
            for j in range(7):
                here = wide[b, :, i + 2 : i + 5, j + 2 : j + 5]
                total, weight = 0.0, 0.0
                for k in range(i - 2, i + 3):
                    for m in range(j - 2, j + 3):
                        there = wide[b, :, k + 2 : k + 5, m + 2 : m + 5]
                        w = math.exp(-((here - there) ** 2).mean() / 0.3**2)
                        total, weight = total + w * there[:, 1, 1], weight + w
                wanted[b, :, i, j] = total / weight
    assert np.allclose(stage(images, KEY).numpy(), wanted, rtol=0, atol=1e-12)


def test_non_local_means_of_a_strip_of_two_grays():
    """Far from the edge each pixel meets its like only: nothing changes, where a mean filter would blur."""
    images = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    images[..., 6:] = 1
    assert torch.allclose(NonLocalMeans(h=0.05)(images, KEY), images, atol=1e-6)


def test_the_wavelet_transform_is_orthonormal_and_its_own_inverse():
    images = drawn("x", (2, 3, 8, 6))
    mean, bands = haar_transform(images)
    assert torch.allclose(mean.square().sum() + bands.square().sum(), images.square().sum())
    assert torch.allclose(inverse_haar_transform(mean, bands), images)
    flat_mean, flat_bands = haar_transform(torch.full((1, 1, 4, 4), 0.3))
    assert torch.allclose(flat_mean, torch.full((1, 1, 2, 2), 0.6))
    assert float(flat_bands.abs().amax()) < 1e-7


def test_soft_thresholds():
    values = torch.tensor([-2.0, -0.4, 0.0, 0.3, 1.5])
    assert torch.allclose(soft_threshold(values, torch.tensor(0.5)), torch.tensor([-1.5, 0.0, 0.0, 0.0, 1.0]))


def test_the_universal_threshold_on_one_coefficient():
    bands = torch.zeros(1, 1, 3, 4, 4, dtype=torch.float64)
    bands[0, 0, 1, 2, 1] = 0.5
    images = inverse_haar_transform(torch.full((1, 1, 4, 4), 1.0, dtype=torch.float64), bands)
    left = Wavelet("VisuShrink", 0.1, 1)(images, KEY)
    threshold = 0.1 * math.sqrt(2 * math.log(64))
    wanted = inverse_haar_transform(torch.full((1, 1, 4, 4), 1.0, dtype=torch.float64), bands * (1 - threshold / 0.5))
    assert torch.allclose(left, wanted)


def test_bayes_takes_each_band_for_itself_and_measures_the_noise():
    images = pictures(1, 1, 16, 16) * 0.6 + 0.2 + 0.02 * Key(torch.arange(1), 0).normal("n", (1, 16, 16))
    mean, bands = haar_transform(images)
    sigma = float(bands[0, 0, 2].abs().flatten().median()) / 0.6744897501960817
    kept = bands.clone()
    for band in range(3):
        c = bands[0, 0, band]
        signal = max(float(c.square().mean()) - sigma**2, 1e-300) ** 0.5
        kept[0, 0, band] = c.sign() * (c.abs() - sigma**2 / signal).clamp_min(0)
    left = Wavelet("BayesShrink", None, 1)(images, KEY)
    assert torch.allclose(left, inverse_haar_transform(mean, kept).clamp(0, 1))
    assert not torch.allclose(left, images, atol=1e-3)


def test_wavelets_take_noise_away():
    clean = pictures(4, 1, 32, 32) * 0.6 + 0.2
    noisy = clean + 0.05 * Key(torch.arange(4), 0).normal("n", (1, 32, 32))
    for rule in ("BayesShrink", "VisuShrink"):
        left = Wavelet(rule, None, 2)(noisy, Key(torch.arange(4), 0))
        assert (left - clean).square().mean() < 0.6 * (noisy - clean).square().mean()
