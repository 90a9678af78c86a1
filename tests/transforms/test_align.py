"""Faces are cut out where their landmarks are, without aliasing, with a gradient, row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparring import Scene
from sparring.errors import ConfigError, InputError
from sparring.random import Key
from sparring.testing import check_transform
from sparring.transforms import AlignFace, RandomShift, RotationTranslation
from sparring.transforms.align import face_squares, resample_squares

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
    with pytest.raises(ConfigError, match="no torch"):
        AlignFace(8, "blazeface")  # type: ignore[arg-type]
