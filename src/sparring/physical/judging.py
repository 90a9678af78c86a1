"""Judging of a physical artifact: as it was printed to a file, through cameras that it was not made for, with controls.

    printed = export_png("sticker.png", image, width_mm=120)
    judged = judge_physical(printed, verifier, goal, scenes, fitted_through=chain, held_out=other_chain)
    print(judged)
    judged.save("sticker.json")

An artifact that is scored through the simulator it was optimised in says nothing of another simulator, let alone of the
world. So success is measured digitally, through fresh draws of the same family, and through a held-out family; that of
the held-out family is the result. The same is done with controls, which no attacker optimised: what a camera and any
piece of paper would do by themselves. All of them are seen through the same draws of print, place and camera.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.arguments import as_engine
from ..engine.checkpoint import fingerprint
from ..engine.options import Engine
from ..engine.run import goal_like
from ..errors import ConfigError, InputError, TargetError
from ..files import written_beside
from ..goals import Goal
from ..intervals import Interval, cluster_bootstrap
from ..isolation import isolated
from ..random import Key
from ..rows import outside_inference, take, to
from ..targets import Pipeline, Target, TorchModule, answered, as_target, check_context, check_task, valid_rows
from ..transforms import Transform
from ..transforms.scene import scene_images
from .chain import PhysicalChain, check_held_out
from .destruction import values_of
from .printed import PrintedArtifact, load_png

FRESH = 1 << 44  # the first draw used here; fits use lower numbers
ARTIFACT, NOTHING = "artifact", "nothing"
CONTROLS = (NOTHING, "gray", "noise", "natural")
DIGITAL, SAME = "digital", "same family"


@dataclass(frozen=True)
class JudgedView:
    """How often the goal is met on N scenes with one kind of paper in them, seen in one way.

    Args:
        kind: "artifact", or a control: "nothing", "gray", "noise", "natural".
        view: "digital", "same family", or "held out" with its severity.
        success: share of all scenes and draws in which the goal is met.
        paired: the same, of those in which it is not met with nothing there, through the same draw.
        margin: mean of the goal's margin over what is answered: for `Dodge` the threshold less the similarity.
        answered: share that the model answers at all: in which a face is found.
        draws: per scene.
    """

    kind: str
    view: str
    success: Interval
    paired: Interval
    margin: float
    answered: float
    draws: int


@dataclass(frozen=True)
class PhysicalJudgement:
    """What `judge_physical` measured."""

    rows: tuple[JudgedView, ...]
    made: dict[str, Any]  # artifact, its size, target, families, scenes, seed

    def row(self, kind: str, view: str) -> JudgedView:
        """Return the row of a kind and a view; ConfigError where there is none."""
        for row in self.rows:
            if (row.kind, row.view) == (kind, view):
                return row
        known = sorted({f"{row.kind}, {row.view}" for row in self.rows})
        raise ConfigError(f"nothing is known of {kind!r}, {view!r}; there are: {'; '.join(known)}")

    @property
    def views(self) -> tuple[str, ...]:
        """The ways of seeing, in order."""
        return tuple(dict.fromkeys(row.view for row in self.rows))

    @property
    def held_out(self) -> JudgedView:
        """The result: the artifact through the held-out family, at the first of its severities."""
        return self.row(ARTIFACT, next(view for view in self.views if view not in (DIGITAL, SAME)))

    def values(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        rows = [{**vars(row), "success": values_of(row.success), "paired": values_of(row.paired)} for row in self.rows]
        return {"rows": rows, "made": self.made}

    def save(self, path: Path | str) -> Path:
        """Write the values as JSON; RunError where the disk does not take the file."""
        path = Path(path)
        with written_beside(path, "choose another file") as partial:
            partial.write_text(json.dumps(self.values(), indent=1) + "\n", encoding="utf-8")
        return path

    def __str__(self) -> str:
        """Return a table: a line for each kind, a column for each view, success with its interval in per cent."""
        kinds = tuple(dict.fromkeys(row.kind for row in self.rows))
        lines = [["", *self.views], *([kind, *(self._cell(kind, view) for view in self.views)] for kind in kinds)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        )

    def _cell(self, kind: str, view: str) -> str:
        one = self.row(kind, view).success
        return f"{100 * one.value:.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}]"


@isolated()
def judge_physical(
    artifact: PrintedArtifact | Path | str,
    target: Target[Any] | TorchModule,
    goal: Goal,
    scenes: Any,
    *,
    fitted_through: PhysicalChain,
    held_out: PhysicalChain,
    bare: Tensor | None = None,
    changed: Tensor | None = None,
    natural: Tensor | None = None,
    clusters: Tensor | None = None,
    n_draws: int = 20,
    severities: Sequence[float] = (1.0, 1.5),
    engine: Engine | None = None,
) -> PhysicalJudgement:
    """Measure how often the artifact meets the goal in the scenes, beside controls, through both families of cameras.

    Args:
        artifact: an exported PNG (`export_png`), which is read again here. A tensor is refused: it is not what is
            printed.
        target: the model as it is deployed.
        goal: what counts as success, with one row per scene.
        scenes: N scenes, a `Scene` with images; best others than those that the artifact was fitted to.
        fitted_through: the chain that it was fitted through, as `optimization_family()`.
        held_out: a chain of other mechanisms, as `held_out_family()`.
        bare: (3, h, w), what is there without the attack: the sign without stickers. None: nothing at all.
        changed: (h, w) bool, the part of the artifact that the attacker chose (the stickers); controls fill just that.
            None: all of it.
        natural: (3, h', w') in [0, 1], a photograph for the control of that name. None: the middle of the next scene.
        clusters: (N,) int64, scenes that belong together (one place, one person); by default each is by itself.
        n_draws: of print, place and camera for each scene.
        severities: of the held-out family; the first is the result, those above 1 lie outside the ranges of the fit.

    Returns: a `PhysicalJudgement`, with intervals by a bootstrap over clusters.

    Raises: InputError, GoalError, ConfigError (families that overlap) before the first query; TargetError where the
        model's weights or buffers have changed meanwhile.
    """
    given: Any = artifact
    if isinstance(given, Tensor):
        raise InputError("a tensor is not what is printed; pass export_png(path, image, width_mm=) or its path")
    if not isinstance(given, PrintedArtifact | Path | str):
        raise InputError(
            f"a {type(given).__name__} is no artifact; pass what export_png returned, or the path of a PNG"
        )
    printed = load_png(given.path if isinstance(given, PrintedArtifact) else given)
    if isinstance(given, PrintedArtifact) and printed.sha256 != given.sha256:
        raise InputError(f"{printed.path} has changed since it was read; pass its path to judge what it is now")
    if not isinstance(n_draws, int) or isinstance(n_draws, bool) or n_draws < 1:
        raise ConfigError(f"n_draws={n_draws!r}; pass an int >= 1")
    if not severities or not all(isinstance(one, int | float) and one > 0 for one in severities):
        raise ConfigError(f"severities={severities!r:.80}; pass numbers above 0, as (1.0, 1.5)")
    check_held_out(fitted_through, held_out)
    use, engine, scenes = as_target(target).confirming_target, as_engine(engine), outside_inference(scenes)
    images = scene_images(scenes, "an artifact")
    views = {DIGITAL: fitted_through.at_severity(0.0), SAME: fitted_through}
    views |= {f"held out x{severity:g}": held_out.at_severity(severity) for severity in severities}
    if not isinstance(goal, Goal) or len(goal) != len(images):
        raise InputError(f"the goal has one row per scene, and there are {len(images)}; pass such a Goal")
    check_task(use, goal)
    check_context(Pipeline(use, fitted_through), scenes, len(images))
    of = torch.arange(len(images)) if clusters is None else clusters
    if not isinstance(of, Tensor) or of.shape != (len(images),):
        raise InputError(f"clusters is (N,) int64, the cluster of each of {len(images)} scenes")
    papers = _papers(printed, images, bare, changed, natural, engine.seed)
    aim = use.adapt_goal(goal_like(goal, images, use))
    before = fingerprint(*use.identity())
    rows = []
    with torch.no_grad(), use.frozen():
        for name, chain in views.items():
            draws = n_draws if Pipeline(use, chain).stochastic else 1
            met = {
                kind: _answers(use, SceneAlone(chain) if paper is None else chain, paper, aim, scenes, draws, engine)
                for kind, paper in papers.items()
            }
            rows += [_row(kind, name, *met[kind], met[NOTHING][0], of) for kind in papers]
    if fingerprint(*use.identity()) != before:
        raise TargetError(f"{use.name} has changed while it was judged: its weights or buffers are not what they were")
    made = {
        "artifact_sha256": printed.sha256,
        "pixels": list(printed.levels.shape[1:]),
        "size_mm": [printed.width_mm, printed.height_mm],
        "dpi": printed.dpi,
        "target": use.name,
        "target_sha256": before,
        "goal": type(goal).__name__,
        "scenes": len(images),
        "clusters": len(set(of.tolist())),
        "seed": engine.seed,
        "fitted_through": [_told(stage) for stage in fitted_through.stages],
        "held_out": [_told(stage) for stage in held_out.stages],
    }
    return PhysicalJudgement(tuple(rows), made)


@dataclass(frozen=True)
class SceneAlone(Transform):
    """The images of the scene as the camera of a chain captures them, with nothing placed and the same draws."""

    chain: PhysicalChain

    @property
    def stochastic(self) -> bool:
        return self.chain.stochastic

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        parameters = self.chain.sample(key, x, context).camera
        return self.chain.camera.apply_parameters(scene_images(context, self.name).to(x), parameters, context), context


def _papers(
    printed: PrintedArtifact,
    images: Tensor,
    bare: Tensor | None,
    changed: Tensor | None,
    natural: Tensor | None,
    seed: int,
) -> dict[str, Tensor | None]:
    """What is put into the scenes, (N or 1, 3, h, w) of 256 levels each; None: nothing."""
    image = printed.image
    size = image.shape[1:]
    if bare is not None and (not isinstance(bare, Tensor) or bare.shape != image.shape):
        raise InputError(f"bare is an image like the artifact, {tuple(image.shape)}")
    if changed is not None and (
        not isinstance(changed, Tensor) or changed.shape != size or changed.dtype != torch.bool
    ):
        raise InputError(f"changed is bool {tuple(size)}, the pixels of the artifact that the attacker chose")
    if natural is not None and (not isinstance(natural, Tensor) or natural.ndim != 3 or len(natural) != 3):
        raise InputError("natural is a photograph (3, H, W) in [0, 1]")
    free = torch.ones(size, dtype=torch.bool) if changed is None else changed
    if not bool(free.any()):
        raise InputError("changed is False everywhere: there is no attack to be judged")
    photographs = natural[None] if natural is not None else _middles(images.roll(-1, 0), size)
    shown = torch.nn.functional.interpolate(photographs, size, mode="bilinear", antialias=True)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(int(free.sum())))
    noise = image.clone()
    noise[:, free] = image[:, free][:, order]
    ground = image if bare is None else bare
    controls = {
        NOTHING: None if bare is None else bare[None],
        "gray": torch.where(free, torch.full_like(image, 0.5), ground)[None],
        "noise": torch.where(free, noise, ground)[None],
        "natural": torch.where(free, shown, ground[None]),
    }
    every = {ARTIFACT: image[None], **controls}
    return {
        kind: None if paper is None else paper.clamp(0, 1).mul(255).round().div(255) for kind, paper in every.items()
    }


def _middles(images: Tensor, size: torch.Size) -> Tensor:
    """The largest rectangle in the middle of images (N, C, H, W) with the proportions of `size`."""
    height, width = images.shape[2:]
    scale = min(height / size[0], width / size[1])
    high, wide = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    top, left = (height - high) // 2, (width - wide) // 2
    return images[:, :, top : top + high, left : left + wide]


def _answers(
    target: Target[Any], chain: Transform, paper: Tensor | None, goal: Goal, scenes: Any, draws: int, engine: Engine
) -> tuple[Tensor, Tensor, Tensor]:
    """Whether the goal is met, whether there is an answer, and the margin, (N, draws); all papers draw alike."""
    pipeline = Pipeline(target, chain)
    images, device = scene_images(scenes, "an artifact"), target.device
    met, known, far = [], [], []
    for start in range(0, len(images), engine.batch_size):
        rows = torch.arange(start, min(start + engine.batch_size, len(images)))
        beside, theirs = to(take(scenes, rows), device), take(goal, rows.to(device))
        shown = images.new_zeros(1, images.shape[1], 1, 1) if paper is None else paper
        shown = (shown[rows] if len(shown) > 1 else shown.expand(len(rows), -1, -1, -1)).to(device, images.dtype)
        key = Key(rows.to(device), engine.seed)
        won, answers, margins = [], [], []
        for draw in range(draws):
            outputs = answered(pipeline, shown, key.reseeded(FRESH + draw), beside)
            if start == draw == 0:
                theirs.check(outputs, goal)
            there = valid_rows(outputs, pipeline.task)
            margin = theirs.margin(outputs)
            won.append((margin > 0) & there)
            answers.append(there)
            margins.append(margin)
        met.append(torch.stack(won, 1).cpu())
        known.append(torch.stack(answers, 1).cpu())
        far.append(torch.stack(margins, 1).double().cpu())
    return torch.cat(met), torch.cat(known), torch.cat(far)


def _row(
    kind: str, view: str, met: Tensor, known: Tensor, margins: Tensor, alone: Tensor, clusters: Tensor
) -> JudgedView:
    of = clusters.cpu().numpy().astype(np.int64)
    standing = ~alone.expand_as(met) if alone.shape[1] == met.shape[1] else ~alone[:, :1].expand_as(met)

    def share(part: Tensor, whole: Tensor) -> Interval:
        return cluster_bootstrap(part.sum(1).double().numpy(), whole.sum(1).double().numpy(), of)

    successes, paired = share(met, torch.ones_like(met)), share(met & standing, standing)
    margin = float(margins[known].mean()) if bool(known.any()) else math.nan
    return JudgedView(kind, view, successes, paired, margin, float(known.double().mean()), met.shape[1])


def _told(stage: Any) -> str:
    """A stage in words; of a mask its size, not its pixels."""
    told = {
        name: f"{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        for name, value in vars(stage).items()
    }
    return f"{type(stage).__name__}({', '.join(f'{name}={value}' for name, value in told.items())})"
