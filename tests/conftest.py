"""One thread: the tests' tensors are small, and the workers of xdist share the cores.

A test that lacks a peer library or an asset of the zoo is skipped, with the command that brings it.
With SPARRING_STRICT_SKIPS=1 a skipped test that is not listed in tests/allowed_skips.txt is a failure.
With --last-skipped only those tests run that the last run skipped.

The annotations of the library are checked at run time (plugins/shape_checks.py): the first calls of each test, or with
--check-every-call all of them. A test marked `wrong_types` passes what they forbid, to see the library's own error.
"""

import os
import signal
import zlib
from collections.abc import Generator
from pathlib import Path

import pytest
import shape_checks
import torch

shape_checks.install()  # before anything of sparring is imported

from sparring.errors import AssetError

PEERS = ("foolbox", "art", "eagerpy")
LAST = "sparring/skipped"  # where the cache keeps the node indices of the last run's skipped tests

torch.set_num_threads(1)
# What a script runs in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--last-skipped", action="store_true", help="Run only the tests that earlier runs skipped.")
    parser.addoption("--check-every-call", action="store_true", help="Check annotations throughout each test.")


def _last(config: pytest.Config) -> list[str] | None:
    """The node indices that were skipped and have not passed since; None where no run has been recorded."""
    cache = getattr(config, "cache", None)
    last = None if cache is None else cache.get(LAST, None)
    return None if last is None else [str(nodeid) for nodeid in last]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--last-skipped"):
        return
    last = _last(config)
    if last is None:
        raise pytest.UsageError("no earlier run is recorded; run `make test` first")
    chosen = [item for item in items if any(f"{item.nodeid}::".startswith(f"{skipped}::") for skipped in last)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _skipping() -> Generator[None, object, object]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in PEERS:
            raise
        pytest.skip(f"{error.name} is not installed: make peers")
    except AssetError as error:
        pytest.skip(f"{error}: make assets")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    limit = None if item.config.getoption("--check-every-call") else shape_checks.CHECKS_PER_TEST
    shape_checks.start(0 if item.get_closest_marker("wrong_types") else limit)
    torch.manual_seed(zlib.crc32(item.nodeid.encode()))  # weights that a test does not seed are its own, and the same
    return (yield from _skipping())


def _allowed() -> set[str]:
    lines = (Path(__file__).parent / "allowed_skips.txt").read_text().splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def _reported(config: pytest.Config, *outcomes: str) -> dict[str, object]:
    """Tests and files of these outcomes, each with what was said of it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    found = [] if reporter is None else [one for outcome in outcomes for one in reporter.stats.get(outcome, [])]
    return {one.nodeid: getattr(one, "longrepr", None) for one in found}


def _skipped(config: pytest.Config) -> dict[str, object]:
    """Skipped tests with their reasons."""
    return _reported(config, "skipped")


def _surprising(config: pytest.Config) -> dict[str, object]:
    """Those that are not on the list, where the list must be kept to."""
    if os.environ.get("SPARRING_STRICT_SKIPS") != "1":
        return {}
    return {nodeid: why for nodeid, why in _skipped(config).items() if nodeid not in _allowed()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for nodeid, why in _surprising(terminalreporter.config).items():
        terminalreporter.write_line(f"SKIPPED, and not allowed to be: {nodeid}: {why}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    if getattr(session.config, "cache", None) is not None and not session.config.getoption("collectonly"):
        passed, skipped = _reported(session.config, "passed"), _skipped(session.config)
        left = {
            one
            for one in _last(session.config) or []
            if one not in passed and not any(f"{nodeid}::".startswith(f"{one}::") for nodeid in passed)
        }
        session.config.cache.set(LAST, sorted(left | set(skipped)))
    if _surprising(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif session.config.getoption("--last-skipped") and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
