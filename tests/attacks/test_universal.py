"""Universal perturbations: laws, pitfalls, files."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import sparring as sp
from sparring import testing
from sparring.attacks import AdvGAN, ArtifactAttack, GradientUniversal, Universal, load_artifact
from sparring.errors import ConfigError, InputError, RunError, ThreatError
from sparring.rows import take
from sparring.testing.shared_laws import same

FAST = GradientUniversal(sp.Linf(0.1), epochs=3, batch_size=5)


@pytest.fixture
def case():
    return testing.small_net(24)


@pytest.mark.parametrize(
    "attack",
    [
        GradientUniversal(sp.Linf(0.1), epochs=4, batch_size=5),
        GradientUniversal(sp.L2(0.5), epochs=4, batch_size=5),
        Universal(sp.Linf(0.1), epochs=4, batch_size=5),
        Universal(sp.L2(0.5), epochs=4, batch_size=5),
    ],
    ids=str,
)
def test_laws(attack):
    testing.check_shared(attack)


def test_laws_of_the_loop_as_published():
    """One image at a time. Its ways are DeepFool's in L2, which are not the shortest in Linf: no closed form."""
    testing.check_shared(
        Universal(sp.Linf(0.1), epochs=2, batch_size=1, step_scale=1.0), testing.small_net(6), ratio=None
    )
    testing.check_shared_closed_form(
        Universal(sp.L2(0.1), epochs=8, batch_size=1, step_scale=1.0, target_fooling_rate=1.0)
    )


def test_pitfall_18_only_images_that_stand_are_searched(case):
    """A batch that the perturbation fools already costs one look, and moves nothing."""
    strong = sp.fit(FAST, case.target, case.goal, case.images).artifact
    fell = sp.run(ArtifactAttack(strong), case.target, case.goal, case.images).success
    counting, goal = testing.Counting(case.module), take(case.goal, fell)
    attack = Universal(sp.Linf(0.1), batch_size=4)
    again = sp.fit(attack, sp.Classifier(counting), goal, case.images[fell], start=strong)
    assert torch.equal(again.artifact.delta, strong.delta)
    assert counting.backwards == 0
    assert again.forwards == 2 * int(fell.sum())  # the look at the clean images, and one epoch
    assert again.fooled == (1.0,)


def test_pitfall_18_the_perturbation_starts_at_zero_and_is_projected_itself(case):
    attack = Universal(sp.L2(0.3), epochs=2, batch_size=1, step_scale=1.0)
    made = sp.fit(attack, case.target, case.goal, case.images).artifact
    assert float(made.delta.norm()) == pytest.approx(0.3, rel=1e-6)  # v lies on the ball, wherever the images lie
    assert not attack.init(case.images[:1], 0, None).delta.any()


def test_targeted_pulls_images_to_the_class(case):
    standing = case.labels != 2
    goal = sp.ClassifyAs(torch.full((24,), 2))
    made = sp.fit(GradientUniversal(sp.Linf(0.4), epochs=20, batch_size=8), case.target, goal, case.images)
    assert made.images == int(standing.sum())  # those of the class already take no part
    with torch.no_grad():
        predicted = case.module(made.artifact.apply(case.images[standing])).argmax(1)
    assert (predicted == 2).float().mean() > 0.8
    assert made.fooled[0] < made.fooled[-1]


def test_applied_is_judged_like_any_attack(case):
    made = sp.fit(FAST, case.target, case.goal, case.images).artifact
    outcome = sp.run(ArtifactAttack(made), sp.Restricted(case.target, sp.Decisions), case.goal, case.images)
    with torch.no_grad():
        fell = case.module(made.apply(case.images)).argmax(1) != case.labels
    assert torch.equal(outcome.success, fell)
    assert 0 < fell.sum() < 24
    assert outcome.passes.forwards.tolist() == [1] * 24
    assert torch.equal(outcome.examples[fell], made.apply(case.images)[fell])


def test_going_on_from_an_artifact(case):
    def any_size(images):
        return torch.cat((images.mean((2, 3)), images.amax((2, 3))[:, :1]), dim=1)

    first = sp.fit(FAST, case.target, case.goal, case.images)
    more = sp.fit(replace(FAST, step_size=1e-9), case.target, case.goal, case.images, start=first.artifact)
    assert torch.allclose(more.artifact.delta, first.artifact.delta, atol=1e-7)
    with pytest.raises(InputError, match=r"the artifact moves images \(N, 3, 8, 8\), and these are .*\(1, 3, 8, 4\)"):
        sp.fit(FAST, sp.Classifier(any_size), case.goal, case.images[..., :4], start=first.artifact)


