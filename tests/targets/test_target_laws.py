"""Law 11 over every kind of target, and that it sees those which break it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring import testing
from sparring.goals import Misclassify, Vanish
from sparring.random import Key
from sparring.targets import (
    JPEG,
    Classifier,
    Defended,
    Ensemble,
    InputCodec,
    Keyed,
    LockOut,
    Model,
    Onnx,
    OverScenes,
    Pipeline,
    Replicated,
    Restricted,
    Surrogate,
    Target,
    TruncatedScores,
    ZeroShotClassifier,
)
from sparring.testing.cases import draw
from sparring.transforms import ColourCurve, Detector, FlowField, PlacePatch, RandomShift, Scene, Stage

COUNT = 4
SMALL, VERIFIER, DETECTOR, SEGMENTER = (
    make(COUNT) for make in (testing.small_net, testing.verifier, testing.detector, testing.segmenter)
)


class Noise(Stage):
    stochastic = True

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return images + 0.1 * key.normal("noise", images.shape[1:], dtype=images.dtype)


class Bright(Detector):
    def alarm(self, images: Tensor, key: Key) -> Tensor:
        return (images.flatten(1).mean(1) - 0.6) * 100


class Jitter(Keyed):
    def noisy(self, inputs: Tensor) -> Tensor:
        return inputs + 0.1 * self.normal(inputs)


@dataclass(frozen=True)
class Kind:
    """A target made of a module, the inputs it takes, and how exactly rows alone equal rows together."""

    make: Any
    case: testing.Case = SMALL
    x: Tensor | None = None
    context: Any = None
    tolerance: float = 1e-9
    copies: bool = False  # the target asks a copy of the module


def model(case: testing.Case):
    return lambda module: replace(case, module=module).target


def small(make: Any, **options: Any) -> Kind:
    return Kind(lambda module: make(Classifier(module)), **options)


PATCH = torch.full((COUNT, 3, 3, 3), 0.4, dtype=torch.float64)
SCENES = Scene(images=SMALL.images)
CLOUDS = testing.partial_clouds(COUNT)
KINDS: dict[str, Kind] = {
    "classifier": Kind(Classifier),
    "classifier with random layers": Kind(lambda module: Classifier(nn.Sequential(Jitter(), module))),
    "classifier of partial clouds": Kind(model(CLOUDS), CLOUDS, CLOUDS.images, CLOUDS.context),
    "verifier": Kind(model(VERIFIER), VERIFIER),
    "zero-shot classifier": Kind(lambda module: ZeroShotClassifier(module, torch.eye(4, dtype=torch.float64))),
    "detector": Kind(model(DETECTOR), DETECTOR),
    "segmenter": Kind(model(SEGMENTER), SEGMENTER),
    "ensemble": small(lambda one: Ensemble([one, Classifier(deepcopy(SMALL.module))], fuse="probabilities")),
    "ensemble of a random member": small(lambda one: Ensemble([one, Pipeline(one, Noise())])),
    "ensemble of losses": small(
        lambda one: Ensemble([one, Pipeline(Classifier(deepcopy(SMALL.module)), Noise())], fuse="losses")
    ),
    "surrogate": small(lambda one: Surrogate(Restricted(one, sp.Scores), Classifier(deepcopy(SMALL.module)))),
    "restricted": small(lambda one: Restricted(one, sp.Scores)),
    "replicated": Kind(lambda module: Replicated(Classifier(module), ["cpu", "cpu"]), copies=True),
    "replicated detector": Kind(
        lambda module: Replicated(Model(module, DETECTOR.task), ["cpu", "cpu"]), DETECTOR, copies=True
    ),
    "locked out later": small(lambda one: LockOut(one, 10_000)),
    "pipeline": small(lambda one: Pipeline(one, RandomShift(2))),
    "pipeline with votes": small(lambda one: Pipeline(one, RandomShift(2), votes=3)),
    "pipeline in a pipeline": small(lambda one: Pipeline(Pipeline(one, Noise()), RandomShift(2))),
    "pipeline before a detector": Kind(
        lambda module: Pipeline(Model(module, DETECTOR.task), RandomShift(1), votes=2), DETECTOR
    ),
    "pipeline before a segmenter": Kind(
        lambda module: Pipeline(Model(module, SEGMENTER.task), RandomShift(1), votes=2), SEGMENTER
    ),
    "pipeline before a verifier": Kind(
        lambda module: Pipeline(Model(module, VERIFIER.task), Noise(), votes=2), VERIFIER
    ),
    "flow": small(lambda one: Pipeline(one, FlowField()), x=0.1 * draw("f", (COUNT, 2, 8, 8)), context=SCENES),
    "colour": small(lambda one: Pipeline(one, ColourCurve()), x=0.1 * draw("c", (COUNT, 3, 4)), context=SCENES),
    "patch": small(lambda one: Pipeline(one, PlacePatch(), RandomShift(1)), x=PATCH, context=SCENES),
    "defended": small(lambda one: Defended(one, Noise(), votes=2)),
    "defended with a detector": small(lambda one: Defended(one, Noise(), Bright(), votes=2)),
    "naive view": small(lambda one: Defended(one, Noise(), Bright()).naive_view()),
    "adaptive view": small(lambda one: Defended(one, Noise(), Bright()).adaptive_view(2)),
    "over scenes": Kind(
        lambda module: OverScenes(Pipeline(Classifier(module), PlacePatch()), SMALL.goal, SCENES, 3), x=PATCH
    ),
    "over scenes of a naive view": Kind(
        lambda module: OverScenes(
            Pipeline(Defended(Classifier(module), Noise()).naive_view(), PlacePatch()), SMALL.goal, SCENES, 3
        ),
        x=PATCH,
    ),
    "truncated scores": small(lambda one: TruncatedScores(one, top=2, decimals=3)),
    "truncated scores of one that rejects": small(lambda one: TruncatedScores(Defended(one, Bright()), decimals=2)),
    "input codec": small(lambda one: InputCodec(one, JPEG(60))),
}


def seeded(case: testing.Case) -> nn.Module:
    """The module of the case in training mode, which frozen() has to put back."""
    module = deepcopy(case.module)
    next(module.parameters()).grad = torch.ones_like(next(module.parameters()))
    return module.train()


@pytest.mark.parametrize("name", KINDS)
def test_every_target_obeys(name: str) -> None:
    kind = KINDS[name]
    module, other = seeded(kind.case), seeded(kind.case)
    with torch.no_grad():
        list(other.parameters())[-1].add_(1e-3)
    x = kind.case.images if kind.x is None else kind.x
    held = () if kind.copies else (module,)
    target, twin = kind.make(module), kind.make(other)
    testing.check_target(target, x, kind.context, other=twin, modules=held, tolerance=kind.tolerance)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_in_an_onnx_file_obeys(tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    files = []
    for change in (0.0, 0.1):
        module = deepcopy(SMALL.module).float()
        with torch.no_grad():
            list(module.parameters())[-1].add_(change)
        files.append(tmp_path / f"model{change}.onnx")
        torch.onnx.export(
            module, (SMALL.images.float()[:1],), files[-1], input_names=["x"], dynamic_axes={"x": {0: "n"}},
            dynamo=False,
        )  # fmt: skip
    first, other = (Onnx(file, name="net") for file in files)
    testing.check_target(first, SMALL.images.float(), other=other, tolerance=1e-5)


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return SMALL.module(x) + 1e-3 * torch.randn(len(x), 1)


class Coupled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        logits = SMALL.module(x)
        return logits - logits.mean(0)


class Remembering(nn.Module):
    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        return SMALL.module(x) + self.asked


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return SMALL.module(x.detach())


class Careless(Classifier):
    """Is never held still."""

    frozen = Target.frozen


class Forgetful(Classifier):
    """Tells no weights from others."""

    def identity(self) -> tuple[object, ...]:
        return (self.name,)


class Unsteady(Classifier):
    asked = 0

    def identity(self) -> tuple[object, ...]:
        self.asked += 1
        return (self.asked,)


class Loud(Restricted[Any]):
    """Says that it is stochastic, and is not."""

    stochastic = True

    def __call__(self, images: Tensor, key: Key | None = None, context: Any = None) -> Any:
        return self.target(images)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (Classifier(Drawing()), "the global random state has moved"),
        (Classifier(Coupled()), "rows alone differ"),
        (Classifier(Remembering()), "the same question has another answer"),
        (Classifier(Cut()), "its outputs do not depend on the inputs"),
        (Unsteady(SMALL.module), "identity changes from call to call"),
        (Loud(SMALL.target, sp.Scores), "another key changes nothing"),
    ],
)
def test_a_target_that_breaks_a_law_is_seen(target: Target[Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        testing.check_target(target, SMALL.images)


def test_a_target_that_is_not_held_still_or_told_from_others_is_seen() -> None:
    module = seeded(SMALL)
    with pytest.raises(AssertionError, match="still ask for a gradient"):
        testing.check_target(Careless(module), SMALL.images, modules=(module,))
    with pytest.raises(AssertionError, match="other weights have the same identity"):
        testing.check_target(Forgetful(SMALL.module), SMALL.images, other=Forgetful(seeded(SMALL)))


def test_what_confirms_is_what_is_in_use_also_inside_others() -> None:
    """A view inside a pipeline, a black box or scenes confirmed its own examples, without the votes."""
    defended = Defended(SMALL.target, Noise(), votes=5)
    view = defended.adaptive_view(2)
    through = Pipeline(view, ColourCurve())
    assert through.confirming_target.target is defended
    assert through.confirming_target.parts == through.parts
    assert Restricted(view, sp.Scores).confirming_target.target is defended
    over = OverScenes(Pipeline(view, PlacePatch()), SMALL.goal, SCENES, 3)
    assert over.confirming_target.target.target is defended
    plain = Pipeline(SMALL.target, RandomShift())
    assert plain.confirming_target is plain


def test_members_and_pipelines_draw_apart() -> None:
    """Two shifts, or two members, that drew alike were one."""
    key = Key(torch.arange(200), 3)
    seen: list[Tensor] = []

    class Seen(RandomShift):
        def _shift(self, key: Key) -> Tensor:
            seen.append(super()._shift(key))
            return seen[-1]

    def same(target: Target[Any]) -> float:
        seen.clear()
        target(torch.rand(200, 3, 8, 8).double(), key)  # both shift, and then both bring back
        return float((seen[0] == seen[1]).all(1).float().mean())

    classifier = SMALL.target
    assert same(Pipeline(Pipeline(classifier, Seen(2)), Seen(2))) < 0.15  # 1 in 25 by chance
    assert same(Pipeline(classifier, Seen(2), Seen(2))) < 0.15
    seen.clear()
    Ensemble([Pipeline(classifier, Seen(2))] * 2)(torch.rand(200, 3, 8, 8).double(), key)
    assert float((seen[0] == seen[2]).all(1).float().mean()) < 0.15


def test_what_does_not_fit_together_is_refused() -> None:
    cases = [
        (lambda: Ensemble([SMALL.target, VERIFIER.target]), "is of verification"),
        (lambda: Ensemble([SMALL.target, testing.clouds(2).target]), "take the same inputs"),
        (lambda: Surrogate(VERIFIER.target, SMALL.target), "a surrogate has the victim's task"),
        (lambda: TruncatedScores(VERIFIER.target, decimals=2), "is of verification"),
        (lambda: OverScenes(SMALL.target, SMALL.goal, SCENES), "takes no context"),
        (lambda: OverScenes(Pipeline(SMALL.target, PlacePatch()), SMALL.goal, SCENES, 0), "scenes_per_question=0"),
        (lambda: OverScenes(Pipeline(SMALL.target, PlacePatch()), testing.small_net(2).goal, SCENES), "has 4 rows"),
        (lambda: OverScenes(Pipeline(SMALL.target, PlacePatch()), Vanish(torch.ones(4, 4)), SCENES), "a goal of detec"),
        (lambda: OverScenes(Pipeline(SMALL.target, PlacePatch()), SMALL.goal, [SMALL.images]), "row-wise record"),
    ]
    for make, told in cases:
        with pytest.raises(sp.errors.SparringError, match=told):
            make()


def test_labels_of_scenes_are_checked_on_the_first_answer() -> None:
    over = OverScenes(Pipeline(SMALL.target, PlacePatch()), Misclassify(torch.full((COUNT,), 9)), SCENES)
    with pytest.raises(sp.errors.SparringError, match="9"):
        over(PATCH)


def test_an_ensemble_hands_the_context_on() -> None:
    member = CLOUDS.target
    both = Ensemble([member, member], fuse="logits")
    assert both.takes_context
    answer = both(CLOUDS.images, None, CLOUDS.context)
    assert torch.allclose(answer, member(CLOUDS.images, None, CLOUDS.context))
    sp.run(sp.attacks.PGD(sp.Linf(0.05), steps=2), both, CLOUDS.goal, CLOUDS.images, context=CLOUDS.context)
