"""The hubs' loaders, on stand-ins that have the hubs' signatures and check how they are called."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sparring.errors import AssetError, ConfigError, TargetError
from sparring.zoo import InputSpec, imagenet_classes, load_model
from sparring.zoo.spec_paths import with_path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Net(nn.Module):
    """Answers what it was shown: the means of its channels, as the first three logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = classes
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x.mean((2, 3)) + self.shift, (0, self.num_classes - 3))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts modules into sys.modules: stand_in("timm.data", resolve_data_config=...)."""

    def put(name: str, **members: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        return module

    return put


def assert_normalizes(target: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    x = torch.rand(2, 3, 4, 4)
    shown = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(target(x)[:, :3], shown.mean((2, 3)))


@pytest.fixture
def timm(stand_in: Any) -> dict[str, Any]:
    config = {
        "input_size": (3, 288, 288),
        "interpolation": "bicubic",
        "mean": MEAN,
        "std": STD,
        "crop_pct": 0.95,
        "crop_mode": "center",
    }

    def create_model(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        assert pretrained
        if model_name == "resnet50.gone":
            raise RuntimeError("Invalid pretrained tag (gone) for resnet50.")
        return Net(int(kwargs.get("num_classes", 1000)))

    def is_model(model_name: str) -> bool:
        return model_name.split(".")[0] == "resnet50"

    def resolve_data_config(args: Any = None, pretrained_cfg: Any = None, model: Any = None) -> dict[str, Any]:
        assert isinstance(model, Net)
        return config

    stand_in(
        "timm",
        __version__="1.0.31",
        create_model=create_model,
        is_model=is_model,
        list_models=lambda filter="", **kwargs: ["resnet50", "vit_base_patch16_224"],
    )
    stand_in("timm.data", resolve_data_config=resolve_data_config)
    return config


def test_timm_gives_its_own_preprocessing(timm: dict[str, Any]) -> None:
    model = load_model("timm:resnet50.a1_in1k")
    assert model.input == InputSpec(3, 288, 288, crop_fraction=0.95, interpolation="bicubic")
    assert model.class_names == imagenet_classes.class_names()
    assert (model.name, model.source) == ("timm:resnet50.a1_in1k", "timm 1.0.31")
    assert not model.target.model.training  # type: ignore[union-attr]
    assert_normalizes(model.target, MEAN, STD)


def test_timm_filters_and_crops_of_other_kinds(timm: dict[str, Any]) -> None:
    timm.update(interpolation="random", crop_mode="squash")
    model = load_model("timm:resnet50")
    assert model.input is not None
    assert (model.input.interpolation, model.input.squash) == ("bilinear", True)


def test_timm_without_that_model_or_its_weights(timm: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"timm has no model 'resnet5'\. Did you mean 'resnet50'\?"):
        load_model("timm:resnet5")
    with pytest.raises(TargetError, match=r"timm:resnet50\.gone cannot be loaded with its weights: Invalid pretrained"):
        load_model("timm:resnet50.gone")


class Interpolation(Enum):
    BILINEAR = "bilinear"


@pytest.fixture
def torchvision(stand_in: Any) -> ModuleType:
    preset = SimpleNamespace(
        crop_size=[224],
        resize_size=[232],
        mean=list(MEAN),
        std=list(STD),
        interpolation=Interpolation.BILINEAR,
    )

    class Weights(Enum):
        DEFAULT = SimpleNamespace(transforms=lambda: preset, meta={"categories": ["tench", "goldfish", "shark"]})

        @property
        def meta(self) -> dict[str, Any]:
            return dict(self.value.meta)

        def transforms(self) -> Any:
            return self.value.transforms()

    def get_model(name: str, **config: Any) -> nn.Module:
        assert isinstance(config["weights"], Weights)
        return Net(3)

    stand_in("torchvision", __version__="0.28.0")
    return stand_in(  # type: ignore[no-any-return]
        "torchvision.models",
        get_model=get_model,
        get_model_weights=lambda name: Weights,
        list_models=lambda module=None, include=None, exclude=None: ["resnet50"] if module else ["resnet50", "raft"],
    )


def test_torchvision_gives_its_weights_own_preprocessing(torchvision: ModuleType) -> None:
    model = load_model("torchvision:resnet50")
    assert model.input == InputSpec(3, 224, 224, crop_fraction=224 / 232, interpolation="bilinear")
    assert model.class_names == ("tench", "goldfish", "shark")
    assert_normalizes(model.target, MEAN, STD)


def test_torchvision_has_classifiers_only(torchvision: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"torchvision has no classifier 'raft'"):
        load_model("torchvision:raft")


@dataclass
class Answer:
    logits: Tensor


class HuggingFaceNet(Net):
    def __init__(self) -> None:
        super().__init__(3)
        self.config = SimpleNamespace(id2label={0: "cat", 1: "dog", 2: "cow"}, num_channels=3)

    def forward(self, pixel_values: Tensor) -> Any:
        return Answer(super().forward(pixel_values))


@pytest.fixture
def transformers(stand_in: Any) -> Any:
    """A function that sets the image processor."""
    current: dict[str, Any] = {}

    class AutoImageProcessor:
        @staticmethod
        def from_pretrained(name: str, *, trust_remote_code: bool) -> Any:
            assert not trust_remote_code
            return SimpleNamespace(**{"image_mean": list(MEAN), "image_std": list(STD)} | current)

    class AutoModelForImageClassification:
        @staticmethod
        def from_pretrained(name: str, *, use_safetensors: bool, trust_remote_code: bool) -> nn.Module:
            assert use_safetensors
            assert not trust_remote_code
            if name == "org/pickled":
                raise OSError("org/pickled does not appear to have a file named model.safetensors")
            return HuggingFaceNet()

    stand_in(
        "transformers",
        AutoImageProcessor=AutoImageProcessor,
        AutoModelForImageClassification=AutoModelForImageClassification,
    )
    return current.update


@pytest.mark.parametrize(
    ("processor", "spec"),
    [
        (
            {"size": {"height": 224, "width": 224}, "resample": 2},
            InputSpec(3, 224, 224, interpolation="bilinear", squash=True),
        ),
        (
            {
                "size": {"shortest_edge": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "resample": 3,
            },
            InputSpec(3, 224, 224, 0.875, "bicubic"),
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": Interpolation.BILINEAR},
            InputSpec(3, 224, 224, 0.875, "bilinear"),
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3},
            InputSpec(3, 384, 384, 1.0, "bicubic", squash=True),
        ),
        (
            {
                "size": {"height": 256, "width": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            InputSpec(3, 224, 224, 0.875, "bilinear"),
        ),
    ],
)
def test_hugging_face_gives_its_processor_s_preprocessing(
    transformers: Any, processor: dict[str, Any], spec: InputSpec
) -> None:
    transformers(processor)
    model = load_model("hf:org/net")
    assert model.input == spec
    assert model.class_names == ("cat", "dog", "cow")
    assert_normalizes(model.target, MEAN, STD)


def test_hugging_face_without_normalization(transformers: Any) -> None:
    transformers({"size": {"height": 8, "width": 8}, "do_normalize": False})
    assert_normalizes(load_model("hf:org/net").target, (0.0,) * 3, (1.0,) * 3)


def test_hugging_face_loads_safetensors_only(transformers: Any) -> None:
    transformers({"size": {"height": 8, "width": 8}})
    with pytest.raises(TargetError, match="hf:org/pickled cannot be loaded as an image classifier with safetensors"):
        load_model("hf:org/pickled")
    with pytest.raises(ConfigError, match="name a repository as hf:ORG/NAME"):
        load_model("hf:net")


def test_hugging_face_sizes_of_other_kinds_are_refused(transformers: Any) -> None:
    transformers({"size": {"longest_edge": 800}})
    with pytest.raises(TargetError, match=r"size \{'longest_edge': 800\} is of a kind that is not read"):
        load_model("hf:org/net")


class Clip(nn.Module):
    """The signature of Hugging Face's CLIP: features of pixels by keyword, and a learned scale."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(4)
        self.logit_scale = nn.Parameter(torch.tensor(50.0).log())

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        features: Tensor = self.net(pixel_values)
        return features


