"""Examples of one model on others: what is counted, and on which images."""

import copy

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.attacks import MIFGSM, PGD, Square
from sparring.errors import ConfigError, GoalError
from sparring.rows import take
from sparring.targets import Ensemble
from sparring.testing.cases import draw, filled
from sparring.transfer import TransferCounts, leave_one_out, transfer_matrix, transfer_then_query

BALL = sp.Linf(0.02)


def nets(*amounts, count=12):
    """A linear model's images, and relatives of it at these distances."""
    case, models = testing.linear(4, count), {}
    for number, amount in enumerate(amounts):
        own = copy.deepcopy(case.module)
        with torch.no_grad():
            for i, weight in enumerate(own.parameters()):
                weight.add_(amount * weight.abs().mean() * draw(f"net {number} {i}", tuple(weight.shape)))
        models[f"net {number}"] = sp.Classifier(own, name=f"net {number}")
    return case, models


def joined(members):
    """An ensemble by hand: the mean of the logits."""
    return sp.Classifier(lambda images: sum(member(images) for member in members) / len(members), name="joined")


def test_every_cell_is_what_an_attack_and_a_trial_by_hand_give():
    case, models = nets(0.0, 0.12, 0.18)
    tally = transfer_matrix(models, models, PGD(BALL, steps=10), case.goal, case.images)
    right = torch.stack([model(case.images).argmax(1) == case.labels for model in models.values()]).all(0)
    assert tally.images == int(right.sum()) < len(case.images)
    indices = right.nonzero().squeeze(1)
    for i, source in enumerate(models.values()):
        alone = sp.run(
            PGD(BALL, steps=10), source, take(case.goal, indices), case.images[indices], keep=sp.Keep.HIGHEST_LOSS
        )
        for j, victim in enumerate(models.values()):
            wrong = victim(alone.examples).argmax(1) != case.labels[indices]
            assert int(tally.fell[i, j]) == int(wrong.sum())
    diagonal = tally.fell.diagonal()
    assert (diagonal >= tally.fell).all()  # nobody does better on a model than the attack made on it
    assert (diagonal > 0).all()


def test_models_that_do_not_answer_alike_have_goals_of_their_own():
    case = testing.small_net(12)
    models = {}
    for name, size in (("a", 5), ("b", 7), ("c", 3)):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, size)).double()
        models[name] = sp.Model(filled(net, name), sp.tasks.Verification())
    goals = {name: sp.goals.Dodge(model(case.images + 0.01), 0.98) for name, model in models.items()}
    attack = MIFGSM(sp.Linf(0.1))
    tally = transfer_matrix(models, models, attack, goals, case.images)
    assert tally.images == 12
    assert (tally.fell.diagonal() == 12).all()
    row = leave_one_out(models, Ensemble, attack, goals, case.images)
    both = Ensemble([models["a"], models["b"]], fuse="losses")
    aim = sp.goals.FoolMembers(goals["a"], goals["b"])
    examples = sp.run(attack, both, aim, case.images, keep=sp.Keep.HIGHEST_LOSS).examples
    assert int(row.fell[0, 2]) == int((goals["c"].margin(models["c"](examples)) > 0).sum())
    with pytest.raises(ConfigError, match="there is no goal for the model 'c'; pass one for each"):
        transfer_matrix(models, models, attack, {"a": goals["a"], "b": goals["b"]}, case.images)


def test_the_attack_goes_on_after_its_own_model_has_fallen():
    """Examples that just cross at home hardly move the neighbor."""
    case, models = nets(0.0, 0.12)
    names = list(models)
    source, victim = models[names[0]], models[names[1]]
    tally = transfer_matrix({"a": source}, {"b": victim}, PGD(BALL, steps=10), case.goal, case.images)
    standing = (source(case.images).argmax(1) == case.labels) & (victim(case.images).argmax(1) == case.labels)
    first = sp.run(PGD(BALL, steps=10), source, case.goal, case.images)
    early = (victim(first.examples).argmax(1) != case.labels) & standing
    assert int(tally.fell[0, 0]) > int(early.sum())


