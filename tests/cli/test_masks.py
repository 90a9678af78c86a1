"""`--mask FILE`: pictures and arrays, what they hold, and what they may not hold."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sparring.audit import Report
from sparring.audit.records.database import Records
from sparring.audit.records.example_files import read_row

LEFT = np.zeros((6, 6), dtype=bool)
LEFT[:, :3] = True
EACH = np.random.default_rng(3).random((30, 6, 6)) < 0.5
MASKS: dict[str, Any] = {
    "plane": LEFT,
    "numbers": LEFT.astype(np.float64),
    "one": LEFT[None],
    "each plane": EACH,
    "each": EACH[:, None],
}


def promised(count: int) -> bytes:
    """An array file of bools that promises so many and holds none."""
    text = f"{{'descr': '|b1', 'fortran_order': False, 'shape': ({count},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def zipped(path: Path, array: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mask.npy", array)


def png(path: Path, mode: str = "L") -> Path:
    Image.fromarray((255 * LEFT).astype(np.uint8)).convert(mode).save(path)
    return path


def images(user: tuple[str, str]) -> Any:
    held = np.load(user[1].partition(":")[2])
    return (held["images"] / 255).astype(np.float32)


def changes(run: Path, clean: Any) -> list[tuple[int, Any]]:
    """Sample, and where its recorded example differs from it."""
    with closing(Records.open(run)) as records:
        rows = list(records.select("SELECT * FROM result WHERE example_file IS NOT NULL"))
    return [
        (
            row["sample"],
            read_row(run / row["example_file"], "examples", row["example_row"]).numpy() != clean[row["sample"]],
        )
        for row in rows
    ]


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA", "P"])
def test_a_picture_masks_every_image(mode: str, audited: Any, user: Any, tmp_path: Path) -> None:
    result = audited("--mask", png(tmp_path / "mask.png", mode), threat="linf:0.5")
    assert result.exit_code in (0, 1), result.stderr
    found = changes(tmp_path / "run", images(user))
    assert len(found) > 3
    assert not any(change[:, ~LEFT].any() for _, change in found)
    report = Report.model_validate_json((tmp_path / "run" / "report.json").read_text())
    assert report.mask is not None
    assert (report.mask.share, report.mask.picture) == (0.5, "pictures/mask.png")


@pytest.mark.parametrize("kind", MASKS)
def test_an_array_masks_every_image_or_each(kind: str, audited: Any, user: Any, tmp_path: Path) -> None:
    file = tmp_path / ("mask.npz" if kind == "one" else "mask.npy")
    if kind == "one":
        np.savez(file, mask=MASKS[kind])
    else:
        np.save(file, MASKS[kind])
    result = audited("--mask", file, threat="linf:0.5")
    assert result.exit_code in (0, 1), result.stderr
    free = EACH if kind.startswith("each") else np.broadcast_to(LEFT, EACH.shape)
    found = changes(tmp_path / "run", images(user))
    assert len(found) > 3
    assert not any(change[:, ~free[sample]].any() for sample, change in found)


def test_the_first_masks_serve_the_first_images(audited: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", EACH)
    assert audited("--mask", tmp_path / "mask.npy", "--limit", 10).exit_code in (0, 1)


def test_a_plan_names_a_mask_and_another_is_not_resumed(typed: Any, user: Any, tmp_path: Path) -> None:
    mask, plan = png(tmp_path / "mask.png"), tmp_path / "plan.toml"
    text = f'model = "{user[0]}"\ndata = "{user[1]}"\nthreats = ["linf:0.1"]\nsuite = "fgsm"\nmask = "{mask}"\n'
    plan.write_text(text)
    run = tmp_path / "run"
    result = typed("audit", "--plan", plan, "--out", run)
    assert result.exit_code in (0, 1), result.stderr
    assert not any(change[:, ~LEFT].any() for _, change in changes(run, images(user)))
    Image.fromarray((255 * ~LEFT).astype(np.uint8)).save(mask)
    result = typed("audit", "--plan", plan, "--out", run, "--resume")
    assert result.exit_code == 2
    assert "holds a run with another mask" in result.stderr
    result = typed("audit", "--plan", plan, "--mask", mask, "--out", run)
    assert "--mask is said beside --plan" in result.stderr


def test_a_dry_run_knows_the_mask(typed: Any, user: Any, tmp_path: Path) -> None:
    words = ("audit", *user, "--threat", "linf:0.1", "--suite", "fgsm,pgd", "--dry-run")
    result = typed(*words, "--mask", png(tmp_path / "mask.png"))
    assert result.exit_code == 0, result.stderr
    assert "nothing was written" in result.stdout


def test_an_attack_goes_by_the_mask(typed: Any, user: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("attack", "pgd", *user, "--threat", "linf:0.6", "--steps", 5, "--batch-size", 8)
    result = typed(*words, "--mask", png(tmp_path / "mask.png"), "--out", out)
    assert result.exit_code == 0, result.stderr
    files = sorted(out.glob("*.safetensors"))
    assert len(files) == 4
    held = [load_file(file) for file in files]
    change = torch.cat([one["examples"] != one["originals"] for one in held]).numpy()
    assert change.any()
    assert not change[:, :, ~LEFT].any()
    np.save(tmp_path / "each.npy", EACH)
    assert typed(*words, "--mask", tmp_path / "each.npy").exit_code == 0


def colored(path: Path) -> None:
    Image.fromarray(np.stack((255 * LEFT, 0 * LEFT, 255 * LEFT), axis=2).astype(np.uint8)).save(path)


def half_seen(path: Path) -> None:
    alpha = np.where(LEFT, 255, 0)
    Image.fromarray(np.stack((*[np.full((6, 6), 255)] * 3, alpha), axis=2).astype(np.uint8)).save(path)


WRONG: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "size": ("m.png", lambda p: Image.new("1", (7, 5), 1).save(p), "5 x 7 (height x width), and the images are 6 x 6"),
    "black": ("m.png", lambda p: Image.new("L", (6, 6)).save(p), "is black everywhere: nothing may move"),
    "grey": ("m.png", lambda p: Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save(p),
             "holds the values 0, 1, 2, 3, 4, 5, ... (36 of them); a mask is black (0) and white (255)"),
    "color": ("m.png", colored, "has colors"),
    "alpha": ("m.png", half_seen, "is transparent in places"),
    "no picture": ("m.png", lambda p: p.write_bytes(b"no"), "cannot be read as a PNG"),
    "missing": ("m.png", lambda p: None, "does not exist; name a mask"),
    "jpeg": ("m.jpg", lambda p: p.write_bytes(b""), "is no mask: sparring reads .png, .npy and .npz"),
    "shape": ("m.npy", lambda p: np.save(p, np.ones((5, 6), bool)), "has shape (5, 6), and one input has (1, 6, 6)"),
    "count": ("m.npy", lambda p: np.save(p, EACH[:20]), "or (30, ...) for one each"),
    "values": ("m.npy", lambda p: np.save(p, 2.0 * LEFT), "holds the values 0, 2; a mask is bool, or 0 (may not move)"),
    "words": ("m.npy", lambda p: np.save(p, LEFT.astype(str)), "a mask is bool, or 0 and 1"),
    "empty": ("m.npy", lambda p: np.save(p, ~LEFT & LEFT), "is 0 everywhere: nothing may move"),
    "several": ("m.npz", lambda p: np.savez(p, a=LEFT, b=LEFT), "holds a, b; call the mask's array `mask`"),
    "pickle": ("m.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "cannot be read as an array"),
    "huge": ("m.npy", lambda p: p.write_bytes(promised(10**13)), "cannot be read as an array"),
    "huge inside": ("m.npz", lambda p: zipped(p, promised(10**13)), "has a header that promises shape (1000"),
    "pipe": ("m.npz", os.mkfifo, "is no file; name a mask"),
    "pipe of an array": ("m.npy", os.mkfifo, "is no file; name a mask"),
    "no array": ("m.npy", lambda p: p.write_bytes(b"no"), "cannot be read as an array"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_files_that_are_no_mask_are_refused(name: str, audited: Any, typed: Any, user: Any, tmp_path: Path) -> None:
    file, make, said = WRONG[name]
    make(tmp_path / file)
    for result in (
        audited("--mask", tmp_path / file),
        typed("attack", "pgd", *user, "--threat", "linf:0.1", "--mask", tmp_path / file),
    ):
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


MINE = """
import torch
from torch import nn
import sparring as sp
from sparring.attacks import PGD
from sparring.goals import Dodge
from sparring.targets import Model
from sparring.tasks import Verification

def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8))

def verifier():
    return Model(net(), Verification(), name="faces")

def pairs():
    images = torch.rand((10, 1, 6, 6), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return [(part, Dodge(net()(part), 0.9)) for part in images.split(4)]
"""


def test_a_verifier_is_audited_on_batches_of_a_file(typed: Any, tmp_path: Path, effort: Any) -> None:
    (tmp_path / "faces.py").write_text(MINE)
    model, data = (f"{tmp_path / 'faces.py'}:{name}" for name in ("verifier", "pairs"))
    words = ("audit", model, data, "--threat", "linf:0.3", "--out", tmp_path / "run", *effort)
    result = typed(*words, "--mask", png(tmp_path / "mask.png"))
    assert result.exit_code in (0, 1), result.stderr
    report = Report.model_validate_json((tmp_path / "run" / "report.json").read_text())
    assert (report.model.task, report.goal, report.data.count) == (
        "verification",
        "Dodge(threshold=0.9, metric=cosine)",
        10,
    )
    assert set(report.data.prediction) == {"similarity", "accepted"}
    result = typed("audit", model, f"{tmp_path / 'faces.py'}:net", "--threat", "linf:0.3", "--out", tmp_path / "b")
    assert result.exit_code == 2
