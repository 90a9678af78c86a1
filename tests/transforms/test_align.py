"""Faces are cut out where their landmarks are, without aliasing, with a gradient, row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparring import Scene
from sparring.errors import ConfigError, InputError
from sparring.random import Key
from sparring.testing import check_transform
from sparring.transforms import ARCFACE_TEMPLATE, AlignFace, FlowField, RandomShift, RotationTranslation
from sparring.transforms.align import face_squares, fitted_square, resample_squares

KEY = Key(torch.arange(2), 0)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def landmarks_of(squares: Tensor) -> Tensor:
    """The points of an upright face whose square is left, top, side: the definition, solved by hand for one shape."""
    left, top, side = squares.double().unbind(1)
    # eyes at a height of 0.43 s - h / 3, mouth at 0.43 s + 2 h / 3, eyes 0.3 s apart, eye to mouth 0.45 s
    height = (0.45**2 - 0.15**2) ** 0.5
    across = torch.tensor([0.35, 0.65, 0.5], dtype=torch.float64)
    down = torch.tensor([0.43 - height / 3, 0.43 - height / 3, 0.43 + 2 * height / 3], dtype=torch.float64)
    return torch.stack((left[:, None] + across * side[:, None], top[:, None] + down * side[:, None]), dim=2)


def test_the_square_is_that_of_face_api() -> None:
    squares = torch.tensor([[3.0, 5.0, 40.0], [-7.0, 2.5, 90.0]], dtype=torch.float64)
    torch.testing.assert_close(face_squares(landmarks_of(squares)), squares)


def test_pixels_are_taken_over_averaged_and_interpolated() -> None:
    x = images(2, 3, 8, 8)
    whole = torch.tensor([[0.0, 0.0, 8.0]], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(resample_squares(x, whole, 8), x)
    corner = torch.tensor([[2.0, 3.0, 4.0]], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(resample_squares(x, corner, 4), x[:, :, 3:7, 2:6])
    board = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).double().expand(1, 1, 32, 32)
    small = resample_squares(board, torch.tensor([[0.0, 0.0, 32.0]], dtype=torch.float64), 4)
    assert (small - 0.5).abs().max() < 0.01  # two by two samples of each window would give 0 or 1
    large = resample_squares(x, torch.tensor([[-1.0, -2.0, 9.5]], dtype=torch.float64).expand(2, 3), 21)
    grid = -1 + (torch.arange(21, dtype=torch.float64) + 0.5) / 21 * 9.5
    places = torch.stack((grid.expand(21, 21), grid[:, None].expand(21, 21) - 1), dim=2)
    places = (places / 4 - 1).expand(2, -1, -1, -1)
    wanted = nn.functional.grid_sample(x, places, padding_mode="border", align_corners=False)
    torch.testing.assert_close(large, wanted)


def test_alignment_keeps_the_laws_and_has_a_gradient() -> None:
    x, landmarks = images(5, 3, 12, 10), landmarks_of(torch.tensor([[1.0, 2.0, 8.0]]).repeat(5, 1) + images(5, 3))
    check_transform(AlignFace(6), x, Scene(landmarks=landmarks))
    few = Scene(landmarks=landmarks[:2])
    assert torch.autograd.gradcheck(lambda z: AlignFace(5).apply(z, KEY, few)[0], x[:2].clone().requires_grad_())


def test_landmarks_move_with_the_image() -> None:
    x, landmarks = images(2, 3, 20, 20), landmarks_of(torch.tensor([[6.0, 6.0, 8.0], [5.0, 7.0, 7.0]]))
    moved, scene = RandomShift(2).apply(x, KEY, Scene(landmarks=landmarks))
    assert not torch.equal(moved, x)
    aligned, within = AlignFace(8).apply(x, KEY, Scene(landmarks=landmarks))
    torch.testing.assert_close(AlignFace(8).apply(moved, KEY, scene)[0], aligned)
    whole = torch.tensor([[0.0, 0.0, 8.0]], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(face_squares(within.landmarks), whole)


def test_landmarks_turn_with_the_image() -> None:
    quarter = torch.tensor([[1.0, 0, 0], [1.0, 0.5, -0.5]], dtype=torch.float64)  # by 90 degrees, then shifted
    dots = torch.zeros(2, 1, 24, 20, dtype=torch.float64)
    dots[0, 0, 9, 7] = dots[1, 0, 13, 4] = 1.0
    at = torch.tensor([[7.5, 9.5], [4.5, 13.5]], dtype=torch.float64)[:, None].expand(2, 3, 2)
    turned, scene = RotationTranslation(90, 0.25).apply(quarter, KEY, Scene(images=dots, landmarks=at))
    for row in range(2):
        height, width = (int(one) for one in turned[row, 0].eq(turned[row].max()).nonzero()[0])
        assert (scene.landmarks[row, 0] - torch.tensor([width + 0.5, height + 0.5])).abs().max() <= 0.5


def turned_face(degrees: float, scale: float, middle: tuple[float, float]) -> Tensor:
    """ArcFace's template as landmarks, made by hand: turned clockwise, then scaled, then put around a place."""
    angle = torch.tensor(degrees).deg2rad()
    matrix = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]], dtype=torch.float64)
    return (torch.tensor(ARCFACE_TEMPLATE).double() - 0.5) @ matrix.T * scale + torch.tensor(middle)


