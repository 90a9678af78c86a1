"""The nets of point clouds as targets, the check of free space, and attacks on them."""

import math
from dataclasses import replace

import pytest
import torch

import sparring as sp
from sparring.errors import ConfigError, InputError, TargetError
from sparring.lidar import (
    CarliniWagnerPoints,
    DropPoints,
    FreeSpaceCheck,
    Lidar,
    LidarScene,
    MeshInScene,
    PointDistance,
    RandomSampling,
    SpoofPoints,
    chamfer,
    hausdorff,
)
from sparring.lidar.defenses import calibrate_free_space, free_space
from sparring.lidar.meshes import car
from sparring.lidar.nets import BINS, CELL, COLUMNS, LEFTMOST, ROWS, BevDetector, PointNet, soft_voxels
from sparring.lidar.streets import CLASSES, crops, draw_streets, scan
from sparring.random import Key
from sparring.testing import check_target
from sparring.testing.attack_contract import attack_laws_of
from sparring.testing.cases import Case, draw, filled

FEW = Lidar(tuple(range(-16, 4, 2)), azimuth_step=2.0, azimuths=(-30.0, 30.0), range_noise=0.0)


def clouds(rows=3, points=20):
    present = torch.arange(points) < points - torch.arange(rows)[:, None] % 5
    return draw("clouds", (rows, points, 3)) * present[:, :, None], present


def classifier(stream="pointnet"):
    return sp.Classifier(
        filled(PointNet(4, width=8).double(), stream), inputs=sp.PointClouds(-20, 20), takes_context=True, classes=4
    )


def detector(stream="bev"):
    net = filled(BevDetector(width=4).double(), stream)
    return sp.Model(net, sp.tasks.Detection(), inputs=sp.PointClouds(-100, 100), takes_context=True)


def test_the_nets_are_targets():
    points, present = clouds()
    net = classifier()
    check_target(net, points, LidarScene(present=present), other=classifier("other"), modules=(net.model,))
    ahead = points + torch.tensor([8.0, 0, 0])
    check_target(detector(), ahead, LidarScene(present=present), other=detector("other"))
    check_target(
        FreeSpaceCheck(detector(), 0.5), ahead, LidarScene(present=present), other=FreeSpaceCheck(detector(), 0.6)
    )


def test_absent_points_have_no_part():
    points, present = clouds()
    elsewhere = torch.where(present[:, :, None], points, 3.0)
    scene = LidarScene(present=present)
    assert torch.equal(classifier().predict(points, context=scene), classifier().predict(elsewhere, context=scene))
    one, other = (detector().predict(x, context=scene).logits for x in (points, elsewhere))
    assert torch.equal(one, other)


def test_a_point_fills_the_eight_cells_around_it_by_its_share():
    step = 3.6 / (BINS - 1)
    point = torch.tensor([[[10.25 + 0.25 * CELL, 0.25, -1.8 + 2.5 * step]]], dtype=torch.float64)
    cells = soft_voxels(point, torch.ones(1, 1, dtype=torch.float64))
    assert cells.shape == (1, BINS, ROWS, COLUMNS)
    filled_cells = cells / (1 - cells)
    assert torch.allclose(filled_cells.sum(), torch.tensor(1.0).double())
    row, column = int(10.25 / CELL), int((0.25 - LEFTMOST) / CELL)
    assert torch.allclose(
        filled_cells[0, 2:4, row : row + 2, column].flatten(), torch.tensor([0.375, 0.125] * 2).double()
    )
    away = soft_voxels(torch.tensor([[[-5.0, 0, 0], [500.0, 0, 0]]]), torch.ones(1, 2))
    assert float(away.sum()) == 0


def test_voxels_have_the_gradient_of_a_difference_quotient():
    points = (draw("near", (1, 6, 3)) + torch.tensor([10.0, 0, 0])).requires_grad_()
    weights = draw("weights", (1, 6)).abs().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: soft_voxels(x, w).square().sum(), (points, weights))


def test_streets_do_not_overlap_and_repeat_themselves():
    key = Key(torch.arange(6), 3)
    streets = draw_streets(key)
    boxes = streets.footprints()
    for one in range(boxes.shape[1]):
        for other in range(one):
            apart = (
                torch.minimum(boxes[:, one, 2:], boxes[:, other, 2:])
                <= torch.maximum(boxes[:, one, :2], boxes[:, other, :2])
            ).any(1)
            assert bool(apart.all())
    again = draw_streets(Key(torch.tensor([4]), 3))
    assert torch.equal(again.poses[0], streets.poses[4])
    ranges, owner = scan(streets, FEW)
    alone = scan(draw_streets(Key(torch.tensor([4]), 3)), FEW)
    assert torch.equal(alone[0][0], ranges[4])
    assert torch.equal(alone[1][0], owner[4])
    assert torch.equal(ranges.isinf(), owner == -2)
    with pytest.raises(ConfigError, match="objects"):
        draw_streets(key, 1000)


