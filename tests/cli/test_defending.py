"""`--defend`: names and numbers as stages, and what a user's own file brings."""

from pathlib import Path

import pytest

from sparring.cli.defending import known_stages, part_called
from sparring.defenses.purification import JPEG, BitDepth
from sparring.defenses.randomization import InputNoise, ResizePad
from sparring.errors import SparringError


def test_names_and_parameters_make_stages() -> None:
    assert part_called("jpeg:quality=50") == [JPEG(quality=50)]
    assert part_called("bit-depth") == [BitDepth()]
    assert part_called("input-noise:sigma=0.1,kind=uniform") == [InputNoise(sigma=0.1, kind="uniform")]
    assert part_called("resize-pad:low=1,high=1.25,size=1.5") == [ResizePad(1, 1.25, 1.5)]


def test_what_is_learned_first_has_no_name_here() -> None:
    assert "jpeg" in known_stages()
    assert not {"hgd", "defense-gan", "denoiser"} & set(known_stages())


def test_a_file_brings_stages_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from sparring.defenses.purification import BitDepth, Median\n"
        "def two():\n    return [Median(3), BitDepth(2)]\n"
        "def none():\n    return 3\n"
    )
    assert [part.name for part in part_called(f"{file}:two")] == ["Median", "BitDepth"]
    with pytest.raises(SparringError, match=r"none returned int; return a sparring\.targets\.Stage"):
        part_called(f"{file}:none")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jpg", r"there is no stage 'jpg'.*Did you mean 'jpeg'"),
        ("jpeg:75", r"'75' sets no parameter \(there are: quality, rounding\)"),
        ("jpeg:qality=75", r"Did you mean 'quality'"),
        ("jpeg:quality=high", "'high' is no int"),
        ("jpeg:quality=500", r"JPEG quality=500; pass an int from 1 to 100"),
        ("input-noise:sigma=0.1,clip=maybe", "'maybe' is no bool"),
        ("input-noise", "wants sigma"),
        ("hgd", "one that is learned first comes from FILE.py:FACTORY"),
        ("/nowhere/mine.py:two", "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_told(spec: str, message: str) -> None:
    with pytest.raises(SparringError, match=message):
        part_called(spec)
