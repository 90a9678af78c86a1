"""Measure sparring beside its peers: `python -m benchmarks.run [--suite NAME] [--only WORDS] [--repeats N] [--quick]`.

The suite `autoattack` takes hours and is run only where it is named.
Raw rows go to records/bench/SUITE.json, from which `python -m benchmarks.table` makes docs/benchmarks.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.compare import Row, compare, skipped
from benchmarks.nets import WeightsMissing, load_victim
from benchmarks.overhead import LOOPS, measure_overhead
from benchmarks.provenance import ROOT, provenance
from benchmarks.suites import COMPARISONS, ON_REQUEST

SUITES = ("overhead", *COMPARISONS)
USUAL = tuple(suite for suite in SUITES if suite not in ON_REQUEST)
REPEATS = 3
NO_DEVICE = 3  # exit code: nobody takes an empty run for a result


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen suites one after another; 0 when they were measured, 3 where the device is missing."""
    parser = _parser()
    options = parser.parse_args(arguments)
    suites = options.suite or USUAL
    known = [comparison for suite in suites for comparison in COMPARISONS.get(suite, ())]
    for words in options.only or ():
        if not any(comparison.answers_to(words) for comparison in known):
            parser.error(f"--only {words} is no comparison of {', '.join(suites)}; write NET[:EPS or NORM][:ATTACK]")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        return NO_DEVICE
    torch.set_num_threads(1)
    for suite in suites:
        began = time.perf_counter()
        folder = options.out or (None if options.quick else ROOT / "records" / "bench")
        rows: list[Row] = []
        for measured in _measure(suite, options):
            rows += measured
            if folder is not None:
                _write(folder, suite, options, rows)
        print(f"{suite}: {len(rows)} rows in {time.perf_counter() - began:.0f} s", flush=True)
    return 0


def _measure(suite: str, options: argparse.Namespace) -> Iterator[list[Row]]:
    """The rows of each comparison as soon as it is made: an hour's work outlives an interruption."""
    if suite == "overhead":
        yield _measure_loops(options)
        return
    for comparison in COMPARISONS[suite]:
        if options.only and not any(map(comparison.answers_to, options.only)):
            continue
        if options.quick:
            comparison = replace(comparison, images=max(comparison.images // 10, 4))
        try:
            victim = load_victim(comparison.net, comparison.images, options.device, comparison.only_right)
        except WeightsMissing as missing:
            _report(f"{comparison.net} {comparison.attack}: {missing}")
            yield skipped(comparison, str(missing))
            continue
        yield compare(comparison, victim, 1 if options.quick else options.repeats, _report)


def _measure_loops(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for loop in LOOPS:
        victim = load_victim(loop.net, loop.batch, options.device, only_right=True)
        rows += measure_overhead(loop, victim, 1 if options.quick else loop.repeats, _report)
    return rows


def _write(folder: Path, suite: str, options: argparse.Namespace, rows: list[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = suite if options.device == "cpu" else f"{suite}-cuda"
    content = {"suite": suite, "made": provenance(_command(suite, options), options.device), "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _command(suite: str, options: argparse.Namespace) -> str:
    """What makes this record again."""
    words = ["python -m benchmarks.run --suite", suite, *(f"--only {words}" for words in options.only or ())]
    if options.quick:
        words.append("--quick")
    elif options.repeats != REPEATS and suite != "overhead":
        words.append(f"--repeats {options.repeats}")
    return " ".join([*words, "--device", options.device])


def _report(line: str) -> None:
    print("  " + line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--suite", action="append", choices=SUITES, help=f"may be repeated (default: all but {', '.join(ON_REQUEST)})"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NET[:EPS][:ATTACK]",
        help="of a suite's comparisons those with these words, a norm among them; may be repeated",
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"runs of each library (default: {REPEATS})")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, one run, no record")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: timed by device events")
    parser.add_argument("--out", type=Path, help="folder for the raw rows (default: records/bench)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
