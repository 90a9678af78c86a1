"""The page: template, style and script joined into one HTML file."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...errors import RunError
from ...files import write_atomically
from ...tasks import Words
from .attack_table import attack_names, by_view, spent
from .card import headline, searched, sort_values, sortable
from .class_table import FIRST, class_table
from .curve import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, curve_panel
from .escaping import visible
from .format import FILTERS
from .gallery import IMAGES
from .model import Finding, ImageCertificate, Report
from .pictures import embedded
from .plot import drawn_plot

SEVERITIES = ("severe", "warning", "note")
SMALL = 120  # pictures with fewer pixels across are drawn with hard pixels
CARD = {"headline": headline, "searched": searched, "sort_values": sort_values}
SCRIPTS = ("page.js", "classes.js", "gallery.js")
VERDICTS = 200  # verdicts that are listed
ORDER = ("contradicted", "open", "broken", "proven")
ROWS = 60  # rows of a table of a task that are listed
WORD = 60  # letters of a word of a goal
BRIEF = 4  # findings beside the result; all of them have a section


def write_html(report: Report, path: Path, assets: Path | None = None) -> None:
    """Write `report` to `path` as one HTML file that loads nothing.

    `assets` is the folder that the gallery's picture names are relative to; None: the folder of `path`.
    Raises RunError when a picture cannot be read or the file cannot be written; an older file then stays.
    """
    page = render_html(report, path.parent if assets is None else assets)
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise RunError(
            f"the report {path} cannot be written ({error.strerror}); free space or choose another folder"
        ) from error


def render_html(report: Report, assets: Path) -> str:
    """Return the page's text. Style and script are named to the browser by their hashes: nothing else may run."""
    words = Words(**{name: visible(word, WORD) for name, word in vars(report.words).items()})
    report = report.model_copy(update={"words": words})
    style, script = _part("report.css"), "\n".join(_part(name) for name in SCRIPTS)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            style_hash=_source_hash(style),
            script_hash=_source_hash(script),
            frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM},
            picture=partial(embedded, assets),
            small=SMALL,
            brief=BRIEF,
            verdicts_shown=VERDICTS,
            first_classes=FIRST,
            measure="Robust agreement" if report.data.labels == "model" else report.words.measure,
            rows_shown=ROWS,
            **_content(report),
        )
    )


def _content(report: Report) -> dict[str, Any]:
    """What the templates show besides the report itself."""
    radii = [part for threat in report.threats if not threat.smallest for part in threat.epsilons]
    views = report.model.views
    attacks = [row for threat in report.threats for part in threat.epsilons for row in part.attacks]
    return {
        "worst": report.worst() if any(threat.epsilons for threat in report.threats) else None,
        "tried": len(radii),
        "earlier_views": views[:-1] if all(len(part.views) == len(views) for part in radii) else [],
        "smallest": [threat for threat in report.threats if threat.smallest],
        "findings": _by_weight(report.warnings),
        "blocking": sum(finding.blocks for finding in report.warnings),
        "attacks": attack_names(attacks),
        "passes": spent(attacks),
        "in_jpeg": any(row.survives_jpeg90 is not None for row in attacks),
        "classes": class_table(report),
        "pictures": report.model.inputs == IMAGES,
        "thing": "image" if report.model.inputs == IMAGES else "input",
        "things": "images" if report.model.inputs == IMAGES else "inputs",
        "sortable": sortable(report),
        "shown_attacks": list(dict.fromkeys(part.attack for part in report.gallery)),
        "shown_threats": _shown_threats(report),
        "verdicts": _verdicts(report),
        "panels": [curve_panel(threat) for threat in report.threats],
    }


@dataclass(frozen=True)
class VerdictRow:
    """The verdict on one image at one radius."""

    norm: str
    eps_text: str
    image: ImageCertificate


def _verdicts(report: Report) -> list[VerdictRow]:
    """Return the verdicts on all images at all radii, the contradicted first, then the open, the widest gap first."""
    rows = [
        VerdictRow(threat.norm, part.eps_text, image)
        for threat in report.threats
        for part in threat.epsilons
        for image in (part.certificates.images if part.certificates else [])
    ]
    return sorted(rows, key=lambda row: (ORDER.index(row.image.verdict), -(row.image.gap or 0.0), row.image.sample))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS | {"by_view": by_view, "article": article, "drawn": drawn_plot} | CARD)
    return environment


def article(noun: str) -> str:
    """Return `an image` or `an input`."""
    return f"an {noun}"


def _part(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8").strip()


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _by_weight(findings: list[Finding]) -> list[Finding]:
    """Return the gravest first, those that somebody has accepted last."""
    return sorted(findings, key=lambda finding: (finding.accepted, SEVERITIES.index(finding.severity)))


def _shown_threats(report: Report) -> list[tuple[str, str]]:
    """Norm and eps of the gallery's examples, by norm, smallest eps first."""
    pairs = sorted((part.norm, part.eps, part.eps_text) for part in report.gallery)
    return list(dict.fromkeys((norm, text) for norm, _, text in pairs))
