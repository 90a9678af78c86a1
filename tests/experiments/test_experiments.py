"""What the commands do is callable from Python, and needs no command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring import experiments
from sparring.errors import RunError
from sparring.experiments import AttackDataset, ExperimentObserver, GeneralizationMatrix, ModelSet, TransferMatrix
from sparring.experiments.fit import ArtifactPaths, FitArtifact
from sparring.experiments.generalization import ThreatColumn, ThreatColumns
from sparring.zoo import Data, LoadedModel, load_data


def linear(seed: int) -> sp.Classifier:
    torch.manual_seed(seed)
    return sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), name=f"net {seed}")


@pytest.fixture
def data(tmp_path) -> Data:
    """30 images of 6 x 6, labelled as `linear(0)` predicts."""
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 6, 6), dtype=np.uint8)
    with torch.no_grad():
        labels = linear(0)(torch.from_numpy(images / 255).float()).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    return load_data(f"npz:{tmp_path / 'data.npz'}", input=None)


def loaded(seed: int) -> LoadedModel:
    return LoadedModel(f"net {seed}", linear(seed), None, None, "a test", None)


class Steps(ExperimentObserver):
    """Keeps the names of the attacks that it is told of."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def steps(self, name="", before=0.0, share=0.0):
        return lambda progress: self.names.append(progress.attack)


def test_attacks_on_a_data_set_give_their_totals_and_write_their_examples(data, tmp_path):
    observer, out = Steps(), tmp_path / "out"
    attacks = [sp.attacks.FGSM(sp.Linf(0.1)), sp.attacks.PGD(sp.Linf(0.1), steps=5)]
    experiment = AttackDataset(loaded(0), data, None, batch_size=16, seed=0, out=out)
    single, iterated = experiment.run(attacks, observer)
    assert (single.images, iterated.images, single.already) == (30, 30, 0)
    assert 0 < single.fell <= iterated.fell == len(iterated.queries)
    assert iterated.survive_uint8 <= iterated.fell
    assert set(observer.names) == {"FGSM", "PGD"}
    assert len(list(out.glob("*.safetensors"))) == 4
    experiment.write_curves(attacks, [single, iterated])
    assert (out / "queries.png").stat().st_size > 1000


def test_an_attack_that_was_killed_goes_on_and_its_totals_are_those_of_one_call(data, tmp_path, monkeypatch):
    attacks = [sp.attacks.PGD(sp.Linf(0.05), steps=3), sp.attacks.PGD(sp.Linf(0.1), steps=3)]

    def experiment(out, **changed):
        given = {"loaded": loaded(0), "data": data, "targeted": None, "batch_size": 8, "seed": 0, "out": out}
        return AttackDataset(**(given | changed))

    whole = experiment(tmp_path / "whole").run(attacks)
    calls, module = [], import_module("sparring.experiments.attack_dataset")

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return sp.run(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "run", interrupted)
        experiment(tmp_path / "out").run(attacks)
    written = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.safetensors")}
    assert len(written) == 5
    for other, said in (
        ({"seed": 1}, "belongs to another run"),
        ({"loaded": loaded(1)}, "belongs to another run"),
        ({"targeted": 2}, "belongs to another run"),
    ):
        with pytest.raises(RunError, match=said):
            experiment(tmp_path / "out", **other).run(attacks)
    again = experiment(tmp_path / "out").run(attacks)
    assert {n: t for n, t in written.items() if (tmp_path / "out" / n).stat().st_mtime_ns != t} == {}
    timeless = [[replace(total, seconds=0.0) for total in totals] for totals in (whole, again)]
    assert timeless[0] == timeless[1]
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / file.name).is_file()


def test_a_chunk_of_other_images_is_not_taken_for_one_of_these(data, tmp_path):
    attacks = [sp.attacks.FGSM(sp.Linf(0.1))]
    AttackDataset(loaded(0), data, None, 16, 0, tmp_path / "out").run(attacks)
    arrays = dict(np.load(tmp_path / "data.npz"))
    arrays["labels"][29] = (arrays["labels"][29] + 1) % 4
    np.savez(tmp_path / "other.npz", **arrays)
    other = load_data(f"npz:{tmp_path / 'other.npz'}", input=None)
    with pytest.raises(RunError, match=r"000016\.safetensors is of other images or labels than there are now"):
        AttackDataset(loaded(0), other, None, 16, 0, tmp_path / "out").run(attacks)


def test_a_fit_killed_before_its_picture_is_drawn_goes_on_to_it(data, tmp_path, monkeypatch):
    paths = ArtifactPaths(tmp_path / "made.safetensors")
    attack = sp.attacks.GradientUniversal(sp.Linf(0.1), epochs=2, batch_size=8)

    def job(seed=0):
        return FitArtifact(attack, loaded(0), data, None, 0.3, 16, seed, paths, None, None)

    paths.check_free()
    inputs = job().prepare()
    assert job().finished(inputs) is None
    fitted = job().run(inputs)
    paths.check_free()
    again = job().finished(inputs)
    assert torch.equal(again.artifact.delta, fitted.artifact.delta)
    assert (again.fooled, again.forwards, again.seconds) == (fitted.fooled, fitted.forwards, fitted.seconds)
    with pytest.raises(RunError, match="exists and is of another fit"):
        job(seed=1).finished(job(seed=1).prepare())
    job().draw(again.artifact, job().measure(again.artifact, inputs), inputs)
    with pytest.raises(RunError, match=r"made\.png exists"):
        paths.check_free()


def test_a_transfer_matrix_has_a_row_and_a_column_for_each_model(data, tmp_path):
    models = {f"net {seed}": linear(seed) for seed in (0, 1)}
    attack = sp.attacks.PGD(sp.Linf(0.1), steps=3)
    matrix = TransferMatrix(models, data, None, ensemble=False, batch_size=16, seed=0)
    (counts,) = matrix.run([attack])
    assert (list(counts.rows), list(counts.columns)) == (list(models), list(models))
    assert matrix.write(attack, counts, tmp_path).stat().st_size > 1000
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert record["fell"] == counts.fell.tolist()


def test_a_generalization_matrix_is_written_model_by_model(data, tmp_path):
    found = ModelSet({f"net {seed}": linear(seed) for seed in (0, 1)}, {f"net {s}": loaded(s) for s in (0, 1)}, data)
    column = ThreatColumn("Linf", "0.05", sp.Linf(0.05))
    columns, engine = ThreatColumns((column,), ((column,),)), GeneralizationMatrix.make_engine(found, 16, 0)
    matrix = GeneralizationMatrix(found, columns, tmp_path / "out", engine, "cpu", "a test")
    matrix.check()
    whole = matrix.run()
    record = json.loads(matrix.path(".json").read_text())
    assert [model["name"] for model in record["models"]] == list(whole.models) == ["net 0", "net 1"]
    assert record["command"] == "a test"


def test_no_experiment_needs_the_command_line():
    names = ", ".join(experiments.HOMES)
    script = (
        f"import sys\nfrom sparring.experiments import {names}\nprint('typer' in sys.modules, 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "False"]
