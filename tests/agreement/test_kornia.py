"""Stages of the physical chain beside kornia's: homography, blur, demosaicing, colour spaces.

Its thin plate has its centres at the points where the control points come to, and is another spline than Bookstein's;
ours is compared with scipy's (tests/physical/test_placement.py).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparring.physical import BayerMosaic, Homography, QuadAnchor, TotalVariation
from sparring.physical.blurring import blur, gaussian, line
from sparring.physical.colour import to_lab, to_linear, to_srgb
from sparring.physical.placement.anchor import homography
from sparring.random import Key
from sparring.testing.cases import draw
from sparring.transforms import Scene

kornia = pytest.importorskip("kornia", reason="kornia is not installed; `make peers` brings it")
pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own

IMAGES = draw("images", (2, 3, 24, 30)).sigmoid()


def test_a_homography_takes_the_same_points_to_the_same_places_and_pixels() -> None:
    corners = torch.tensor([[[3.0, 2], [27, 4], [24, 21], [5, 18]]]).double()
    square = torch.tensor([[[0.0, 0], [16, 0], [16, 12], [0, 12]]]).double()
    matrix = homography(square, corners)
    theirs = kornia.geometry.transform.get_perspective_transform(square, corners)
    assert (matrix - theirs).abs().max() < 1e-9
    artifact = torch.nn.functional.interpolate(draw("low", (1, 3, 4, 5)).sigmoid(), (12, 16), mode="bicubic").clamp(
        0, 1
    )
    scene = Scene(images=torch.zeros(1, 3, 24, 30).double(), quads=corners)
    placement = Homography(anchor=QuadAnchor(), severity=0.0, supersampling=1)
    made = placement.project(artifact, placement.sample(Key(torch.arange(1), 0), artifact), scene).colour
    half = torch.tensor([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]).double()  # from corners of pixels to their middles
    warped = kornia.geometry.transform.warp_perspective(
        artifact, half @ theirs @ half.inverse(), (24, 30), mode="bilinear", align_corners=True
    )
    inside = torch.zeros(24, 30).bool()
    inside[7:16, 9:22] = True
    assert (made - warped)[:, :, inside].abs().max() < 1e-9


def test_gaussian_blur_agrees_but_for_where_the_kernel_ends() -> None:
    sigma = torch.tensor([0.8, 1.3]).double()
    theirs = kornia.filters.gaussian_blur2d(IMAGES, 9, sigma[:, None].expand(2, 2), border_type="reflect")
    assert (blur(IMAGES, gaussian(sigma, 4 / 3)) - theirs).abs().max() < 1e-9


def test_motion_blur_has_the_same_direction() -> None:
    """A point becomes a line along the same axis; kornia's angle turns the other way and its line is not smoothed."""
    point = torch.zeros(1, 1, 21, 21).double()
    point[:, :, 10, 10] = 1
    angle = 0.6
    ours = blur(point, line(torch.tensor([7.0]).double(), torch.tensor([angle]).double(), 7.0))
    theirs = kornia.filters.motion_blur(point, 9, -math.degrees(angle), 0.0, border_type="reflect", mode="bilinear")
    assert abs(_axis(ours) - _axis(theirs)) < 0.03
    assert abs(_axis(ours) - angle) < 0.03


def _axis(spot: Tensor) -> float:
    """The angle of the long axis of a spot, downwards from the right, in radians."""
    rows, columns = torch.meshgrid(torch.arange(21).double() - 10, torch.arange(21).double() - 10, indexing="ij")
    weights = spot[0, 0] / spot.sum()
    across, down, both = (float((weights * one).sum()) for one in (columns**2, rows**2, rows * columns))
    return 0.5 * math.atan2(2 * both, across - down)


def test_bilinear_demosaicing_agrees_away_from_the_border() -> None:
    mosaic = BayerMosaic(method="bilinear")
    drawn = mosaic.sample(Key(torch.arange(2), 0), IMAGES)
    corner = torch.zeros_like(drawn.corner)
    ours = mosaic.apply_parameters(IMAGES, type(drawn)(corner))
    raw = kornia.color.rgb_to_raw(IMAGES, kornia.color.CFA.BG)  # red in the first pixel
    theirs = kornia.color.raw_to_rgb(raw, kornia.color.CFA.BG)
    assert (ours - theirs)[:, :, 2:-2, 2:-2].abs().max() < 1e-9


def test_colour_spaces_agree() -> None:
    assert (to_linear(IMAGES) - kornia.color.rgb_to_linear_rgb(IMAGES)).abs().max() < 1e-6
    assert (to_srgb(IMAGES) - kornia.color.linear_rgb_to_rgb(IMAGES)).abs().max() < 1e-6
    assert (to_lab(IMAGES) - kornia.color.rgb_to_lab(IMAGES)).abs().max() < 0.05  # rounded matrices


def test_kornias_total_variation_is_the_anisotropic_sum() -> None:
    """Ours is isotropic and a mean: along one axis alone they are the same number of differences apart."""
    ramp = torch.linspace(0, 1, 30).double().expand(1, 1, 24, 30)
    theirs = kornia.losses.total_variation(ramp)[0] / ramp.numel()
    assert float(TotalVariation(smoothing=1e-9)(ramp)) == pytest.approx(float(theirs), rel=1e-6)