def test_points_of_an_object_lie_in_its_footprint():
    streets = draw_streets(Key(torch.arange(4), 8))
    sensor = Lidar.of_beams(16, azimuth_step=1.0, azimuths=(-45.0, 45.0))
    ranges, owner = scan(streets, sensor)
    points, boxes = sensor.points(ranges), streets.footprints()
    row, ray = (owner >= 0).nonzero(as_tuple=True)
    theirs, spot = boxes[row, owner[row, ray]], points[row, ray, :2]
    assert len(row) > 100
    assert bool(((spot > theirs[:, :2] - 1e-3) & (spot < theirs[:, 2:] + 1e-3)).all())


def test_crops_hold_the_points_of_one_object():
    points, present, labels = crops(Key(torch.arange(10), 2), FEW, points=40)
    assert labels.tolist() == list(range(len(CLASSES))) * 2
    assert points.shape == (10, 40, 3)
    assert bool((points[~present] == 0).all())
    assert points[..., :2].abs().max() < 10


def test_noise_and_drop_out_are_those_of_the_scanner():
    sensor = Lidar.of_beams(
        16, azimuth_step=0.5, azimuths=(-20.0, 20.0), range_noise=0.05, drop_out=0.2, max_range=50.0
    )
    ranges = torch.full((3, math.prod(sensor.shape)), 20.0)
    ranges[:, :100] = 80.0
    measured, seen = sensor.measure(ranges, Key(torch.arange(3), 0))
    assert not bool(seen[:, :100].any())
    assert abs(float(seen[:, 100:].float().mean()) - 0.8) < 0.02
    assert abs(float((measured[seen] - 20).std()) - 0.05) < 0.003


def test_distances_are_those_of_the_definition():
    one, other = draw("one", (2, 7, 3)), draw("other", (2, 7, 3))
    present = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    for row, count in ((0, 7), (1, 5)):
        gaps = torch.cdist(one[row, :count], other[row, :count]).square()
        there, back = gaps.amin(1), gaps.amin(0)
        assert torch.allclose(chamfer(one, other, present)[row], there.mean() + back.mean())
        assert torch.allclose(hausdorff(one, other, present)[row], torch.maximum(there.max(), back.max()))
    assert torch.equal(chamfer(one, one[:, torch.randperm(7)]), torch.zeros(2).double())


def points_case():
    points, present = clouds(24)
    target = classifier()
    scene = LidarScene(present=present)
    logits = target.predict(points, context=scene)
    near = logits.topk(2, dim=1).values.diff(dim=1).abs()[:, 0].argsort()[:3]
    scene = sp.rows.take(scene, near)
    free = present[near][:, :, None].expand(-1, -1, 3)
    return Case(
        target.model, points[near], logits.argmax(1)[near], inputs=sp.PointClouds(-20, 20), context=scene, free=free
    )


@pytest.mark.parametrize("distance", PointDistance)
def test_carlini_wagner_of_clouds_obeys_the_laws(distance):
    attack = CarliniWagnerPoints(distance=distance, binary_search_steps=2, steps=12)
    for what, check, _ in attack_laws_of(attack, points_case(), 1e-9, None):
        if what != "the model":  # a law on pictures alone: that the engine leaves batch norms as they are
            check()


def test_the_smallest_by_chamfer_is_smaller_by_chamfer():
    case, settings = points_case(), {"binary_search_steps": 6, "steps": 100}
    found = {}
    for name, attack in (("L2", sp.attacks.CarliniWagner(**settings)), ("Chamfer", CarliniWagnerPoints(**settings))):
        outcome = sp.run(attack, case.target, case.goal, case.images, context=case.context, mask=case.free)
        assert bool(outcome.success.all())
        found[name] = chamfer(outcome.examples, case.images, case.context.present)
    assert float((found["Chamfer"] / found["L2"]).median()) < 1
    with pytest.raises(InputError, match="compares clouds"):
        sp.run(
            CarliniWagnerPoints(),
            sp.Classifier(torch.nn.Flatten()),
            sp.Misclassify(torch.tensor([0])),
            torch.rand(1, 1, 2, 2),
        )
    with pytest.raises(ConfigError, match="distance"):
        CarliniWagnerPoints(distance="chamfer")


def test_dropping_counts_points():
    case = points_case()
    target = sp.Pipeline(case.target, DropPoints())
    scene = replace(case.context, points=case.images)
    outcome = sp.run(
        sp.attacks.PGD(sp.L0(6), steps=15),
        target,
        case.goal,
        torch.ones(3, 20, dtype=torch.float64),
        context=scene,
        mask=case.context.present,
        keep=sp.Keep.HIGHEST_LOSS,
    )
    dropped = outcome.examples < 0.5
    assert int((outcome.examples != 1).sum(1).max()) <= 6
    assert bool(dropped.any(1).all())
    assert not bool((dropped & ~case.context.present).any())


