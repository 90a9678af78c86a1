"""What a service lets out, how often it answers, and what becomes of images on their way to it."""

import copy
import io

import numpy as np
import pytest
import torch
from PIL import Image

import sparring as sp
from sparring import testing
from sparring.access import Decoupled, Ledger, QueryBroker
from sparring.attacks import FGSM, PGD, Boundary, HopSkipJump, Square, SurFree
from sparring.errors import AccessError, ConfigError, InputError, LockedOut, TargetError
from sparring.geometry.region import Region
from sparring.targets import JPEG, Bytes, InputCodec, LockOut, RateLimited, Resize, Surrogate, TruncatedScores
from sparring.targets.deployment import Account
from sparring.testing.cases import draw


def logits_of(*rows):
    """A classifier that answers with these logits, whatever it is shown."""
    return sp.Classifier(lambda images: torch.tensor(rows)[: len(images)], name="fixed")


def relative(module):
    """A net like this one, with weights of its own."""
    own = copy.deepcopy(module)
    with torch.no_grad():
        for i, weight in enumerate(own.parameters()):
            weight.add_(0.2 * weight.abs().mean() * draw(f"relative {i}", tuple(weight.shape)))
    return own


BLANK = torch.zeros(1, 1, 2, 2)


class TestPublished:
    def test_of_the_leading_classes_the_true_probability_is_shown(self):
        target = logits_of([2.0, 1.0, 0.0, -1.0])
        true = torch.tensor([2.0, 1.0, 0.0, -1.0]).softmax(0)
        shown = TruncatedScores(target, top=2)(BLANK)[0].exp()
        assert torch.allclose(shown[:2], true[:2])
        assert torch.allclose(shown[2:], true[2:].sum().expand(2) / 2)

    def test_the_hidden_classes_never_show_above_a_named_one(self):
        shown = TruncatedScores(logits_of([1.0, 0.99, 0.98, 0.97]), top=1)(BLANK)[0]
        assert int(shown.argmax()) == 0
        assert bool((shown[0] >= shown[1:]).all())

    def test_decimals_round_and_what_shows_as_zero_is_half_a_unit(self):
        shown = TruncatedScores(logits_of([5.0, 2.0, -9.0]), decimals=2)(BLANK)[0].exp()
        assert shown.tolist() == pytest.approx([0.95, 0.05, 0.005], abs=1e-6)

    def test_a_draw_is_no_success(self):
        target = TruncatedScores(logits_of([1.0, 1.001]), decimals=1)
        verdict = sp.Misclassify(torch.tensor([0]))(target(BLANK))
        assert not bool(verdict.margin > 0)

    def test_square_wins_on_percentages_and_every_success_holds_on_the_model_itself(self):
        case = testing.small_net(6)
        whole = sp.run(Square(sp.Linf(0.2), n_queries=60), case.target, case.goal, case.images)
        for target in (TruncatedScores(case.target, decimals=2), TruncatedScores(case.target, top=2)):
            outcome = sp.run(Square(sp.Linf(0.2), n_queries=60), target, case.goal, case.images)
            assert outcome.success.any()
            assert (case.module(outcome.examples[outcome.success]).argmax(1) != case.labels[outcome.success]).all()
            assert int(outcome.success.sum()) <= int(whole.success.sum()) + 1

    def test_gradients_are_refused(self):
        case = testing.small_net(2)
        with pytest.raises(AccessError, match="PGD needs Gradients"):
            sp.run(PGD(sp.Linf(0.1)), TruncatedScores(case.target, top=3), case.goal, case.images)

    def test_probabilities_behind_it_are_still_told_from_logits(self):
        module = torch.nn.Sequential(testing.small_net(2).module, torch.nn.Softmax(1))
        case = testing.small_net(2)
        with pytest.raises(TargetError, match="the model returns probabilities"):
            sp.run(Square(sp.Linf(0.1)), TruncatedScores(sp.Classifier(module), top=2), case.goal, case.images)

    @pytest.mark.parametrize("options", [{"top": 0}, {"decimals": 0}, {"decimals": 8}])
    def test_senseless_options(self, options):
        with pytest.raises(ConfigError, match="pass top >= 1 and decimals from 1 to 7"):
            TruncatedScores(logits_of([0.0, 1.0]), **options)


class TestRateLimit:
    def test_whoever_asks_faster_waits_for_as_many_images_as_were_asked(self):
        now, slept = [0.0], []

        def sleep(seconds):
            slept.append(seconds)
            now[0] += seconds

        target = RateLimited(logits_of(*[[0.0, 1.0]] * 8), per_second=4, clock=lambda: now[0], sleep=sleep)
        target(BLANK.expand(8, -1, -1, -1))  # takes the service two seconds
        now[0] += 0.5
        target(BLANK)
        now[0] += 10
        target(BLANK)
        assert slept == pytest.approx([1.5])

    def test_it_changes_no_result(self):
        case = testing.small_net(3)
        attack = Square(sp.Linf(0.2), n_queries=20)
        limited = RateLimited(case.target, per_second=1e9, sleep=lambda seconds: None)
        assert limited.access is sp.Jacobians
        ours, plain = (sp.run(attack, target, case.goal, case.images) for target in (limited, case.target))
        assert torch.equal(ours.examples, plain.examples)


