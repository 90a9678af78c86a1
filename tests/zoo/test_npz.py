"""Arrays in .npz files: layout, range, labels, pickles, damage."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparring.errors import InputError
from sparring.zoo import Data, InputSpec, load_data

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
SPEC = InputSpec(3, 8, 8)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def load(path: Path, **known: Any) -> Data:
    return load_data(f"npz:{path}", **{"input": SPEC, "classes": 10} | known)


def images(data: Data) -> torch.Tensor:
    return torch.cat([chunk.images for chunk in data.chunks(2)])


def test_bytes_and_floats_give_the_same_images(tmp_path: Path) -> None:
    labels = np.arange(5)
    plain = load(save(tmp_path / "a.npz", images=PIXELS, labels=labels))
    floats = load(save(tmp_path / "b.npz", images=PIXELS.astype(np.float32) / 255, labels=labels))
    expected = torch.from_numpy(PIXELS).float() / 255
    assert torch.equal(images(plain), expected)
    assert torch.equal(images(floats), expected)
    assert plain.labelled
    assert [chunk.labels.tolist() for chunk in plain.chunks(3) if chunk.labels is not None] == [
        [0, 1, 2],
        [3, 4],
    ]


def test_compressed_files_are_streamed_too(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=PIXELS)
    data = load(tmp_path / "a.npz", limit=3)
    assert (len(data), data.labelled) == (3, False)
    assert "the model's own prediction" in data.label_note
    assert torch.equal(images(data), torch.from_numpy(PIXELS[:3]).float() / 255)


@pytest.mark.parametrize("known", [{"input": None}, {"input": SPEC}])
def test_channels_last_are_recognized(tmp_path: Path, known: dict[str, Any]) -> None:
    data = load(save(tmp_path / "a.npz", images=PIXELS.transpose(0, 2, 3, 1).copy()), **known)
    assert torch.equal(images(data), torch.from_numpy(PIXELS).float() / 255)


def test_grey_images_need_no_channel(tmp_path: Path) -> None:
    data = load(save(tmp_path / "a.npz", images=PIXELS[:, 0]), input=InputSpec(1, 8, 8))
    assert torch.equal(images(data), torch.from_numpy(PIXELS[:, :1]).float() / 255)


def test_a_shape_that_reads_both_ways_needs_the_model(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=np.zeros((2, 3, 5, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"\(2, 3, 5, 3\) may be \(N, C, H, W\) or \(N, H, W, C\)"):
        load(path, input=None)
    assert images(load(path, input=InputSpec(3, 5, 3))).shape == (2, 3, 5, 3)
    assert images(load(path, input=InputSpec(3, 3, 5))).shape == (2, 3, 3, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": PIXELS}, r"holds image; it needs an array 'images'\. Did you mean 'image'\?"),
        (
            {"images": PIXELS[:, :, :4]},
            r"\(5, 3, 4, 8\) do not fit the model, which takes 3 channels of 8 x 8",
        ),
        ({"images": PIXELS[:, 0]}, r"\(5, 8, 8\) do not fit the model"),
        ({"images": PIXELS[0, 0]}, r"shape \(8, 8\); they must be \(N, C, H, W\)"),
        ({"images": PIXELS[:0]}, r"\(0, 3, 8, 8\) are empty"),
        ({"images": np.array([object()] * 5)}, "holds pickled objects, which are never run"),
        ({"images": PIXELS, "labels": np.array([object()] * 5)}, "'labels' holds pickled objects"),
        ({"images": np.asfortranarray(PIXELS)}, r"Fortran order; save numpy\.ascontiguousarray"),
        ({"images": PIXELS, "labels": np.arange(4)}, r"labels of shape \(4,\) beside 5 images"),
        ({"images": PIXELS, "labels": np.eye(5)}, "one-hot labels of 5 classes, and the model has 10"),
        ({"images": PIXELS, "labels": np.arange(5) / 2}, r"image 1 has the label 0\.5; a label is a whole number"),
        (
            {"images": PIXELS, "labels": np.arange(5) + 6},
            "image 4 has the label 10; the model's classes are 0 to 9",
        ),
        ({"images": PIXELS, "labels": np.arange(5) - 1}, "image 0 has the label -1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(save(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            PIXELS.astype(np.float32),
            r"image 0 has pixels from \d+ to \d+; floats must lie in \[0, 1\]: divide by 255",
        ),
        (PIXELS / 255 - 0.5, r"image 0 has pixels from -0\.\d+"),
        (np.full_like(PIXELS, np.nan, dtype=np.float32), "image 0 holds NaN or infinity"),
        (
            PIXELS.astype(np.int64),
            r"pixels of type int64 from \d+ to 2\d\d, and which value is white is not known; use uint8.*--scale 255",
        ),
    ],
)
def test_pixels_out_of_range_are_refused(tmp_path: Path, pixels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        images(load(save(tmp_path / "a.npz", images=pixels)))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=np.repeat(PIXELS, 100, axis=0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.npz cannot be read as an \.npz file"):
        load(path)
    path.write_bytes(whole.replace(PIXELS[4].tobytes(), bytes(PIXELS[4].size)))
    with pytest.raises(InputError, match=r"a\.npz cannot be read to its end"):
        images(load(path))


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.npz cannot be read"):
        load(tmp_path / "nowhere.npz")


def header(shape: tuple[int, ...], kind: str = "|u1", version: bytes = b"\x01\x00") -> bytes:
    """An array file that promises that shape, without its values."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, held in members.items():
            file.writestr(f"{name}.npy", held)
    return path


WHOLE = header((2, 3, 8, 8)) + bytes(2 * 3 * 8 * 8)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            {"images": header((10**13, 3, 8, 8))},
            r"'images' has a header that promises shape \(10000000000000, 3, 8, 8\)",
        ),
        ({"images": header((2**40, 2**40, 2**40, 2**40))}, "'images' has a header that promises"),
        ({"images": header((-1, 3, 8, 8)) + bytes(192)}, "'images' has a header that promises"),
        ({"images": WHOLE[:-1]}, "'images' has a header that promises .* and 383 bytes follow"),
        ({"images": WHOLE + b"1"}, "'images' has a header that promises"),
        ({"images": WHOLE, "labels": header((10**13,), "<i8")}, "'labels' has a header that promises"),
        ({"images": WHOLE, "labels": header((), "<i8") + bytes(8)}, r"labels of shape \(\) beside 2 images"),
        ({"images": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 100_000}, "cannot be read"),
        ({"images": b"nothing"}, "cannot be read as an .npz file"),
        ({"images": header((2, 3, 8, 8), version=b"\x09\x00")}, "an array file of version"),
    ],
)
def test_a_header_that_lies_costs_no_memory(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(archive(tmp_path / "a.npz", **members))


def test_a_directory_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    many = 10**9
    path = archive(tmp_path / "a.npz", images=header((many, 3, 8, 8)) + bytes(10**6))
    size, promised = (len(header((1,))) + count for count in (10**6, many * 192))
    raw = path.read_bytes()
    assert raw.count(size.to_bytes(4, "little")) == 2
    path.write_bytes(raw.replace(size.to_bytes(4, "little"), (promised % 2**32).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"promises|more than numpy's compression can"):
        load(path)


def test_a_bomb_is_told_by_its_ratio(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("images.npy", header((20_000, 3, 8, 8)) + bytes(20_000 * 192))
    with pytest.raises(InputError, match="more than numpy's compression can"):
        load(tmp_path / "a.npz")


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    for path in (tmp_path / "a.npz", tmp_path):
        with pytest.raises(InputError, match=r"is no file; name one that numpy\.savez wrote"):
            load(path)