def test_a_template_is_fitted_by_turning_scaling_and_shifting() -> None:
    landmarks = torch.stack((turned_face(30, 40, (50.0, 60)), turned_face(-100, 7, (5.0, 4))))
    face = fitted_square(landmarks, torch.tensor(ARCFACE_TEMPLATE).double())
    torch.testing.assert_close(face.side, torch.tensor([40.0, 7.0], dtype=torch.float64))
    torch.testing.assert_close(face.middle, torch.tensor([[50.0, 60.0], [5.0, 4.0]], dtype=torch.float64))
    wanted = torch.tensor(ARCFACE_TEMPLATE, dtype=torch.float64).expand(2, 3, 2)
    torch.testing.assert_close(face.inside(landmarks), wanted)
    bent = landmarks + images(2, 3, 2)  # no similarity takes it there: none near is better than the one found
    template, face = (
        torch.tensor(ARCFACE_TEMPLATE).double(),
        fitted_square(bent, torch.tensor(ARCFACE_TEMPLATE).double()),
    )

    def error(face):
        back = (template - 0.5) * face.side[:, None, None]
        cosine, sine = face.turn[:, :1], face.turn[:, 1:]
        across, down = back.unbind(2)
        put = torch.stack((cosine * across + sine * down, cosine * down - sine * across), 2) + face.middle[:, None]
        return ((face.inside(bent) - template).square().sum((1, 2))), put

    least, put = error(face)
    torch.testing.assert_close(face.inside(put), template.expand(2, 3, 2))
    for change in (face._replace(side=face.side * 1.01), face._replace(middle=face.middle + 0.05)):
        assert bool((error(change)[0] > least).all())


