"""Parsing of `--mask FILE`: a picture or an array as the mask of a data set."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ...zoo import DataSource, LoadedModel

KINDS = ".png, .npy and .npz"
SHOWN = 6  # values of a file that an error names


def load_mask(file: str | Path | None, loaded: LoadedModel, data: DataSource, limit: int | None) -> Tensor | None:
    """Return the mask in a file, bool like one input of the data or like all of them; None where no file is named.

    Raises: InputError for a file that holds none, and, with both sizes, for one that does not fit the data.
    """
    if file is None:
        return None
    from ...inputs import Images

    path = Path(file)
    shape = tuple(next(iter(data.chunks(1))).images.shape[1:])
    pictures = isinstance(loaded.target.inputs, Images)
    if path.suffix.lower() == ".png":
        if not pictures:
            raise InputError(f"{path} masks pictures, and {loaded.name} takes {loaded.target.inputs.plural}; pass .npy")
        return mask_of_picture(path, shape)
    if path.suffix.lower() in (".npy", ".npz"):
        return mask_of_array(path, read_array(path), shape, data.candidates, limit, pictures)
    raise InputError(f"{path} is no mask: sparring reads {KINDS}")


def mask_of_picture(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the mask of a black and white picture for images of `shape` (C, H, W): white may move."""
    import numpy as np
    import torch

    channels = read_picture(path)
    height, width = channels.shape[:2]
    if (height, width) != shape[1:]:
        raise InputError(
            f"{path} is {height} x {width} (height x width), and the images are {shape[1]} x {shape[2]}; draw the mask "
            "in their size: it is not resized"
        )
    plane = channels[:, :, 0]
    if not np.array_equal(channels, np.broadcast_to(plane[:, :, None], channels.shape)):
        raise InputError(f"{path} has colors, and a mask is black and white; for a mask of each channel pass .npy")
    white = 65535 if plane.max() > 255 else 255
    found = np.unique(plane)
    if not np.isin(found, (0, white)).all():
        raise InputError(f"{path} holds the values {shown(found)}; a mask is black (0) and white ({white})")
    refuse_empty(path, plane, "black")
    return torch.from_numpy(plane > 0).expand(shape).clone()


def read_picture(path: Path) -> NDArray[Any]:
    """Return the pixels (H, W, C) of a PNG, without an alpha channel that hides nothing."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            plain = {"P": "RGBA" if picture.has_transparency_data else "RGB", "1": "L"}.get(picture.mode)
            pixels = np.asarray(picture if plain is None else picture.convert(plain))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; name a mask: {KINDS}") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a PNG: {error}") from error
    channels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if channels.shape[2] in (2, 4):
        if not (channels[:, :, -1] == channels[:, :, -1].max()).all():
            raise InputError(f"{path} is transparent in places, and a mask is black and white; save it without alpha")
        channels = channels[:, :, :-1]
    return channels


def read_array(path: Path) -> NDArray[Any]:
    """Return the only array of a .npy or .npz file, or the one called `mask`."""
    import numpy as np

    from ...zoo.npz import BROKEN, read_member

    if not path.exists():
        raise InputError(f"{path} does not exist; name a mask: {KINDS}")
    if not path.is_file():
        raise InputError(f"{path} is no file; name a mask: {KINDS}")
    try:
        if path.suffix.lower() == ".npy":
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # a header that lies costs no memory
        with zipfile.ZipFile(path) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
            chosen = "mask" if "mask" in names else names[0] if len(names) == 1 else None
            if chosen is None:
                raise InputError(f"{path} holds {', '.join(names) or 'nothing'}; call the mask's array `mask`")
            return read_member(str(path), archive, chosen)
    except BROKEN as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from error


def mask_of_array(
    path: Path, array: NDArray[Any], shape: tuple[int, ...], count: int | None, limit: int | None, pictures: bool
) -> Tensor:
    """Return the mask of an array of bools, or of 0 and 1.

    It is like one input, of pictures also (H, W), or has such a mask for each of `count` inputs (None: nobody knows how
    many there are): of more, where `limit` takes the first ones only.
    """
    import numpy as np
    import torch

    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} holds {array.dtype}; a mask is bool, or 0 and 1")
    found = np.unique(array)
    if not np.isin(found, (0, 1)).all():
        raise InputError(
            f"{path} holds the values {shown(found)}; a mask is bool, or 0 (may not move) and 1 (may move)"
        )
    refuse_empty(path, array, "0")
    mask, plane = torch.from_numpy(np.ascontiguousarray(array > 0)), shape[1:] if pictures else None
    if mask.shape == shape:
        return mask
    if plane is not None and mask.shape == plane:
        return mask.expand(shape).clone()
    each = mask.ndim > 1 and (count is None or len(mask) == count or (limit is not None and len(mask) > count))
    if each and mask.shape[1:] == shape:
        return mask
    if each and plane is not None and mask.shape[1:] == plane:
        return mask[:, None].expand(-1, *shape).clone()
    one = f"{tuple(shape)}" if plane is None else f"{tuple(plane)}, {tuple(shape)}"
    number = "N" if count is None else count
    raise InputError(
        f"{path} has shape {tuple(array.shape)}, and one input has {tuple(shape)}; a mask has {one}, "
        f"or ({number}, ...) for one each"
    )


def refuse_empty(path: Path, values: NDArray[Any], word: str) -> None:
    """Raise InputError where nothing may move."""
    if not values.any():
        raise InputError(f"{path} is {word} everywhere: nothing may move")


def shown(values: NDArray[Any]) -> str:
    """Return the first of some values in words."""
    listed = ", ".join(f"{value:g}" for value in values[:SHOWN].tolist())
    return f"{listed}, ... ({len(values)} of them)" if len(values) > SHOWN else listed