def test_targeted_examples_count_only_where_the_target_is_named():
    case, models = nets(0.0, 0.12)
    targets = (case.labels + 1) % 4
    tally = transfer_matrix(models, models, PGD(BALL, steps=20), sp.ClassifyAs(targets), case.images)
    free = transfer_matrix(models, models, PGD(BALL, steps=20), case.goal, case.images)
    assert (tally.fell / tally.images).sum() < (free.fell / free.images).sum()
    assert tally.fell[0, 0] > 0


def test_parts_of_a_data_set_add_up_to_the_whole():
    case, models = nets(0.0, 0.12)
    attack = MIFGSM(BALL, steps=5)
    whole = transfer_matrix(models, models, attack, case.goal, case.images)
    parts = [
        transfer_matrix(models, models, attack, take(case.goal, rows), case.images[rows], indices=rows)
        for rows in torch.arange(12).split(5)
    ]
    total = parts[0] + parts[1] + parts[2]
    assert torch.equal(total.fell, whole.fell)
    assert total.images == whole.images
    with pytest.raises(ConfigError, match="does not add to one of other models"):
        whole + TransferCounts(("x",), ("y",), torch.zeros(1, 1), 3)


def test_the_model_held_out_takes_no_part_in_what_it_is_tried_with():
    case, models = nets(0.0, 0.1, 0.12)
    seen = []

    def together(members):
        seen.append([member.name for member in members])
        return joined(members)

    tally = leave_one_out(models, together, PGD(BALL, steps=10), case.goal, case.images)
    assert seen == [["net 1", "net 2"], ["net 0", "net 2"], ["net 0", "net 1"]]
    assert tally.fell.shape == (1, 3)
    table = transfer_matrix(models, models, PGD(BALL, steps=10), case.goal, case.images).append_rows(tally)
    assert table.rows[-1] == "the others together"
    assert table.fell.shape == (4, 3)
    with pytest.raises(ConfigError, match="needs 3 models"):
        leave_one_out({"net 0": models["net 0"]}, joined, PGD(BALL), case.goal, case.images)


def test_where_the_others_err_together_their_examples_are_tried_all_the_same():
    """Others that say the opposite err on every image, and what is made on them leads away from any mistake."""
    case, models = nets(0.0, 0.1, 0.12)

    def opposed(members):
        together = joined(members)
        return sp.Classifier(lambda images: -together(images), name="opposed")

    tally = leave_one_out(models, opposed, PGD(BALL, steps=5), case.goal, case.images)
    assert tally.images > 0
    assert tally.fell.tolist() == [[0, 0, 0]]


def test_no_image_left_is_an_empty_tally_and_bad_labels_an_error():
    case, models = nets(0.0)
    wrong = (case.labels + 1) % 4
    assert transfer_matrix(models, models, PGD(BALL), sp.Misclassify(wrong), case.images).images == 0
    three = nets(0.0, 0.1, 0.12)[1]
    assert leave_one_out(three, joined, PGD(BALL), sp.Misclassify(wrong), case.images).fell.tolist() == [[0, 0, 0]]
    with pytest.raises(sp.errors.InputError, match="the model has 4 classes"):
        transfer_matrix(models, models, PGD(BALL), sp.Misclassify(wrong + 9), case.images)
    with pytest.raises(GoalError, match="there are no images"):
        transfer_matrix(models, models, PGD(BALL), sp.Misclassify(wrong[:0]), case.images[:0])


def test_a_query_attack_that_starts_from_a_transferred_example_needs_fewer_queries():
    case, models = nets(0.12)
    own = models["net 0"]
    victim = sp.Restricted(case.target, sp.Scores)
    attack = Square(sp.Linf(0.03), n_queries=200)
    cold = sp.run(attack, victim, case.goal, case.images)
    warm = transfer_then_query(PGD(sp.Linf(0.03), steps=20), own, attack, victim, case.goal, case.images)
    assert warm.success.sum() >= cold.success.sum()
    assert warm.passes.forwards.float().mean() < 0.5 * cold.passes.forwards.float().mean()
    assert (warm.passes.backwards == 0).all()
    assert (case.module(warm.examples[warm.success]).argmax(1) != case.labels[warm.success]).all()
