"""The toolbox on a CUDA device: every attack, and everything that runs attacks, beside the same on the CPU.

Digits in float32, where both devices round differently: the same rows fall but for a few. Without a CUDA device the
whole file is skipped; `sh benchmarks/gpu.sh` runs it on a machine that has one and no network.
"""

import warnings
from math import inf

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep, Reason
from sparring.attacks import ArtifactAttack, Cascade, Restarts, Rivals, shared_table, table
from sparring.defenses.training import TRADES, Adversary, Devices, Madry, Optimizer, TrainingConfig, Validation, train
from sparring.engine import Engine, craft, fit
from sparring.random import Key
from sparring.targets import Defended, Ensemble, Keyed, Surrogate
from sparring.transforms import Stage
from sparring.zoo import load_data, load_model

DEVICE = "cuda"
if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

COUNT = 32
A_FEW = 3  # rows of 32 whose fate may hang on rounding
CLOSE = 1e-4  # of a margin: what another batch size may do to it

LINF = sp.Linf(0.1)
BALLS = (LINF, sp.L2(1.5), sp.L1(10))
ATTACKS = {
    "fgsm": {"ball": LINF},
    "r-fgsm": {"ball": LINF},
    "fast-fgsm": {"ball": LINF},
    "bim": {"ball": LINF},
    "pgd": {"ball": LINF, "steps": 20},
    "mi-fgsm": {"ball": LINF},
    "ni-fgsm": {"ball": LINF},
    "daa-blob": {"ball": LINF, "steps": 10},
    "daa-dgf": {"ball": LINF, "steps": 10},
    "apgd": {"ball": sp.L2(1.0), "steps": 20},
    "apgd-l1": {"ball": sp.L1(8), "steps": 20},
    "segpgd": {"ball": LINF, "steps": 20},
    "sea": {"ball": LINF, "steps": 20},
    "msd": {"balls": BALLS, "steps": 10},
    "l-bfgs": {"binary_search_steps": 3, "steps": 10},
    "carlini-wagner": {"binary_search_steps": 4, "steps": 30, "learning_rate": 0.05},
    "carlini-wagner-l0": {"steps": 40, "patience": 5},
    "carlini-wagner-linf": {"steps": 60, "patience": 5},
    "ead": {"binary_search_steps": 3, "steps": 40},
    "jsma": {},
    "deepfool": {},
    "superdeepfool": {},
    "fab": {"ball": sp.L2(), "steps": 10},
    "fab-margin": {"ball": sp.L2(), "steps": 10},
    "ddn": {"steps": 40},
    "fmn": {"ball": sp.L2(), "steps": 40},
    "alma": {"ball": sp.L2(), "steps": 60},
    "pdpgd": {"ball": sp.L2(), "steps": 60},
    "sigma-zero": {"steps": 60},
    "auto": {"ball": sp.L2(1.0)},
    "autoattack": {"ball": LINF, "steps": 5, "n_queries": 20},
    "sweep": {"ball": LINF, "blocks": 1, "odi_steps": 2, "gradient_steps": 5, "n_queries": 10},
    "square": {"ball": LINF, "n_queries": 100},
    "nes": {"ball": LINF, "steps": 10, "n_samples": 20},
    "spsa": {"ball": LINF, "steps": 10, "n_samples": 20},
    "bandits": {"ball": sp.Linf(0.2), "steps": 100},
    "simba": {"ball": sp.L2(2.5), "steps": 200},
    "zoo": {"steps": 40, "nb_parallel": 128, "learning_rate": 0.1},
    "hopskipjump": {"steps": 3},
    "boundary": {"steps": 60},
    "surfree": {"steps": 30},
}
COMBINED = {
    "restarts": Restarts(table["pgd"](LINF, steps=5), 2),
    "rivals": Rivals(table["apgd"](LINF, steps=5, loss=None)),
    "cascade": Cascade(table["fgsm"](sp.Linf(0.05)), table["apgd"](sp.Linf(0.05), steps=5)),
    "pgd l2": table["pgd"](sp.L2(1.0), steps=10),
    "pgd l1": table["pgd"](sp.L1(10), steps=10),
    "pgd l0": table["pgd"](sp.L0(20), steps=10),
    "hopskipjump linf": table["hopskipjump"](sp.Linf(), steps=3),
}
EVERY = {name: table[name](**settings) for name, settings in ATTACKS.items()} | COMBINED
PGD20 = EVERY["pgd"]


