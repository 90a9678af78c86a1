"""Parsing of `--defend NAME[:PARAMETER=VALUE,...]`, or `NAME:VALUE` for the first parameter."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from ...errors import ConfigError, TargetError, nearest

if TYPE_CHECKING:
    from ...access import Attack, Decisions
    from ...transforms import Detector, Stage
    from ...zoo import Data, LoadedModel

EXAMPLE = "write NAME, NAME:VALUE or NAME:PARAMETER=VALUE,..., as jpeg:quality=75"
PLAIN = (bool, int, float, str)


def known_stages() -> dict[str, type[Stage]]:
    """Return the stages that need nothing but numbers: what is learned first comes from FILE.py:FACTORY."""
    from ...defenses import purification, randomization

    every = {**purification.table, **randomization.table}
    return {name: kind for name, kind in every.items() if all(_plain(hint) for hint in _needed(kind).values())}


def _needed(kind: type[Stage]) -> dict[str, Any]:
    """Return the parameters without a default, with their types."""
    hints = get_type_hints(kind.__init__)
    code = kind.__init__.__code__
    names = code.co_varnames[1 : code.co_argcount]
    optional = len(kind.__init__.__defaults__ or ())
    return {name: hints.get(name) for name in names[: len(names) - optional]}


def _plain(hint: Any) -> bool:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return all(option in (*PLAIN, type(None)) for option in options)


def parse_defense_part(spec: str) -> list[Stage | Detector]:
    """Return the part that `spec` describes, or all that a user's factory returns."""
    if ".py:" in spec:
        return _of_file(spec)
    name, _, rest = spec.partition(":")
    known = known_stages()
    if name not in known:
        raise ConfigError(
            f"--defend {spec!r}: there is no stage {name!r} (there are {', '.join(known)}; one that is learned first "
            f"comes from FILE.py:FACTORY).{nearest(name, known)}"
        )
    options = _options(spec, rest, known[name])
    missing = [parameter for parameter in _needed(known[name]) if parameter not in options]
    if missing:
        raise ConfigError(f"--defend {spec!r} wants {missing[0]}; {EXAMPLE}")
    return [known[name](**options)]


def _options(spec: str, rest: str, kind: type[Stage]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    allowed = {f.name: hints[f.name] for f in fields(kind) if f.init and _plain(hints[f.name])}  # type: ignore[arg-type]
    options = {}
    for place, word in enumerate(rest.split(",") if rest else []):
        parameter, equals, value = word.partition("=")
        if not equals and place == 0 and allowed and parameter not in allowed:
            parameter, equals, value = next(iter(allowed)), "=", word
        if not equals or parameter not in allowed:
            message = ", ".join(allowed) or "none"
            raise ConfigError(
                f"--defend {spec!r}: {word!r} sets no parameter (there are: {message}); {EXAMPLE}."
                f"{nearest(parameter, allowed)}"
            )
        options[parameter] = _value(spec, value, allowed[parameter])
    return options


def _value(spec: str, text: str, hint: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for kind in (kind for kind in (int, float) if kind in kinds):
        try:
            return kind(text)
        except ValueError:
            continue
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    if str in kinds:
        return text
    raise ConfigError(f"--defend {spec!r}: {text!r} is no {' or '.join(kind.__name__ for kind in kinds)}; {EXAMPLE}")


def _of_file(spec: str) -> list[Stage | Detector]:
    """What FACTORY() of a user's own file returns: a stage, a screen, or a list of them."""
    from ...transforms import Detector, Stage
    from ...zoo import python_file

    file, _, factory = spec.rpartition(":")
    made = python_file.call_factory(Path(file), factory)
    parts = list(made) if isinstance(made, Sequence) else [made]
    for part in parts:
        if not isinstance(part, Stage | Detector):
            raise TargetError(f"{spec} returned {type(part).__name__}; return a sparring.targets.Stage or Detector")
    return parts


def add_defense(loaded: LoadedModel, specs: Sequence[str], votes: int) -> LoadedModel:
    """Return the model behind the parts of `--defend`, as it came where there are none."""
    from ...targets import Defended

    if not specs and votes == 1:
        return loaded
    parts = [part for spec in specs for part in parse_defense_part(spec)]
    target = Defended(loaded.target, *parts, votes=votes)
    return replace(loaded, name=" > ".join([*specs, loaded.name]), target=target)


def views_of_attacks(
    loaded: LoadedModel, data: Data, attacks: Sequence[Attack[Any, Any]], draws: int | None
) -> list[LoadedModel]:
    """The model as attacks see it; where it is defended, for attacks without gradients and for those with them."""
    from ...access import Gradients

    seeing = [attack.access for attack in attacks if issubclass(attack.access, Gradients)]
    view = adaptive_view(loaded, data, [*seeing, attacks[0].access][0], draws)
    return [view] if view is loaded or len(seeing) == len(attacks) else [loaded, view]


def adaptive_view(loaded: LoadedModel, data: Data, access: type[Decisions], draws: int | None) -> LoadedModel:
    """A defended model as an attack of that access sees it who knows the defence; the data say how many draws."""
    from ...access import Gradients
    from ...goals import DetectorOutputs, Misclassify
    from ...targets import Defended

    target = loaded.target
    if not isinstance(target, Defended) or not issubclass(access, Gradients):
        if draws is not None:
            raise ConfigError(f"--draws {draws} averages gradients of a random defence, and none are asked for here")
        return loaded
    images = next(iter(data.chunks(16))).images.to(target.device)
    answers = target(images)
    seen = (answers.outputs if isinstance(answers, DetectorOutputs) else answers).argmax(1)
    view = target.adaptive_view(draws, goal=Misclassify(seen), images=images)
    return replace(loaded, name=f"{loaded.name} ({view.draws} draws)" if view.draws > 1 else loaded.name, target=view)
