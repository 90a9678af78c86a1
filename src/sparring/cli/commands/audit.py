"""`sparring audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import ConfigError, ThreatError
from ..display.audit_result import command_line, exit_if_refused, resumable, show_report
from ..display.bounds import Bounds
from ..display.errors import with_exit_code
from ..specs.annotations import load_detector_and_annotations
from ..specs.data import DataOptions
from ..specs.models import InputOverrides, load_model_and_source, load_with_overrides
from ..specs.trials import TRIAL_GOALS, acquire_faces, verification_of
from . import options as given

if TYPE_CHECKING:
    from ...audit import Report
    from ...audit.plan_file import AuditConfig
    from ..display.junit_file import JUnitFile
    from ..specs.trials import Acquired

DETECTION_GOALS = ("vanish", "mislabel")
# what is no part of the plan: where an audit is written, how it is run and what is made of its result
OF_THIS_RUN = ("out", "plan", "resume", "dry_run", "fail_under", "accept", "junit", "device", "devices", "workers")


@with_exit_code
def audit(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="As for `sparring attack`.")] = None,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="zoo:NAME, folder:DIR, npz:FILE, ...")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for records, examples and report.")] = None,
    threat: Annotated[
        list[str] | None,
        typer.Option(
            "--threat",
            metavar="NORM[:EPS,...]",
            help="linf:4/255, l2:0.5; a norm alone searches the smallest example of each image. May be repeated.",
        ),
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="A TOML file that says all of this, in place of it.")] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="quick, standard (default), thorough, or attacks, as fgsm,pgd:steps=10,FILE.py:NAME."),
    ] = None,
    surrogate: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Another model, whose examples are tried on this one.")
    ] = None,
    defend: given.Defend = None,
    votes: Annotated[
        int | None, typer.Option(help="Answers of a random defence that make one of its own; 1 when not given.")
    ] = None,
    draws: given.Draws = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run, and how long at most.")] = False,
    fail_under: Annotated[
        float | None,
        typer.Option(help="Exit with 1 when robust accuracy is below this share."),
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Take note of a finding, which is then no longer open.")
    ] = None,
    expected_accuracy: Annotated[
        float | None, typer.Option(help="The clean accuracy that the model is expected to have.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdict for a CI server, also where the audit fails.")
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(
            help="Of a classifier misclassify (default) or least-likely, of a face verifier dodge or impersonate, of "
            "1:N identification evade or identify, of an object detector vanish or mislabel (DATA: COCO's annotations)."
        ),
    ] = None,
    far: given.FalseAcceptRates = None,
    threshold: given.VerificationThreshold = None,
    attacked: given.AttackedPersons = None,
    calibration: given.CalibrationPersons = None,
    probes: given.Probes = None,
    rank: given.Rank = None,
    metric: given.Metric = None,
    aligned: given.Aligned = False,
    mask: given.Mask = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    seed: Annotated[int | None, typer.Option(help="Of all random draws.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Run the suite under so many seeds.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts of PGD; the suite's own when not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of PGD; the suite's own when not given.")] = None,
    queries: Annotated[
        int | None, typer.Option(help="Queries of the black-box attacks, per image; the suite's own when not given.")
    ] = None,
    device: given.Device = "cpu",
    devices: Annotated[
        str | None, typer.Option(metavar="LIST", help="cuda:0,cuda:1: one worker each, in place of --device.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="Processes that share the work, or ray:N; 1 when not given.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bfloat16 or float16 inside the search; successes are confirmed in float32.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="torch.compile inside the search; successes are confirmed without.")
    ] = False,
    certify: Annotated[
        bool, typer.Option("--certify", help="Prove or break, by bounds, the images that withstand all attacks.")
    ] = False,
    certify_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Of branch and bound for each image and radius; 60 when not given, 0: none."
        ),
        Bounds(0),
    ] = None,
    access: Annotated[
        str | None, typer.Option(help="scores or decisions: audit as a black box. Default: gradients too.")
    ] = None,
    mean: given.Mean = None,
    std: given.Std = None,
    size: given.Size = None,
    channels: given.Channels = None,
    classes: given.Classes = None,
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
) -> None:
    """Measure the robust accuracy of MODEL on DATA, and write a report."""
    typed = {
        name: value
        for name, value in locals().items()
        if name not in OF_THIS_RUN and value not in (None, []) and value is not False
    }
    from ..display.junit_file import junit_file

    title = str(plan) if plan is not None else f"{model} on {data}"
    # A user's file may change the working directory; what is written stays where it was asked for.
    out, junit = (None if path is None else path.absolute() for path in (out, junit))
    with junit_file(None if dry_run else junit, title, out) as junit_out:
        if fail_under is not None and not 0 <= fail_under <= 1:
            raise ConfigError(f"--fail-under {fail_under:g} is no share; write 0.40 for 40 %")
        if out is None and not dry_run:
            raise ConfigError("no folder is given for the run; add --out DIR")
        config = read_plan(plan, typed) if plan is not None else config_of_options(typed)
        least = fail_under if fail_under is not None else config.fail_under
        codes = (*config.accept, *(accept or ()))
        worker_settings = worker_options(workers, devices, device)
        first = (worker_settings["devices"] or [device])[0]
        run_audit_command(config, out, first, codes, resume, dry_run, least, junit_out, worker_settings)


def worker_options(workers: str | None, devices: str | None, device: str) -> dict[str, Any]:
    """--workers and --devices, as `audit` takes them."""
    from ...audit.parallel.workers import parse_workers

    if devices is not None and device != "cpu":
        raise ConfigError(f"--device {device} is said beside --devices {devices}; leave one of the two out")
    listed = None if devices is None else [one.strip() for one in devices.split(",")]
    parse_workers(workers, listed)
    return {"workers": workers, "devices": listed}


def read_plan(path: Path, typed: dict[str, Any]) -> AuditConfig:
    """Return the audit of a plan, which says all that the command line might."""
    from ...audit.plan_file import read_audit_config

    both = next(iter(typed), None)
    if both is not None:
        word = both.upper() if both in ("model", "data") else f"--{both.replace('_', '-')}"
        raise ConfigError(f"{word} is said beside --plan {path}, which says everything; leave one of the two out")
    return read_audit_config(path)


def config_of_options(typed: dict[str, Any]) -> AuditConfig:
    """Return the audit of the command line."""
    for name in ("model", "data"):
        if name not in typed:
            raise ConfigError(f"no {name.upper()} is given; write sparring audit MODEL DATA, or --plan FILE")
    if "threat" not in typed:
        raise ThreatError("no threat is given; add --threat linf:4/255, or --threat l2:0.5")
    from ...audit.plan_file import INNER_TABLES, make_audit_config
    from ..specs.trials import verification_table

    table = {"threats" if name == "threat" else name: value for name, value in typed.items()}
    inner = {"verification": verification_table(table)}
    for name, kind in INNER_TABLES.items():
        inner.setdefault(name, {key: table.pop(key) for key in kind.model_fields if key in table})
    return make_audit_config(table | {name: values for name, values in inner.items() if values})


def run_audit_command(
    config: AuditConfig,
    out: Path | None,
    device: str,
    codes: tuple[str, ...],
    resume: bool,
    dry_run: bool,
    fail_under: float | None,
    junit_out: JUnitFile,
    worker_settings: dict[str, Any],
) -> None:
    """Load what is named, then audit it or say what an audit would do."""
    from ...audit import audit as run_audit
    from ...audit.audit import make_request
    from ..display.estimate import show_estimate
    from ..display.progress import AuditProgressBars
    from ..specs.defenses import add_defense
    from ..specs.masks import load_mask

    smallest = all(":" not in word for word in config.threats)
    if fail_under is not None and smallest:
        raise ConfigError("--fail-under needs a radius, as --threat linf:4/255; a norm alone has no bar to stay above")
    if config.goal in TRIAL_GOALS:
        acquired = acquire_faces(config, device)
        if dry_run or out is None:
            show_estimate(
                make_request(
                    *acquired.trials(config.goal, verification_of(config)),
                    out=Path("unwritten"),
                    **trial_arguments(config),
                )
            )
            return
        report = audit_trials(config, acquired, out, resume, junit_out, codes, worker_settings, fail_under)
        exit_if_refused(report, fail_under)
        return
    described = InputOverrides(**config.input.model_dump())
    options = DataOptions(**config.read.model_dump())
    loaded, pictures = (
        load_detector_and_annotations(config, device)
        if config.goal in DETECTION_GOALS
        else load_model_and_source(config.model, config.data, described, device, config.limit, options)
    )
    loaded = add_defense(loaded, config.defend, config.votes)
    mask = load_mask(config.mask, loaded, pictures, config.limit)
    own = None if config.surrogate is None else load_with_overrides(config.surrogate, InputOverrides(), device)
    arguments = config.arguments() | {"threats": config.balls(), "surrogate": own, "accept": codes, "mask": mask}
    if config.goal in DETECTION_GOALS:
        arguments["goal"] = None  # which comes with the data
    arguments["command"] = command_line()
    if dry_run or out is None:
        show_estimate(make_request(loaded, pictures, out=Path("unwritten"), **arguments))
        return
    with AuditProgressBars() as observer, resumable(out):
        report = run_audit(loaded, pictures, out=out, resume=resume, observer=observer, **arguments, **worker_settings)
        show_report(report, out)
        junit_out.passed(report, fail_under)
    exit_if_refused(report, fail_under)


def audit_trials(
    config: AuditConfig,
    acquired: Acquired,
    out: Path,
    resume: bool,
    junit_out: JUnitFile,
    codes: tuple[str, ...] | None = None,
    worker_settings: dict[str, Any] | None = None,
    fail_under: float | None = None,
) -> Report:
    """Audit one goal of verification or identification, and print its report."""
    from ...audit import audit as run_audit
    from ..display.progress import AuditProgressBars
    from ..specs.masks import load_mask

    assert config.goal is not None
    loaded, trials = acquired.trials(config.goal, verification_of(config))
    arguments = trial_arguments(config) | {"accept": config.accept if codes is None else codes}
    mask = load_mask(config.mask, loaded, trials, config.limit)
    with AuditProgressBars() as observer, resumable(out):
        report = run_audit(
            loaded, trials, out=out, resume=resume, observer=observer, mask=mask, **arguments, **(worker_settings or {})
        )
        show_report(report, out)
        junit_out.passed(report, fail_under)
    return report


def trial_arguments(config: AuditConfig) -> dict[str, Any]:
    """Return the arguments of `audit` that a plan of verification says; the goal comes with the trials."""
    if config.surrogate is not None:
        raise ConfigError(f"surrogate={config.surrogate!r:.80} is of classifiers; leave it out")
    plain = {name: value for name, value in config.arguments().items() if name != "goal"}
    return plain | {"threats": config.balls(), "command": command_line()}
