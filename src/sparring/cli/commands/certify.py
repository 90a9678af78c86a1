"""`sparring certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.bounds import Bounds
from ..display.errors import with_exit_code
from ..specs.data import DataOptions
from ..specs.models import InputOverrides, load_model_and_data
from . import options as given


@with_exit_code
def certify_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Of DATA: zoo:NAME, FILE.py:FACTORY, timm:NAME, ..., as for audit. Of a property: NET.onnx; or "
            "INSTANCES.csv alone, with a line NET.onnx,SPEC.vnnlib,SECONDS for each.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="zoo:NAME, folder:DIR, npz:FILE, ...; or a property, SPEC.vnnlib."),
    ] = None,
    threat: Annotated[
        list[str] | None,
        typer.Option(metavar="NORM:EPS,...", help="As linf:0.05,0.1 or l2:0.5. May be given several times."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds for each image and radius after the attack, 0: CROWN only; of a property seconds in all. 60, "
            "or as INSTANCES.csv says."
        ),
        Bounds(0),
    ] = None,
    mask: given.Mask = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the verdicts and counterexamples.")] = None,
    limit: given.Limit = None,
    batch_size: Annotated[int, typer.Option(help="Images that are worked on, and recorded, together."), Bounds(1)] = 16,
    device: given.Device = "cpu",
    mean: given.Mean = None,
    std: given.Std = None,
    size: given.Size = None,
    channels: given.Channels = None,
    classes: given.Classes = None,
    scale: given.Scale = None,
    labels: given.Labels = None,
    class_names: given.ClassNames = None,
) -> None:
    """Prove for each image of DATA that nothing within the threat changes its class, or find what does.

    sparring certify NET.onnx SPEC.vnnlib and sparring certify INSTANCES.csv answer properties in VNN-LIB, as the
    verification competition poses them: unsat (proven), sat with a counterexample, unknown or timeout. Exit code 0:
    all are proven; 1: not all; 2: a file cannot be used.
    """
    if is_property(model, data):
        others = {
            "--threat": threat, "--mask": mask, "--limit": limit, "--mean": mean, "--std": std, "--size": size,
            "--channels": channels, "--classes": classes, "--scale": scale, "--labels": labels,
            "--class-names": class_names, "--device": None if device == "cpu" else device,
        }  # fmt: skip
        certify_properties(model, data, timeout, out, [name for name, one in others.items() if one])
        return
    from ...defenses.certification.verify import ASSUMPTIONS
    from ...errors import ConfigError, ThreatError
    from ...experiments.certify import CertifyDataset
    from ...threats import parse_threat_list
    from ..display.console import say
    from ..display.progress import ProgressBars
    from ..display.tables import show_certified
    from ..specs.masks import load_mask

    if data is None:
        raise ConfigError("certify needs DATA, or a property: sparring certify NET.onnx SPEC.vnnlib")
    threats = parse_threat_list(threat or [])
    if len(threats) != 1:
        raise ThreatError(f"certify needs one norm, and there are {len(threats)}; add --threat linf:2/255,4/255")
    overrides = InputOverrides(mean, std, size, channels, classes)
    loaded, pictures = load_model_and_data(
        model, data, overrides, device, limit, DataOptions(scale, labels, class_names)
    )
    free = load_mask(mask, loaded, pictures, limit)
    experiment = CertifyDataset(
        loaded, pictures, threats[0], 60.0 if timeout is None else timeout, batch_size, out, free
    )
    with ProgressBars("capturing the network") as bars:
        counts = experiment.run(bars)
    show_certified(experiment, counts)
    say(ASSUMPTIONS)
    if out is not None:
        say(f"verdicts: {out / 'certificates.csv'}   sums: {out / 'certificates.json'}", "bold")


def is_property(model: str, data: str | None) -> bool:
    """Tell whether a property is meant: NET SPEC.vnnlib, or INSTANCES.csv."""
    if data is None:
        return model.lower().endswith((".csv", ".csv.gz"))
    return data.lower().endswith((".vnnlib", ".vnnlib.gz"))


def certify_properties(
    model: str, data: str | None, timeout: float | None, out: Path | None, unused: list[str]
) -> None:
    """Answer one property or those of a list; exit with 1 where not all are proven, with 2 where one has an error."""
    from ...errors import ConfigError
    from ...experiments.certify_properties import CertifyProperties, Instance, read_instances
    from ..display.console import note, say
    from ..display.errors import BAD, BELOW
    from ..display.progress import ProgressBars
    from ..display.tables import show_properties

    if unused:
        raise ConfigError(f"{unused[0]} means nothing for a property, which says itself what it is about; leave it out")
    if timeout == 0:
        raise ConfigError("--timeout 0 leaves no time for a property; give it seconds, as --timeout 60")
    if data is None:
        experiment = CertifyProperties(read_instances(Path(model), timeout), out)
        with ProgressBars("reading the first instance") as bars:
            results = experiment.run(bars)
        show_properties(model, results)
        if out is not None:
            say(f"answers: {out / 'results.csv'}", "bold")
    else:
        network = model.removeprefix("onnx:")
        results = CertifyProperties([Instance(network, data, 60.0 if timeout is None else timeout)], out).run()
        record = results[0].record
        say(record["text"].rstrip() if out is None else record["answer"])
        note(f"by {record['method']} in {record['seconds']:.2f} s, {record['domains']} boxes or domains; torch and "
             f"onnxruntime differ by at most {record['difference']:.2g} at random inputs"
             + "".join(f"\n{one}" for one in [record["notes"]] if one))  # fmt: skip
        if out is not None:
            note(f"answer and counterexample: {out / 'instance-00000.txt'}")
    answers = {one.answer for one in results}
    if answers != {"unsat"}:
        raise typer.Exit(BAD if "error" in answers else BELOW)
