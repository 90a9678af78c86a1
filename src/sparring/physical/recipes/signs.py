"""A stop sign, drawn, and scenes for it made of photographs: for RP2 where no photographs of signs are at hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from ...errors import ConfigError, InputError
from ...random import Key
from ...transforms import Scene
from ..blurring import blur, gaussian
from ..colour import to_linear, to_srgb

FINER = 4  # the sign is drawn so many times larger, and shrunk
RED, WHITE = (178, 24, 32), (250, 250, 250)
RIM, LETTERS = 0.93, 0.30  # radius of the red, and height of the letters, as shares of the sign
CROP, SIGN = (0.45, 0.75), (0.45, 0.62)  # shares of the picture's side: what is seen of a photograph, and the sign
POST = 0.03  # its width
HAZE = 1.2  # pixels: the background is a little out of focus


def stop_sign(size: int = 96) -> tuple[Tensor, Tensor]:
    """Return a stop sign (3, size, size) in [0, 1], and its shape (size, size): 1 on the octagon.

    Raises: ConfigError for fewer than 16 pixels.
    """
    if not isinstance(size, int) or size < 16:
        raise ConfigError(f"a sign of size={size!r} pixels shows nothing; pass at least 16")
    side = size * FINER
    drawn = Image.new("RGB", (side, side), RED)
    draw, middle = ImageDraw.Draw(drawn), side / 2
    radius = middle / math.cos(math.pi / 8)
    draw.polygon(_octagon(middle, radius), fill=WHITE)
    draw.polygon(_octagon(middle, radius * RIM), fill=RED)
    draw.text((middle, middle), "STOP", font=_font(round(side * LETTERS)), fill=WHITE, anchor="mm")
    shape = Image.new("L", (side, side))
    ImageDraw.Draw(shape).polygon(_octagon(middle, radius), fill=255)
    small = [image.resize((size, size), Image.Resampling.BOX) for image in (drawn, shape)]
    picture, mask = (torch.from_numpy(np.array(image)).float() / 255 for image in small)
    return picture.permute(2, 0, 1).contiguous(), mask


def sign_scenes(photographs: Tensor, count: int, seed: int = 0) -> Scene:
    """Return scenes with a post and the place of a sign on it (`Scene.boxes`), in front of photographs.

    Args:
        photographs: (N, 3, H, W) in [0, 1]. Scene i shows a part of photograph i mod N, enlarged and hazy.
        count: of the scenes.
        seed: of what is seen and of where the sign stands.
    """
    if photographs.ndim != 4 or photographs.shape[1] != 3 or not len(photographs):
        raise InputError(f"scenes are made of photographs (N, 3, H, W); got {tuple(photographs.shape)}")
    height, width = photographs.shape[2:]
    draws = Key(torch.arange(count), seed).uniform("scenes", (6,)).tolist()
    images, boxes = [], []
    for number, (crop, top, left, size, across, down) in enumerate(draws):
        share = CROP[0] + (CROP[1] - CROP[0]) * crop
        high, wide = int(share * height), int(share * width)
        y, x = int(top * (height - high)), int(left * (width - wide))
        part = photographs[number % len(photographs), :, y : y + high, x : x + wide]
        images.append(interpolate(part[None], (height, width), mode="bicubic").clamp(0, 1))
        side = (SIGN[0] + (SIGN[1] - SIGN[0]) * size) * width
        middle_x, middle_y = width * (0.4 + 0.2 * across), side / 2 + (0.6 * height - side / 2) * 0.5 * (0.2 + down)
        boxes.append([middle_x - side / 2, middle_y - side / 2, middle_x + side / 2, middle_y + side / 2])
    seen = to_linear(torch.cat(images))
    haze = torch.full((count,), HAZE)
    seen = to_srgb(blur(seen, gaussian(haze, HAZE))).clamp(0, 1)
    places = torch.tensor(boxes)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        left, right = (round((x1 + x2) / 2 + sign * POST * width / 2) for sign in (-1, 1))
        seen[number, :, round((y1 + y2) / 2) :, left:right] = torch.tensor([0.5, 0.5, 0.52])[:, None, None]
    return Scene(seen, boxes=places)


def _octagon(middle: float, radius: float) -> list[tuple[float, float]]:
    turns = (math.pi / 8 + number * math.pi / 4 for number in range(8))
    return [(middle + radius * math.cos(turn), middle + radius * math.sin(turn)) for turn in turns]


def _font(height: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"), height)
