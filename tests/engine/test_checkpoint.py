"""Checkpoints: whose they are, and what happens when they or the disk are broken."""

import copy
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks import PGD, HopSkipJump, Restarts, Square
from sparring.engine.answers import answers_agree, sample_answers
from sparring.engine.checkpoint import fingerprint
from sparring.errors import ConfigError, RunError
from sparring.goals import Margin
from sparring.random import Key
from sparring.zoo.user_attack import user_attack

ATTACK = PGD(sp.Linf(0.02), steps=6)


@pytest.fixture
def case():
    return testing.small_net(6)


def interrupted(case, folder, *, attack=ATTACK, after=4, **options):
    """A run that is stopped after some steps and leaves its checkpoint."""
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) > after:
            raise KeyboardInterrupt

    engine = sp.Engine(batch_size=4, checkpoint=folder, checkpoint_seconds=-1, progress=stop, **options)
    with pytest.raises(KeyboardInterrupt):
        sp.run(attack, case.target, case.goal, case.images, engine=engine)
    return replace(engine, progress=None)


@pytest.mark.parametrize("after", [2, 8])  # in the first batch, in the second
@pytest.mark.parametrize(
    "other", ["attack", "ball", "goal", "loss", "images", "seed", "indices", "target", "keep", "budget"]
)
def test_the_checkpoint_of_another_run_is_refused(case, tmp_path, other, after):
    engine = interrupted(case, tmp_path, after=after)
    attack, goal, images, target, options = ATTACK, case.goal, case.images, case.target, {}
    if other == "attack":
        attack = replace(ATTACK, steps=7)
    elif other == "ball":
        attack = replace(ATTACK, ball=sp.L2(0.02))
    elif other == "goal":
        goal = sp.Misclassify((case.labels + 1) % 4)
    elif other == "loss":
        goal = replace(goal, loss=Margin())
    elif other == "images":
        images = images.flip(3)
    elif other == "indices":
        options = {"indices": torch.arange(1, len(images) + 1)}
    elif other == "target":
        target = sp.Classifier(_nudged(case.module))
    elif other == "keep":
        options = {"keep": sp.Keep.HIGHEST_LOSS}
    elif other == "budget":
        options = {"budget": sp.Budget(forwards=3)}
    else:
        engine = replace(engine, **{other: 1})
    with pytest.raises(RunError, match=r"belongs to another run .*; use another checkpoint folder"):
        sp.run(attack, target, goal, images, engine=engine, **options)


def _nudged(module):
    """The module with one weight moved."""
    other = copy.deepcopy(module)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    return other


def test_fingerprints_see_types_and_tensors_inside_records():
    x = torch.zeros(2, 3)
    parts = [
        PGD(sp.Linf(0.5)), PGD(sp.L2(0.5)), sp.attacks.BIM(sp.Linf(0.5), steps=40, random_start=True),
        Restarts(PGD(sp.Linf(0.5)), 1), Restarts(sp.attacks.BIM(sp.Linf(0.5), steps=40, random_start=True), 1),
        HopSkipJump(starting_pool=x), HopSkipJump(starting_pool=x + 1), HopSkipJump(),
        sp.Misclassify(torch.zeros(2000, dtype=torch.long)), sp.ClassifyAs(torch.zeros(2000, dtype=torch.long)),
        sp.Misclassify(torch.zeros(2000, dtype=torch.long).index_fill(0, torch.tensor([1000]), 1)),
        x, x.view(3, 2), x.double(), torch.tensor(0.0), x.bfloat16(),
    ]  # fmt: skip
    marks = [fingerprint(part) for part in parts]
    assert len(set(marks)) == len(parts)
    assert fingerprint(HopSkipJump(starting_pool=x.clone())) == fingerprint(HopSkipJump(starting_pool=x))


def test_the_same_run_goes_on_and_a_finished_one_asks_about_the_first_inputs_only(case, tmp_path):
    whole = sp.run(ATTACK, case.target, case.goal, case.images, engine=sp.Engine(batch_size=4))
    engine = interrupted(case, tmp_path, after=8)
    again = sp.run(ATTACK, case.target, case.goal, case.images, engine=engine)
    assert torch.equal(again.examples, whole.examples)
    assert torch.equal(again.passes.forwards, whole.passes.forwards)
    calls = []
    hook = case.module.register_forward_hook(lambda *_: calls.append(1))
    read = sp.run(ATTACK, case.target, case.goal, case.images, engine=engine)
    hook.remove()
    assert len(calls) == 1
    assert torch.equal(read.examples, whole.examples)
    assert read.reasons == whole.reasons


def test_another_batch_size_takes_the_run_up_as_well(case, tmp_path):
    whole = sp.run(ATTACK, case.target, case.goal, case.images)
    engine = replace(interrupted(case, tmp_path, after=3), batch_size=1)
    again = sp.run(ATTACK, case.target, case.goal, case.images, engine=engine)
    assert float((again.examples - whole.examples).abs().max()) < 1e-12