class TestLockOut:
    def test_the_run_ends_with_what_it_has_found_and_counts_what_was_answered(self):
        case, attack = testing.small_net(8), Square(sp.Linf(0.3), n_queries=40)
        free = sp.run(attack, case.target, case.goal, case.images)
        limit = 40
        target = LockOut(case.target, limit)
        outcome = sp.run(attack, target, case.goal, case.images)
        asked = outcome.passes.forwards + outcome.passes.checks
        assert int(asked.sum()) == target.answered <= limit
        assert int(free.passes.forwards.sum()) > limit
        early = (free.queries_to_success >= 0) & (free.queries_to_success < 3)
        assert early.any()
        assert not outcome.success.any()  # nobody confirmed any
        assert set(outcome.reason[early].tolist()) == {sp.Reason.UNCONFIRMED}
        assert bool((case.goal.margin(case.target.predict(outcome.examples))[early] > 0).all())  # and none is lost
        assert sp.Reason.LOCKED_OUT in outcome.reasons
        locked = outcome.reason == sp.Reason.LOCKED_OUT
        assert not outcome.success[locked].any()
        assert torch.equal(outcome.examples[locked], case.images[locked])
        assert any("locked the attacker out after" in note for note in outcome.notes)
        (told,) = [note for note in outcome.notes if "not confirmed" in note]
        assert told.endswith(f": {int((outcome.reason == sp.Reason.UNCONFIRMED).sum())}")

    def test_batches_after_the_lock_out_ask_nothing(self):
        case = testing.small_net(6)
        target = LockOut(case.target, 20)
        engine = sp.Engine(batch_size=3)
        outcome = sp.run(Square(sp.Linf(0.01), n_queries=40), target, case.goal, case.images, engine=engine)
        assert int(outcome.passes.forwards[3:].sum() + outcome.passes.checks[3:].sum()) == 0
        assert set(outcome.reasons[3:]) == {sp.Reason.LOCKED_OUT}

    def test_of_a_question_in_several_parts_the_answered_ones_count(self):
        case = testing.small_net(4)
        ledger = Ledger(Region.around(case.images, sp.Linf(1.0)), sp.Keep.FIRST, sp.Budget())
        broker = QueryBroker(LockOut(case.target, 3), case.goal, ledger, 2, False)
        with pytest.raises(LockedOut):
            broker.score(case.images, None)
        assert ledger.forwards.tolist() == [1, 1, 0, 0]

    def test_directions_of_many_images_a_row(self):
        case = testing.small_net(2)
        target = LockOut(case.target, 300)
        outcome = sp.run(HopSkipJump(steps=5), target, case.goal, case.images)
        assert int((outcome.passes.forwards + outcome.passes.checks).sum()) == target.answered <= 300


class TestReencoded:
    def test_a_perturbation_below_half_a_level_is_lost(self):
        case = testing.small_net(3)
        images = (case.images * 255).round() / 255
        target = InputCodec(case.target, Bytes())
        outputs = target(images + 0.49 / 255 * torch.ones_like(images))
        assert torch.equal(outputs, case.target(images))

    def test_jpeg_is_the_file_that_pillow_writes(self):
        picture = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=60)
        wanted = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
        given = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        assert torch.allclose(JPEG(60)(given)[0], wanted, atol=1e-6)
        assert JPEG(60)(given[:, :1]).shape == (1, 1, 24, 16)
        with pytest.raises(InputError, match="JPEG holds 1 or 3 channels, and the images have 2"):
            JPEG(60)(given[:, :2])

    def test_resize_comes_back_in_the_size_it_had(self):
        images = torch.rand(2, 3, 9, 12)
        smaller = Resize((4, 6))(images)
        assert smaller.shape == images.shape
        flat = torch.full((1, 1, 8, 8), 0.3)
        assert torch.allclose(Resize((4, 4))(flat), flat)
        assert (smaller - images).abs().max() > 0.05

    def test_what_wins_has_gone_through_the_codec(self):
        case = testing.small_net(5)
        target = InputCodec(case.target, JPEG(50))
        outcome = sp.run(Square(sp.Linf(0.3), n_queries=80), target, case.goal, case.images)
        won = outcome.success & ~outcome.already
        assert won.any()
        seen = JPEG(50)(outcome.examples[won])
        assert (case.module(seen).argmax(1) != case.labels[won]).all()

    @pytest.mark.parametrize(
        ("make", "message"),
        [(lambda: JPEG(0), "JPEG quality 0; pass an int from 1 to 95"), (lambda: Resize((0, 4)), "resize to")],
    )
    def test_senseless_codecs(self, make, message):
        with pytest.raises(ConfigError, match=message):
            make()


