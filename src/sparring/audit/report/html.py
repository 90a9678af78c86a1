"""The page: template, style and script joined into one HTML file."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...errors import RunError
from ..report_model import Caution, Report
from .curve import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, panel
from .pictures import embedded
from .words import FILTERS

SEVERITIES = ("severe", "warning", "note")
SMALL = 120  # pictures with fewer pixels across are drawn with hard pixels


def write_html(report: Report, path: Path, assets: Path | None = None) -> None:
    """Write `report` to `path` as one HTML file that loads nothing.

    `assets` is the folder that the gallery's picture names are relative to; None: the folder of `path`.
    Raises RunError when a picture cannot be read or the file cannot be written; an older file then stays.
    """
    page = render(report, path.parent if assets is None else assets)
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        unfinished.write_text(page, encoding="utf-8", newline="\n")
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise RunError(
            f"the report {path} cannot be written ({error.strerror}); free space or choose another folder"
        ) from error


def render(report: Report, assets: Path) -> str:
    """The page's text. Style and script are named to the browser by their hashes: nothing else may run."""
    style, script = _part("report.css"), _part("report.js")
    tried = sum(len(threat.epsilons) for threat in report.threats)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            style_hash=_source_hash(style),
            script_hash=_source_hash(script),
            worst=report.worst() if tried else None,
            tried=tried,
            cautions=_by_weight(report.warnings),
            attacks=_attacks(report),
            shown_attacks=list(dict.fromkeys(part.attack for part in report.gallery)),
            shown_threats=_shown_threats(report),
            panels=[panel(threat) for threat in report.threats],
            frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM},
            picture=partial(embedded, assets),
            small=SMALL,
            measure="Robust agreement" if report.data.labels == "model" else "Robust accuracy",
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def _part(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8").strip()


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _by_weight(cautions: list[Caution]) -> list[Caution]:
    return sorted(cautions, key=lambda caution: SEVERITIES.index(caution.severity))


def _attacks(report: Report) -> list[str]:
    """Every attack that took part, in the order of the cascade."""
    radii = [radius for threat in report.threats for radius in threat.epsilons]
    return list(dict.fromkeys(part.attack for radius in radii for part in radius.attacks))


def _shown_threats(report: Report) -> list[tuple[str, str]]:
    """Norm and eps of the gallery's examples, by norm, smallest eps first."""
    pairs = sorted((part.norm, part.eps, part.eps_text) for part in report.gallery)
    return list(dict.fromkeys((norm, text) for norm, _, text in pairs))
