"""One thread: the tests' tensors are small, and the workers of xdist share the cores.

A test that lacks a peer library or an asset of the zoo is skipped, with the command that brings it.
With SPARRING_STRICT_SKIPS=1 a skipped test that is not listed in tests/allowed_skips.txt is a failure.
With --last-skipped only those tests run that the last run skipped.
"""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from sparring.errors import AssetError

PEERS = ("foolbox", "art", "eagerpy")
LAST = "sparring/skipped"  # where the cache keeps the node ids of the last run's skipped tests

torch.set_num_threads(1)
# What a script runs in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--last-skipped", action="store_true", help="Run only the tests that the last run skipped.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--last-skipped"):
        assert config.cache is not None
        last = config.cache.get(LAST, [])
        chosen = [item for item in items if any(item.nodeid.startswith(skipped) for skipped in last)]
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
    return (yield from _skipping())


def _allowed() -> set[str]:
    lines = (Path(__file__).parent / "allowed_skips.txt").read_text().splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def _skipped(config: pytest.Config) -> dict[str, object]:
    """Skipped tests with their reasons."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return {} if reporter is None else {one.nodeid: one.longrepr for one in reporter.stats.get("skipped", [])}


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
    if getattr(session.config, "cache", None) is not None:
        session.config.cache.set(LAST, sorted(_skipped(session.config)))
    if _surprising(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif session.config.getoption("--last-skipped") and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
