"""What an attacker of a scanner can change obeys the laws of transforms, and does what it says."""

import math

import pytest
import torch

import sparring as sp
from sparring.errors import ConfigError, InputError
from sparring.lidar import (
    AddPoints,
    DropPoints,
    Lidar,
    LidarScene,
    MeshInScene,
    MovePoints,
    OutlierRemoval,
    RandomSampling,
    RangeShift,
    SpoofPoints,
)
from sparring.lidar.meshes import box
from sparring.random import Key
from sparring.testing import check_transform
from sparring.testing.cases import draw

SENSOR = Lidar(tuple(range(-16, 4, 2)), azimuth_step=2.0, azimuths=(-30.0, 30.0), range_noise=0.0)


def scene(rows=3, points=24):
    """Clouds some metres ahead, of which the last points are absent."""
    cloud = draw("cloud", (rows, points, 3)) + torch.tensor([8.0, 0, 0])
    present = (torch.arange(points) < points - 4).expand(rows, points)
    return LidarScene(points=cloud * present[:, :, None], present=present)


def mesh_scene(rows=3):
    ground = SENSOR.ground(torch.float64).expand(rows, -1)
    poses = torch.tensor([[6.0, 0.3, 0.2], [7.0, -0.5, 0.7], [8.0, 0.1, 2.0]], dtype=torch.float64)[:rows]
    return LidarScene(ranges=ground, poses=poses)


def mesh_transform(**settings):
    return MeshInScene.of(box(2), settings.pop("sensor", SENSOR), size=(2.0, 2.0, 1.5), max_metres=0.3, **settings)


