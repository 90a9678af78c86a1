"""The zoo's face nets and graphs answer as TensorFlow.js does, and find and tell apart real faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparring import Scene, Verifier, zoo
from sparring.errors import ConfigError, InputError
from sparring.transforms import ARCFACE_TEMPLATE
from sparring.zoo.blaze_face import BlazeFace, load_blaze_face
from sparring.zoo.face_nets import load_dlib_face_net
from sparring.zoo.tfjs import load_graph_model

Asset = Callable[[str], Path]
RECORD = json.loads((Path(__file__).parents[2] / "records" / "faces" / "tfjs.json").read_text())["models"]


def shared_input(*shape: int) -> Tensor:
    """The input that TensorFlow.js was given (benchmarks/faces/tfjs_reference.mjs)."""
    count = torch.Size(shape).numel()
    return (((torch.arange(count) * 7919) % 1009).double() / 1009).float().reshape(shape)


def assert_as_recorded(found: Tensor, recorded: dict[str, Any]) -> None:
    assert list(found.shape) == recorded["shape"]
    wanted = torch.tensor(recorded["values"])
    torch.testing.assert_close(
        found.flatten()[recorded["places"]], wanted, rtol=0, atol=5e-6 * max(recorded["largest"], 0.1)
    )


def test_the_net_of_dlib_answers_as_face_api_does(asset: Asset) -> None:
    net = load_dlib_face_net(asset("face-api"))
    with torch.no_grad():
        assert_as_recorded(net(shared_input(1, 150, 150, 3).permute(0, 3, 1, 2)), RECORD["face-dlib"]["fc"])


@pytest.mark.parametrize("name", ["faceres", "blazeface", "centernet", "mobileface"])
def test_graphs_answer_as_tensorflow_js_does(name: str, asset: Asset) -> None:
    outputs = RECORD[name]
    graph = load_graph_model(asset("human-models" if name == "mobileface" else "human") / f"{name}.json", list(outputs))
    assert graph.input_shape is not None
    with torch.no_grad():
        for found, recorded in zip(graph(shared_input(1, *graph.input_shape[1:])), outputs.values(), strict=True):
            assert_as_recorded(found, recorded)


def test_real_faces_are_found_and_told_apart(asset: Asset) -> None:
    for name in ("face-api", "human", "orl-faces"):
        asset(name)
    tell_apart(("face-dlib", -0.55), ("face-faceres", 0.6))
    verifier = zoo.load_model("zoo:face-dlib").target
    images, _ = zoo.load_data("zoo:orl-faces", limit=1).tensors()
    with pytest.raises(InputError, match="no face was found in image 1"):
        verifier.enroll(torch.stack((images[0], torch.full_like(images[0], 0.5))))


def test_the_faces_of_mobileface_are_turned_upright(asset: Asset) -> None:
    for name in ("human-models", "orl-faces"):
        asset(name)
    assert zoo.load_model("zoo:face-mobileface").target.parts[0].template == ARCFACE_TEMPLATE
    tell_apart(("face-mobileface", 0.4))


def tell_apart(*verifiers: tuple[str, float]) -> None:
    """Two pictures of each of three persons are accepted at the threshold, and others are not."""
    images, persons = zoo.load_data("zoo:orl-faces", limit=30).tensors()
    assert persons is not None
    assert images.shape == (30, 3, 112, 92)
    assert persons.tolist() == [person for person in range(3) for _ in range(10)]
    chosen = torch.tensor([0, 5, 10, 15, 20, 25])
    for name, threshold in verifiers:
        verifier = zoo.load_model(f"zoo:{name}").target
        assert isinstance(verifier, Verifier)
        templates = verifier.enroll(images[chosen])
        accepted = verifier.similarity(templates[:, None], templates[None]) >= threshold
        assert torch.equal(accepted, persons[chosen][:, None] == persons[chosen])


def test_landmarks_stay_with_the_face(asset: Asset) -> None:
    detector = load_blaze_face(asset("human"))
    asset("orl-faces")
    images, _ = zoo.load_data("zoo:orl-faces", limit=2).tensors()
    wider = torch.nn.functional.pad(images, (20, 0, 10, 0), mode="replicate")
    with torch.no_grad():
        landmarks, found = detector(images.double())
        moved, again = detector(wider)
    assert found.all()
    assert again.all()
    assert (moved - landmarks - torch.tensor([20.0, 10.0])).abs().max() < 3  # pixels of a face of 90
    Scene(landmarks=landmarks).check()


def test_parameters_of_the_detector_are_checked() -> None:
    with pytest.raises(ConfigError, match="threshold=0"):
        BlazeFace(None, threshold=0)  # type: ignore[arg-type]


def test_orl_faces_are_no_data_for_a_classifier_of_digits() -> None:
    with pytest.raises(InputError, match="40 persons, and the model has 10 classes"):
        zoo.load_data("zoo:orl-faces", classes=10)
