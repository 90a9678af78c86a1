"""Picture files of all kinds: modes, orientation, sizes, damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.errors import ConfigError, InputError
from sparring.zoo import InputSpec, load_data, pictures

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


def deep_png(path: Path, values: np.ndarray) -> None:
    """Write values (H, W) or (H, W, C) as a PNG of 16 bits per channel, which Pillow cannot do in color."""
    height, width = values.shape[:2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[values.size // (height * width)]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)

    def part(kind: bytes, held: bytes) -> bytes:
        return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))

    head = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    body = part(b"IHDR", head) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def folder_of(path: Path, *pictures_: np.ndarray) -> str:
    for place, values in enumerate(pictures_):
        deep_png(path / f"{place}.png", values)
    return f"folder:{path}"


FULL, DARK = np.full((16, 16), 52428), np.full((16, 16), 2621)


def test_twelve_bits_in_sixteen_are_refused_or_take_a_scale(tmp_path: Path) -> None:
    data = load_data(folder_of(tmp_path, DARK, DARK + 1), input=SPEC)
    with pytest.raises(
        InputError, match=r"0\.png: a 16-bit picture with values up to 2621.*--scale 4095, or --scale 65535"
    ):
        data.tensors()
    images, _ = load_data(f"folder:{tmp_path}", input=SPEC, scale=4095).tensors()
    assert (images[:, 0, 0, 0] * 255).tolist() == [round(2621 / 4095 * 255), round(2622 / 4095 * 255)]
    with pytest.raises(InputError, match="from 2621 to 2621, outside 0 to 1000, the scale"):
        load_data(f"folder:{tmp_path}", input=SPEC, scale=1000).tensors()


def test_a_dark_picture_is_no_twelve_bits_beside_one_that_uses_sixteen(tmp_path: Path) -> None:
    images, _ = load_data(folder_of(tmp_path, DARK * 0, DARK, FULL), input=SPEC).tensors()
    assert (images[:, 0, 0, 0] * 255).tolist() == [0, round(2621 / 257), 204]


def test_black_pictures_of_sixteen_bits_decide_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1\.png: a 16-bit picture with values up to 2621"):
        load_data(folder_of(tmp_path, DARK * 0, DARK), input=SPEC).tensors()


def test_twelve_bits_in_color_are_refused(tmp_path: Path) -> None:
    color = np.dstack([DARK] * 3)
    with pytest.raises(InputError, match="a 16-bit picture with values up to 2570"):
        load_data(folder_of(tmp_path, color), input=SPEC).tensors()
    with pytest.raises(InputError, match="in color, of which only the upper 8 bits are read"):
        load_data(f"folder:{tmp_path}", input=SPEC, scale=4095).tensors()
    images, _ = load_data(folder_of(tmp_path, color, np.dstack([FULL] * 3)), input=SPEC).tensors()
    assert (images[:, 0, 0, 0] * 255).tolist() == [10, 204]


class Single:
    """A data set of one picture."""

    def __init__(self, image: object) -> None:
        self.image = image

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: int) -> object:
        return self.image


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.full((4, 4), 0.4, dtype=np.float32), 1.0),
        (np.full((4, 4), 102, dtype=np.int32), 255),
        (np.full((4, 4), 102.0, dtype=np.float32), 255),
        (np.full((4, 4), 1638, dtype=np.uint16), 4095),
    ],
)
def test_pictures_of_floats_and_wide_integers_say_their_white(values: np.ndarray, scale: float) -> None:
    picture = Image.fromarray(values)
    with pytest.raises(InputError, match=r"Single\[0\]: a (picture of|16-bit).* --scale"):
        load_data(Single(picture)).tensors()
    images, _ = load_data(Single(picture), scale=scale).tensors()
    assert images[0, :, 0, 0].tolist() == pytest.approx([0.4] * 3)


def test_floats_below_zero_or_not_finite_are_refused() -> None:
    for value, said in ((-0.1, "outside 0 to 1, the scale"), (np.nan, "NaN or infinity")):
        with pytest.raises(InputError, match=said):
            load_data(Single(Image.fromarray(np.full((4, 4), value, dtype=np.float32))), scale=1).tensors()


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("LA", (51, 0), (1, 1, 1)),
        ("La", (0, 0), (1, 1, 1)),
        ("PA", (0, 0), (1, 1, 1)),
        ("RGBa", (0, 0, 0, 0), (1, 1, 1)),
        ("RGBa", (102, 51, 0, 255), (0.4, 0.2, 0)),
        ("RGBA", (255, 0, 0, 0), (1, 1, 1)),
        ("CMYK", (0, 255, 255, 0), (1, 0, 0)),
        ("1", 1, (1, 1, 1)),
        ("I;16B", 257 * 51, (0.2, 0.2, 0.2)),
        ("HSV", (0, 0, 51), (0.2, 0.2, 0.2)),
    ],
)
def test_items_of_every_mode_become_rgb(mode: str, color: object, expected: tuple[float, ...]) -> None:
    images, _ = load_data(Single(Image.new(mode, (4, 4), color))).tensors()  # type: ignore[arg-type]
    assert images[0, :, 1, 1].tolist() == pytest.approx(expected)


def test_pictures_of_several_frames_are_refused_by_name(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 99, 200)]
    for name in ("a.gif", "b.tiff", "c.webp", "d.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with Image.open(tmp_path / name) as image, pytest.raises(InputError, match=r"Single\[0\]: 3 frames or pages"):
            load_data(Single(image)).tensors()
    Image.new("RGB", (8, 8)).save(tmp_path / "e.png")
    data = load_data(f"folder:{tmp_path}", input=SPEC)
    assert len(data.tensors()[0]) == 1
    reasons = {skip.name: skip.reason for skip in data.skipped}
    assert set(reasons) == {"a.gif", "b.tiff", "c.webp", "d.png"}
    assert "3 frames or pages" in reasons["c.webp"]


def test_a_truncated_item_is_named(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp).resize((200, 200)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(InputError, match=r"Single\[0\]: broken or truncated"):
        load_data(Single(image)).tensors()


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".dib", ".apng", ".JPEG"])
def test_unusual_names_of_the_formats_are_read(tmp_path: Path, suffix: str) -> None:
    kind = {".dib": "BMP", ".apng": "PNG"}.get(suffix, "JPEG")
    Image.new("RGB", (16, 16), (40, 120, 200)).save(tmp_path / f"a{suffix}", format=kind)
    assert load_data(f"flat:{tmp_path}", input=SPEC).tensors()[0].shape == (1, 3, 16, 16)


RANDOM = np.random.default_rng(0).random((2, 1, 8, 8))


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (RANDOM * 255, "from .* to 25.*divide by 255"),
        ((RANDOM - 0.5) / 0.25, "look normalised; undo the normalisation"),
        (RANDOM * 2.6, "look normalised; undo the normalisation"),
        (RANDOM * 4095, "divide by the value that is white, as 4095"),
        ((RANDOM * 4095).astype(np.uint16), "pixels of type uint16 from .* --scale 4095"),
        ((RANDOM * 255).astype(np.int32), "pixels of type int32 from .* --scale 255"),
        (np.where(RANDOM > 0.9, np.nan, RANDOM), "image 0 holds NaN"),
        (RANDOM.astype(complex), "pixels of type complex128"),
        (RANDOM.astype(object), "pixels of type object"),
        (RANDOM[:, :, :0], "are empty"),
    ],
)
def test_arrays_whose_range_is_not_known_are_refused(pixels: np.ndarray, said: str) -> None:
    for given in (pixels, (pixels, [0, 1])):
        with pytest.raises(InputError, match=said):
            load_data(given).tensors()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.int64, np.float32, np.float16, np.float64])
def test_a_scale_is_the_white_of_any_array(dtype: object) -> None:
    pixels = np.arange(32).reshape(2, 1, 4, 4).astype(dtype)  # type: ignore[call-overload]
    images, _ = load_data(pixels, scale=31).tensors()
    torch.testing.assert_close(images, torch.arange(32.0).reshape(2, 1, 4, 4) / 31)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.bool])
def test_tensors_of_any_precision_become_float32(dtype: torch.dtype) -> None:
    given = torch.tensor([0.0, 1.0]).to(dtype).reshape(1, 1, 1, 2)
    images, _ = load_data(given).tensors()
    assert images.dtype == torch.float32
    assert images.flatten().tolist() == [0, 1]


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), True, "4095"])
def test_a_scale_that_is_none_is_refused(scale: object) -> None:
    with pytest.raises(ConfigError, match="is no value of white"):
        load_data(RANDOM, scale=scale)  # type: ignore[arg-type]