@pytest.fixture(autouse=True)
def exact():
    """Convolutions in float32 proper, not TF32, so that both devices can be compared."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def digits():
    return next(iter(load_data("zoo:mnist-heldout", input=None).chunks(COUNT)))


class Task:
    """The zoo's net for digits on a device, with the digits there too."""

    def __init__(self, digits, device):
        self.target = load_model("zoo:mnist-plain", device=device).target
        self.counting = testing.Counting(self.target.model)
        self.images, self.labels = digits.images.to(device), digits.labels.to(device)
        self.goal = sp.Misclassify(self.labels)

    def run(self, attack, target=None, **options):
        return sp.run(attack, target or self.target, self.goal, self.images, **options)


@pytest.fixture
def there(digits):
    return Task(digits, DEVICE)


@pytest.fixture
def here(digits):
    return Task(digits, "cpu")


def differing(one, other):
    """Rows that fell on one device and not on the other."""
    return int((one.success.cpu() != other.success.cpu()).sum())


def honest(outcome, task, attack, close=CLOSE):
    """Success and size are what is measured again, on images of the ball and of [0, 1]."""
    assert outcome.examples.device.type == task.images.device.type == DEVICE
    assert outcome.success.any()
    with torch.no_grad():
        margin = task.goal(task.target(outcome.examples)).margin
    assert float(margin[outcome.success].min()) > -close
    assert not (~outcome.success).any() or float(margin[~outcome.success].max()) < close
    assert 0 <= float(outcome.examples.min()) <= float(outcome.examples.max()) <= 1
    size = attack.ball.norm(outcome.examples - task.images)
    assert float(size.max()) <= attack.ball.eps + 1e-5
    torch.testing.assert_close(outcome.distance[outcome.success], size[outcome.success], rtol=1e-5, atol=1e-6)