class TestSurrogate:
    def test_the_victim_judges_and_the_surrogate_is_climbed(self):
        case = testing.small_net(6)
        other = sp.Classifier(relative(case.module))
        asked = []

        def victim(images):
            asked.append(len(images))
            return case.module(images)

        target = Surrogate(sp.Restricted(sp.Classifier(victim), sp.Scores), other)
        outcome = sp.run(PGD(sp.Linf(0.4), steps=10), target, case.goal, case.images)
        won = outcome.success
        assert (case.module(outcome.examples[won]).argmax(1) != case.labels[won]).all()
        assert int((outcome.passes.forwards + outcome.passes.checks).sum()) == sum(asked)
        assert won.any()

    def test_its_gradient_is_the_surrogates_and_its_verdict_the_victims(self):
        case = testing.small_net(3)
        other = relative(case.module)
        target = Surrogate(case.target, sp.Classifier(other))
        ledger = Ledger(Region.around(case.images, sp.Linf(1.0)), sp.Keep.FIRST, sp.Budget())
        oracle = sp.Gradients(QueryBroker(target, case.goal, ledger, 8, False))
        answer = oracle.gradient(case.images)
        x = case.images.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(case.goal(other(x)).loss.sum(), x)
        assert torch.allclose(answer.grad, wanted)
        assert torch.allclose(answer.verdict.margin, case.goal(case.module(case.images)).margin)
        assert isinstance(target(x), Decoupled)

    def test_the_same_classes_or_an_error(self):
        case = testing.small_net(2)
        target = Surrogate(case.target, sp.Classifier(lambda images: images.flatten(1)[:, :2]))
        with pytest.raises(TargetError, match="a surrogate has the victim's classes"):
            sp.run(PGD(sp.Linf(0.1)), target, case.goal, case.images)


class TestStart:
    def test_square_begins_at_the_images_given(self):
        case = testing.small_net(4)
        strong = sp.run(PGD(sp.Linf(0.3), steps=20), case.target, case.goal, case.images, keep=sp.Keep.HIGHEST_LOSS)
        fooled = case.goal(case.module(strong.examples)).margin > 0
        outcome = sp.run(Square(sp.Linf(0.3), n_queries=1), case.target, case.goal, case.images, start=strong.examples)
        assert fooled.any()
        assert torch.equal(outcome.success, fooled)

    def test_who_cannot_says_so(self):
        case = testing.small_net(2)
        with pytest.raises(ConfigError, match="FGSM begins by itself"):
            sp.run(FGSM(sp.Linf(0.1)), case.target, case.goal, case.images, start=case.images)
        for start, message in ((case.images[:1], "start must be images like x"), (case.images + 2, "outside")):
            with pytest.raises(InputError, match=message):
                sp.run(Square(sp.Linf(0.1)), case.target, case.goal, case.images, start=start)

    def test_a_checkpoint_belongs_to_its_start(self, tmp_path):
        case, engine = testing.small_net(2), sp.Engine(checkpoint=tmp_path)
        attack = Square(sp.Linf(0.01), n_queries=3)
        sp.run(attack, case.target, case.goal, case.images, start=case.images, engine=engine)
        with pytest.raises(sp.errors.RunError, match="belongs to another run"):
            sp.run(attack, case.target, case.goal, case.images, engine=engine)

    @pytest.mark.parametrize("kind", [HopSkipJump, Boundary, SurFree])
    def test_a_decision_attack_begins_at_the_images_given_where_they_win(self, kind):
        case = testing.small_net(4)
        strong = sp.run(PGD(sp.Linf(0.3), steps=20), case.target, case.goal, case.images, keep=sp.Keep.HIGHEST_LOSS)
        fooled = case.goal(case.module(strong.examples)).margin > 0
        attack = kind(steps=1, init_size=1)
        warm = sp.run(attack, case.target, case.goal, case.images, start=strong.examples)
        assert fooled.any()
        assert warm.success[fooled].all()
        assert (warm.queries_to_success[fooled] == 1).all()
        away = sp.L2().norm(strong.examples - case.images)
        assert (warm.distance[fooled] <= away[fooled] + 1e-9).all()


def test_two_views_of_one_account_are_locked_out_together():
    case, account = testing.small_net(3), Account()
    one, other = (LockOut(case.target, 7, account) for _ in range(2))
    one(case.images)
    other(case.images)
    assert one.answered == other.answered == 6
    with pytest.raises(LockedOut, match="6 of 7"):
        other(case.images)
    with pytest.raises(LockedOut):
        one(case.images[:1])
