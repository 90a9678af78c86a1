"""Artifacts are judged on images they have not seen and on fresh draws, with what the images do without them."""

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.attacks import Patch, Perturbation, Square, load_artifact
from sparring.engine import fingerprint
from sparring.errors import ConfigError, GoalError, InputError, TargetError
from sparring.goals import FoolScenes
from sparring.random import Key
from sparring.rows import take
from sparring.targets import OverScenes
from sparring.transforms import AppliedArtifact, PlacePatch


@pytest.fixture(scope="module")
def case():
    return testing.small_net(24)


def judge(artifact, case, **options):
    return sp.judge_artifact(artifact, case.target, case.goal, case.images, **options)


def test_a_perturbation_is_judged_as_the_model_sees_it(case):
    delta = 0.1 * testing.cases.draw("delta", (3, 8, 8)).sign()
    artifact = Perturbation(delta, sp.Linf(0.1))
    found = judge(artifact, case)
    won = case.goal.margin(case.module(artifact.apply(case.images))) > 0
    assert torch.equal(found.success_rate, won.float())
    assert not found.clean_rate.any()
    assert found.n_draws == 1
    assert found.attack_success_rate == pytest.approx(float(won.double().mean()))


def test_a_patch_is_judged_at_fresh_places(case):
    patch = Patch(torch.ones(3, 5, 5).double())
    found = judge(patch, case, n_draws=40)
    again = judge(patch, case, n_draws=40, engine=sp.Engine(batch_size=5))
    assert torch.equal(found.success_rate, again.success_rate)  # whatever the batch
    other = judge(patch, case, n_draws=40, engine=sp.Engine(seed=1))
    assert not torch.equal(found.success_rate, other.success_rate)
    slow = torch.zeros(24)
    for place in range(16):  # the share over all places, all of them as likely
        x = case.images.clone()
        x[:, :, place // 4 : place // 4 + 5, place % 4 : place % 4 + 5] = 1
        slow += (case.goal.margin(case.module(x)) > 0) / 16
    assert 0.02 < slow.mean() < 0.98
    assert float((found.success_rate - slow).abs().max()) < 0.3
    assert float(found.success_rate.mean()) == pytest.approx(float(slow.mean()), abs=0.05)


def test_a_patch_lies_in_the_box_of_its_row(case):
    boxes = torch.tensor([[2.0, 3.0, 6.0, 8.0]]).expand(24, 4)
    patch = Patch(torch.full((3, 2, 2), 0.9))
    x = torch.zeros(24, 3, 8, 8)
    worn = patch.apply(x, Key(torch.arange(24), 3), sp.Scene(boxes=boxes))
    assert (worn != 0).flatten(1).sum(1).tolist() == [12] * 24
    assert not worn[:, :, :3].any()
    assert not worn[..., :2].any()
    assert not worn[..., 6:].any()
    assert len({tuple(image.flatten().nonzero().flatten().tolist()) for image in worn}) > 6


def test_a_patch_that_was_made_over_scenes_is_saved_and_judged_on_others(case, tmp_path):
    many = testing.small_net(64)
    scenes, made, unseen = sp.Scene(images=many.images), torch.arange(40), torch.arange(40, 64)
    over = OverScenes(sp.Pipeline(many.target, PlacePatch()), take(many.goal, made), take(scenes, made), 16)
    start = torch.full((1, 3, 4, 4), 0.5).double()
    outcome = sp.run(Square(sp.Linf(0.5), 150), over, FoolScenes(torch.zeros(1), 0.9), start, keep=sp.Keep.HIGHEST_LOSS)
    path = Patch(outcome.examples[0]).save(tmp_path / "patch.safetensors", {"attack": "Square"})
    patch, told = load_artifact(path)
    assert told == {"attack": "Square"}
    assert torch.equal(patch.image, outcome.examples[0])
    goal, images = take(many.goal, unseen), many.images[unseen]
    found, grey = (sp.judge_artifact(one, many.target, goal, images) for one in (patch, Patch(start[0])))
    assert found.attack_success_rate > grey.attack_success_rate + 0.1


def test_what_is_no_patch_is_refused():
    for image in (torch.zeros(4, 4), torch.zeros(3, 4, 4).long(), torch.full((3, 4, 4), 1.5), torch.zeros(3, 0, 4)):
        with pytest.raises(ValueError, match="patch"):
            Patch(image)
    with pytest.raises(InputError, match="does not fit"):
        Patch(torch.zeros(3, 9, 9)).apply(torch.zeros(2, 3, 8, 8))


def test_bad_calls_are_refused_before_a_question(case):
    counting = testing.Counting(case.module)
    target, patch = sp.Classifier(counting), Patch(torch.zeros(3, 2, 2))
    with pytest.raises(ConfigError, match="n_draws=0"):
        sp.judge_artifact(patch, target, case.goal, case.images, n_draws=0)
    with pytest.raises(GoalError, match="Dodge is a goal of verification"):
        sp.judge_artifact(patch, target, testing.verifier(24).goal, case.images)
    with pytest.raises(InputError, match="context boxes has 3 rows"):
        sp.judge_artifact(patch, target, case.goal, case.images, context=sp.Scene(boxes=torch.zeros(3, 4)))
    assert counting.calls == 0


def test_an_artifact_is_a_transform_like_any_other(case):
    patch = Patch(torch.ones(3, 3, 3).double())
    worn = sp.Pipeline(case.target, AppliedArtifact(patch))
    key = Key(torch.arange(24), 5)
    assert torch.equal(worn(case.images, key), case.module(patch.apply(case.images, key.reseeded(0))))
    other = sp.Pipeline(case.target, AppliedArtifact(Patch(torch.zeros(3, 3, 3))))
    assert fingerprint(*worn.identity()) != fingerprint(*other.identity())


@pytest.mark.wrong_types
def test_what_cannot_be_judged_is_refused(case):
    patch = Patch(torch.ones(3, 5, 5).double())
    with pytest.raises(InputError, match="99"):
        sp.judge_artifact(patch, case.target, sp.Misclassify(torch.full((24,), 99)), case.images)
    broken = sp.Classifier(lambda x: case.module(x) * torch.nan)
    with pytest.raises(TargetError, match="no finite"):
        sp.judge_artifact(patch, broken, case.goal, case.images)
    with pytest.raises(TargetError, match="is no target"):
        sp.judge_artifact(patch, case.images, case.goal, case.images)
    with pytest.raises(ConfigError, match="is no artifact"):
        sp.judge_artifact(torch.ones(3, 5, 5), case.target, case.goal, case.images)


def test_a_model_that_answers_nan_is_not_counted_as_robust(case):
    def broken(images):
        logits = case.module(images)
        logits[(images[:, 0, 0, 0] == case.images[20, 0, 0, 0])] = torch.nan
        return logits

    patch = Patch(torch.zeros(3, 2, 2))
    with pytest.raises(TargetError, match="answers NaN for image 20"):
        sp.judge_artifact(
            patch, sp.Classifier(broken, identity="broken"), case.goal, case.images, engine=sp.Engine(batch_size=8)
        )