@pytest.mark.parametrize("damage", ["truncated", "scribbled", "empty", "foreign"])
@pytest.mark.parametrize("name", ["current.safetensors", "batch-000000000.safetensors"])
def test_a_corrupt_checkpoint_is_named(case, tmp_path, damage, name):
    engine = interrupted(case, tmp_path, after=8)
    file = tmp_path / name
    content = file.read_bytes()
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(2)}, str(file))
    else:
        file.write_bytes({"truncated": content[: len(content) // 2], "scribbled": b"\xff" * 100, "empty": b""}[damage])
    with pytest.raises(RunError, match=rf"cannot read .*{name}.*; delete it to begin again"):
        sp.run(ATTACK, case.target, case.goal, case.images, engine=engine)


def test_no_partial_file_is_left(case, tmp_path):
    interrupted(case, tmp_path, after=8)
    names = {"answers.safetensors", "current.safetensors", "batch-000000000.safetensors"}
    assert {file.name for file in tmp_path.iterdir()} == names


FULL = """
import resource, sys, torch
import sparring as sp
from sparring import testing
torch.set_num_threads(1)
case = testing.small_net(8)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    sp.run(sp.attacks.FGSM(sp.Linf(0.1)), case.target, case.goal, case.images, engine=sp.Engine(checkpoint=sys.argv[1]))
except sp.errors.RunError as error:
    print(error)
"""


def test_a_full_disk_is_told(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot write" in done.stdout
    assert "free some space or choose another folder" in done.stdout
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["answers.safetensors"]  # which is small


def test_a_folder_that_is_a_file(case, tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunError, match=r"cannot write .*; choose another checkpoint folder"):
        sp.run(ATTACK, case.target, case.goal, case.images, engine=sp.Engine(checkpoint=tmp_path / "run"))


def test_a_batch_saved_before_the_memory_ran_out_is_taken_up_in_halves(case, tmp_path):
    """The batch under way must not come back at its old size, or the run would never get smaller."""

    class Shrinks(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.sizes = 0, []

        def forward(self, x):
            self.calls += 1
            self.sizes.append(len(x))
            if self.calls > 4 and len(x) > 2:
                raise torch.OutOfMemoryError("planted")
            return case.module(x)

    model = Shrinks()
    engine = sp.Engine(batch_size=4, checkpoint=tmp_path, checkpoint_seconds=-1)
    outcome = sp.run(ATTACK, sp.Classifier(model), case.goal, case.images, engine=engine)
    whole = sp.run(ATTACK, case.target, case.goal, case.images)
    assert max(model.sizes[6:]) <= 2
    assert float((outcome.examples - whole.examples).abs().max()) < 1e-12


@pytest.mark.parametrize("attack", [Square(sp.Linf(0.06), n_queries=130), Restarts(HopSkipJump(steps=2), 2)])
def test_states_with_draws_and_keys_in_them_are_saved(case, tmp_path, attack):
    whole = sp.run(attack, case.target, case.goal, case.images, engine=sp.Engine(batch_size=4))
    engine = interrupted(case, tmp_path, attack=attack, after=3)
    again = sp.run(attack, case.target, case.goal, case.images, engine=engine)
    assert torch.equal(again.examples, whole.examples)


def test_a_function_needs_an_identity_to_own_a_checkpoint(tmp_path):
    """Two functions have one name, and the examples of the first would be given out for the second."""
    images, goal = torch.rand(4, 1, 3, 3), sp.Misclassify(torch.zeros(4, dtype=torch.long))
    attack, engine = sp.attacks.FGSM(sp.Linf(0.1)), sp.Engine(checkpoint=tmp_path)

    def first(x):
        return torch.stack((x.mean((1, 2, 3)), 0.4 + 0 * x[:, 0, 0, 0]), 1)

    def second(x):
        return first(x).flip(1)

    with pytest.raises(ConfigError, match="is a function, and nothing tells a checkpoint which one; pass Classifier"):
        sp.run(attack, sp.Classifier(first), goal, images, engine=engine)
    made = sp.run(attack, sp.Classifier(first, identity="first"), goal, images, engine=engine)
    again = sp.run(attack, sp.Classifier(first, identity="first"), goal, images, engine=engine)
    assert torch.equal(made.examples, again.examples)
    with pytest.raises(RunError, match="belongs to another run"):
        sp.run(attack, sp.Classifier(second, identity="second"), goal, images, engine=engine)
    with pytest.raises(ConfigError, match="is a function"):  # also where it stands behind something
        short = sp.attacks.Square(sp.Linf(0.1), n_queries=2)
        sp.run(short, sp.Restricted(sp.Classifier(first), sp.Scores), goal, images, engine=engine)


class Sloped(nn.Module):
    """A net whose code has changed where `slope` has: nothing in its weights or its name says so."""

    slope = 0.0

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(48, 4)

    def forward(self, x):
        return torch.nn.functional.leaky_relu(self.layer(x.flatten(1)), type(self).slope)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("kind", ["run", "fit"])
def test_a_model_of_the_same_weights_that_answers_otherwise_is_refused(kind, finished, tmp_path, monkeypatch):
    torch.manual_seed(0)
    images, target = torch.rand(6, 3, 4, 4), sp.Classifier(Sloped())
    goal = sp.Misclassify(target(images).argmax(1))
    done = []

    def stop(progress):
        done.append(progress.step)
        if len(done) == 2 and not finished:
            raise KeyboardInterrupt

    def work():
        engine = sp.Engine(batch_size=4, checkpoint=tmp_path, checkpoint_seconds=-1, progress=stop)
        if kind == "run":
            return sp.run(sp.attacks.PGD(sp.Linf(0.01), steps=5), target, goal, images, engine=engine)
        attack = sp.attacks.GradientUniversal(sp.Linf(0.01), epochs=3, batch_size=2)
        return sp.fit(attack, target, goal, images, engine=engine)

    with suppress(KeyboardInterrupt):
        work()
    monkeypatch.setattr(Sloped, "slope", 0.1)
    with pytest.raises(RunError, match="belongs to another model, which has the same weights and answers otherwise"):
        work()
    monkeypatch.setattr(Sloped, "slope", 0.0)
    work()


def test_answers_that_differ_by_rounding_are_those_of_the_same_model():
    before = {"outputs": torch.tensor([3.1001, -100.003, float("inf"), float("nan")])}
    rounded = {"outputs": torch.tensor([3.14, -100.05, float("inf"), float("nan")])}
    other = {"outputs": torch.tensor([3.1001, -100.2, float("inf"), float("nan")])}
    assert answers_agree(before, rounded)
    assert not answers_agree(before, other)
    assert answers_agree(before, other, same_device=False)
    assert not answers_agree(before, {"outputs": torch.tensor([3.1001, -100.003, 0.0, float("nan")])})
    assert not answers_agree(before, {"outputs": torch.zeros(3)})
    assert answers_agree({}, other)


def test_a_target_that_answers_otherwise_each_time_keeps_no_answers():
    key = Key(torch.arange(2), 0)
    noisy = sp.Classifier(lambda x: x.flatten(1)[:, :4] + torch.rand(len(x), 4), name="noisy")
    assert sample_answers(noisy, torch.rand(2, 1, 2, 2), key) == {}


def test_a_fit_stopped_inside_a_step_keeps_the_steps_before(tmp_path, monkeypatch):
    """The checkpoint is due in a minute only: an interruption writes it all the same, and the artifact is the same."""
    torch.manual_seed(0)
    images, target = torch.rand(6, 3, 4, 4), sp.Classifier(Sloped())
    attack, goal = (
        sp.attacks.GradientUniversal(sp.Linf(0.01), epochs=2, batch_size=2),
        sp.Misclassify(target(images).argmax(1)),
    )
    whole, calls, step = sp.fit(attack, target, goal, images), [], type(attack).step

    def stopping(self, oracle, *rest):
        calls.append(step(self, oracle, *rest))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(attack), "step", stopping)
        sp.fit(attack, target, goal, images, engine=sp.Engine(checkpoint=tmp_path))
    with safe_open(tmp_path / "fit.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["values"])["t"] == 3
    again = sp.fit(attack, target, goal, images, engine=sp.Engine(checkpoint=tmp_path))
    assert torch.equal(again.artifact.delta, whole.artifact.delta)
    assert (again.forwards, again.backwards, again.fooled) == (whole.forwards, whole.backwards, whole.fooled)


class Holder:
    """Without a text of its own, so that Python says where it lies in memory."""

    def __init__(self, inner):
        self.inner = inner


def test_a_fingerprint_does_not_depend_on_addresses():
    assert fingerprint(Holder([1, torch.ones(2)])) == fingerprint(Holder([1, torch.ones(2)]))
    assert fingerprint(Holder([1, torch.ones(2)])) != fingerprint(Holder([1, torch.zeros(2)]))
    assert fingerprint(lambda x: x) != fingerprint(lambda x: x + 1)


def test_two_runs_of_one_checkpoint_do_not_meet(case, tmp_path):
    other = (
        "import sys, time\nfrom pathlib import Path\nfrom sparring.files import locked\n"
        "with locked(Path(sys.argv[1]), 'a run'):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", other, str(tmp_path)], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        try:
            with pytest.raises(RunError, match="another process is at work on a run in"):
                sp.run(ATTACK, case.target, case.goal, case.images, engine=sp.Engine(checkpoint=tmp_path))
        finally:
            child.kill()
    sp.run(ATTACK, case.target, case.goal, case.images, engine=sp.Engine(checkpoint=tmp_path))


def test_the_content_of_a_users_file_tells_one_attack_from_another(tmp_path):
    written = []
    for tolerance in (1, 2):
        file = tmp_path / "own.py"
        file.write_text(
            "from dataclasses import dataclass\nfrom sparring.attacks import PGD\n"
            f"TOLERANCE = {tolerance}\n@dataclass(frozen=True)\nclass Own(PGD):\n    pass\n"
        )
        written += [fingerprint(user_attack(f"{file}:Own")(sp.Linf(0.1))) for _ in range(2)]
    assert written[0] == written[1] != written[2] == written[3]
