"""One thread: the tests' tensors are small, and the workers of xdist share the cores.

A test that lacks a peer library or an asset of the zoo is skipped, with the command that brings it.
With SPARRING_STRICT_SKIPS=1 a skipped test that is not listed in tests/allowed_skips.txt is a failure.
"""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from sparring.errors import AssetError

PEERS = ("foolbox", "art", "eagerpy")

torch.set_num_threads(1)
# What a script runs in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


def _surprising(config: pytest.Config) -> dict[str, object]:
    """Skipped tests that are not on the list, with their reasons."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("SPARRING_STRICT_SKIPS") != "1" or reporter is None:
        return {}
    skipped = {report.nodeid: report.longrepr for report in reporter.stats.get("skipped", [])}
    return {nodeid: why for nodeid, why in skipped.items() if nodeid not in _allowed()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for nodeid, why in _surprising(terminalreporter.config).items():
        terminalreporter.write_line(f"SKIPPED, and not allowed to be: {nodeid}: {why}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and _surprising(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
