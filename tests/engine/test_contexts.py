"""What lies beside the inputs follows its rows, and what is none is refused before a question; so are other tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring import testing
from sparring.attacks import FMN, NES, PGD, Auto, CarliniWagner, HopSkipJump, Restarts, Square, Universal
from sparring.defenses.purification import BitDepth
from sparring.engine import Engine
from sparring.errors import ConfigError, GoalError, InputError, RunError, TargetError
from sparring.goals import Dodge, Goal, Misclassify, MisclassifyPixels, Terms, Vanish
from sparring.targets import Classifier, Model
from sparring.tasks import Classification, Detection, Segmentation, Verification
from sparring.transforms import Scene

CASE = testing.small_net(8)
REACH = 0.13


@dataclass(frozen=True)
class Beside:
    """A context of a stranger, nested: the clean image of each row, and a number that the answer depends on."""

    scene: Scene
    tilt: Tensor
    note: str = "plain values belong to all rows"


CONTEXT = Beside(Scene(images=CASE.images), torch.linspace(-0.2, 0.2, 8).double())


class Tilted(nn.Module):
    """Answers otherwise for each row of the context, and fails where a row has the context of another."""

    def __init__(self, reach: float = REACH) -> None:
        super().__init__()
        self.net, self.reach, self.rows = CASE.module, reach, 0

    def forward(self, x: Tensor, context: Beside) -> Tensor:
        far = (x - context.scene.images).abs().flatten(1).mean(1)  # 0.17 from one image to another
        assert bool((far <= self.reach + 1e-9).all()), f"another row's context: {far.tolist()}"
        self.rows += len(x)
        logits: Tensor = self.net(x) + context.tilt[:, None] * torch.tensor([1.0, -1.0, 0.5, 0.0])
        return logits


def tilted(reach: float = REACH) -> tuple[Classifier, Misclassify]:
    target = Classifier(Tilted(reach), takes_context=True)
    with torch.no_grad():
        return target, Misclassify(target(CASE.images, None, CONTEXT).argmax(1))


def alone(ask: Callable[..., Tensor], attack: Any, **options: Any) -> Tensor:
    """The rows one by one."""
    target, goal = tilted(options.pop("reach", REACH))
    made = []
    for row in range(8):
        at = torch.tensor([row])
        one, beside = sp.rows.take(goal, at), sp.rows.take(CONTEXT, at)
        made.append(ask(attack, target, one, CASE.images[at], context=beside, indices=at, **options))
    return torch.cat(made)


def found(*args: Any, **options: Any) -> Tensor:
    return sp.run(*args, **options).examples


ATTACKS = {
    "pgd": PGD(sp.Linf(0.1), steps=6),
    "restarts": Restarts(PGD(sp.Linf(0.1), steps=3), n_restarts=2),
    "square": Square(sp.Linf(0.13), n_queries=150),
    "nes": NES(sp.Linf(0.1), steps=3, n_samples=4),
    "fmn": FMN(sp.Linf(0.2), steps=10),
    "carlini-wagner": CarliniWagner(binary_search_steps=2, steps=5),
    "hopskipjump": HopSkipJump(steps=2),
    "auto": Auto(sp.Linf(0.02)),
}
FREE = ("fmn", "carlini-wagner", "hopskipjump")  # that ask anywhere


@pytest.mark.parametrize("name", ATTACKS)
def test_the_context_is_narrowed_with_its_rows(name: str) -> None:
    attack, reach = ATTACKS[name], 1.0 if name in FREE else REACH
    target, goal = tilted(reach)
    together = sp.run(attack, target, goal, CASE.images, context=CONTEXT)
    assert bool(together.success.any())
    if name == "pgd":
        assert len(together.passes.forwards.unique()) > 2  # rows leave at different steps
    gap = (together.examples - alone(found, attack, reach=reach)).abs().max()
    assert float(gap) <= (1e-6 if name in FREE else 1e-9)
    small = sp.run(attack, target, goal, CASE.images, context=CONTEXT, engine=Engine(batch_size=3))
    assert float((small.examples - together.examples).abs().max()) <= (1e-6 if name in FREE else 1e-9)


def test_under_craft_too() -> None:
    target, goal = tilted()
    attack = PGD(sp.Linf(0.1), steps=4)
    together = sp.craft(attack, target, goal, CASE.images, context=CONTEXT)
    assert float((together - alone(sp.craft, attack)).abs().max()) <= 1e-12


@pytest.mark.parametrize("size", [1, 3, 8])
def test_under_fit_too(size: int) -> None:
    target, goal = tilted()
    made = sp.fit(
        Universal(sp.Linf(0.1), epochs=2), target, goal, CASE.images, context=CONTEXT, engine=Engine(batch_size=size)
    )
    assert made.images == 8
    whole = sp.fit(Universal(sp.Linf(0.1), epochs=2), target, goal, CASE.images, context=CONTEXT)
    assert float((made.artifact.delta - whole.artifact.delta).abs().max()) < 1e-9


def test_images_that_are_won_already_leave_a_fit_with_their_context() -> None:
    target, goal = tilted()
    wrong = replace(goal, classes=(goal.classes + (torch.arange(8) % 3 == 0)) % 4)
    made = sp.fit(Universal(sp.Linf(0.1), epochs=1), target, wrong, CASE.images, context=CONTEXT)
    assert made.images == 5


class Stopped(Exception):
    pass


def stopping(after: int) -> Callable[[object], None]:
    left = [after]

    def progress(_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    return progress


OTHER = replace(CONTEXT, tilt=CONTEXT.tilt.flip(0))


@pytest.mark.parametrize("stop", [1, 4])
def test_a_run_goes_on_with_its_context_and_with_no_other(tmp_path, stop: int) -> None:
    target, goal = tilted()
    attack, options = PGD(sp.Linf(0.04), steps=6), {"context": CONTEXT}
    whole = sp.run(attack, target, goal, CASE.images, **options)
    engine = Engine(batch_size=5, checkpoint=tmp_path, checkpoint_seconds=-1, progress=stopping(stop))
    with pytest.raises(Stopped):
        sp.run(attack, target, goal, CASE.images, engine=engine, **options)
    engine = replace(engine, progress=None)
    for other in (OTHER, replace(CONTEXT, note="another")):
        with pytest.raises(RunError, match="another run"):
            sp.run(attack, target, goal, CASE.images, engine=engine, context=other)
    again = sp.run(attack, target, goal, CASE.images, engine=engine, **options)
    assert torch.equal(again.examples, whole.examples)
    assert torch.equal(again.passes.forwards, whole.passes.forwards)


def test_a_fit_goes_on_with_its_context_and_with_no_other(tmp_path) -> None:
    target, goal = tilted()
    attack = Universal(sp.Linf(0.1), epochs=2, batch_size=3)
    whole = sp.fit(attack, target, goal, CASE.images, context=CONTEXT)
    engine = Engine(checkpoint=tmp_path, checkpoint_seconds=-1, progress=stopping(2))
    with pytest.raises(Stopped):
        sp.fit(attack, target, goal, CASE.images, context=CONTEXT, engine=engine)
    engine = replace(engine, progress=None)
    with pytest.raises(RunError, match="another fit"):
        sp.fit(attack, target, goal, CASE.images, context=OTHER, engine=engine)
    again = sp.fit(attack, target, goal, CASE.images, context=CONTEXT, engine=engine)
    assert torch.equal(again.artifact.delta, whole.artifact.delta)


def ask_run(target: Any, goal: Any, x: Any, **options: Any) -> None:
    sp.run(PGD(sp.Linf(0.1), steps=2), target, goal, x, **options)


def ask_craft(target: Any, goal: Any, x: Any, **options: Any) -> None:
    sp.craft(PGD(sp.Linf(0.1), steps=2), target, goal, x, **options)


def ask_fit(target: Any, goal: Any, x: Any, **options: Any) -> None:
    sp.fit(Universal(sp.Linf(0.1), epochs=1), target, goal, x, **options)


DOORS = pytest.mark.parametrize("ask", [ask_run, ask_craft, ask_fit])


@DOORS
@pytest.mark.parametrize(
    ("context", "told"),
    [
        (replace(CONTEXT, tilt=CONTEXT.tilt[:5]), "context tilt has 5 rows, and there are 8 inputs"),
        (replace(CONTEXT, scene=Scene(images=CASE.images[:1])), r"context scene.images has 1 rows"),
        (replace(CONTEXT, tilt=torch.tensor(1.0)), "context tilt is a single number"),
        ({"tilt": CONTEXT.tilt}, "got a dict"),
        ([CONTEXT.tilt], "got a list"),
        ((CONTEXT.tilt,), "got a tuple"),
        (Scene(), "holds none"),
        (7, "holds none"),
        (replace(CONTEXT, note=["a list"]), "got a list"),
    ],
)
def test_what_is_no_context_is_refused_before_a_question(ask: Any, context: Any, told: str) -> None:
    target, goal = tilted()
    target.model.rows = 0
    with pytest.raises(InputError, match=told):
        ask(target, goal, CASE.images, context=context)
    assert target.model.rows == 0


@DOORS
def test_a_target_that_has_no_use_for_a_context_refuses_it(ask: Any) -> None:
    counting = testing.Counting(CASE.module)
    for target in (Classifier(counting), sp.Pipeline(Classifier(counting), BitDepth(4))):
        with pytest.raises(InputError, match="takes no context"):
            ask(target, CASE.goal, CASE.images, context=CONTEXT)
    assert counting.calls == 0


GOALS = {
    Classification: Misclassify(torch.zeros(8).long()),
    Verification: Dodge(torch.ones(8, 4).double(), 0.5),
    Segmentation: MisclassifyPixels(torch.zeros(8, 8, 8).long()),
    Detection: Vanish(torch.tensor([[0.0, 0, 4, 4]]).expand(8, 4)),
}


@DOORS
@pytest.mark.parametrize("task", GOALS)
def test_a_goal_of_another_task_is_refused_before_a_question(ask: Any, task: Any) -> None:
    counting = testing.Counting(CASE.module)
    target = Classifier(counting) if task is Classification else Model(counting, task())
    for other, goal in GOALS.items():
        if other is not task:
            with pytest.raises(GoalError, match=rf"is a goal of {other.name}, and .* gives the outputs of {task.name}"):
                ask(target, goal, CASE.images)
    assert counting.calls == 0


@DOORS
def test_a_goal_without_a_task_is_taken(ask: Any) -> None:
    @dataclass(frozen=True)
    class Own(Goal):
        labels: Tensor

        def __len__(self) -> int:
            return len(self.labels)

        def terms(self, outputs: Tensor) -> sp.goals.Terms:
            return Misclassify(self.labels).terms(outputs)

    counting = testing.Counting(CASE.module)
    ask(sp.Classifier(counting), Own(CASE.labels), CASE.images)
    assert counting.calls > 0


@pytest.mark.wrong_types
@DOORS
@pytest.mark.parametrize("x", [None, 3.0, "images", [[0.0]]])
def test_what_are_no_images_is_told(ask: Any, x: Any) -> None:
    with pytest.raises(
        (InputError, ConfigError), match=r"pass \(images, labels\)|names no data|return a tensor|no images are given"
    ):
        ask(CASE.target, CASE.goal, x)


@pytest.mark.wrong_types
@DOORS
@pytest.mark.parametrize("goal", [None, "dodge", 3.0])
def test_what_is_no_goal_is_told(ask: Any, goal: Any) -> None:
    with pytest.raises(GoalError, match="is no goal"):
        ask(CASE.target, goal, CASE.images)


def test_a_fit_is_of_images_and_of_no_flow() -> None:
    """Its artifacts are images in [0, 1], and so a flow was cut off at 0."""
    target = sp.Pipeline(CASE.target, sp.transforms.FlowField())
    with pytest.raises(InputError, match=r"pass run\(\) an OverScenes target"):
        ask_fit(target, CASE.goal, torch.zeros(8, 2, 8, 8).double(), context=Scene(images=CASE.images))


@pytest.mark.parametrize("make", [testing.verifier, testing.segmenter])
def test_outputs_that_are_all_nan_are_refused_in_every_task(make: Callable[..., Any]) -> None:
    case = make(4)
    target = Model(lambda x: case.module(x) * torch.nan, case.target.task)
    with pytest.raises(TargetError, match="no finite number"):
        sp.run(PGD(sp.Linf(0.1), steps=2), target, case.goal, case.images)


@pytest.mark.wrong_types
def test_terms_that_are_none_are_refused() -> None:
    @dataclass(frozen=True)
    class Flat(Goal):
        rows: Tensor
        bare: bool = False

        def __len__(self) -> int:
            return len(self.rows)

        def terms(self, outputs: Any) -> Any:
            return outputs[:, 0] if self.bare else Terms(outputs[:, 0])

    for bare in (True, False):
        with pytest.raises(GoalError, match=r"Flat\.terms gave"):
            sp.run(PGD(sp.Linf(0.1), steps=2), CASE.target, Flat(torch.zeros(8), bare), CASE.images)


@pytest.mark.wrong_types
def test_what_is_no_target_no_attack_and_no_goal() -> None:
    attack = PGD(sp.Linf(0.1), steps=2)
    with pytest.raises(TargetError, match="is no target"):
        sp.run(attack, CASE.images, CASE.goal, CASE.images)
    with pytest.raises(ConfigError, match="PGD is no attack"):
        sp.run(PGD, CASE.target, CASE.goal, CASE.images)
    with pytest.raises(GoalError, match="list"):
        sp.run(attack, testing.verifier(2).target, Dodge([[1.0]] * 2, 0.5), CASE.images[:2])
    with pytest.raises(GoalError, match="without rows"):
        sp.run(attack, testing.verifier(2).target, Dodge(torch.ones(2, 4), torch.tensor(0.5)), CASE.images[:2])
