"""Models under threats: what is counted, against the closed forms of linear models."""

import copy
from dataclasses import replace

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.attacks import L1APGD, PGD
from sparring.errors import AccessError, ConfigError, InputError, TargetError, ThreatError
from sparring.testing.cases import Counting, draw, optimum
from sparring.transfer import measure_generalization, strong_attack


def linear_models(count=12):
    """Linear cases of two classes on the same images: one, and another of other weights that errs on some of them."""
    first = testing.linear(2, count)
    module = copy.deepcopy(first.module)
    with torch.no_grad():
        module[1].weight.add_(1.5 * module[1].weight.abs().mean() * draw("other", (2, 48)))
        module[1].bias.copy_(-0.5 * module[1].weight.sum(1))
    return {"first": first, "other": replace(first, module=module)}


def targets_of(cases):
    return {name: case.target for name, case in cases.items()}


def clear_radii(cases, kind, count):
    """Radii in the middle of the widest gaps (of ratios) between the images' distances to the boundary."""
    distances = torch.cat([optimum(case, kind()) for case in cases.values()])
    ordered = distances[distances > 0].sort().values
    widest = (ordered[1:] / ordered[:-1]).topk(count).indices.sort().values
    assert (ordered[1:] / ordered[:-1])[widest].min() > 1.03  # no attack has to come nearer than that
    return [kind(float((ordered[i] * ordered[i + 1]).sqrt())) for i in widest]


def quick(ball):
    return L1APGD(ball, steps=60) if isinstance(ball, sp.L1) else PGD(ball, steps=20)


def idle(ball):
    """An attack that finds nothing on rows that are not lost already."""
    return PGD(ball, steps=1, step_size=1e-12, random_start=False)


def test_every_cell_and_union_is_the_closed_form():
    """A linear model stands exactly where its distance exceeds the radius; an image it errs on has a negative one."""
    cases = linear_models()
    balls = [ball for kind in (sp.Linf, sp.L2, sp.L1) for ball in clear_radii(cases, kind, 2)]
    case = cases["first"]
    found = measure_generalization(targets_of(cases), balls, case.images, case.labels, attacks=quick)
    distances = [[optimum(one, type(ball)()) for ball in balls] for one in cases.values()]
    stands = torch.stack(
        [torch.stack([distance > ball.eps for distance, ball in zip(line, balls, strict=True)]) for line in distances]
    )
    assert torch.equal(~found.fell, stands)
    assert torch.equal(found.correct, torch.stack([line[0] > 0 for line in distances]))
    assert found.clean.tolist() == [12, int(found.correct[1].sum())]
    assert 0 < found.clean[1] < 12
    assert torch.equal(found.robust, stands.sum(2))
    assert torch.equal(found.union(), stands.all(1).sum(1))
    some = [balls[4], balls[1]]
    assert torch.equal(found.union(some), (stands[:, 4] & stands[:, 1]).sum(1))
    assert (found.union(some) >= found.union()).all()
    assert (found.robust <= found.clean[:, None]).all()
    assert found.robust.unique().numel() > 3  # the threats tell the models apart


def test_an_example_counts_in_every_ball_that_it_lies_in():
    """Where the larger radius has an attack that finds nothing, and an L2 ball one that is not tried at all."""
    case = testing.linear(4, 12)
    small, large = clear_radii({"one": case}, sp.Linf, 2)
    wide, narrow = sp.L2(48**0.5 * small.eps * 1.01), sp.L2(1e-6)
    alone = measure_generalization({"one": case.target}, [small], case.images, case.labels, attacks=quick)
    found = measure_generalization(
        {"one": case.target},
        [large, narrow, wide, small],
        case.images,
        case.labels,
        attacks=lambda ball: quick(ball) if ball == small else idle(ball),
    )
    fallen = alone.fell[0, 0]
    assert 0 < fallen.sum() < 12
    assert torch.equal(found.fell[0], torch.stack([fallen, torch.zeros_like(fallen), fallen, fallen]))
    standing = int((~fallen).sum())
    assert found.forwards[0, 0] == found.forwards[0, 2] == 2 * standing  # no pass on what is lost already
    assert found.forwards[0, 1] == 2 * 12


def test_models_are_attacked_each_for_itself():
    cases = linear_models()
    case, balls = cases["first"], [sp.Linf(0.01), sp.L1(0.2)]

    def of(names):
        some = {name: cases[name].target for name in names}
        return measure_generalization(some, balls, case.images, case.labels, attacks=quick)

    both, turned = of(["first", "other"]), of(["other", "first"])
    assert torch.equal(both.fell, turned.fell.flip(0))
    assert torch.equal(both.fell, of(["first"]).append_rows(of(["other"])).fell)
    assert both.models == ("first", "other")