TRANSFORMS = {
    "range": (RangeShift(1.0), 0.1 * draw("range", (3, 24)), scene()),
    "move": (MovePoints(0.2), draw("move", (3, 24, 3)).clamp(-0.95, 0.95), scene()),
    "add": (AddPoints(), draw("add", (3, 5, 3)) + 8, scene()),
    "drop": (DropPoints(), (0.5 + 0.3 * draw("drop", (3, 24))).clamp(0.05, 0.95), scene()),
    "spoof": (SpoofPoints(), (0.3 * draw("spoof", (3, 6, 3))).clamp(-0.9, 0.9), scene()),
    "mesh": (mesh_transform(), 0.05 * draw("mesh", (3, 26, 3)), mesh_scene()),
    "outliers": (OutlierRemoval(), scene().points, LidarScene(present=scene().present)),
    "sampling": (RandomSampling(0.6), scene().points + 1, LidarScene(present=scene().present)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_it_obeys_the_laws_of_transforms(name):
    transform, x, context = TRANSFORMS[name]
    check_transform(transform, x, context)


def test_ranges_move_along_their_rays():
    context, shift = scene(), 0.3 * draw("shift", (3, 24))
    moved, _ = RangeShift(1.0).apply(shift, None, context)
    before, after = context.points, moved
    there = context.present
    assert torch.allclose((after.norm(dim=2) - before.norm(dim=2))[there], shift[there])
    assert torch.nn.functional.cosine_similarity(before, after, dim=2)[there].min() > 1 - 1e-12


def test_no_point_moves_farther_than_its_bound():
    context, x = scene(), draw("far", (3, 24, 3)).clamp(-1, 1)
    moved = (MovePoints(0.2).apply(x, None, context)[0] - context.points).norm(dim=2)
    assert torch.allclose(moved, 0.2 * x.norm(dim=2).clamp(max=1))


def test_spoofed_points_lie_in_their_window_and_replace_echoes():
    window = SpoofPoints(azimuth=20.0, width=10.0, elevations=(-6.0, 0.0), ranges=(5.0, 8.0), step=0.5)
    corners = torch.tensor([[[-1.0, -1, -1], [1, 1, 1], [0, 0, 0]]], dtype=torch.float64)
    azimuth, elevation = math.radians(20.1), math.radians(-3.0)
    ahead = torch.tensor(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    cloud = torch.stack((30 * ahead, torch.tensor([30.0, 0, 0]))).double()[None]  # the first at the spoofed angle
    made, context = window.apply(corners, None, LidarScene(points=cloud))
    spoofed = made[0, 2:]
    assert torch.allclose(spoofed[:, 1].atan2(spoofed[:, 0]).rad2deg(), torch.tensor([15.0, 25.0, 20.0]).double())
    assert torch.allclose(spoofed.norm(dim=1), torch.tensor([5.0, 8.0, 6.5]).double())
    assert context.present[0].tolist() == [False, True, True, True, True]


def test_dropped_points_are_absent_and_slide_to_the_middle_in_the_gradient():
    context = scene()
    numbers = torch.ones(3, 24, dtype=torch.float64)
    numbers[:, :2] = 0.2
    _, after = DropPoints().apply(numbers, None, context)
    assert torch.equal(after.present, context.present & (torch.arange(24) >= 2))
    x = numbers.clone().requires_grad_()
    seen, _ = sp.transforms.transform_with_bpda(DropPoints(), x, None, context)
    (grad,) = torch.autograd.grad(seen[..., 0].sum(), x)
    middle = context.points[..., 0].sum(1) / 20
    assert torch.allclose(grad, context.points[..., 0] - middle[:, None])


def test_a_mesh_hides_what_is_behind_it_and_its_points_lie_on_it():
    transform, context = mesh_transform(), mesh_scene()
    cloud, after = transform.apply(torch.zeros(3, 26, 3, dtype=torch.float64), Key(torch.arange(3), 0), context)
    rays = SENSOR.shape[0] * SENSOR.shape[1]
    on, behind = after.present[:, :rays], after.present[:, rays:]
    assert not bool((on & behind).any())
    assert torch.equal(on | behind, on | context.ranges.isfinite())
    assert int(on.sum()) > 20
    local = cloud[0, :rays][on[0]][:, :2] - context.poses[0, :2]
    turn = context.poses[0, 2]
    flat = torch.stack(
        (local[:, 0] * turn.cos() + local[:, 1] * turn.sin(), local[:, 1] * turn.cos() - local[:, 0] * turn.sin())
    )
    assert torch.allclose(flat.abs().amax(0).clamp(0, 1), flat.abs().amax(0))
    assert torch.equal(after.weights, after.present.double())


def test_displacements_are_smooth_and_within_their_bound():
    transform = mesh_transform(smoothing=3)
    x = 0.3 * draw("signs", (1, 26, 3)).sign()
    moved = transform.displaced(x) - transform.vertices
    assert moved.abs().max() <= 0.3 + 1e-6
    assert moved.std() < 0.5 * x.std()
    assert transform.displaced(-torch.ones_like(x))[..., 2].min() >= 0  # none below the ground


def test_outliers_are_removed_as_the_definition_says():
    cloud = draw("cluster", (2, 30, 3)) * 0.1
    cloud[:, 5] += 3
    _, after = OutlierRemoval(k=3, deviations=1.5).apply(cloud, None, None)
    gaps = torch.cdist(cloud, cloud).sort(dim=2).values[:, :, 1:4].mean(2)
    limit = gaps.mean(1, keepdim=True) + 1.5 * gaps.std(1, keepdim=True, correction=0)
    assert torch.equal(after.present, gaps <= limit)
    assert not bool(after.present[:, 5].any())


def test_an_attacker_of_outlier_removal_has_a_gradient_to_what_is_removed():
    cloud = draw("cluster", (2, 30, 3)) * 0.1
    cloud[:, 5] += 0.3
    x = cloud.clone().requires_grad_()
    _, after = OutlierRemoval().apply(x, None, None)
    (grad,) = torch.autograd.grad(after.weights[:, 5].sum(), x)
    assert not bool(after.present[:, 5].any())
    towards = -(cloud[:, 5] - cloud.mean(1))
    assert bool(((grad[:, 5] * towards).sum(1) > 0).all())  # nearer to the others it would stay


def test_sampling_keeps_its_share_and_draws_anew():
    x = draw("many", (4, 2000, 3))
    kept = [RandomSampling(0.3).apply(x, Key(torch.arange(4), seed), None)[1].present for seed in (1, 2)]
    assert abs(float(kept[0].double().mean()) - 0.3) < 0.02
    assert not torch.equal(*kept)


def test_what_makes_no_sense_is_refused():
    context = scene()
    for make in (
        lambda: RangeShift(0),
        lambda: SpoofPoints(width=0),
        lambda: SpoofPoints(ranges=(9, 5)),
        lambda: mesh_transform(smoothing=-1),
        lambda: OutlierRemoval(k=0),
        lambda: RandomSampling(1.0),
        lambda: Lidar(()),
        lambda: Lidar(5),
        lambda: Lidar.of_beams(48),
    ):
        with pytest.raises(ConfigError):
            make()
    key = Key(torch.arange(3), 0)
    for transform, x in (
        (RangeShift(), torch.zeros(3, 5)),
        (DropPoints(), torch.zeros(3, 5)),
        (SpoofPoints(), torch.zeros(3, 5)),
    ):
        with pytest.raises(InputError):
            transform.apply(x, key, context)
    with pytest.raises(InputError, match="LidarScene"):
        RangeShift().apply(torch.zeros(3, 5), key, sp.Scene())
    with pytest.raises(InputError, match="ranges"):
        mesh_transform().apply(torch.zeros(3, 26, 3), key, context)
    with pytest.raises(InputError, match="context points"):
        LidarScene(points=torch.full((1, 2, 3), torch.nan)).check()
