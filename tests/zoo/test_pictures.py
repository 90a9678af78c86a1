"""Picture files of all kinds: modes, orientation, sizes, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.errors import ConfigError, InputError
from sparring.zoo import InputSpec, pictures

SPEC = InputSpec(3, 16, 16)


def test_without_a_spec_the_pixels_are_those_of_the_file(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp).save(tmp_path / "a.png")
    expected = torch.from_numpy(ramp).permute(2, 0, 1).float() / 255
    assert torch.equal(pictures.read_picture(tmp_path / "a.png", None), expected)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, (1, 1, 1)),
        ("L", 51, (0.2, 0.2, 0.2)),
        ("LA", (51, 255), (0.2, 0.2, 0.2)),
        ("RGBA", (255, 0, 0, 0), (1, 1, 1)),
        ("RGBA", (255, 0, 0, 255), (1, 0, 0)),
        ("I;16", 257 * 51, (0.2, 0.2, 0.2)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, color: object, expected: tuple[float, ...]) -> None:
    Image.new(mode, (20, 20), color).save(tmp_path / "a.png")
    image = pictures.read_picture(tmp_path / "a.png", SPEC)
    assert image.shape == (3, 16, 16)
    torch.testing.assert_close(image[:, 5, 5], torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    steps = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(steps).save(tmp_path / "a.png")
    image = pictures.read_picture(tmp_path / "a.png", InputSpec(1, 16, 16))
    torch.testing.assert_close(image[0], torch.linspace(0, 1, 256).reshape(16, 16), atol=1 / 255, rtol=0)


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 255, 102, 0])
    image.save(tmp_path / "a.png")
    assert (pictures.read_picture(tmp_path / "a.png", SPEC)[:, 3, 3] * 255).tolist() == [255, 102, 0]


def test_transparency_of_a_palette_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 255, 102, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert pictures.read_picture(tmp_path / "a.png", SPEC).min() == 1


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = pictures.read_picture(tmp_path / "a.jpg", SPEC)[:, 8, 8].tolist()
    assert red > 0.9
    assert max(green, blue) < 0.1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (16, 16), (40, 120, 200)).save(tmp_path / f"a.{suffix}")
    image = pictures.read_picture(tmp_path / f"a.{suffix}", SPEC)
    assert (image[:, 8, 8] * 255 - torch.tensor([40.0, 120.0, 200.0])).abs().max() < 6


def test_exif_turns_the_picture(tmp_path: Path) -> None:
    left_red = np.zeros((16, 32, 3), dtype=np.uint8)
    left_red[:, :16, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees: left becomes top
    Image.fromarray(left_red).save(tmp_path / "a.png", exif=exif)
    image = pictures.read_picture(tmp_path / "a.png", None)
    assert image.shape == (3, 32, 16)
    assert image[0, 2, 8] == 1
    assert image[0, 30, 8] == 0


def test_the_center_is_cut_and_the_shape_kept(tmp_path: Path) -> None:
    stripes = np.zeros((100, 300, 3), dtype=np.uint8)
    stripes[:, 100:200] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert pictures.read_picture(tmp_path / "a.png", InputSpec(3, 100, 100)).min() == 1
    squashed = pictures.read_picture(tmp_path / "a.png", InputSpec(3, 100, 100, squash=True))
    assert squashed[0, 50, 10] == 0
    assert squashed[0, 50, 50] == 1


def test_the_crop_fraction_is_the_part_of_the_short_side_that_is_kept(tmp_path: Path) -> None:
    frame = np.full((128, 128, 3), 255, dtype=np.uint8)
    frame[:7] = frame[-7:] = 0
    Image.fromarray(frame).save(tmp_path / "a.png")
    kept = pictures.read_picture(tmp_path / "a.png", InputSpec(3, 112, 112, crop_fraction=0.875))
    assert kept.shape == (3, 112, 112)
    assert kept.min() == 1
    assert pictures.read_picture(tmp_path / "a.png", InputSpec(3, 112, 112)).min() == 0


def test_a_picture_of_the_right_size_is_left_as_it_is(tmp_path: Path) -> None:
    digit = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28).astype(np.uint8)
    Image.fromarray(digit).save(tmp_path / "a.png")
    image = pictures.read_picture(tmp_path / "a.png", InputSpec(1, 28, 28))
    assert torch.equal(image[0] * 255, torch.from_numpy(digit).float())


def test_a_very_long_picture_costs_no_more_than_its_center(tmp_path: Path) -> None:
    Image.new("RGB", (20_000, 2), (9, 9, 9)).save(tmp_path / "a.png")
    image = pictures.read_picture(tmp_path / "a.png", InputSpec(3, 224, 224, crop_fraction=0.875))
    assert image.shape == (3, 224, 224)
    assert (image * 255).round().unique().tolist() == [9]


def test_a_truncated_picture_says_so(tmp_path: Path, ramp: np.ndarray) -> None:
    for name in ("a.jpg", "a.png"):
        Image.fromarray(ramp).resize((200, 200)).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(pictures.Unreadable, match="broken or truncated"):
            pictures.read_picture(tmp_path / name, SPEC)


def test_something_else_under_a_picture_s_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>not found</html>")
    with pytest.raises(pictures.Unreadable, match="not a JPEG, PNG, WebP or BMP picture"):
        pictures.read_picture(tmp_path / "a.jpg", SPEC)


def test_a_decompression_bomb_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(pictures.Unreadable, match="bomb"):
        pictures.read_picture(tmp_path / "bomb.png", SPEC)
    Image.new("1", (40, 40)).save(tmp_path / "small.png")
    monkeypatch.setattr(pictures, "PIXEL_LIMIT", 1599)
    with pytest.raises(pictures.Unreadable, match="40 x 40 pixels, over the limit of 1,599"):
        pictures.read_picture(tmp_path / "small.png", SPEC)


def test_an_unknown_filter_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"interpolation 'bicubik' is unknown.* Did you mean 'bicubic'\?"):
        pictures.resampling_filter("bicubik")


def test_a_model_of_four_channels_takes_no_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="the model takes 4 channels"):
        pictures.read_picture(tmp_path / "a.png", InputSpec(4, 16, 16))
