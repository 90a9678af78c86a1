"""Files are written whole or not at all, and read with errors that name the cure; hashes are SHA-256."""

import hashlib

import pytest
import torch

from sparring.errors import ConfigError, RunError
from sparring.files import replace_file, write_atomically
from sparring.hashing import file_sha256, image_sha256
from sparring.storage import read_checkpoint, read_tensors, read_toml, write_tensors


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"old")

    def write_half():
        with replace_file(path) as partial:
            partial.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_tensors_and_values_are_read_as_written(tmp_path):
    path = tmp_path / "file.safetensors"
    tensors = {"a": torch.rand(2, 3).T, "b": torch.tensor([1, 2])}
    write_tensors(path, tensors, {"words": ["x"], "number": 0.1})
    found, values = read_tensors(path, "")
    assert values == {"words": ["x"], "number": 0.1}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*inside\.safetensors"):
        write_tensors(tmp_path / "file" / "inside.safetensors", {}, {})


def test_a_checkpoint_of_another_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, {}, {"mark": "mine"})
    assert read_checkpoint(path, "mine", "begin again", "belongs to another")[1] == {"mark": "mine"}
    with pytest.raises(RunError, match=r"checkpoint\.safetensors belongs to another"):
        read_checkpoint(path, "yours", "begin again", "belongs to another")
    path.write_bytes(b"no safetensors")
    with pytest.raises(RunError, match=r"cannot read .*; begin again"):
        read_checkpoint(path, "mine", "begin again", "belongs to another")
    with pytest.raises(RunError, match=r"cannot read .*: it is a folder; begin again"):
        read_checkpoint(tmp_path, "mine", "begin again", "belongs to another")


def test_toml_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "plan.toml"
    with pytest.raises(ConfigError, match="does not exist; name a training plan, which is a TOML file"):
        read_toml(path, "a training plan")
    path.write_text("[table")
    with pytest.raises(ConfigError, match="is no TOML"):
        read_toml(path, "a training plan")
    path.write_text("a = 1")
    assert read_toml(path, "a training plan") == {"a": 1}


def test_hashes_are_sha256_of_bytes_and_of_float32_values(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_sha256(path) == hashlib.sha256(b"abc").hexdigest()
    image = torch.rand(3, 4, 5, dtype=torch.float64).transpose(1, 2)
    assert image_sha256(image) == hashlib.sha256(image.float().contiguous().numpy().tobytes()).hexdigest()