def test_parts_of_a_data_set_add_up_to_the_whole():
    cases = linear_models()
    case, balls, models = cases["first"], [sp.Linf(0.01), sp.L2(0.1)], targets_of(cases)
    whole = measure_generalization(models, balls, case.images, case.labels, attacks=quick)
    first, *rest = [
        measure_generalization(models, balls, case.images[rows], case.labels[rows], attacks=quick, indices=rows)
        for rows in torch.arange(12).split(5)
    ]
    total = first + rest[0] + rest[1]
    for name in ("correct", "fell", "forwards", "backwards"):
        assert torch.equal(getattr(total, name), getattr(whole, name)), name
    assert total.images == 12
    with pytest.raises(ConfigError, match="only for the same models"):
        first + measure_generalization(models, balls[:1], case.images, case.labels, attacks=quick)
    with pytest.raises(ConfigError, match="only for the same balls, attacks and images"):
        first.append_rows(whole)


@pytest.mark.parametrize("kind", [sp.Linf, sp.L2, sp.L1])
def test_the_default_attacks_find_what_there_is_on_a_linear_model(kind):
    case = testing.linear(4, 5)
    (ball,) = clear_radii({"one": case}, kind, 1)
    assert strong_attack(ball).ball == ball
    found = measure_generalization({"one": case.target}, [ball], case.images, case.labels)
    assert torch.equal(found.fell[0, 0], optimum(case, kind()) <= ball.eps)


def test_the_default_attacks_find_what_there_is_in_l0():
    """The k pixels that bring most: each goes to the end of the range that the slope points to."""
    case = testing.linear(2, 8)
    images = (0.5 + 10 * (case.images - 0.5)).clamp(0, 1)  # further from the boundary
    with torch.no_grad():
        logits = case.module(images)
    labels, lead = logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs()
    weight = case.module[1].weight.detach()
    toward = (weight[1 - labels] - weight[labels]).view_as(images)
    gain = torch.maximum(toward * (1 - images), -toward * images).flatten(1)
    best = gain.sort(1, descending=True).values.cumsum(1)
    balls = [sp.L0(2), sp.L0(4)]
    falls = torch.stack([best[:, int(ball.eps) - 1] > lead for ball in balls])
    assert 0 < falls[0].sum() < falls[1].sum()
    found = measure_generalization({"net": case.target}, balls, images, labels)
    assert torch.equal(found.fell[0], falls)


def test_an_answer_that_is_not_finite_is_a_wrong_one():
    case = testing.linear(3, 6)

    def answer(images):
        logits = case.module(images)
        return torch.where((images == case.images[2]).flatten(1).all(1)[:, None], torch.nan, logits)

    found = measure_generalization(
        {"odd": sp.Classifier(answer, name="odd")}, [sp.Linf(1e-6)], case.images, case.labels, attacks=quick
    )
    assert found.correct[0].tolist() == [True, True, False, True, True, True]
    assert found.robust.tolist() == [[5]]
    assert found.union().tolist() == [5]


def test_what_cannot_be_attacked_is_refused_before_the_first_attack():
    case = testing.linear(3, 6)
    counting = Counting(case.module)
    model = sp.Classifier(counting, name="counting")

    def refused(kind, words, balls=(sp.Linf(0.1),), models=None, x=case.images, y=case.labels, **options):
        with pytest.raises(kind, match=words):
            measure_generalization({"one": model} if models is None else models, balls, x, y, **options)

    refused(ConfigError, "no models", models={})
    refused(ThreatError, "no threats", balls=())
    refused(ThreatError, "is no threat", balls=("linf:0.1",))
    refused(ThreatError, "needs a radius", balls=(sp.L2(),))
    refused(ThreatError, "given twice", balls=(sp.L2(1), sp.Linf(0.1), sp.L2(1.0)))
    refused(ThreatError, "larger than the whole range", balls=(sp.L2(0.1), sp.L2(8)))
    refused(ThreatError, "let attacks\\(ball\\) keep to its ball", attacks=lambda ball: PGD(sp.Linf(0.2)))
    refused(InputError, "one label per image", y=case.labels[:4])
    refused(InputError, "has 3 classes", y=case.labels + 3)
    refused(AccessError, "grants Scores only", models={"one": model, "two": sp.Restricted(model, sp.Scores)})
    narrow = sp.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(5, 3).double()), name="narrow")
    refused(TargetError, "narrow cannot take images of shape \\(3, 4, 4\\)", models={"one": model, "two": narrow})
    assert counting.backwards == 0
    found = measure_generalization({"one": model}, [sp.Linf(0.1)], case.images, case.labels, attacks=quick)
    with pytest.raises(ThreatError, match=r"Linf\(0.3\) was not attacked; there are Linf\(0.1\)"):
        found.union([sp.Linf(0.3)])
    with pytest.raises(ThreatError, match="a union of no balls"):
        found.union([])
