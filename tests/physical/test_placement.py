"""Placements: area, aliasing and edges of the composite, closed forms of the surfaces, gradients of the pose."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from sparring import testing
from sparring.errors import ConfigError, InputError
from sparring.physical import (
    BoxAnchor,
    Cylinder,
    Homography,
    LandmarkAnchor,
    Parabola,
    Placement,
    Planar,
    QuadAnchor,
    ThinPlate,
)
from sparring.physical.placement.placement import Surface, Window
from sparring.physical.placement.planar import Turned, perspective
from sparring.physical.placement.thin_plate import Displaced, control_points
from sparring.random import Key
from sparring.testing.cases import draw
from sparring.transforms import Scene

SURFACES = [Planar(), Homography(), Parabola(), Cylinder(), ThinPlate()]
FACE = torch.tensor([[[12.0, 14], [22, 16], [16, 24]]], dtype=torch.float64)


def named(one: Any) -> str:
    return type(one).__name__


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def still(placement: Placement[Any]) -> Placement[Any]:
    """The placement on its anchor exactly: no deviation but that of the surface."""
    return replace(placement, scale=0.0, shift=0.0, roll=0.0)


def placed(placement: Placement[Any], x: Tensor, scene: Scene) -> Tensor:
    return placement.apply(x, key_of(len(x)), scene)[0]


@pytest.mark.parametrize("placement", SURFACES, ids=named)
def test_laws(placement: Placement[Any]) -> None:
    mask = (draw("mask", (9, 12)) > -1).double()
    small = replace(placement, mask=mask, supersampling=1)
    scene = Scene(images=0.5 + 0.2 * draw("scene", (3, 3, 20, 24)).clamp(-2, 2))
    testing.check_transform(small, 0.5 + 0.2 * draw("artifact", (3, 3, 9, 12)).clamp(-2, 2), scene, slope=1e-3)


@pytest.mark.parametrize("placement", SURFACES, ids=named)
@pytest.mark.parametrize("masked", [False, True])
def test_white_on_white_is_white_and_black_is_black(placement: Placement[Any], masked: bool) -> None:
    mask = torch.zeros(30, 40).index_fill_(0, torch.arange(8, 22), 1.0) if masked else None
    placement = replace(placement, mask=mask)
    white = placed(placement, torch.ones(4, 3, 30, 40), Scene(images=torch.ones(4, 3, 64, 64)))
    assert (white - 1).abs().max() < 1e-5
    black = placed(placement, torch.zeros(4, 3, 30, 40), Scene(images=torch.ones(4, 3, 64, 64)))
    assert black[:, :, 30:34, 30:34].max() < 1e-5


def test_alpha_sums_to_the_projected_area() -> None:
    x, scene = torch.ones(1, 3, 40, 60).double(), Scene(images=torch.zeros(1, 3, 96, 96).double())
    corners = torch.tensor([[[20.3, 15.2], [70.1, 24.7], [64.4, 71.9], [13.8, 58.5]]]).double()
    a, b = corners[0].roll(-1, 0), corners[0]
    quad = float((b[:, 0] * a[:, 1] - a[:, 0] * b[:, 1]).sum() / 2)
    cases = [
        (still(Planar(anchor=BoxAnchor(0.4))), scene, (0.4 * 96) ** 2 * 40 / 60),
        (still(Planar(anchor=BoxAnchor(0.05))), scene, (0.05 * 96) ** 2 * 40 / 60),  # 4.8 x 3.2 pixels
        (still(Planar(anchor=QuadAnchor())), replace(scene, quads=corners), quad),
    ]
    for placement, where, area in cases:
        parameters = placement.sample(key_of(1), x, where)
        assert float(placement.project(x, parameters, where).alpha.sum()) == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("pixels", [150, 100, 54, 30])
def test_every_pixel_of_a_patch_pasted_small_has_a_gradient(pixels: int) -> None:
    x = (0.5 + 0.2 * draw("noise", (1, 1, 300, 300))).clamp(0, 1).float().requires_grad_()
    images = torch.zeros(1, 1, 160, 160)
    placement = still(Planar(anchor=BoxAnchor(pixels / 160)))
    made = placement.project(x, placement.sample(key_of(1), x), Scene(images=images))
    made.colour.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).float().mean() == 1
    naive = torch.zeros_like(x).requires_grad_()
    lattice = (torch.arange(pixels) + 0.5) / pixels * 2 - 1
    grid = torch.stack(torch.meshgrid(lattice, lattice, indexing="xy"), -1)[None]
    grid_sample(naive, grid, align_corners=False).sum().backward()
    assert naive.grad is not None
    assert (naive.grad != 0).float().mean() <= 4 * (pixels / 300) ** 2 + 1e-6  # 2 x 2 neighbours at most
    if 300 % pixels == 0:  # an area filter is a mean of squares
        by = 300 // pixels
        top = (160 - pixels) // 2
        area = avg_pool2d(x.detach(), by)
        got = made.colour[:, :, top : top + pixels, top : top + pixels].detach()
        sampled = grid_sample(x.detach(), grid, align_corners=False)
        assert (got - area).abs().mean() <= 0.35 * (sampled - area).abs().mean() + 1e-6


def test_a_quarter_of_an_image_is_pasted_pixel_by_pixel() -> None:
    x = draw("artifact", (2, 3, 16, 16)).sigmoid()
    scene = Scene(images=draw("images", (2, 3, 32, 32)).sigmoid())
    made = placed(replace(still(Planar(anchor=BoxAnchor(0.5))), supersampling=1), x, scene)
    assert scene.images is not None
    wanted = scene.images.clone()
    wanted[:, :, 8:24, 8:24] = x
    assert (made - wanted).abs().max() < 1e-9


@pytest.mark.parametrize("placement", SURFACES, ids=named)
def test_at_severity_0_every_surface_is_the_plane(placement: Placement[Any]) -> None:
    x, scene = draw("artifact", (2, 3, 8, 12)).sigmoid(), Scene(images=draw("images", (2, 3, 20, 20)).sigmoid())
    flat = placed(Planar(severity=0), x, scene)
    assert (placed(placement.at_severity(0), x, scene) - flat).abs().max() < 1e-5
    assert not placement.at_severity(0).stochastic


def test_the_parabola_of_no_curvature_is_the_plane() -> None:
    x, scene = draw("artifact", (2, 3, 8, 12)).sigmoid(), Scene(images=draw("images", (2, 3, 20, 20)).sigmoid())
    flat = placed(still(Planar()), x, scene)
    bent = placed(still(Parabola(curvature=(1e-7, 1e-7), pitch=(0.0, 0.0))), x, scene)
    assert (bent - flat).abs().max() < 1e-6


def test_paper_around_a_parabola_and_a_cylinder_has_its_length() -> None:
    """The length of paper is the integral of sqrt(1 + z'^2), measured here in small chords."""
    x = torch.linspace(0, 0.45, 100_001, dtype=torch.float64)[None, None]
    for surface, curvature in ((Parabola(), 1.17), (Cylinder(), 1.9)):
        length, depth, _ = surface.profile(x, torch.full((1, 1, 1), curvature).double())
        chords = (x.diff(dim=2) ** 2 + depth.diff(dim=2) ** 2).sqrt().sum()
        assert float(length[0, 0, -1] - chords) == pytest.approx(0, abs=1e-8)


def test_a_homography_is_a_pinhole_camera() -> None:
    """Turned points of the plane, projected one by one."""
    yaw, pitch, distance = 0.4, -0.3, 2.5
    turned = Turned(*(torch.tensor([one], dtype=torch.float64) for one in (yaw, pitch, distance)))
    points = torch.tensor([[0.5, 0.2], [-0.5, 0.3], [0.1, -0.4]]).double()
    c, s = math.cos(pitch), math.sin(pitch)
    about_x = torch.tensor([[1, 0, 0], [0, c, s], [0, -s, c]], dtype=torch.float64)
    c, s = math.cos(yaw), math.sin(yaw)
    about_y = torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float64)
    solid = (about_y @ about_x @ torch.cat((points, torch.zeros(3, 1).double()), 1).T).T
    wanted = solid[:, :2] * distance / (distance + solid[:, 2:])
    made = (perspective(turned)[0] @ torch.cat((points, torch.ones(3, 1).double()), 1).T).T
    assert (made[:, :2] / made[:, 2:] - wanted).abs().max() < 1e-12