def test_a_face_that_is_turned_is_turned_back() -> None:
    across, down = torch.meshgrid(torch.arange(64.0).double(), torch.arange(64.0).double(), indexing="xy")
    smooth = (0.5 + 0.3 * (across / 9).sin() * (down / 7).cos())[None, None].expand(2, 1, 64, 64)
    scene = Scene(images=smooth, landmarks=turned_face(0, 30, (32.0, 32)).expand(2, 3, 2))
    upright = AlignFace(24, template=ARCFACE_TEMPLATE)
    still, _ = upright.apply(smooth, KEY, scene)
    corner = torch.tensor([[17.0, 17.0, 30.0]], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(still, resample_squares(smooth, corner, 24))  # nothing to turn: the same square
    by = torch.tensor([[1.0, 0, 0], [-0.6, 0.1, -0.1]], dtype=torch.float64)
    turned, beside = RotationTranslation(40, 0.1).apply(by, KEY, scene)
    back, within = upright.apply(turned, KEY, beside)
    assert (back - still).abs().max() < 0.02
    assert (AlignFace(24).apply(turned, KEY, beside)[0] - still).abs().max() > 0.1  # the upright square is not turned
    torch.testing.assert_close(within.landmarks / 24, torch.tensor(ARCFACE_TEMPLATE).double().expand(2, 3, 2))


def test_a_turned_face_keeps_the_laws_and_has_a_gradient() -> None:
    transform = AlignFace(7, template=ARCFACE_TEMPLATE)
    x, landmarks = images(5, 3, 12, 10), turned_face(25, 8, (5.0, 6)) + images(5, 3, 2)
    check_transform(transform, x, Scene(landmarks=landmarks))

    def align(z: Tensor, points: Tensor) -> Tensor:
        return transform.apply(z, KEY, Scene(landmarks=points))[0]

    few = x[:2, :1].clone().requires_grad_(), landmarks[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(align, few)


def test_a_flow_takes_landmarks_along() -> None:
    across, down = torch.meshgrid(torch.arange(20.0).double(), torch.arange(20.0).double(), indexing="xy")
    flow = torch.stack((1.5 + 0.04 * across, -2 + 0.05 * down)).expand(2, 2, 20, 20)
    at = torch.tensor([[8.5, 9.5], [12.0, 8.0], [10.0, 12.5]], dtype=torch.float64).expand(2, 3, 2)
    blank = torch.zeros(2, 1, 20, 20, dtype=torch.float64)
    _, scene = FlowField(4.0).apply(flow, KEY, Scene(images=blank, landmarks=at))
    place = scene.landmarks - 0.5  # x'(p) = x(p + f(p)): what lies there came from the old place
    came_from = torch.stack((place[..., 0] - 2 + 0.05 * place[..., 1], place[..., 1] + 1.5 + 0.04 * place[..., 0]), 2)
    assert (came_from - (at - 0.5)).abs().max() < 0.01


class AtTheMiddle(nn.Module):
    """A detector that sees a face where the first pixel is not black."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert not x.requires_grad
        return landmarks_of(torch.tensor([[2.0, 2.0, 6.0]])).to(x).expand(len(x), -1, -1), x[:, 0, 0, 0] > 0


def test_without_landmarks_the_face_is_looked_for() -> None:
    x = images(2, 3, 10, 10)
    x[1, :, 0, 0] = 0
    x.requires_grad_()
    found, _ = AlignFace(6, AtTheMiddle()).apply(x, KEY, None)
    torch.testing.assert_close(found[0], x[0, :, 2:8, 2:8])
    assert found[1].isnan().all()  # no face, no answer
    assert bool(torch.autograd.grad(found[0].sum(), x)[0][0].any())
    with pytest.raises(InputError, match=r"needs the landmarks of each face; pass context=Scene\(landmarks"):
        AlignFace(6).apply(x, KEY, Scene(images=x))


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (torch.zeros(2, 5, 2), r"\(N, 3, 2\)"),
        (torch.zeros(2, 3, 2, dtype=torch.long), r"\(N, 3, 2\)"),
        (torch.ones(2, 3, 2), r"landmarks\[0\] are"),
        (torch.tensor([[[0.0, 0], [1, 0], [0, 1]], [[0, 0], [1, 0], [0, torch.nan]]]), r"landmarks\[1\] are"),
    ],
)
def test_landmarks_that_are_none_are_refused(landmarks: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scene(landmarks=landmarks).check()


def test_sizes_that_are_none_are_refused() -> None:
    for size in (0, 2.5, True, 10**9):
        with pytest.raises(ConfigError, match="AlignFace size="):
            AlignFace(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("template", [(1, 2, 3), ((0, 0), (1, 1)), ((0.1, 0.2),) * 3, ((0, 0), (1, 1), (1, "x")), 3,
                                      ((0, 0), (1, 1), (1, float("nan")))])  # fmt: skip
def test_templates_that_are_none_are_refused(template: object) -> None:
    with pytest.raises(ConfigError, match=r"AlignFace template=.*pass three points"):
        AlignFace(8, template=template)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no torch"):
        AlignFace(8, "blazeface")  # type: ignore[arg-type]