def test_every_attack_of_the_table_is_here():
    assert ATTACKS.keys() == table.keys() - {"orthogonal-pgd"}  # it needs a detector


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY.keys())
def test_an_attack_does_there_what_it_does_here(attack, there, here):
    weights = {name: value.clone() for name, value in there.target.model.state_dict().items()}
    images, state = there.images.clone(), torch.get_rng_state()
    state_there = torch.cuda.get_rng_state() if DEVICE == "cuda" else None
    outcome = there.run(attack, sp.Classifier(there.counting))
    own = here.run(attack)

    honest(outcome, there, attack)
    assert int((outcome.passes.forwards + outcome.passes.checks).sum()) == there.counting.forwards
    assert int(outcome.passes.backwards.sum()) == there.counting.backwards
    assert differing(outcome, own) <= A_FEW
    assert (outcome.reason == Reason.UNCONFIRMED).sum() <= 1
    if attack.keep is Keep.SMALLEST and attack.ball.eps == inf:
        both = outcome.success.cpu() & own.success & ~own.already
        medians = outcome.distance.cpu()[both].median(), own.distance[both].median()
        one = 1 if isinstance(attack.ball, sp.L0) else 0  # a count of coordinates moves by whole ones
        assert float(medians[0]) == pytest.approx(float(medians[1]), rel=0.1, abs=one)

    assert torch.equal(there.images, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert state_there is None or torch.equal(torch.cuda.get_rng_state(), state_there)
    for name, value in there.target.model.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("name", ["pgd", "square", "carlini-wagner", "hopskipjump", "deepfool"])
def test_batches_and_compaction_change_nothing_but_rounding(name, there):
    whole = there.run(EVERY[name])
    for engine in (Engine(batch_size=7), Engine(compact=False), Engine(check_done_every=1)):
        other = there.run(EVERY[name], engine=engine)
        assert differing(whole, other) <= 1
        both = whole.success & other.success
        median = whole.distance[both].median()
        assert float(other.distance[both].median()) == pytest.approx(float(median), rel=0.05)


@pytest.mark.parametrize("name", ["pgd", "square", "carlini-wagner", "hopskipjump"])
def test_what_was_interrupted_goes_on(name, there, tmp_path):
    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    engine = Engine(checkpoint=tmp_path, checkpoint_seconds=-1, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        there.run(EVERY[name], engine=engine)
    whole = there.run(EVERY[name])
    again = there.run(EVERY[name], engine=Engine(checkpoint=tmp_path))
    assert again.examples.device.type == DEVICE
    assert differing(again, whole) <= 1
    assert torch.equal(again.passes.forwards, whole.passes.forwards) or differing(again, whole) == 1


def test_images_on_the_cpu_come_back_there(there, digits):
    outcome = sp.run(PGD20, there.target, sp.Misclassify(digits.labels), digits.images)
    assert {outcome.examples.device.type, outcome.success.device.type} == {"cpu"}
    assert differing(outcome, there.run(PGD20)) == 0


def waits(call):
    """How often the call waits for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in told)


@pytest.mark.skipif(DEVICE != "cuda", reason="a CPU is never waited for")
def test_a_step_does_not_wait_for_the_device(there):
    def run(steps):
        attack = table["pgd"](LINF, steps=steps, step_size=0.01)
        return waits(lambda: there.run(attack, engine=Engine(compact=False)))

    assert run(8) > 0  # the looks before and after are seen, so that a wait would be
    assert run(72) - run(8) <= 2 * 8  # one look in eight steps

    def crafted(steps):
        attack = table["pgd"](LINF, steps=steps, step_size=0.01)
        return waits(lambda: craft(attack, there.target, there.goal, there.images))

    assert crafted(72) == crafted(8)


class Hungry(nn.Module):
    """Takes a quarter of the device's memory for each image."""

    def __init__(self, module):
        super().__init__()
        self.module, self.refused = module, []
        self.share = torch.cuda.get_device_properties(0).total_memory // 4

    def forward(self, x):
        try:
            torch.empty(len(x) * self.share, dtype=torch.uint8, device=x.device)
        except torch.OutOfMemoryError:
            self.refused.append(len(x))
            raise
        return self.module(x)


@pytest.mark.skipif(DEVICE != "cuda", reason="the memory of a CUDA device")
def test_a_device_out_of_memory_halves_the_batch(there):
    hungry = Hungry(there.target.model)
    few = slice(0, 8)
    goal = sp.Misclassify(there.labels[few])
    outcome = sp.run(table["fgsm"](LINF), sp.Classifier(hungry), goal, there.images[few], engine=Engine(batch_size=8))
    torch.cuda.empty_cache()
    assert hungry.refused == [8, 4]
    whole = there.run(table["fgsm"](LINF))
    assert torch.equal(outcome.success, whole.success[few])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["pgd", "carlini-wagner", "square"])
def test_lower_precision_in_the_search_and_none_in_the_verdict(name, dtype, there):
    attack = EVERY[name]
    outcome, exact = there.run(attack, engine=Engine(autocast=dtype)), there.run(attack)
    honest(outcome, there, attack)
    assert outcome.examples.dtype == torch.float32
    assert int(outcome.success.sum()) >= int(exact.success.sum()) - A_FEW


@pytest.mark.parametrize("steps", [1, 7])
def test_craft_is_where_the_walk_ends(steps, there):
    made = craft(table["pgd"](LINF, steps, 0.03, random_start=False), there.target, there.goal, there.images)
    x = there.images.clone()
    for _ in range(steps):
        x.requires_grad_()
        loss = nn.functional.cross_entropy(there.target.model(x), there.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, x)
        moved = x.detach() + 0.03 * slope.sign()
        x = torch.minimum(torch.maximum(moved, there.images - 0.1), there.images + 0.1).clamp(0, 1)
    off = (made - x).abs().flatten(1).amax(1) > 1e-5  # where a slope is zero to rounding, its sign is anything
    assert int(off.sum()) <= A_FEW


@pytest.mark.parametrize("name", shared_table.keys())
def test_fit_makes_one_variable_for_all_images(name, there, here):
    attack = shared_table[name](sp.Linf(0.3), epochs=4, batch_size=16)
    shares = []
    for task in (there, here):
        made = fit(attack, task.target, task.goal, task.images)
        applied = ArtifactAttack(made.artifact)
        outcome = task.run(applied)
        if task is there:
            honest(outcome, task, applied)
        shares.append(float(outcome.success.float().mean()))
    assert shares[0] == pytest.approx(shares[1], abs=0.2)


class Noise(Stage):
    """x + 0.1 * normal."""

    @property
    def stochastic(self):
        return True

    def __call__(self, images, key):
        return (images + 0.1 * key.normal("noise", images.shape[1:], dtype=images.dtype)).clamp(0, 1)


class Rounding(Stage):
    """Eight levels; the identity stands in for its slope."""

    @property
    def differentiable(self):
        return False

    def __call__(self, images, key):
        return (images * 7).round() / 7


class KeyedNoise(Keyed):
    def noisy(self, inputs):
        return inputs + 0.1 * self.normal(inputs)


@pytest.mark.parametrize("name", ["pgd", "square", "carlini-wagner", "hopskipjump"])
def test_a_random_defence_is_attacked_by_expectation(name, there, here):
    rates = []
    for task in (there, here):
        defended = Defended(task.target, Noise(), Rounding(), votes=3)
        outcome = task.run(EVERY[name], defended.adaptive_view(4), engine=Engine(confirmation_samples=10))
        assert torch.equal(outcome.success, outcome.success_rate > 0.5)
        rates.append(outcome.success_rate.cpu())
    assert int(((rates[0] - rates[1]).abs() > 0.5).sum()) <= A_FEW
    again = there.run(EVERY[name], Defended(there.target, Noise(), Rounding(), votes=3).adaptive_view(4))
    assert again.examples.device.type == DEVICE


def test_draws_are_measured_there(there):
    defended = Defended(there.target, Noise())
    view = defended.adaptive_view(goal=there.goal, images=there.images)
    assert view.draws >= 1
    assert there.run(PGD20, defended.naive_view()).examples.device.type == DEVICE


@pytest.mark.parametrize("kind", ["keyed", "dropout"])
def test_a_random_net_leaves_the_generators_alone(kind, there):
    layer = KeyedNoise() if kind == "keyed" else nn.Dropout(0.2)
    target = sp.Classifier(_Always(layer, there.target.model).to(DEVICE), stochastic=kind == "dropout")
    state = torch.cuda.get_rng_state() if DEVICE == "cuda" else None
    outcome = there.run(PGD20, target)
    assert outcome.success.any()
    assert state is None or torch.equal(torch.cuda.get_rng_state(), state)
    again = there.run(PGD20, target)
    assert torch.equal(again.examples, outcome.examples)
    fitted = fit(shared_table["universal-gradient"](sp.Linf(0.3), epochs=1), target, there.goal, there.images)
    assert fitted.images > 0


class _Always(nn.Module):
    """A layer that is random in eval mode too, before a net."""

    def __init__(self, layer, net):
        super().__init__()
        self.layer, self.net = layer, net

    def forward(self, images):
        if isinstance(self.layer, nn.Dropout):
            return self.net(nn.functional.dropout(images, self.layer.p, True))
        return self.net(self.layer(images))


def test_several_models(there, digits):
    robust = load_model("zoo:mnist-robust-linf", device=DEVICE).target
    both = Ensemble([there.target, robust], fuse="probabilities")
    honest(there.run(PGD20, Surrogate(there.target, there.target)), there, PGD20)
    assert there.run(PGD20, both).examples.device.type == DEVICE
    grey = there.run(table["mi-fgsm"](LINF), Surrogate(robust, there.target))
    apart = Ensemble([there.target, load_model("zoo:mnist-robust-linf").target])  # on two devices
    assert there.run(PGD20, apart).success.sum() <= there.run(PGD20).success.sum() + A_FEW
    assert int(grey.success.sum()) <= COUNT


@pytest.mark.parametrize(("objective", "precision"), [(Madry(), "32-true"), (TRADES(), "bf16-mixed")], ids=str)
def test_an_epoch_of_training(objective, precision, tmp_path):
    data = load_data("zoo:mnist-4k", input=None)
    chunk = next(iter(data.chunks(1500)))
    target = load_model("zoo:mnist-plain").target  # which a PGD at 0.1 breaks
    first = target.model.layers[0].weight.detach().clone()
    trained = train(
        target,
        (chunk.images, chunk.labels),
        objective,
        Adversary((table["pgd"](sp.Linf(0.1), steps=3, step_size=0.05),)),
        config=TrainingConfig(
            epochs=1, batch_size=64, precision=precision, optimizer=Optimizer(name="adam", rate=1e-3, weight_decay=0.0)
        ),
        validation=Validation(held_out=200, steps=5),
        devices=Devices(accelerator="cuda" if DEVICE == "cuda" else "cpu"),
        out=tmp_path / "run",
    )
    assert len(trained.log) == 1
    assert trained.last.clean > 0.9
    assert 0.5 < trained.last.robust <= trained.last.clean
    weights = trained.last_weights["layers.0.weight"]
    assert weights.device.type == "cpu"
    assert bool(weights.isfinite().all())
    assert not torch.equal(weights, first)


def test_an_audit(digits, tmp_path):
    shares = []
    for device in (DEVICE, "cpu"):
        report = sp.audit(
            load_model("zoo:mnist-plain", device=device),
            [(digits.images, digits.labels)],
            threats=[sp.Linf(0.05), sp.Linf(0.1)],
            out=tmp_path / device,
            suite="quick",
            steps=5,
            restarts=1,
            queries=20,
            batch_size=16,
        )
        shares.append([part.robust_accuracy.count for part in report.threats[0].epsilons])
    assert (tmp_path / DEVICE / "report.html").exists()
    for one, other in zip(*shares, strict=True):
        assert abs(one - other) <= A_FEW


@pytest.mark.parametrize("draw", ["uniform", "normal", "signs"])
def test_keys_draw_the_same_everywhere(draw):
    indices = torch.arange(100)
    one = getattr(Key(indices, 7), draw)("stream", (33, 5), 3)
    other = getattr(Key(indices.to(DEVICE), 7), draw)("stream", (33, 5), 3)
    assert other.device.type == DEVICE
    torch.testing.assert_close(other.cpu(), one, rtol=0, atol=0 if draw != "normal" else 1e-5)