def test_a_start_from_a_larger_ball_is_brought_into_this_one(case):
    wide = sp.fit(replace(FAST, ball=sp.Linf(0.3)), case.target, case.goal, case.images).artifact
    for attack in (replace(FAST, step_size=1e-9), Universal(sp.Linf(0.1), epochs=1, steps=1)):
        made = sp.fit(attack, case.target, case.goal, case.images, start=wide).artifact
        assert float(made.delta.abs().max()) == pytest.approx(0.1)


def test_a_file_brings_back_the_artifact_and_where_it_is_from(case, tmp_path):
    made = sp.fit(FAST, case.target, case.goal, case.images)
    path = made.artifact.save(tmp_path / "uap.safetensors", made.made)
    artifact, origin = load_artifact(path)
    assert same(artifact, made.artifact)
    assert artifact.ball == sp.Linf(0.1)
    assert (origin["seed"], origin["images"]) == (0, 24)
    assert origin["attack"] == repr(FAST)
    assert len(origin["target_sha256"]) == len(origin["images_sha256"]) == 64


def _file(path, **changes):
    values = {
        "kind": "perturbation", "ball": {"norm": "Linf", "eps": 0.1}, "settings": {}, "versions": {}, "made": {},
    } | changes  # fmt: skip
    delta = values.pop("delta", torch.full((3, 8, 8), 0.1))
    save_file({"delta": delta}, str(path), metadata={"values": json.dumps(values)})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "os.system"},
        {"ball": {"norm": "Linf", "eps": 0.05}},  # smaller than the perturbation in the file
        {"ball": {"norm": "Linf", "eps": "inf"}},
        {"ball": {"norm": "eval", "eps": 0.1}},
        {"ball": {"norm": "Linf", "eps": -0.1}},
        {"ball": {"norm": "Linf", "eps": 10**400}},
        {"ball": 3},
        {"made": "yesterday"},
        {"delta": torch.zeros(3, 0, 8)},
        {"delta": torch.full((3, 8, 8), float("nan"))},
        {"delta": torch.zeros(8, 8)},
        {"delta": torch.zeros(3, 8, 8, dtype=torch.int32)},
    ],
    ids=[
        "kind",
        "eps",
        "infinite",
        "norm",
        "negative",
        "huge",
        "ball",
        "made",
        "empty",
        "nan",
        "shape",
        "integers",
    ],
)
def test_a_hostile_file_is_refused(tmp_path, changes):
    with pytest.raises(InputError, match=r"uap.safetensors is no artifact .*; make it again"):
        load_artifact(_file(tmp_path / "uap.safetensors", **changes))