def wall_and_spoof():
    """Rays that end on a wall of 2 m width at 10 m, and the same wall with a few points before it at 6 m."""
    sensor = Lidar(tuple(range(-16, 2)), azimuth_step=1.0, azimuths=(-20.0, 20.0), range_noise=0.0)
    directions = sensor.directions(torch.float64)
    wall = (10 / directions[:, :1]) * directions
    few = directions.view(*sensor.shape, 3)[6:12:3, 18:23:2].flatten(0, 1)
    return wall, few * 6 / few[:, :1]


def test_rays_behind_a_box_are_counted():
    wall, spoofed = wall_and_spoof()
    points = torch.cat((wall, spoofed))[None]
    present = torch.ones(points.shape[:2], dtype=torch.bool)
    boxes = torch.tensor([[[9.5, -1, 10.5, 1], [5.5, -0.8, 6.5, 0.8], [2.0, -1, 3.0, 1]]], dtype=torch.float64)
    behind, inside = free_space(points, present, boxes)
    assert float(behind[0, 0]) == 0  # nothing shines through the wall
    assert float(behind[0, 1]) > 0.5  # most rays pass by the spoofed points
    assert float(behind[0, 2]) == 1  # an empty box
    assert inside[0, 1] == len(spoofed)
    assert calibrate_free_space(points, present, boxes[:, 0]) == pytest.approx(0.02)


def test_the_check_dismisses_what_light_passes_through():
    wall, spoofed = wall_and_spoof()
    points = torch.cat((wall, spoofed))[None]
    anchors = torch.tensor([[[9.5, -1, 10.5, 1], [5.5, -0.8, 6.5, 0.8]]], dtype=torch.float64)

    def finds(x):
        logits = torch.full((1, 2, 1), 3.0, dtype=x.dtype) + 0 * x.sum()
        return sp.tasks.Detections(anchors, logits, torch.ones(1, 2, dtype=torch.bool))

    bare = sp.Model(finds, sp.tasks.Detection(), inputs=sp.PointClouds(-100, 100), identity="both")
    logits = FreeSpaceCheck(bare, 0.4).predict(points).logits[0, :, 0]
    assert logits[0] == 3
    assert logits[1] < 0
    for wrong in ({"limit": 1.5}, {"gain": 0}, {"checked": 0}):
        with pytest.raises(ConfigError):
            FreeSpaceCheck(bare, **wrong)
    with pytest.raises(TargetError, match="is of a detector"):
        FreeSpaceCheck(classifier())


def test_a_shape_for_many_scenes_is_one_row():
    """An adversarial mesh through an existing attack; the gradient reaches the displacements from hits and misses."""
    mesh = MeshInScene.of(car(), FEW, size=(4.0, 1.8, 1.5), max_metres=0.3)
    scenes = LidarScene(
        ranges=FEW.ground(torch.float64).expand(3, -1),
        poses=torch.tensor([[8.0, 0.3, 0.2], [9.0, -1.0, 1.0], [7.0, 0.5, 2.0]], dtype=torch.float64),
    )
    goal = sp.goals.Create(torch.tensor([[4.0, -4, 12, 4]]).expand(3, -1))
    over = sp.targets.OverScenes(sp.Pipeline(detector(), mesh), goal, scenes, scenes_per_question=2)
    shape = torch.zeros(1, *mesh.vertices.shape, dtype=torch.float64)
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.3), steps=3), over, sp.goals.FoolScenes(torch.zeros(1)), shape)
    assert outcome.examples.abs().max() <= 0.3 + 1e-9
    x = shape.clone().requires_grad_()
    context = sp.rows.take(scenes, torch.tensor([0]))
    _, seen = mesh.apply(x, Key(torch.arange(1), 0), context)
    rays = FEW.shape[0] * FEW.shape[1]
    (grad,) = torch.autograd.grad((seen.weights[:, :rays]).sum(), x)  # more of the mesh
    assert grad.isfinite().all()
    assert int((grad != 0).any(2).sum()) > 4


def test_defences_of_clouds_have_naive_and_adaptive_views():
    points, present = clouds()
    wall = sp.targets.Defended(classifier(), RandomSampling(0.7))
    goal = sp.Misclassify(classifier().predict(points, context=LidarScene(present=present)).argmax(1))
    for view in (wall.naive_view(), wall.adaptive_view(3)):
        outcome = sp.run(
            sp.attacks.PGD(sp.Linf(0.5), steps=3),
            view,
            goal,
            points,
            context=LidarScene(present=present),
            mask=present[:, :, None].expand_as(points),
            engine=sp.Engine(confirmation_samples=3),
        )
        assert ((outcome.success_rate >= 0) & (outcome.success_rate <= 1)).all()
    spoofed = sp.Pipeline(wall.adaptive_view(2), SpoofPoints())
    assert spoofed.inputs.high == 1


@pytest.mark.parametrize("name", ["lidar-pointnet", "lidar-bev"])
def test_the_zoo_has_both_nets(name):
    loaded = sp.zoo.load_model(f"zoo:{name}")
    points, present = clouds()
    answer = loaded.target.predict(points.float(), context=LidarScene(present=present))
    logits = answer if isinstance(answer, torch.Tensor) else answer.logits
    assert logits.shape[-1] == len(loaded.class_names)
    assert loaded.sha256