def test_hugging_face_makes_zero_shot_classifiers_of_given_texts(stand_in: Any, tmp_path: Any) -> None:
    net = Clip()

    class AutoImageProcessor:
        @staticmethod
        def from_pretrained(name: str, *, trust_remote_code: bool) -> Any:
            return SimpleNamespace(image_mean=list(MEAN), image_std=list(STD), size={"height": 8, "width": 8})

    class AutoModel:
        @staticmethod
        def from_pretrained(name: str, *, use_safetensors: bool, trust_remote_code: bool) -> nn.Module:
            assert use_safetensors
            assert not trust_remote_code
            return net if name == "org/clip" else Net(4)

    stand_in("transformers", AutoImageProcessor=AutoImageProcessor, AutoModel=AutoModel)
    texts = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "texts.safetensors"
    save_file({"texts": texts}, str(file))
    model = load_model(f"hf:org/clip#texts={file}")
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    pixels = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    cosines = nn.functional.cosine_similarity(net.net(pixels)[:, None], texts[None], dim=2)
    torch.testing.assert_close(model.target.predict(images), (50 * cosines).detach())
    assert model.input == InputSpec(3, 8, 8, interpolation="bilinear", squash=True)
    with pytest.raises(TargetError, match="org/other has no get_image_features"):
        load_model(f"hf:org/other#texts={file}")
    save_file({"a": texts, "b": texts.clone()}, str(file))
    with pytest.raises(ConfigError, match=r"holds 2 tensors \(a, b\); save one"):
        load_model(f"hf:org/clip#texts={file}")
    assert with_path("hf:org/clip#texts=texts.safetensors", tmp_path) == f"hf:org/clip#texts={file}"
    assert with_path("hf:org/clip", tmp_path) == "hf:org/clip"
    file.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="is no safetensors file"):
        load_model(f"hf:org/clip#texts={file}")
    with pytest.raises(ConfigError, match=r"write hf:org/clip#texts=FILE.safetensors"):
        load_model("hf:org/clip#prompts=a")


