"""Flows, rotations, colour curves, shifts and patches: the identity at zero, closed forms, places, and the laws."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import sparring as sp
from sparring import testing
from sparring.attacks import Patch
from sparring.engine import fingerprint
from sparring.errors import ConfigError, InputError, TargetError
from sparring.random import Key
from sparring.rows import take
from sparring.targets import Model
from sparring.tasks import Detection, Detections, Segmentation
from sparring.testing.cases import draw
from sparring.transforms import (
    AppliedArtifact,
    ColourCurve,
    Detector,
    FlowField,
    PlacePatch,
    RandomShift,
    RotationTranslation,
    Scene,
    Stage,
    Transform,
    transform_with_bpda,
)
from sparring.transforms.scene import moved
from sparring.transforms.shift import shifted

IMAGES = (0.5 + 0.25 * draw("images", (4, 3, 9, 9))).clamp(0.02, 0.98)
SCENE = Scene(images=IMAGES)
BOXES = torch.tensor([[1.0, 2, 7, 8], [0, 0, 5, 5], [2.5, 1.5, 7.25, 8.75], [-3, 4, 3, 12]], dtype=torch.float64)


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def made(transform: Transform, x: Tensor, context: object = SCENE, seed: int = 3) -> Tensor:
    return transform.apply(x, key_of(len(x), seed), context)[0]


@pytest.mark.parametrize(
    ("transform", "shape"),
    [
        (FlowField(), (2, 9, 9)),
        (FlowField(smoothing=1.0), (2, 9, 9)),
        (RotationTranslation(), (3,)),
        (RotationTranslation(padding="reflection"), (3,)),
        (ColourCurve(), (3, 5)),
    ],
)
def test_at_zero_it_is_the_identity(transform: Transform, shape: tuple[int, ...]) -> None:
    assert (made(transform, torch.zeros(4, *shape).double()) - IMAGES).abs().max() < 1e-12


@pytest.mark.parametrize("quarter", [1, -1])
def test_ninety_degrees_are_a_quarter_turn_counter_clockwise(quarter: int) -> None:
    x = torch.zeros(4, 3).double()
    x[:, 0] = quarter
    turned = made(RotationTranslation(90, 0, padding="border"), x)
    assert (turned - IMAGES.rot90(quarter, (2, 3))).abs().max() < 1e-12


def test_shifts_by_whole_pixels_are_the_images_rolled() -> None:
    x = torch.tensor([[0.0, 1.0, -0.5]]).double().expand(4, 3)
    moved = made(RotationTranslation(30, 4 / 9), x)  # four pixels down, two to the left
    assert (moved[:, :, 4:, :-2] - IMAGES.roll((4, -2), (2, 3))[:, :, 4:, :-2]).abs().max() < 1e-12
    assert moved[:, :, :4].abs().max() < 1e-12  # black, as in the paper
    assert moved[:, :, :, -2:].abs().max() < 1e-12


def test_an_image_is_turned_about_its_middle_and_then_shifted() -> None:
    x = torch.tensor([[1.0, 1.0, 0.0]]).double().expand(4, 3)
    both = made(RotationTranslation(90, 2 / 9, padding="border"), x)
    assert (both[:, :, 2:] - IMAGES.rot90(1, (2, 3)).roll(2, 2)[:, :, 2:]).abs().max() < 1e-12


def test_whole_flows_are_the_images_rolled() -> None:
    flow = torch.zeros(4, 2, 9, 9).double()
    flow[:, 0], flow[:, 1] = 2, -1  # each pixel is read two below and one to the left
    moved = made(FlowField(), flow)
    assert (moved[:, :, :-2, 1:] - IMAGES.roll((-2, 1), (2, 3))[:, :, :-2, 1:]).abs().max() < 1e-12
    assert (made(FlowField(smoothing=2.0), flow) - moved).abs().max() < 1e-12  # a constant is smooth


def test_a_flow_between_pixels_is_bilinear() -> None:
    flow = torch.zeros(4, 2, 9, 9).double()
    flow[:, 0, 4, 4], flow[:, 1, 4, 4] = 0.25, 0.5
    patch = IMAGES[:, :, 4:6, 4:6]
    expected = (patch * torch.tensor([[0.375, 0.375], [0.125, 0.125]])).sum((2, 3))
    assert (made(FlowField(), flow)[:, :, 4, 4] - expected).abs().max() < 1e-12


def test_a_colour_curve_rises_from_zero_to_one() -> None:
    ramp = torch.linspace(0, 1, 81).double().view(1, 1, 9, 9).expand(4, 3, 9, 9)
    curve = made(ColourCurve(), 2 * draw("curve", (4, 3, 6)), Scene(images=ramp)).flatten(2)
    assert bool((curve.diff(dim=2) > 0).all())
    assert (curve[..., 0]).abs().max() < 1e-12
    assert (curve[..., -1] - 1).abs().max() < 1e-12


def test_a_colour_curve_of_two_pieces_by_hand() -> None:
    logs = torch.tensor([0.0, 3.0]).log().clamp_min(-40).double()  # slopes 0 : 3 of two pieces
    values = torch.tensor([0.25, 0.5, 0.75, 1.0]).double().view(1, 1, 2, 2)
    curve = made(ColourCurve(49), logs.view(1, 1, 2), Scene(images=values)).flatten()
    assert curve.tolist() == pytest.approx([0.0, 0.0, 0.5, 1.0])
    with pytest.raises(InputError, match="images of 3 channels"):
        made(ColourCurve(), torch.zeros(4, 1, 5).double())


# away from kinks: no place falls on the middle of a pixel, no value on an end of a piece
OFF = (0.3 + 0.1 * draw("off", (4, 2, 9, 9)).clamp(-1, 1)).double()
CASES = {
    "flow": (FlowField(), OFF, SCENE),
    "smooth flow": (FlowField(smoothing=0.8), OFF, SCENE),
    "rotation": (RotationTranslation(30, 0.1), 0.4 + 0.05 * draw("angles", (4, 3)), SCENE),
    "colour": (ColourCurve(), draw("curve", (4, 3, 7)), SCENE),
    "shift": (RandomShift(2), IMAGES, Scene(boxes=BOXES)),
    "patch": (PlacePatch(), 0.5 + 0.1 * draw("patch", (4, 3, 3, 2)), SCENE),
    "patch in boxes": (PlacePatch(), 0.5 + 0.1 * draw("patch", (4, 3, 3, 2)), Scene(images=IMAGES, boxes=BOXES)),
    "applied patch": (AppliedArtifact(Patch(draw("p", (3, 3, 2)).sigmoid())), IMAGES, Scene(boxes=BOXES)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_laws_of_transforms(name: str) -> None:
    transform, x, context = CASES[name]
    testing.check_transform(transform, x, context)


@pytest.mark.parametrize("name", ["flow", "smooth flow", "rotation", "colour", "patch"])
def test_gradients_in_double_precision(name: str) -> None:
    transform, x, context = CASES[name]
    one, scene = x[:1].clone().requires_grad_(), take(context, slice(0, 1))
    small = replace(scene, images=scene.images[:, :1])
    if name in ("colour", "patch"):
        one = x[:1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: transform.apply(v, key_of(1), small)[0], (one,))


def test_boxes_move_with_their_image_and_come_back_exactly() -> None:
    shift, key = RandomShift(2), key_of(4)
    image = torch.zeros(4, 1, 9, 9).double()
    image[:, :, 3:5, 4:7] = 1.0
    box = torch.tensor([[4.0, 3.0, 7.0, 5.0]]).double().expand(4, 4)
    moved, beside = shift.apply(image, key, Scene(boxes=box))
    for row in range(4):
        left, top, right, bottom = beside.boxes[row].long().tolist()
        assert moved[row, 0, top:bottom, left:right].sum() == image[row].sum() == moved[row].sum()
    assert len(beside.boxes.unique(dim=0)) > 1
    found = Detections(beside.boxes[:, None], torch.ones(4, 1, 1), torch.ones(4, 1, dtype=torch.bool))
    assert torch.equal(shift.restore(found, key, Scene(boxes=box)).boxes[:, 0], box)
    assert torch.equal(shift.restore(moved, key, None), image)  # a map of classes, whose border is all one


def test_a_shift_is_a_roll_in_the_interior() -> None:
    by = torch.tensor([[2, -1], [0, 0], [-2, 2], [1, 0]])
    moved = shifted(IMAGES, by)
    for row in range(4):
        down, right = by[row].tolist()
        assert torch.equal(moved[row, :, 2:-2, 2:-2], IMAGES[row].roll((down, right), (1, 2))[:, 2:-2, 2:-2])


def placed(box: list[float] | None, size: tuple[int, int] = (3, 2), count: int = 4000) -> list[tuple[int, int]]:
    """The top left corners of `count` patches."""
    scene = Scene(images=torch.zeros(count, 1, 9, 9))
    if box is not None:
        scene = replace(scene, boxes=torch.tensor([box]).expand(count, 4))
    patches = made(PlacePatch(), torch.ones(count, 1, *size), scene, seed=11)
    assert bool((patches.flatten(1).sum(1) == size[0] * size[1]).all())
    first = patches.flatten(1).argmax(1)
    return list(zip((first // 9).tolist(), (first % 9).tolist(), strict=True))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (None, range(7), range(8)),
        ([1.0, 2, 7, 8], range(2, 6), range(1, 6)),
        ([1.4, 2.6, 7.2, 7.9], range(3, 5), range(2, 6)),  # whole pixels within
        ([-3.0, 4, 3, 12], range(4, 7), range(2)),
        ([3.0, 3, 5, 6], range(3, 4), range(3, 4)),  # it fits exactly
        ([6.0, 7, 7, 8], range(6, 7), range(6, 7)),  # it does not, and stays in the image
    ],
)
def test_patches_lie_within_the_box_at_every_place_alike(box, rows, columns) -> None:
    corners = placed(box)
    places = [(row, column) for row in rows for column in columns]
    assert set(corners) == set(places)
    expected = len(corners) / len(places)
    statistic = sum((corners.count(place) - expected) ** 2 / expected for place in places)
    degrees = len(places) - 1
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5 + 1e-9  # four standard deviations of a chi-square


def test_a_patch_covers_and_changes_nothing_else() -> None:
    patch = torch.full((4, 3, 3, 2), 2.0).double()
    image = made(PlacePatch(), patch)
    covered = image == 2.0
    assert bool((covered.flatten(1).sum(1) == 18).all())
    assert torch.equal(image[~covered], IMAGES[~covered])
    with pytest.raises(InputError, match=r"a patch \(3, 10, 2\) does not fit"):
        made(PlacePatch(), torch.ones(4, 3, 10, 2))


@dataclass(frozen=True)
class Turned(Transform):
    """Moves pixels and says so."""

    @property
    def tasks(self):
        return (sp.tasks.Classification,)

    def apply(self, x, key, context):
        return x.rot90(1, (2, 3)), context


@pytest.mark.parametrize("transform", [FlowField(), RotationTranslation(), Turned()])
@pytest.mark.parametrize("make", [testing.detector, testing.segmenter])
def test_what_moves_pixels_is_refused_before_outputs_with_places(transform: Transform, make) -> None:
    with pytest.raises(TargetError, match=rf"{transform.name} moves pixels and cannot bring the outputs of"):
        sp.Pipeline(make(2).target, transform)


@pytest.mark.parametrize("transform", [RandomShift(1), ColourCurve(), PlacePatch()])
def test_what_moves_none_or_brings_them_back_is_taken(transform: Transform) -> None:
    assert sp.Pipeline(testing.detector(2).target, transform).task == Detection()
    assert sp.Pipeline(testing.segmenter(2).target, transform).task == Segmentation()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FlowField(0), "max_pixels > 0"),
        (lambda: FlowField(smoothing=-1), "smoothing"),
        (lambda: RotationTranslation(181), "from 0 to 180"),
        (lambda: RotationTranslation(shift=2), "share of the side"),
        (lambda: RotationTranslation(padding="wrap"), "padding 'wrap' is unknown"),
        (lambda: ColourCurve(0), "max_log_slope"),
        (lambda: RandomShift(0), "int >= 1"),
        (lambda: RandomShift(1.5), "int >= 1"),
    ],
)
def test_parameters_that_are_none(make, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.parametrize(
    ("transform", "x", "context", "told"),
    [
        (FlowField(), torch.zeros(4, 2, 9, 9), None, "pass them as context=Scene"),
        (FlowField(), torch.zeros(4, 2, 9, 9), Scene(boxes=BOXES), "pass them as context=Scene"),
        (FlowField(), torch.zeros(4, 2, 8, 9), SCENE, r"\(N, 2, 9, 9\)"),
        (RotationTranslation(), torch.zeros(4, 2), SCENE, r"\(N, 3\)"),
        (RandomShift(), torch.zeros(4, 3, 9), None, r"moves images \(N, C, H, W\)"),
    ],
)
def test_inputs_that_do_not_fit(transform: Transform, x: Tensor, context: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        made(transform, x, context)


class Fair(Transform):
    def apply(self, x, key, context):
        return x**2, context


class Undeclared(Fair):
    def apply(self, x, key, context):
        return x + key.normal("n", x.shape[1:], dtype=x.dtype), context


class Quiet(Fair):
    stochastic = True


class Stairs(Fair):
    def apply(self, x, key, context):
        return x + ((x * 7).round() / 7 - x).detach(), context


class CoupledContext(Fair):
    def apply(self, x, key, context):
        return x**2, replace(context, boxes=context.boxes - context.boxes.mean(0))


class LostContext(Fair):
    def apply(self, x, key, context):
        return x**2, None


class ShortContext(Fair):
    def apply(self, x, key, context):
        return x**2, take(context, slice(0, 1))


class InPlace(Fair):
    def apply(self, x, key, context):
        context.boxes.add_(1)
        return x**2, context


class CoupledRestore(Fair):
    def restore(self, outputs, key, context):
        return outputs - outputs.mean(0) if isinstance(outputs, Tensor) else outputs


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (Undeclared(), "declares stochastic=False"),
        (Quiet(), "declares stochastic=True"),
        (Stairs(), "off by .* from a difference quotient"),
        (CoupledContext(), "boxes depends on other rows"),
        (LostContext(), "became NoneType"),
        (ShortContext(), "has 1 rows for 4 inputs"),
        (InPlace(), "boxes of the context has changed in place"),
        (CoupledRestore(), "restored outputs of classification depend on other rows"),
    ],
)
def test_the_laws_see_a_transform_that_is_declared_wrongly(transform: Transform, told: str) -> None:
    testing.check_transform(Fair(), IMAGES, Scene(boxes=BOXES))
    with pytest.raises(AssertionError, match=told):
        testing.check_transform(transform, IMAGES, Scene(boxes=BOXES.clone()))


class Still(Stage):
    def __call__(self, images, key):
        return images


class Silent(Detector):
    def alarm(self, images, key):
        return images.flatten(1).mean(1) - 2


@pytest.mark.parametrize("part", [Still(), Silent()])
def test_what_is_of_images_alone_is_refused_where_there_are_none(part) -> None:
    classifier = testing.small_net(2).target
    with pytest.raises(TargetError, match="is of images in"):
        sp.Pipeline(classifier, part, FlowField())
    with pytest.raises(TargetError, match="is of images in"):
        sp.Pipeline(testing.clouds(2).target, part)
    assert sp.Pipeline(classifier, FlowField(), part).inputs == FlowField().inputs
    assert sp.Pipeline(classifier, part, PlacePatch()).inputs == sp.Images()  # a printer before the patch


def test_inputs_are_those_of_the_first_transform_that_has_its_own() -> None:
    classifier = testing.small_net(2).target
    assert sp.Pipeline(classifier, RandomShift()).inputs == sp.Images()
    assert sp.Pipeline(classifier, RotationTranslation(), RandomShift()).inputs == sp.inputs.Bounded(-1, 1)
    inner = sp.Pipeline(classifier, ColourCurve(1.0))
    assert sp.Pipeline(inner).inputs == inner.inputs == sp.inputs.Bounded(-1, 1)
    assert Model(torch.nn.Flatten(), sp.tasks.Verification(), inputs=sp.Unbounded()).inputs == sp.Unbounded()


class Own(Transform):
    """A transform of a stranger: what `act` makes of its input, and a parameter."""

    def __init__(self, act=None, parameter=None) -> None:
        self.parameter = parameter
        self.act = act or (lambda x, context: (x, context))

    def apply(self, x: Tensor, key: Key, context: object):
        return self.act(x, context)

    def identity(self) -> tuple[object, ...]:
        kept = Own.__new__(Own)
        kept.parameter = self.parameter
        return Transform.identity(kept)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({1}, {2}),
        (np.zeros(3000), np.eye(1, 3000, 1500)[0]),
        (np.float32(1), np.float32(2)),
        ([torch.zeros(3000)], [torch.eye(3000)[1500]]),
        (torch.float32, torch.float64),
        (Path("a"), Path("b")),
        (torch.nn.ReLU(), torch.nn.Tanh()),
        ({"net": torch.nn.PReLU(init=0.1)}, {"net": torch.nn.PReLU(init=0.2)}),
    ],
)
def test_a_parameter_of_any_kind_is_in_the_identity(one: object, other: object) -> None:
    assert fingerprint(*Own(parameter=one).identity()) == fingerprint(*Own(parameter=one).identity())
    assert fingerprint(*Own(parameter=one).identity()) != fingerprint(*Own(parameter=other).identity())


def test_a_parameter_that_nothing_tells_apart_is_refused_by_checkpoints(tmp_path) -> None:
    case = testing.small_net(2)
    pipeline = sp.Pipeline(case.target, Own(parameter=lambda x: x))
    with pytest.raises(ConfigError, match=r"Own.parameter is an object or a function.*identity\(\)"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), pipeline, case.goal, case.images, engine=sp.Engine(checkpoint=tmp_path))


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda x, context: x, "returned a Tensor"),
        (lambda x, context: None, "returned a NoneType"),
        (lambda x, context: (x, context, 1), "returned 3 values"),
        (lambda x, context: (x.sum(), context), "returned shape"),
        (lambda x, context: (x.mul_(0.5), context), "in place"),
        (lambda x, context: (x, Scene(context.images.mul_(0.5))), "in place"),
    ],
)
@pytest.mark.wrong_types
def test_what_apply_must_not_do(act, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        transform_with_bpda(Own(act), IMAGES.clone(), key_of(4), Scene(IMAGES.clone()))


def test_rendering_refuses_what_a_call_refuses() -> None:
    case = testing.small_net(4)
    pipeline = sp.Pipeline(case.target, Own(lambda x, context: (x.mul_(0.5), context)))
    for ask in (pipeline, pipeline.render):
        with pytest.raises(TargetError, match="in place"):
            ask(case.images.clone())


def test_modules_among_the_attributes_are_held_still() -> None:
    case = testing.small_net(4)
    norm = torch.nn.BatchNorm2d(3).double()
    part = Own(lambda x, context: (norm(x).sigmoid(), context), norm)
    sp.run(sp.attacks.FGSM(sp.Linf(0.1)), sp.Pipeline(case.target, part), case.goal, case.images)
    assert not norm.running_mean.any()
    assert norm.training


@pytest.mark.parametrize(
    ("scene", "told"),
    [
        (Scene((IMAGES * 255).byte()), "context images.*uint8"),
        (Scene(IMAGES * 255), "context images.*divide by 255"),
        (Scene(IMAGES * torch.nan), "context images.*NaN"),
        (Scene(IMAGES, boxes=BOXES[:, :3]), "context boxes are"),
        (Scene(IMAGES, boxes=BOXES * torch.nan), "context boxes.0. holds NaN"),
        (Scene(IMAGES, present=torch.ones(4, 5)), "context present is bool"),
    ],
)
def test_scenes_that_are_none(scene: Scene, told: str) -> None:
    case = testing.small_net(4)
    with pytest.raises(InputError, match=told):
        sp.craft(
            sp.attacks.FGSM(sp.Linf(0.1)),
            sp.Pipeline(case.target, ColourCurve()),
            case.goal,
            torch.zeros(4, 3, 4),
            context=scene,
        )


def test_another_record_needs_float_images_too() -> None:
    @dataclass(frozen=True)
    class Mine:
        images: Tensor

    with pytest.raises(InputError, match="uint8"):
        ColourCurve().apply(torch.zeros(4, 3, 4), key_of(4), Mine((IMAGES * 255).byte()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: FlowField("4"),
        lambda: FlowField(torch.inf),
        lambda: RotationTranslation("30"),
        lambda: ColourCurve("2"),
        lambda: AppliedArtifact(IMAGES[0]),
    ],
)
@pytest.mark.wrong_types
def test_parameters_of_a_wrong_type(make) -> None:
    with pytest.raises(ConfigError, match="pass"):
        make()


def test_what_has_a_place_moves_with_the_picture() -> None:
    by = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    scene = Scene(
        boxes=torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]),
        landmarks=torch.arange(12.0).view(2, 3, 2),
        quads=torch.arange(16.0).view(2, 4, 2),
    )
    made = moved(scene, torch.tensor([[2.0], [1.0]]), by)
    assert made.boxes is not None
    assert made.boxes.tolist() == [[2, 3, 6, 7], [7, 6, 9, 8]]  # whole numbers stay whole numbers
    for name in ("landmarks", "quads"):
        before, after = getattr(scene, name), getattr(made, name)
        assert torch.equal(after, before * torch.tensor([2.0, 1.0])[:, None, None] + by[:, None])