def test_a_thin_plate_is_scipys_spline_through_its_control_points() -> None:
    displacements = 0.05 * draw("bend", (1, 9, 2))
    controls = control_points(3, 0.75, displacements)
    points = draw("points", (20, 2)) * 0.4
    spline = RBFInterpolator(controls.numpy(), displacements[0].numpy(), kernel="thin_plate_spline", degree=1)
    for places in (points, controls):
        u, v, _ = ThinPlate().unroll(places[None, None, :, 0], places[None, None, :, 1], Displaced(displacements), 0.75)
        moved = torch.stack((u[0, 0], v[0, 0]), 1) - places
        assert (moved - torch.from_numpy(spline(places.numpy()))).abs().max() < 1e-9


@pytest.mark.parametrize("placement", SURFACES, ids=named)
def test_gradients_of_artifact_and_pose(placement: Placement[Any]) -> None:
    placement = replace(placement, supersampling=1, anchor=BoxAnchor(0.7))
    x = draw("artifact", (1, 1, 5, 6)).sigmoid()
    scene = Scene(images=draw("images", (1, 1, 7, 7)).sigmoid())
    drawn = placement.sample(key_of(1), x, scene)
    pose = {name: value for name, value in vars(drawn.surface).items() if isinstance(value, Tensor)}

    def ask(x: Tensor, scale: Tensor, shift: Tensor, roll: Tensor, *surface: Tensor) -> Tensor:
        bent = replace(drawn.surface, **dict(zip(pose, surface, strict=True)))
        return placement.apply_parameters(x, replace(drawn, scale=scale, shift=shift, roll=roll, surface=bent), scene)

    given = [x, drawn.scale, drawn.shift, drawn.roll, *pose.values()]
    assert torch.autograd.gradcheck(
        ask, [one.detach().requires_grad_() for one in given], eps=1e-7, atol=1e-4, fast_mode=True
    )