@pytest.fixture
def robustbench(stand_in: Any) -> list[tuple[str, str, str]]:
    asked: list[tuple[str, str, str]] = []

    def load(model_name: str, dataset: str, threat_model: str) -> nn.Module:
        asked.append((model_name, dataset, threat_model))
        if model_name == "Nobody2020":
            raise KeyError(model_name)
        return Net({"cifar10": 10, "cifar100": 100, "imagenet": 1000}[dataset])

    stand_in("robustbench")
    stand_in("robustbench.utils", load_model=load)
    return asked


@pytest.mark.parametrize(
    ("spec", "asked", "size"),
    [
        ("Carmon2019Unlabeled", ("Carmon2019Unlabeled", "cifar10", "Linf"), InputSpec(3, 32, 32)),
        ("A/cifar100", ("A", "cifar100", "Linf"), InputSpec(3, 32, 32)),
        ("A/imagenet/L2", ("A", "imagenet", "L2"), InputSpec(3, 224, 224, crop_fraction=0.875)),
    ],
)
def test_robustbench_models_normalize_inside(
    robustbench: list[tuple[str, str, str]], spec: str, asked: tuple[str, str, str], size: InputSpec
) -> None:
    model = load_model(f"robustbench:{spec}")
    assert robustbench == [asked]
    assert model.input == size
    assert_normalizes(model.target, (0.0,) * 3, (1.0,) * 3)
    assert (model.class_names is None) == (asked[1] == "cifar100")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Nobody2020", "RobustBench has no model 'Nobody2020' for cifar10 and Linf"),
        ("A/cifar1", r"'cifar1' is unknown; .* Did you mean 'cifar10'\?"),
        ("A/cifar10/Linf/x", "has 4 parts; use robustbench:NAME/DATASET/THREAT"),
    ],
)
def test_robustbench_names_that_do_not_exist(robustbench: object, spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(f"robustbench:{spec}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnet50", "timm: needs timm, which is not installed; run: pip install timm"),
        ("torchvision:resnet50", "torchvision: needs torchvision, .*; run: pip install torchvision"),
        ("hf:org/net", "hf: needs transformers, .*; run: pip install transformers"),
        (
            "robustbench:A",
            r"robustbench: needs robustbench, .*; run: pip install git\+https://.*/robustbench",
        ),
    ],
)
def test_a_missing_package_says_what_to_install(spec: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = message.split("needs ")[1].split(",")[0]
    monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(AssetError, match=message):
        load_model(spec)


class Without:
    """An import finder under which one package is not installed, or fails as `error`."""

    def __init__(self, package: str, error: Exception | None = None) -> None:
        self.package, self.error = package, error

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self.package:
            raise self.error or ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "does not import beside this torch .*nms"),
        (
            ModuleNotFoundError("No module named 'PIL'", name="PIL"),
            "is installed and does not import .*reinstall it",
        ),
    ],
)
def test_a_package_that_does_not_import_says_why(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [Without("torchvision", error), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(AssetError, match=message):
        load_model("torchvision:resnet50")
