"""The compatibility matrix: every attack on the goals of every task, on inputs and threats of every kind.

    python -m sparring.testing.matrix                    prints the table
    python -m sparring.testing.matrix docs/matrix.md     and writes the page
    python -m sparring.testing.matrix --attack fmn       of the attacks whose names hold these letters

In each cell the attack runs and obeys law 10, or is refused before the first query; the reason is a footnote.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Jacobians
from ..attacks import (
    ALMA,
    APGD,
    BIM,
    DAADGF,
    DDN,
    EAD,
    FAB,
    FABT,
    FGSM,
    FMN,
    JSMA,
    L1APGD,
    LBFGS,
    MIFGSM,
    MSD,
    NES,
    NIFGSM,
    PDPGD,
    PGD,
    RFGSM,
    SPSA,
    ZOO,
    Auto,
    AutoAttack,
    Bandits,
    Boundary,
    CarliniWagner,
    CarliniWagnerL0,
    CarliniWagnerLinf,
    Cascade,
    DAABlob,
    DeepFool,
    FastFGSM,
    HopSkipJump,
    InputDiversity,
    OrthogonalPGD,
    Restarts,
    Rivals,
    SigmaZero,
    SimBA,
    Square,
    SuperDeepFool,
    SurFree,
    Sweep,
    TransferAttack,
    VarianceTuning,
)  # fmt: skip
from ..engine import Outcome, run
from ..errors import AccessError, ConfigError, GoalError, InputError, TargetError, ThreatError
from ..geometry import L0, L1, L2, Linf
from ..geometry.region import Region
from ..goals import RivalMargin
from ..random import Key
from ..rows import take
from ..targets import Target, WrappedTarget, answered
from ..tasks import Task
from .attack_laws import require
from .matrix_cases import COLUMNS, TASKS, Setting

REFUSED = (AccessError, ConfigError, GoalError, InputError, TargetError, ThreatError)
FACTORS = (0.6, 1.4, 1.0)  # of a radius, row by row
TOLERANCE = 1e-3  # of the batch law, for searches that turn on the boundary itself
LETTERS = {task.name: task.name[0].upper() for task in TASKS}


def attacks(size: float = 1.0) -> dict[str, Attack[Any, Any]]:
    """Return the attacks by the names of their rows, with few steps and radii for inputs whose `scale` is `size`."""
    linf, l2, l1, l0 = Linf(0.2 * size), L2(0.8 * size), L1(2.5 * size), L0(2)
    return {
        "fgsm": FGSM(linf),
        "r-fgsm": RFGSM(linf),
        "fast-fgsm": FastFGSM(linf),
        "bim": BIM(linf, steps=4),
        "pgd linf": PGD(linf, steps=5),
        "pgd l2": PGD(l2, steps=5),
        "pgd l1": PGD(l1, steps=5),
        "pgd l0": PGD(l0, steps=5),
        "mi-fgsm": MIFGSM(linf, steps=4),
        "ni-fgsm": NIFGSM(linf, steps=4),
        "daa-blob": DAABlob(linf, steps=3),
        "daa-dgf": DAADGF(linf, steps=3),
        "apgd linf": APGD(linf, steps=6),
        "apgd l2": APGD(l2, steps=6),
        "apgd-l1": L1APGD(l1, steps=6),
        "msd": MSD((linf, l2, l1), steps=4),
        "orthogonal-pgd": OrthogonalPGD(linf, steps=4),
        "l-bfgs": LBFGS(binary_search_steps=2, steps=4),
        "carlini-wagner": CarliniWagner(binary_search_steps=2, steps=6),
        "carlini-wagner-l0": CarliniWagnerL0(steps=6, patience=2),
        "carlini-wagner-linf": CarliniWagnerLinf(steps=6, patience=2),
        "ead": EAD(binary_search_steps=2, steps=5),
        "jsma": JSMA(theta=0.5, gamma=0.15),
        "deepfool l2": DeepFool(steps=8),
        "deepfool linf": DeepFool(steps=8, ball=Linf()),
        "superdeepfool": SuperDeepFool(steps=4),
        "fab l2": FAB(L2(), steps=4),
        "fab linf": FAB(Linf(), steps=4),
        "fab-margin": FABT(L2(), steps=4),
        "ddn": DDN(steps=8),
        "fmn l2": FMN(L2(), steps=8),
        "fmn linf": FMN(Linf(), steps=8),
        "fmn l1": FMN(L1(), steps=8),
        "fmn l0": FMN(L0(), steps=8),
        "alma l2": ALMA(L2(), steps=8),
        "alma l1": ALMA(L1(), steps=8),
        "pdpgd l2": PDPGD(L2(), steps=8),
        "pdpgd l0": PDPGD(L0(), steps=8),
        "sigma-zero": SigmaZero(steps=8),
        "sweep": Sweep(linf, 1, 2, 5, 4),
        "square linf": Square(linf, n_queries=12),
        "square l2": Square(l2, n_queries=12),
        "square l1": Square(l1, n_queries=12),
        "nes": NES(linf, steps=3, n_samples=4),
        "spsa": SPSA(linf, steps=3, n_samples=4),
        "bandits": Bandits(linf, steps=4),
        "bandits, tile_size=1": Bandits(linf, steps=4, tile_size=1),
        "simba": SimBA(l2, steps=8),
        "simba, pixels=True": SimBA(l2, steps=8, pixels=True),
        "zoo": ZOO(steps=2, nb_parallel=6),
        "hopskipjump l2": HopSkipJump(L2(), steps=2),
        "hopskipjump linf": HopSkipJump(Linf(), steps=2),
        "boundary": Boundary(steps=6),
        "surfree": SurFree(steps=5),
        "restarts of pgd": Restarts(PGD(linf, steps=3), n_restarts=2),
        "rivals of apgd": Rivals(APGD(linf, steps=3, loss=None), 2),
        "rivals of fab-margin": Rivals(FABT(L2(), steps=3, linearize_loss=True), 2, RivalMargin),
        "cascade": Cascade(FGSM(linf), APGD(linf, steps=3), Square(linf, n_queries=5)),
        "auto": Auto(linf),
        "autoattack": AutoAttack(linf, steps=2, n_queries=4),
        "input diversity": TransferAttack(BIM(linf, steps=3), InputDiversity()),
        "variance tuning": TransferAttack(BIM(linf, steps=3), VarianceTuning(2)),
    }


@dataclass(frozen=True)
class Cell:
    """What came of one attack in one setting: it ran and obeyed, or was refused."""

    refused: str | None = None  # the reason

    @property
    def ran(self) -> bool:
        """Whether the attack ran, and was not refused."""
        return self.refused is None


def try_cell(name: str, column: str, task: Task) -> Cell:
    """Return what comes of the attack `name` in a column, on the goal of a task; AssertionError where it disobeys."""
    try:
        setting = COLUMNS[column](task)
        setting.target_around(setting.module)
    except TargetError as error:  # there is no such target, whatever the attack
        return Cell(str(error))
    return tried(attacks(setting.target_around(setting.module).inputs.scale)[name], setting)


def tried(attack: Attack[Any, Any], setting: Setting) -> Cell:
    """Run the attack: it is refused before a question, or is feasible, honest and the same row by row."""
    target, eps = Watched(setting.target_around(setting.module)), _radii(attack, setting)
    options = {"mask": setting.mask, "eps": eps, "context": setting.context}
    try:
        together = run(attack, target, setting.goal, setting.x, **options)
    except REFUSED as error:
        count = sum(len(x) for x in target.asked)
        require(count == 0, f"{attack.name} asked {count} times before it was refused: {error}")
        return Cell(str(error))
    region = Region.around(setting.x, attack.ball, target.inputs, mask=setting.mask, eps=eps)
    _require_feasible(attack, together, region)
    with torch.no_grad():
        outputs = answered(target, together.examples, None, setting.context)
    won = target.adapt_goal(setting.goal).margin(outputs) > 0
    require(torch.equal(won, together.success), f"{attack.name} claims {together.success}, measured {won}")
    for row in range(len(setting.x)):
        target.asked.clear()
        at = torch.tensor([row])
        one, goal, context = region.take(at), take(setting.goal, at), take(setting.context, at)
        mask = None if setting.mask is None else setting.mask[at]
        radius = None if eps is None else eps[at]
        alone = run(attack, target, goal, one.x, indices=at, mask=mask, eps=radius, context=context)
        _require_asked_within(attack, torch.cat(target.asked), one)
        if not attack.batch_coupled:
            _require_same(attack, row, together, alone, target.inputs.scale)
    return Cell()


class Watched(WrappedTarget[Jacobians]):
    """Notes what it is asked about."""

    def __init__(self, target: Target[Jacobians]) -> None:
        super().__init__(target)
        self.asked: list[Tensor] = []

    def __call__(self, images: Tensor, key: Key | None = None, context: Any = None) -> Any:
        """Return the outputs of the target inside."""
        self.asked.append(images.detach().clone())
        return super().__call__(images, key, context)


def _radii(attack: Attack[Any, Any], setting: Setting) -> Tensor | None:
    """(B,) radii around that of the attack, where the column has some."""
    if not setting.radii:
        return None
    base = 0.7 if attack.ball.eps == float("inf") else attack.ball.eps  # within the range of images
    eps = base * torch.tensor(FACTORS, dtype=setting.x.dtype)
    return eps.ceil() if attack.ball.p == 0 else eps


def _require_feasible(attack: Attack[Any, Any], outcome: Outcome, region: Region) -> None:
    moved = outcome.examples != region.x
    if region.free is not None:
        outside = int((moved & ~region.free).sum())
        require(outside == 0, f"{attack.name} moved {outside} components outside the mask")
    held = region.contains(outcome.examples)
    require(bool(held.all()), f"{attack.name} left its ball or the valid range in rows {(~held).tolist()}")


def _require_asked_within(attack: Attack[Any, Any], asked: Tensor, region: Region) -> None:
    """All questions about one row stay in its range and under its mask, and in its ball unless the attack says else."""
    if getattr(attack, "techniques", ()):
        return  # which ask about other inputs by design
    everywhere = region.take(torch.zeros(len(asked), dtype=torch.long))
    low, high = everywhere.low - 1e-6, everywhere.high + 1e-6
    require(bool(((asked >= low) & (asked <= high)).all()), f"{attack.name} asked beyond the valid range")
    if everywhere.free is not None:
        require(not bool(((asked != everywhere.x) & ~everywhere.free).any()), f"{attack.name} asked beyond the mask")
    if not attack.queries_outside_ball:
        over = float((everywhere.norm(asked - everywhere.x) - everywhere.eps).amax())
        require(over <= 1e-6, f"{attack.name} asked beyond its ball, by {over:g}")


def _require_same(attack: Attack[Any, Any], row: int, together: Outcome, alone: Outcome, scale: float) -> None:
    require(bool(alone.success) == bool(together.success[row]), f"{attack.name}: row {row} alone has another success")
    gap = float((alone.examples[0] - together.examples[row]).abs().max())
    require(gap <= TOLERANCE * scale, f"{attack.name}: row {row} alone has an example that differs by {gap:g}")


@dataclass(frozen=True)
class Matrix:
    """All cells by attack, column and task."""

    cells: dict[tuple[str, str, str], Cell]

    @property
    def names(self) -> list[str]:
        """The names of the attacks, one per row of the table and in its order."""
        return list(dict.fromkeys(name for name, _, _ in self.cells))

    @property
    def reasons(self) -> list[str]:
        """The footnotes, in the order in which a reader meets them."""
        return list(dict.fromkeys(cell.refused for cell in self.cells.values() if cell.refused is not None))

    def told(self, name: str, column: str) -> str:
        """Return the letters of the tasks that are served, and the numbers of the reasons why others are not."""
        here = {task.name: self.cells[name, column, task.name] for task in TASKS}
        letters = "".join(LETTERS[task] for task, cell in here.items() if cell.ran)
        notes = dict.fromkeys(self.reasons.index(cell.refused) + 1 for cell in here.values() if cell.refused)
        return letters + "".join(f"[^{note}]" for note in notes)

    def table(self) -> str:
        """Return the table in Markdown."""
        lines = [f"| attack | {' | '.join(COLUMNS)} |", f"|{'---|' * (len(COLUMNS) + 1)}"]
        lines += [f"| {name} | {' | '.join(self.told(name, column) for column in COLUMNS)} |" for name in self.names]
        return "\n".join(lines)

    def page(self) -> str:
        """Return the whole page."""
        tasks = ", ".join(f"{LETTERS[task.name]} {task.name}" for task in TASKS)
        columns = [f"- *{column}*: {_first_line(make)}" for column, make in COLUMNS.items()]
        notes = [f"[^{number}]: {reason}" for number, reason in enumerate(self.reasons, 1)]
        return "\n".join([HEAD.format(tasks=tasks), self.table(), "", *columns, "", *notes, ""])


HEAD = """# What serves what

