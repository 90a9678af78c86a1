"""Where a result comes from: machine, versions, commit.

A copy of the sources without their history is told its commit by BENCHMARK_COMMIT, as `git describe --dirty` gives it.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "sparring": "sparring",
    "foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "advlib": "adv-lib",
    "art": "adversarial-robustness-toolbox",
    "pyautoattack": "pyautoattack",
    "torch": "torch",
    "numpy": "numpy",
}


def provenance(command: str, device: str) -> dict[str, object]:
    """Everything a reader needs in order to judge or repeat the measurement."""
    told = os.environ.get("BENCHMARK_COMMIT", "")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "commit": told.removesuffix("-dirty") or _git("rev-parse", "HEAD"),
        "uncommitted_changes": told.endswith("-dirty") if told else bool(_git("status", "--porcelain", "--", "src")),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(package) for name, package in PACKAGES.items()},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
