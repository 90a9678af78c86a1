"""The table of awkward models: every row works or is refused as it says, by every kind of attack and by an audit."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks import FAB, PGD, CarliniWagner, DeepFool, HopSkipJump, Square
from sparring.engine import craft
from sparring.errors import AccessError, SparringError

ATTACKS = (
    PGD(sp.Linf(0.05), steps=3),
    DeepFool(sp.L2(), steps=3),
    FAB(sp.L2(), steps=3),
    CarliniWagner(binary_search_steps=1, steps=4),
    Square(sp.Linf(0.1), n_queries=10),
    HopSkipJump(sp.L2(), steps=1, init_num_evals=4),
)
ROWS = testing.awkward_models()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_as_the_table_says(row):
    for attack in ATTACKS:
        testing.check_awkward_model(attack, row)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_audited_or_refused_as_the_table_says(row, tmp_path):
    call = {"threats": [sp.Linf(0.02)], "out": tmp_path / "run", "suite": ["pgd"], "steps": 2}
    batches = [(row.images, row.labels)]
    if row.refused is not None:
        with pytest.raises(row.refused) as raised:
            sp.audit(row.target, batches, **call)
        assert row.words in str(raised.value)
    elif not row.gradients:
        with pytest.raises(AccessError, match="gives no gradient"):
            sp.audit(row.target, batches, **call)
    else:
        report = sp.audit(row.target, batches, **call)
        assert report.data.count == len(row.images)
        assert (tmp_path / "run" / "report.html").exists()


def test_defaults_that_a_model_sets_change_nothing_outside():
    row = next(row for row in ROWS if row.name == "sets the default dtype")
    found = sp.run(ATTACKS[0], row.target, row.goal, row.images)
    assert torch.get_default_dtype() is torch.float32
    assert found.examples.dtype is torch.float32
    assert torch.zeros(1).dtype is torch.float32


def test_the_weights_of_inference_mode_are_put_back():
    row = next(row for row in ROWS if row.name == "weights of inference mode")
    net = row.make()
    before = dict(net.named_parameters())
    assert all(one.is_inference() for one in before.values())
    sp.run(ATTACKS[0], sp.Classifier(net), row.goal, row.images)
    assert all(one is before[name] for name, one in net.named_parameters())


def test_a_plain_network_gives_what_the_awkward_ones_give():
    """All rows in float32 are the same function: PGD finds the same examples on each, but for rounding."""
    plain = testing.small_net(6).module.float()
    attack, goal, images = PGD(sp.L2(0.3), steps=3), ROWS[0].goal, ROWS[0].images
    wanted = craft(attack, sp.Classifier(plain), goal, images)
    same = ("exported", "scripted", "frozen TorchScript", "compiled", "reentrant checkpoints", "dict", "dataclass")
    for row in ROWS:
        if row.name in (*same, "weights of inference mode", "changes its input's data", "float64 weights"):
            made = craft(attack, row.target, goal, images)
            assert float((made - wanted).abs().max()) < 1e-5, row.name


def test_a_law_names_the_row_that_breaks_it():
    class Wrong(nn.Module):
        def forward(self, x):
            raise SparringError("planted")

    row = testing.AwkwardModel("planted", Wrong, None, "", True, ROWS[0].images, ROWS[0].labels)
    with pytest.raises(AssertionError, match="planted: PGD was refused: SparringError: planted"):
        testing.check_awkward_model(ATTACKS[0], row)
    row = testing.AwkwardModel("fine", ROWS[0].make, SparringError, "never", True, ROWS[0].images, ROWS[0].labels)
    with pytest.raises(AssertionError, match="fine: PGD was not refused"):
        testing.check_awkward_model(ATTACKS[0], row)


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_the_mode_of_a_script_is_put_back():
    """A script holds its mode in another place than a module, and a frozen one has none."""
    script = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4))).train()
    frozen = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()))
    for module, mode in ((script, True), (frozen, None)):
        with sp.Classifier(module).frozen():
            assert not module.training
        assert getattr(module, "training", None) is mode
        assert all(getattr(part, "training", None) is mode for part in module.children())
