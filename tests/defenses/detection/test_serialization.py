import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

import sparring as sp
from sparring.defenses.detection import FeatureSqueezing, InputDetector, load_detector
from sparring.defenses.purification import Median
from sparring.errors import ConfigError, InputError, RunError, TargetError
from sparring.random import Key
from sparring.storage import read_tensors, write_tensors

from .conftest import small_net


def test_what_is_opened_is_what_was_saved(one, task, tmp_path):
    path = one.save(tmp_path / "detector.safetensors")
    again = load_detector(path, target=task.target)
    assert again.detector == one.detector
    assert again.threshold == one.threshold
    assert again.metadata.attacks == one.metadata.attacks
    assert torch.equal(again.score(task.validation), one.score(task.validation))
    key = Key(torch.arange(3), 0)
    with torch.no_grad():
        assert torch.equal(again.alarm(task.tested.examples[:3], key), one.alarm(task.tested.examples[:3], key))
    with pytest.raises(InputError, match="validation images were used to fit"):
        again.calibrate(task.clean)


def test_a_file_holds_tensors_and_plain_values(one, tmp_path):
    with safe_open(str(one.save(tmp_path / "detector.safetensors")), framework="pt") as file:
        json.loads(file.metadata()["values"])
        assert not any(name.startswith("0.") for name in file.keys())  # noqa: SIM118 - not the target's weights


def test_another_model_is_refused(fitted, task, tmp_path):
    path = fitted["mahalanobis"].save(tmp_path / "detector.safetensors")
    with pytest.raises(TargetError, match="Mahalanobis was fitted on another model than stranger"):
        load_detector(path, target=sp.Classifier(small_net(), classes=3, name="stranger"))
    with pytest.raises(TargetError, match="Mahalanobis reads the model that it was fitted on: pass target="):
        load_detector(path)


def test_a_detector_without_a_model_needs_none(fitted, task, tmp_path):
    again = load_detector(fitted["input"].save(tmp_path / "input.safetensors"))
    assert torch.equal(again.score(task.validation), fitted["input"].score(task.validation))


def test_squeezers_are_given_again(task, tmp_path):
    f = FeatureSqueezing((Median(3),)).fit(task.clean, target=task.target).calibrate(task.validation)
    path = f.save(tmp_path / "squeezing.safetensors")
    with pytest.raises(ConfigError, match="FeatureSqueezing squeezers is in no file: pass detector=FeatureSqueezing"):
        load_detector(path, target=task.target)
    with pytest.raises(ConfigError, match="the file holds a FeatureSqueezing, not a InputDetector"):
        load_detector(path, target=task.target, detector=InputDetector())
    again = load_detector(path, target=task.target, detector=FeatureSqueezing((Median(3),)))
    assert torch.equal(again.score(task.validation), f.score(task.validation))


@pytest.mark.parametrize("spoil", ["detector", "shape", "weight", "fields", "nan", "parameters"])
def test_foreign_files_are_refused(spoil, fitted, task, tmp_path):
    path = fitted["mahalanobis"].save(tmp_path / "detector.safetensors")
    tensors, values = read_tensors(path, "")
    if spoil == "weight":
        tensors["weight"] = tensors["weight"][:2]
    elif spoil == "nan":
        tensors["bias"] = tensors["bias"] * float("nan")
    elif spoil == "shape":
        values["shape"] = [1, "x"]
    elif spoil == "detector":
        values["detector"] = "os.system"
    elif spoil == "fields":
        del values["fields"]["weight"]
    else:
        values["parameters"]["unknown"] = 3
    write_tensors(path, tensors, values)
    with pytest.raises(InputError, match=r"is no detector .*; fit it again"):
        load_detector(path, target=task.target)


def test_what_is_no_file_of_ours_is_refused(tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"not a tensor in it")
    with pytest.raises(RunError, match=r"pass a file that FittedDetector.save wrote"):
        load_detector(tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="cannot write"):
        blocked = tmp_path / "file"
        blocked.write_text("")
        write_tensors(blocked / "x.safetensors", {}, {})


def test_a_net_of_another_shape_is_refused(fitted, task, tmp_path):
    path = fitted["input"].save(tmp_path / "input.safetensors")
    tensors, values = read_tensors(path, "")
    values["parameters"]["width"] = 5
    write_tensors(path, tensors, values)
    with pytest.raises(InputError, match="is no detector"):
        load_detector(path)
    assert isinstance(fitted["input"].net, nn.Module)
