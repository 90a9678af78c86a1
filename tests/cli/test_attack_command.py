"""`sparring attack`."""

import pytest
from safetensors.torch import load_file

LIMITED = ("--limit", 20, "--batch-size", 8)


def row_of(output, name):
    return next(line for line in output.splitlines() if line.startswith(name)).split()


@pytest.mark.parametrize(
    ("name", "words", "shown"),
    [
        ("fgsm", ("--threat", "linf:0.1"), "FGSM"),
        ("pgd", ("--threat", "l2:1", "--steps", 5), "PGD"),
        ("deepfool", (), "DeepFool"),
        ("square", ("--threat", "linf:0.5", "--steps", 60), "Square"),
    ],
)
def test_a_table_with_success_sizes_and_passes(name, words, shown, typed, user):
    result = typed("attack", name, *user, *words, *LIMITED)
    assert result.exit_code == 0, result.stderr
    cells = row_of(result.stdout, shown)
    assert cells[2:4] == ["20", "2"]  # images, and those wrong before
    assert 0 < int(cells[4]) <= 18


def test_targeted(typed, user, tmp_path):
    out = tmp_path / "out"
    words = ("--threat", "linf:0.9", "--targeted", 2, "--out", out)
    assert typed("attack", "pgd", *user, *words, *LIMITED).exit_code == 0
    saved = [load_file(file) for file in sorted(out.glob("0-pgd-*.safetensors"))]
    assert sum(len(part["examples"]) for part in saved) == 20
    assert any(bool(part["success"].any()) for part in saved)
    assert len(list(out.glob("*-adversarial.png"))) == len(list(out.glob("*-original.png"))) > 0


def test_what_is_saved_fools_the_model(typed, user, tmp_path):
    from sparring.zoo import load_model

    out = tmp_path / "out"
    typed("attack", "fgsm", *user, "--threat", "linf:0.05,0.2", "--out", out, *LIMITED)
    target = load_model(user[0]).target
    files = sorted(out.glob("1-fgsm-*.safetensors"))
    assert len(files) == 3
    for file in files:
        part = load_file(file)
        wrong = target(part["examples"]).argmax(1) != part["labels"]
        assert bool(wrong[part["success"]].all())
        assert float((part["examples"] - part["originals"]).abs().max()) <= 0.2 + 1e-6


def test_a_folder_in_use_is_refused(typed, user, tmp_path, effort):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    result = typed("attack", "fgsm", *user, "--threat", "linf:0.1", "--out", tmp_path / "out", *effort[6:])
    assert (result.exit_code, "choose another --out" in result.stderr) == (2, True)


@pytest.mark.parametrize("name", ["ead", "jsma", "carlini-wagner-l0", "carlini-wagner-linf", "deepfool", "sigma-zero"])
def test_an_attack_that_brings_its_norm_needs_no_threat(name):
    from sparring.cli.single import balls

    assert balls(name, []) == [None]
