"""Our stages beside ART's preprocessors, where both exist."""

import numpy as np
import pytest
import torch

from sparring.defenses.purification import BitDepth, JPEGCompression, Median, TotalVariation
from sparring.defenses.purification.total_variation import minimize_total_variation, total_variation_objective
from sparring.random import Key

KEY = Key(torch.arange(3), 0)


def bytes_of(stream, shape):
    """Images whose pixels are bytes: ART cuts what is between two of them, where we round."""
    return Key(torch.arange(shape[0]), 4).integers(stream, shape[1:], 256).float() / 255


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_bit_depth(bits):
    from art.defences.preprocessor import FeatureSqueezing

    images = bytes_of("x", (3, 3, 16, 16))
    theirs, _ = FeatureSqueezing(clip_values=(0, 1), bit_depth=bits)(images.numpy())
    assert np.allclose(BitDepth(bits)(images, KEY).numpy(), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_median(size):
    from art.defences.preprocessor import SpatialSmoothing

    images = bytes_of("x", (3, 3, 17, 16))
    theirs, _ = SpatialSmoothing(window_size=size, channels_first=True)(images.numpy())
    assert np.array_equal(Median(size)(images, KEY).numpy(), theirs)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 75])
def test_jpeg(channels, quality):
    from art.defences.preprocessor import JpegCompression

    smooth = torch.nn.functional.interpolate(bytes_of("x", (3, channels, 5, 4)), (37, 33), mode="bilinear")
    levels = (smooth * 255).round()
    images = torch.from_numpy((levels.numpy().astype(np.float64) + 1e-3) / 255).clamp(0, 1)  # above the cut
    theirs, _ = JpegCompression(clip_values=(0, 1), quality=quality, channels_first=True)(images.numpy())
    assert np.allclose(JPEGCompression(quality)(images, KEY).numpy(), theirs, rtol=0, atol=1e-6)


def test_total_variation_is_nearer_to_the_minimum():
    """Both on the objective that we minimise, with the same pixels kept; ART's is another (see `TotalVariation`), so

    its answer is no bound for ours, but with all its steps it must not be better.
    """
    from art.defences.preprocessor import TotalVarMin

    images = torch.nn.functional.interpolate(bytes_of("x", (3, 1, 4, 4)), (16, 16), mode="bilinear").double()
    keep = torch.ones_like(images)
    theirs, _ = TotalVarMin(prob=1.0, norm=2, lamb=0.03, max_iter=200)(images.permute(0, 2, 3, 1).numpy())
    other = torch.from_numpy(theirs).double().permute(0, 3, 1, 2)
    ours = minimize_total_variation(images, keep, 0.03, TotalVariation().steps)
    reached = [total_variation_objective(z, images, keep, 0.03) for z in (ours, other, images)]
    assert bool((reached[0] < reached[1]).all())
    assert bool((reached[0] < reached[2]).all())