def test_a_file_of_another_kind_is_refused(tmp_path):
    assert load_artifact(_file(tmp_path / "good.safetensors"))[0].ball == sp.Linf(0.1)
    for name, content in (("pickle.pt", b"\x80\x04cos\nsystem\n"), ("empty", b""), ("cut", b"\x10\x00\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match=rf"cannot read .*{name}.*; pass a file that Artifact.save wrote"):
            load_artifact(tmp_path / name)


def test_bad_input(case):
    with pytest.raises(ThreatError, match="GradientUniversal needs a radius"):
        GradientUniversal(sp.Linf())
    with pytest.raises(ThreatError, match="Universal knows Linf and L2, not L1"):
        Universal(sp.L1(1.0))
    with pytest.raises(ConfigError, match="Universal epochs=0; pass an integer >= 1"):
        Universal(sp.Linf(0.1), epochs=0)
    with pytest.raises(ConfigError, match=r"step_scale=0; pass a finite number > 0"):
        Universal(sp.Linf(0.1), step_scale=0)
    with pytest.raises(ConfigError, match=r"momentum=1.0; pass a finite number >= 0 and < 1"):
        GradientUniversal(sp.Linf(0.1), momentum=1.0)
    with pytest.raises(InputError, match="the goal is met on every image before the attack"):
        sp.fit(FAST, case.target, sp.Misclassify((case.labels + 1) % 4), case.images)
    with pytest.raises(InputError, match="pixels reach from"):
        sp.fit(FAST, case.target, case.goal, case.images * 255)
    with pytest.raises(ConfigError, match="makes a Perturbation and goes on from one, not from 'uap'"):
        sp.fit(FAST, case.target, case.goal, case.images, start="uap")
    with pytest.raises(ThreatError, match="larger than the whole range"):
        sp.fit(replace(FAST, ball=sp.Linf(8)), case.target, case.goal, case.images)


def test_a_checkpoint_of_another_fit_is_refused(case, tmp_path):
    engine = sp.Engine(checkpoint=tmp_path, checkpoint_seconds=-1)
    sp.fit(FAST, case.target, case.goal, case.images, engine=engine)
    with pytest.raises(RunError, match="belongs to another fit"):
        sp.fit(replace(FAST, epochs=4), case.target, case.goal, case.images, engine=engine)


def test_killed_and_taken_up_again_ends_with_the_same_artifact(case, tmp_path):
    script = (
        "import os, signal, sys, sparring as sp\n"
        "from sparring import testing\n"
        "from sparring.attacks import GradientUniversal\n"
        "case, folder, last = testing.small_net(24), sys.argv[1], int(sys.argv[2])\n"
        "def watch(p):\n"
        "    if p.step == last: os.kill(os.getpid(), signal.SIGKILL)\n"
        "engine = sp.Engine(checkpoint=folder, checkpoint_seconds=-1, progress=watch)\n"
        "attack = GradientUniversal(sp.Linf(0.1), epochs=3, batch_size=5)\n"
        "sp.fit(attack, case.target, case.goal, case.images, engine=engine)\n"
    )
    for last in (2, 9):  # the second goes on from what the first left
        command = [sys.executable, "-c", script, str(tmp_path), str(last)]
        assert subprocess.run(command, timeout=60, check=False).returncode == -9
    engine = sp.Engine(checkpoint=tmp_path)
    seen = []
    resumed = sp.fit(FAST, case.target, case.goal, case.images, engine=replace(engine, progress=seen.append))
    whole = sp.fit(FAST, case.target, case.goal, case.images)
    assert seen[0].step == 9  # eight steps were in the checkpoint
    assert same(resumed.artifact, whole.artifact)
    assert (resumed.forwards, resumed.backwards, resumed.fooled) == (whole.forwards, whole.backwards, whole.fooled)


def test_a_full_memory_names_the_portion(case):
    def full(images):
        if len(images) > 4 and images.requires_grad:
            raise torch.OutOfMemoryError("out of memory")
        return case.module(images)

    with pytest.raises(RunError, match="ran out of memory with batch_size=5; pass a smaller one"):
        sp.fit(FAST, sp.Classifier(full), case.goal, case.images)
    assert sp.fit(replace(FAST, batch_size=4), sp.Classifier(full), case.goal, case.images).images == 24


@pytest.mark.parametrize("attack", [
    Universal(sp.Linf(0.1), epochs=1, batch_size=3),
    GradientUniversal(sp.L2(0.8), epochs=2, batch_size=3),
    AdvGAN(sp.Linf(0.1), epochs=1, batch_size=3),
], ids=lambda attack: attack.name)  # fmt: skip
def test_a_fit_under_masks_and_radii_asks_about_nothing_else(attack):
    """Each image that is asked about lies within the radius of a row, and has moved where that row may move alone."""
    case, asked = testing.small_net(6), []
    mask = testing.cases.draw("mask", tuple(case.images.shape)) > 0
    eps = attack.ball.eps * torch.tensor([0.5, 1.0, 0.7, 0.9, 0.3, 0.8]).double()

    class Watching(torch.nn.Module):
        def forward(self, images):
            asked.append(images.detach().clone())
            return case.module(images)

    sp.fit(attack, sp.Classifier(Watching()), case.goal, case.images, mask=mask, eps=eps)
    for image in torch.cat(asked):
        rows = [row for row in range(6) if torch.equal(image[~mask[row]], case.images[row][~mask[row]])]
        size = attack.ball.norm(image - case.images[rows])
        assert rows
        assert isinstance(attack, Universal) or (size <= eps[rows] + 1e-6).any()  # DeepFool in it looks farther