Generated by `python -m sparring.testing.matrix docs/matrix.md`; do not edit it.

Every attack of `sparring.attacks.table`, and attacks made of attacks, on a goal of each task ({tasks}), on inputs and
under threats of each kind. A letter says that the attack was run there on a small model with a few steps, that what it
asked and returned lies within range, mask, ball and radius (what it asked not within the ball, where a search for the
smallest example says so), that each success is one when measured again, and that each row alone gives what it gives
among others, unless its rows act on one another by design. A number says why it was refused, before anything was asked.
"""

TOLD = {
    "flow": "pixels of the images in the context move by up to two pixels (`FlowField`).",
    "rotation": "they are turned by up to 90 degrees and shifted by up to a quarter of their side "
    "(`RotationTranslation`).",
    "colour curve": "each of their channels passes a curve of four pieces (`ColourCurve`).",
}


def _first_line(make: Callable[[Task], Setting]) -> str:
    column = next(name for name, one in COLUMNS.items() if one is make)
    return TOLD.get(column) or str(make.__doc__).splitlines()[0]


def matrix(names: Sequence[str] | None = None, progress: Callable[[str], None] | None = None) -> Matrix:
    """Return the matrix of the attacks with these names; None: of all."""
    cells: dict[tuple[str, str, str], Cell] = {}
    made: dict[tuple[str, str], tuple[Setting | None, str]] = {}
    for column, make in COLUMNS.items():
        for task in TASKS:
            setting = make(task)
            try:
                setting.target_around(setting.module)
                made[column, task.name] = setting, ""
            except TargetError as error:
                made[column, task.name] = None, str(error)
    by_size: dict[float, dict[str, Attack[Any, Any]]] = {}
    for name in attacks() if names is None else names:
        begun = time.perf_counter()
        for (column, task_name), (one, why) in made.items():
            if one is None:
                cells[name, column, task_name] = Cell(why)
                continue
            size = one.target_around(one.module).inputs.scale
            attack = by_size.setdefault(size, attacks(size))[name]
            try:
                cells[name, column, task_name] = tried(attack, one)
            except Exception as error:
                error.add_note(f"{name}, {column}, {task_name}")
                raise
        if progress is not None:
            progress(f"{name}: {time.perf_counter() - begun:.1f} s")
    return Matrix(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the matrix, and write the page where one is named."""
    parser = argparse.ArgumentParser(prog="python -m sparring.testing.matrix", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("page", nargs="?", type=Path, help="the file to write the page to")
    parser.add_argument("--attack", default="", help="only those whose names hold these letters")
    chosen = parser.parse_args(arguments)
    names = [name for name in attacks() if chosen.attack in name]
    if not names:
        parser.error(f"no attack is called {chosen.attack!r}; the rows are {', '.join(attacks())}")
    if chosen.page is not None and chosen.attack:
        parser.error("a page holds all attacks; leave --attack out")
    made = matrix(names, lambda line: print(line, file=sys.stderr, flush=True))
    print(made.table())
    for number, reason in enumerate(made.reasons, 1):
        print(f"[{number}] {reason}")
    if chosen.page is not None:
        chosen.page.write_text(made.page(), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
