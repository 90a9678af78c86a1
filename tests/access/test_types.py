"""The threat model is a type: mypy refuses what the oracle would refuse at run time."""

import subprocess
import sys

import pytest

HEAD = """
from dataclasses import dataclass
import torch
from torch import Tensor
import sparring as sp
from sparring.access import Attack, Batch, Gradients, Scores
from sparring.attacks import HopSkipJump, PGD, Restarts, Square
from sparring.geometry import Ball, Linf

@dataclass(frozen=True)
class Place:
    x: Tensor

white = sp.Classifier(torch.nn.Identity())
black = sp.Restricted(white, sp.Scores)
goal, x = sp.Misclassify(torch.zeros(1, dtype=torch.long)), torch.zeros(1, 3, 8, 8)
"""
ATTACK = """
@dataclass(frozen=True)
class Mine(Attack[{access}, Place]):
    ball: Ball = Linf(0.1)
    steps: int = 1

    def init(self, oracle: {access}, batch: Batch) -> Place:
        return Place(batch.x)

    def step(self, oracle: {access}, state: Place, t: int) -> Place:
        return Place(state.x + oracle.gradient(state.x).grad)
"""
GOOD = """
sp.run(PGD(Linf(0.1)), white, goal, x)
sp.run(Square(Linf(0.1)), black, goal, x)
sp.run(HopSkipJump(), black, goal, x)
sp.run(Restarts(Square(Linf(0.1)), 2), black, goal, x)
sp.run(Restarts(PGD(Linf(0.1)), 2), white, goal, x)
"""
ACCEPTED = """
class Net:
    training: bool

    def zero_grad(self, set_to_none: bool = True) -> None: ...

labels, own = torch.zeros(1, dtype=torch.long), Net()  # as torch.nn.Module, which is passed over here
loaded = sp.zoo.load_model("zoo:mnist-plain")
for given in (own, loaded):
    sp.run(PGD(Linf(0.1)), given, labels, x)
    sp.craft(PGD(Linf(0.1)), given, labels, x)
    sp.fit(sp.attacks.Universal(Linf(0.1)), given, labels, x)
    sp.train(given, (x, labels), sp.defenses.training.Plain())
"""
SNIPPETS = {
    "what is taken for a target": (ACCEPTED, None),
    "good": (GOOD + ATTACK.format(access="Gradients"), None),
    "white box attack on a black box": ("sp.run(PGD(Linf(0.1)), black, goal, x)", "misc"),
    "restarted white box attack on a black box": ("sp.run(Restarts(PGD(Linf(0.1)), 2), black, goal, x)", "misc"),
    "gradient asked of scores": (ATTACK.format(access="Scores"), "attr-defined"),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """One run of mypy over all snippets: {name: error lines}."""
    folder = tmp_path_factory.mktemp("typed")
    files = {name: folder / f"snippet_{i}.py" for i, name in enumerate(SNIPPETS)}
    for name, file in files.items():
        file.write_text(HEAD + SNIPPETS[name][0])
    settings = folder / "mypy.ini"  # torch itself is passed over: it takes mypy half a minute
    settings.write_text("[mypy]\nfollow_imports = silent\n[mypy-torch.*]\nfollow_imports = skip\n")
    options = ["--strict", "--config-file", str(settings), "--cache-dir", str(folder / "cache")]
    command = [sys.executable, "-m", "mypy", *options, *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return {name: [line for line in lines if file.name in line and ": error:" in line] for name, file in files.items()}


@pytest.mark.parametrize("name", SNIPPETS)
def test_mypy_knows_the_threat_model(verdicts, name):
    code = SNIPPETS[name][1]
    if code is None:
        assert verdicts[name] == []
    else:
        assert len(verdicts[name]) == 1, verdicts[name]
        assert f"[{code}]" in verdicts[name][0]
