import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from sparring.errors import InputError
from sparring.physical.printed import export_png, load_png
from sparring.physical.registration import project, read_photograph
from sparring.physical.sheet import STRIP, Sheet, export_pdf, render_sheet, sheet_of

DPI = 100


@pytest.fixture
def artifact(tmp_path):
    draws = torch.Generator().manual_seed(0)
    return export_png(tmp_path / "artifact.png", torch.rand(3, 6, 8, generator=draws), 160.0)


def seen_at(corners, page):
    """The matrix that takes pixels of the page to those of a photograph, by the unit square (Heckbert 1989)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    below = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / below, (dx1 * sy - sx * dy1) / below
    square = np.array([[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1]])
    return square @ np.diag([1 / page[0], 1 / page[1], 1])


def photograph(page, corners, size, *, blur, noise, light, seed=0):
    """A photograph (3, H, W) of a page on a dark table; `corners` are where those of the page come to."""
    height, width = page.shape[1:]
    back = np.linalg.inv(seen_at(corners, (width, height)))
    down, across = np.mgrid[: size[0], : size[1]]
    places = np.stack([across + 0.5, down + 0.5, np.ones(size)], 2) @ back.T
    rows, columns = (places[..., axis] / places[..., 2] - 0.5 for axis in (1, 0))
    seen = np.stack([ndimage.map_coordinates(one, (rows, columns), order=1, cval=0.2) for one in page.numpy()])
    bright = seen**2.2 * light(across / size[1], down / size[0])
    bright = np.stack([ndimage.gaussian_filter(one, blur) for one in bright])
    bright += noise * np.sqrt(bright + 0.01) * np.random.default_rng(seed).standard_normal(bright.shape)
    return torch.from_numpy((bright.clip(0, 1) ** (1 / 2.2) * 255).round() / 255)


@pytest.mark.parametrize(
    ("corners", "size", "blur", "noise", "light"),
    [
        ([[60, 50], [700, 60], [690, 960], [50, 950]], (1010, 760), 0.7, 0.01, lambda x, y: 0.9 + 0 * x),
        ([[120, 70], [760, 40], [860, 1000], [30, 900]], (1050, 900), 1.5, 0.03, lambda x, y: 0.35 + 0.5 * x - 0.2 * y),
        ([[960, 60], [940, 700], [80, 740], [50, 90]], (780, 1010), 1.0, 0.03, lambda x, y: 0.9 - 0.5 * y),
        ([[40, 30], [330, 50], [320, 460], [30, 440]], (490, 380), 0.7, 0.01, lambda x, y: 0.8 - 0.3 * x),
    ],
    ids=["straight", "from the side, shaded, unsharp", "turned by 90 degrees", "small"],
)
def test_a_photograph_of_the_sheet_is_registered(artifact, corners, size, blur, noise, light):
    sheet = sheet_of(artifact)
    page = render_sheet(sheet, artifact, DPI, samples=2)
    seen = photograph(page, corners, size, blur=blur, noise=noise, light=light)
    found = read_photograph(seen, sheet, size=(6, 8))
    truth = seen_at(corners, sheet.page_mm)
    points = np.array([[30.0, 60.0], [180.0, 60.0], [180.0, 240.0], [105.0, 150.0]])
    assert np.abs(project(truth, points) - 0.5 - project(found.homography, points)).max() < 0.5  # pixels
    assert found.residual_mm < 0.3
    assert (found.artifact - artifact.image).abs().mean() < 0.04
    assert (found.strip - torch.tensor(STRIP)).abs().mean() < 0.03


def test_a_marker_out_of_sight_and_another_sheet_are_named(artifact):
    sheet = sheet_of(artifact)
    page = render_sheet(sheet, artifact, DPI, samples=2)
    hidden = page.clone()
    hidden[:, -180:, :180] = 1  # the marker with four dots
    with pytest.raises(InputError, match="the markers with 4 dots are not found"):
        read_photograph(hidden, sheet)
    with pytest.raises(InputError, match="mirrored"):
        read_photograph(page.flip(2), sheet)
    with pytest.raises(InputError, match="as large as on this sheet"):
        read_photograph(page, Sheet(100, 100, page_mm=(420.0, 594.0)))
    with pytest.raises(InputError, match="outside \\[0, 1\\]"):
        read_photograph(page * 255, sheet)


def test_the_pdf_is_in_true_size(artifact, tmp_path):
    sheet = export_pdf(tmp_path / "sheet.pdf", artifact)
    content = (tmp_path / "sheet.pdf").read_bytes()
    box = [float(one) for one in re.search(rb"/MediaBox \[(.*?)\]", content)[1].split()]
    point = 25.4 / 72  # millimetres
    assert [one * point for one in box] == pytest.approx([0, 0, 210, 297], abs=1e-6)
    drawn = b"".join(zlib.decompress(one) for one in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)[:1])
    matrices = re.findall(rb"((?:[-\d.]+\s+){6})cm", drawn)
    shift, scale = ([float(one) for one in each.split()] for each in matrices[:2])
    place = sheet.artifact
    assert shift[4] * point == pytest.approx(place.left, abs=1e-3)
    assert scale[0] * point == pytest.approx(artifact.width_mm, abs=1e-3)
    assert abs(scale[3]) * point == pytest.approx(artifact.height_mm, abs=1e-3)
    assert b"DCTDecode" not in content  # no JPEG
    with pytest.raises(InputError, match="does not fit on a page of 100 x 100 mm"):
        export_pdf(tmp_path / "small.pdf", artifact, page_mm=(100.0, 100.0))


def test_an_artifact_comes_back_rounded_with_its_size(tmp_path):
    image = torch.rand(3, 10, 20, generator=torch.Generator().manual_seed(0))
    alpha = torch.zeros(1, 10, 20, dtype=torch.bool)
    alpha[:, 2:8] = True
    made = export_png(tmp_path / "a.png", image, 40.0, alpha=alpha)
    assert (made.width_mm, made.height_mm) == pytest.approx((40, 20), rel=1e-3)
    assert made.dpi == pytest.approx(20 / 40 * 25.4, rel=1e-3)
    assert torch.equal(made.levels, (image * 255).round().to(torch.uint8))
    assert torch.equal(made.alpha.bool(), alpha)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["dpi"] == pytest.approx((12.7, 12.7), rel=1e-3)
    assert torch.equal(load_png(tmp_path / "a.png").levels, made.levels)


@pytest.mark.wrong_types
def test_files_and_images_that_are_no_artifact_are_refused(tmp_path):
    image = torch.rand(3, 4, 4)
    Image.new("RGB", (4, 4)).save(tmp_path / "sizeless.png")
    Image.new("L", (4, 4)).save(tmp_path / "gray.png", dpi=(100, 100))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    for name, words in (("sizeless", "how large it is printed"), ("gray", "mode L"), ("broken", "no artifact")):
        with pytest.raises(InputError, match=words):
            load_png(tmp_path / f"{name}.png")
    with pytest.raises(InputError, match="no artifact"):
        load_png(tmp_path / "missing.png")
    for wrong, words in (
        ((image * 2, 10.0), "outside \\[0, 1\\]"), ((image[None], 10.0), "without a batch"),
        ((image, 0.0), "width_mm=0"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            export_png(tmp_path / "a.png", *wrong)
    with pytest.raises(InputError, match=r"call it a\.png"):
        export_png(tmp_path / "a.jpg", image, 10.0)
