"""`zoo:NAME`: models whose weights are in the package or come as an asset."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from ...errors import ConfigError, nearest
from ...hashing import file_sha256
from ...inputs import PointClouds
from ...lidar.nets import FOUND, BevDetector, PointNet
from ...lidar.streets import CLASSES
from ...targets import Classifier, Model, Target, Verifier
from ...tasks import Detection, Segmentation
from ...transforms import ARCFACE_TEMPLATE
from .. import assets, catalog, imagenet_classes
from ..blaze_face import load_blaze_face
from ..coco_classes import COCO_CLASSES
from ..efficientnet_lite import SIZES, EfficientNetLite, rename_keys
from ..face_nets import (
    DLIB_SIZE,
    FACERES_SIZE,
    MOBILEFACE_SIZE,
    load_dlib_face_net,
    load_face_res_net,
    load_mobile_face,
)
from ..loaded import InputSpec, LoadedModel
from ..mnist_net import MnistNet
from ..object_detectors import load_centernet, load_nanodet
from ..pinned import ASSETS
from ..selfie_net import SELFIE_SIZE, load_selfie_net

CROP_FRACTION = 0.875
DIGIT_NETS: dict[str, Callable[[], MnistNet]] = {  # what makes the module; the weights are in the package
    "mnist-plain": MnistNet,
    "mnist-robust-linf": partial(MnistNet, 32, 128),
    "mnist-ibp-0.1": partial(MnistNet, norm=True),
    "mnist-ibp-0.3": partial(MnistNet, norm=True),
}
FACE_NETS = {  # the file of weights, loader, size of a face, metric, where eyes and mouth go
    "face-dlib": ("face_recognition_model.bin", load_dlib_face_net, DLIB_SIZE, "euclidean", None),
    "face-faceres": ("faceres.bin", load_face_res_net, FACERES_SIZE, "cosine", None),
    "face-mobileface": ("mobileface.bin", load_mobile_face, MOBILEFACE_SIZE, "cosine", ARCFACE_TEMPLATE),
}
OBJECT_DETECTORS = {  # asset, the file of weights, loader
    "centernet": ("human", "centernet.bin", load_centernet),
    "nanodet": ("human-models", "nanodet.bin", load_nanodet),
}
LIDAR_NETS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {  # what makes the module, and its classes
    "lidar-bev": (BevDetector, FOUND),
    "lidar-pointnet": (PointNet, CLASSES),
}
METRES = 100.0  # the farthest coordinate of a cloud
MEAN, STD = 127 / 255, 128 / 255


def zoo_model(name: str, device: str) -> LoadedModel:
    """Return the zoo's model of that name."""
    if name not in catalog.MODELS:
        known = ", ".join(catalog.MODELS)
        raise ConfigError(f"the zoo has no model {name!r} (it has {known}).{nearest(name, catalog.MODELS)}")
    if name in LIDAR_NETS:
        return lidar_net(name, device)
    if name in FACE_NETS:
        return face_verifier(name, device)
    if name in OBJECT_DETECTORS:
        return object_detector(name, device)
    if name == "selfie-segmentation":
        return selfie_segmentation(device)
    return digits_net(name, device) if name in DIGIT_NETS else efficientnet_lite(name, device)


def lidar_net(name: str, device: str) -> LoadedModel:
    """Return a net of point clouds in metres whose weights are in the package; how they were made is in the file."""
    weights, (make, names) = catalog.WEIGHTS / f"{name}.safetensors", LIDAR_NETS[name]
    net = make()
    net.load_state_dict(load_file(weights))
    clouds: dict[str, Any] = {"inputs": PointClouds(-METRES, METRES), "takes_context": True, "name": name}
    target: Target[Any] = (
        Classifier(net.eval().to(device), classes=len(names), **clouds)
        if isinstance(net, PointNet)
        else Model(net.eval().to(device), Detection(), **clouds)
    )
    return LoadedModel(f"zoo:{name}", target, None, names, str(weights), file_sha256(weights))


def digits_net(name: str, device: str) -> LoadedModel:
    """Return a net for digits whose weights are in the package; the plan that made them is in the file."""
    weights = catalog.WEIGHTS / f"{name}.safetensors"
    net = DIGIT_NETS[name]()
    net.load_state_dict(load_file(weights))
    target = Classifier(net.eval().to(device), classes=10, name=name)
    names = tuple("0123456789")
    return LoadedModel(f"zoo:{name}", target, InputSpec(1, 28, 28), names, str(weights), file_sha256(weights))


def efficientnet_lite(name: str, device: str) -> LoadedModel:
    """Return an EfficientNet-Lite; its pixels are (255 x - 127) / 128."""
    asset = ASSETS[name]
    weights = assets.locate_asset(name) / asset.files[0]
    net = EfficientNetLite(SIZES[name])
    net.load_state_dict(rename_keys(torch.load(weights, map_location="cpu", weights_only=True)))
    pixels = SIZES[name].pixels
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter less time on a CPU
    target = Classifier(net.eval().to(device), mean=(MEAN,) * 3, std=(STD,) * 3, classes=1000, name=name)
    return LoadedModel(
        name=f"zoo:{name}",
        target=target,
        input=InputSpec(3, pixels, pixels, crop_fraction=CROP_FRACTION, interpolation="bicubic"),
        class_names=imagenet_classes.class_names(),
        source=f"{asset.package} {asset.version} from {asset.registry}",
        sha256=file_sha256(weights),
    )


def selfie_segmentation(device: str) -> LoadedModel:
    """Return the segmenter of persons; logits of background and person for each pixel."""
    asset, folder = ASSETS["human-models"], assets.locate_asset("human-models")
    target = Model(load_selfie_net(folder).to(device), Segmentation(), name="selfie-segmentation")
    return LoadedModel(
        name="zoo:selfie-segmentation",
        target=target,
        input=InputSpec(3, SELFIE_SIZE, SELFIE_SIZE),
        class_names=("background", "person"),
        source=f"{asset.package} {asset.version} from {asset.registry}",
        sha256=file_sha256(folder / "selfie.bin"),
    )


def face_verifier(name: str, device: str) -> LoadedModel:
    """Return a verifier of faces, which finds them by BlazeFace where it is not given landmarks."""
    weights, load, size, metric, template = FACE_NETS[name]
    needed = catalog.MODELS[name].assets  # the net's, and where that is another one the detector's
    folders, asset = [assets.locate_asset(one) for one in needed], ASSETS[needed[0]]
    folder, detector = folders[0], load_blaze_face(folders[-1]).to(device)
    net = load(folder).to(device)
    target = Verifier(net, size, metric=metric, detector=detector, template=template, name=name)
    source = f"{asset.package} {asset.version} from {asset.registry}"
    return LoadedModel(f"zoo:{name}", target, None, None, source, file_sha256(folder / weights))


def object_detector(name: str, device: str) -> LoadedModel:
    """Return a detector of COCO's 80 classes, which takes photographs of any size."""
    asset_name, weights, load = OBJECT_DETECTORS[name]
    folder, asset = assets.locate_asset(asset_name), ASSETS[asset_name]
    target = load(folder, name)
    target.module.to(device)
    source = f"{asset.package} {asset.version} from {asset.registry}"
    return LoadedModel(f"zoo:{name}", target, None, COCO_CLASSES, source, file_sha256(folder / weights))
