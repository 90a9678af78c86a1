"""Several classifiers as one: what is fused, what each is given, what is refused."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep, Scores
from sparring.attacks import FGSM, MIFGSM, PGD
from sparring.errors import GoalError, TargetError
from sparring.goals import CrossEntropy, Dodge, FoolMembers, Impersonate
from sparring.targets import Model, Restricted, Surrogate
from sparring.targets.ensemble import Ensemble
from sparring.tasks import Verification


def net(classes=4, seed=1, channels=3):
    draw = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                           nn.Linear(16, classes)).double()  # fmt: skip
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return module


@pytest.fixture
def case():
    return testing.small_net(6)


@pytest.fixture
def members(case):
    return [case.target, sp.Classifier(net(seed=2), mean=0.4, std=(0.2, 0.3, 0.5)), sp.Classifier(net(seed=3))]


WEIGHTS = (0.5, 0.2, 0.3)


def test_pitfall_14_logits_are_fused_before_any_softmax(case, members):
    z = torch.stack([member(case.images) for member in members])
    w = torch.tensor(WEIGHTS).double()[:, None, None]
    assert torch.allclose(Ensemble(members, WEIGHTS)(case.images), (w * z).sum(0), atol=1e-12)
    assert torch.allclose(Ensemble(members)(case.images), z.mean(0), atol=1e-12)
    soft = Ensemble(members, WEIGHTS, fuse="probabilities")(case.images)
    assert torch.allclose(soft.exp(), (w * z.softmax(2)).sum(0), atol=1e-12)


def test_pitfall_14_each_member_keeps_its_own_normalisation(case):
    column = torch.tensor((0.2, 0.3, 0.5)).double().view(3, 1, 1)
    one = Ensemble([sp.Classifier(case.module, mean=0.4, std=(0.2, 0.3, 0.5)), case.target], (0.25, 0.75))
    wanted = 0.25 * case.module((case.images - 0.4) / column) + 0.75 * case.module(case.images)
    assert torch.allclose(one(case.images), wanted, atol=1e-12)


@pytest.mark.parametrize("fuse", ["logits", "probabilities"])
def test_an_attack_sees_the_fused_model(case, members, fuse):
    class Fused(nn.Module):
        def forward(self, x):
            z = torch.stack([member(x) for member in members])
            w = torch.tensor(WEIGHTS).double()[:, None, None]
            return (w * z).sum(0) if fuse == "logits" else (w * z.softmax(2)).sum(0).log()

    goal = sp.Misclassify(Fused()(case.images).argmax(1))
    for attack in (FGSM(sp.Linf(0.1)), PGD(sp.Linf(0.1), steps=5), sp.attacks.DeepFool()):
        ours = sp.run(attack, Ensemble(members, WEIGHTS, fuse), goal, case.images)
        theirs = sp.run(attack, sp.Classifier(Fused()), goal, case.images)
        assert torch.equal(ours.success, theirs.success)
        assert torch.allclose(ours.examples, theirs.examples, atol=1e-9)
    assert ours.success.all()


def test_probabilities_have_slopes_where_they_underflow():
    """A member that is sure beyond the range of exp still tells where to climb."""
    member = sp.Classifier(lambda x: torch.stack((x.flatten(1).sum(1) * 2e3, -x.flatten(1).sum(1) * 2e3), 1))
    x = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    outputs = Ensemble([member, member], fuse="probabilities")(x)
    (grad,) = torch.autograd.grad(outputs[0, 1], x)
    assert outputs.isfinite().all()
    assert torch.allclose(grad, torch.full_like(grad, -4e3), rtol=1e-3)


def test_each_member_is_given_its_own_size(case):
    seen = []

    def watching(x):
        seen.append(tuple(x.shape[2:]))
        return net()(x)

    one = Ensemble([sp.Classifier(watching)] * 3, sizes=[None, (6, 5), (11, 11)])
    x = case.images[:2].clone().requires_grad_()
    one(x)
    assert seen == [(8, 8), (6, 5), (11, 11)]
    assert torch.autograd.gradcheck(one, (x,))
    grown = torch.nn.functional.interpolate(case.images, (11, 11), mode="bilinear", align_corners=False)
    assert torch.allclose(Ensemble([sp.Classifier(net())], sizes=[(11, 11)])(case.images), net()(grown), atol=1e-12)


def test_batch_law_and_honesty(case, members):
    goal = sp.Misclassify(Ensemble(members)(case.images).argmax(1))
    attack = MIFGSM(sp.Linf(0.08), steps=5)
    whole = sp.run(attack, Ensemble(members), goal, case.images, keep=Keep.HIGHEST_LOSS)
    alone = sp.run(attack, Ensemble(members), goal, case.images, keep=Keep.HIGHEST_LOSS, engine=sp.Engine(batch_size=1))
    assert torch.equal(whole.success, alone.success)
    assert torch.allclose(whole.examples, alone.examples, atol=1e-12)
    assert torch.equal(goal(Ensemble(members)(whole.examples)).margin > 0, whole.success)
    assert int(whole.success.sum()) > 0


@pytest.mark.parametrize("fails", [False, True])
def test_every_member_is_frozen_and_put_back(case, fails):
    nets = [nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3), net(seed=n)).double().train() for n in (4, 5)]
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in nets]
    one = Ensemble([sp.Classifier(n) for n in nets])
    try:
        with one.frozen():
            assert not any(part.training for n in nets for part in n.modules())
            assert not any(p.requires_grad for n in nets for p in n.parameters())
            one(case.images)
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert all(part.training for n in nets for part in n.modules())
    assert all(p.requires_grad for n in nets for p in n.parameters())
    assert all(torch.equal(v, old[k]) for n, old in zip(nets, before, strict=True) for k, v in n.state_dict().items())


def test_a_checkpoint_belongs_to_these_members_and_weights(case, members, tmp_path):
    attack, engine = PGD(sp.Linf(0.1), steps=2), sp.Engine(checkpoint=tmp_path)
    sp.run(attack, Ensemble(members, WEIGHTS), case.goal, case.images, engine=engine)
    sp.run(attack, Ensemble(members, WEIGHTS), case.goal, case.images, engine=engine)
    others = [*members[:2], sp.Classifier(net(seed=9))]
    sizes = [None, None, (6, 6)]
    for other in (Ensemble(members), Ensemble(others, WEIGHTS), Ensemble(members, WEIGHTS, "probabilities"),
                  Ensemble(members, WEIGHTS, sizes=sizes)):  # fmt: skip
        with pytest.raises(sp.errors.RunError, match="belongs to another run"):
            sp.run(attack, other, case.goal, case.images, engine=engine)


def test_as_the_attackers_own_model(case, members):
    victim = Restricted(sp.Classifier(net(seed=3)), Scores)
    goal = sp.Misclassify(victim(case.images).argmax(1))
    own = Ensemble(members[1:], (0.05, 0.95))
    outcome = sp.run(MIFGSM(sp.Linf(0.5)), Surrogate(victim, own), goal, case.images)
    assert outcome.success.any()
    assert torch.equal(victim(outcome.examples).argmax(1) != goal.classes, outcome.success)


def test_members_of_other_classes(case):
    one = Ensemble([case.target, sp.Classifier(net(classes=5), name="five")])
    with pytest.raises(TargetError, match="same classes; here: Sequential 4, five 5"):
        sp.run(FGSM(sp.Linf(0.1)), one, case.goal, case.images)


def test_a_member_that_gives_probabilities_is_refused_by_its_own_check(case):
    soft = sp.Classifier(lambda x: case.module(x).softmax(1))
    with pytest.raises(TargetError, match="returns probabilities"):
        sp.run(FGSM(sp.Linf(0.1)), Ensemble([case.target, soft]), case.goal, case.images)


def test_a_member_without_logits(case):
    class Odd(type(case.target)):
        def __call__(self, images):
            return [1.0]

    with pytest.raises(TargetError, match="Sequential gives no logits"):
        Ensemble([case.target, Odd(case.module)])(case.images)


@pytest.mark.parametrize(("options", "words"), [
    ({"weights": (0.5, 0.5)}, "2 weights for 3 members; pass one for each"),
    ({"sizes": [None]}, "1 sizes for 3 members; pass one for each"),
    ({"weights": (1.0, 1.0, 1.0)}, "not above 0 with a sum of 1; divide them by their sum"),
    ({"weights": (1.5, -0.7, 0.2)}, "not above 0 with a sum of 1"),
    ({"fuse": "loss"}, "fuse 'loss' is unknown; pass one of logits, probabilities, losses"),
])  # fmt: skip
def test_options_that_make_no_sense(members, options, words):
    with pytest.raises(TargetError, match=words):
        Ensemble(members, **options)


@pytest.mark.wrong_types
def test_what_is_no_member(case):
    with pytest.raises(TargetError, match="no members; pass one or more"):
        Ensemble([])
    with pytest.raises(TargetError, match=r"a Sequential is no target; wrap it: Ensemble\(\[Classifier\(model\)"):
        Ensemble([case.module])
    with pytest.raises(TargetError, match="Sequential grants Scores only and cannot be climbed; leave it out"):
        Ensemble([Restricted(case.target, Scores)])


def verifiers(case):
    """Two verifiers of other dimensions and metrics, and the goal of dodging on each."""
    one, other = Model(net(classes=8, seed=4), Verification()), Model(net(classes=3, seed=5), Verification("euclidean"))
    near = case.images + 0.01
    goals = Dodge(one(near), 0.99), Dodge(other(near), -0.3, metric="euclidean")
    return [one, other], goals


def test_losses_are_added_up_each_by_the_goal_of_its_member(case):
    members, goals = verifiers(case)
    x = case.images.clone().requires_grad_()
    apart = [
        torch.autograd.grad(goal.loss_of(member(x)).sum(), x)[0] for member, goal in zip(members, goals, strict=True)
    ]
    one = Ensemble(members, (0.25, 0.75), fuse="losses")
    goal = one.adapt_goal(FoolMembers(*goals))
    outputs = one(x)
    (together,) = torch.autograd.grad(goal.loss_of(outputs).sum(), x)
    torch.testing.assert_close(together, 0.25 * apart[0] + 0.75 * apart[1])
    margins = torch.stack([goal.margin(member(x)) for member, goal in zip(members, goals, strict=True)])
    torch.testing.assert_close(goal.margin(outputs), margins.amin(0))
    testing.check_goal(goal, one(case.images), (margins > 0).all(0))


@pytest.mark.parametrize("attack", [MIFGSM(sp.Linf(0.2)), sp.attacks.DDN(steps=30), sp.attacks.DeepFool(sp.L2())])
def test_verifiers_that_do_not_answer_alike_are_fooled_together(case, attack):
    members, goals = verifiers(case)
    outcome = sp.run(attack, Ensemble(members, fuse="losses"), FoolMembers(*goals), case.images)
    assert outcome.success.any()
    for member, goal in zip(members, goals, strict=True):
        assert bool((goal.margin(member(outcome.examples)) > 0)[outcome.success].all())


def test_one_goal_serves_members_that_answer_alike(case, members):
    aim = sp.Misclassify(case.labels, loss=CrossEntropy())
    one = Ensemble(members, WEIGHTS, fuse="losses")
    outputs = one(case.images)
    wanted = sum(w * aim.loss_of(member(case.images)) for w, member in zip(WEIGHTS, members, strict=True))
    torch.testing.assert_close(one.adapt_goal(aim).loss_of(outputs), wanted)


def test_a_member_without_an_answer_is_not_fooled(case):
    members, goals = verifiers(case)
    inner = members[1].model

    class Overflows(nn.Module):
        def forward(self, x):
            return torch.where(x[:, 0, 0, :1] == 1, torch.inf, inner(x))

    members[1] = Model(Overflows(), Verification("euclidean"))
    images = case.images.clone()
    images[0, 0, 0, 0] = 1
    outcome = sp.run(FGSM(sp.Linf(0.05)), Ensemble(members, fuse="losses"), FoolMembers(*goals), images)
    assert outcome.unanswered.tolist() == [True] + [False] * 5


def test_goals_that_are_not_those_of_the_members(case):
    members, goals = verifiers(case)
    one, attack = Ensemble(members, fuse="losses"), FGSM(sp.Linf(0.1))
    with pytest.raises(GoalError, match="3 goals for 2 members; pass one for each to FoolMembers"):
        sp.run(attack, one, FoolMembers(*goals, goals[0]), case.images)
    with pytest.raises(GoalError, match="Misclassify is a goal of classification"):
        sp.run(attack, one, FoolMembers(goals[0], case.goal), case.images)
    with pytest.raises(GoalError, match="compares by metric='cosine', and the target by 'euclidean'"):
        sp.run(attack, one, goals[0], case.images)
    with pytest.raises(GoalError, match="FoolMembers has 2 goals, and got one answer"):
        sp.run(attack, members[0], FoolMembers(*goals), case.images)
    with pytest.raises(GoalError, match=r"of \[3, 6\] inputs"):
        FoolMembers(goals[0], Impersonate(torch.zeros(3, 1, 3), 0.5))
    with pytest.raises(
        TargetError, match=r"fuse='logits' is of classifiers, and .* of verification; pass fuse='losses'"
    ):
        Ensemble(members)


def test_a_member_of_another_size_is_given_landmarks_of_that_size(case):
    crop = sp.transforms.AlignFace(5)
    member = sp.Pipeline(Model(nn.Flatten(), Verification()), crop)
    at = torch.tensor([[2.5, 3.0], [5.5, 3.0], [4.0, 5.5]]).double().expand(6, 3, 2)
    (given,) = Ensemble([member], fuse="losses", sizes=[(16, 24)])(case.images, None, sp.Scene(landmarks=at)).parts()
    grown = nn.functional.interpolate(case.images, (16, 24), mode="bilinear", antialias=True)
    scaled = sp.Scene(landmarks=at * torch.tensor([3.0, 2.0]))  # images of 8 x 8
    torch.testing.assert_close(given, crop.apply(grown, None, scaled)[0].flatten(1))
    found = testing.detector(2).target
    with pytest.raises(TargetError, match="answers with places in images of its own size"):
        Ensemble([found], fuse="losses", sizes=[(16, 16)])