def test_on_a_face_the_artifact_follows_the_eyes() -> None:
    scene = Scene(images=torch.zeros(1, 1, 40, 40).double(), landmarks=FACE)
    placement = still(Planar(anchor=LandmarkAnchor(width=1.0, offset=(0.0, 0.0))))
    x = torch.ones(1, 1, 4, 40).double()
    alpha = placement.project(x, placement.sample(key_of(1), x), scene).alpha[0, 0]
    rows, columns = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    middle = torch.stack(((alpha * columns).sum(), (alpha * rows).sum())) / alpha.sum()
    assert (middle - FACE[0, :2].mean(0)).abs().max() < 0.05
    assert float(alpha.sum()) == pytest.approx(104 * 0.1, rel=0.01)  # eyes sqrt(104) apart, ten times as wide as high


def test_bad_input_is_refused() -> None:
    x, images = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16)
    with pytest.raises(InputError, match="landmarks"):
        placed(Planar(anchor=LandmarkAnchor()), x, Scene(images=images))
    with pytest.raises(InputError, match="mask"):
        placed(Planar(mask=torch.ones(4, 4)), x, Scene(images=images))
    with pytest.raises(InputError, match="cannot be put"):
        placed(Planar(), x[:, :1], Scene(images=images))
    with pytest.raises(InputError, match="x1 < x2"):
        placed(Planar(), x, Scene(images=images, boxes=torch.tensor([[4.0, 4, 4, 9]])))
    with pytest.raises(InputError, match="eyes"):
        placed(Planar(anchor=LandmarkAnchor()), x, Scene(images=images, landmarks=torch.ones(1, 3, 2)))
    with pytest.raises(InputError, match=r"landmarks\[0\]"):
        placed(Planar(anchor=LandmarkAnchor()), x, Scene(images=images, landmarks=torch.full((1, 3, 2), torch.nan)))
    with pytest.raises(InputError, match="on a line"):
        placed(Planar(anchor=QuadAnchor()), x, Scene(images=images, quads=torch.ones(1, 4, 2)))
    with pytest.raises(ConfigError, match="mask"):
        Planar(mask=torch.zeros(4, 4))
    with pytest.raises(ConfigError, match="vanish"):
        Planar(scale=0.8, severity=2)
    with pytest.raises(ConfigError, match="pitch"):
        Parabola(pitch=(85.0, 2.0))
    with pytest.raises(ConfigError, match="relative_to"):
        BoxAnchor(relative_to="hight")
    with pytest.raises(InputError, match="convex"):
        Scene(quads=torch.tensor([[[0.0, 0], [4, 4], [4, 0], [0, 4]]])).check()


@pytest.mark.parametrize("placement", SURFACES, ids=named)
def test_nothing_of_the_artifact_lies_outside_its_window(
    placement: Placement[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small and large, at the border, turned far: the window changes nothing."""
    x = draw("artifact", (6, 1, 10, 16)).sigmoid()
    scene = Scene(
        images=draw("images", (6, 1, 50, 61)).sigmoid(),
        boxes=torch.tensor(
            [
                [20.0, 20, 22, 23],
                [5, 5, 40, 45],
                [-20, -10, 20, 15],
                [55, 40, 90, 80],
                [200, 200, 210, 210],
                [0, 0, 61, 9],
            ]
        ).double(),
    )
    placement = replace(placement.at_severity(1.5), anchor=BoxAnchor(1.0), roll=60.0)
    windowed = placed(placement, x, scene)

    def whole(surface: Surface, picture: torch.Size) -> Window:
        none = torch.zeros(6, dtype=torch.long)
        return Window(none, none, (picture[0], picture[1]), (picture[0], picture[1]))

    monkeypatch.setattr("sparring.physical.placement.placement.find_window", whole)
    assert (placed(placement, x, scene) - windowed).abs().max() < 1e-9
    assert (windowed[:4] - scene.images[:4]).abs().amax((1, 2, 3)).min() > 0  # type: ignore[index]
