"""Random command lines and plans, most of them wrong: each must end with an exit code of the table and no traceback.

`python tests/plugins/cli_fuzz.py 10000` runs so many, and prints those that fail; a case depends on its number only.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
"""
ALLOWED = {0, 1, 2, 130}
SECONDS = 30  # of computing that one case may take, and ten times as many in all
MEMORY = 8 << 30

COUNTS = [
    "0",
    "-1",
    "1",
    "2",
    "-0",
    "1.5",
    "",
    " ",
    "x",
    "nan",
    "inf",
    "1e3",
    "0x1",
    "1_0",
    "\u0663",
    str(2**31),
    str(2**63),
    str(10**20),
    "9" * 5000,
    "-" + "9" * 40,
]
NUMBERS = [*COUNTS, "0.5", "1", "1e-300", "1e-320", "1e300", "1e400", "-1e-9", "1/2", "1/0", "0.1,0.2", ",", "--"]
TEXTS = [
    "",
    ".",
    "/",
    "..",
    "npz:.",
    "npz:/",
    "onnx:.",
    "folder:/dev",
    "trained:.",
    " ",
    ":",
    "::",
    "x",
    "zoo:",
    "zoo:nothing",
    "zoo:mnist-plane",
    "onnx:",
    "onnx:none.onnx",
    "npz:",
    "flat:",
    "folder:",
    "trained:",
    "trained:none",
    "http://",
    "http://[",
    "http://x y/",
    "https://\x7f",
    "timm:",
    "hf:",
    "robustbench:",
    "torchvision:",
    "\0",
    "a\0b",
    "\ud800",
    "caf\udce9",
    "\n",
    "[red]x[/]",
    "{x}",
    "%s",
    "../..",
    "~",
    "-",
    "=",
    "é" * 300,
    "x" * 5000,
    "none.py:net",
    "none.py",
    ".py:",
    "npz:none.npz",
    "none.pth",
    "zoo:mnist-plain:x",
    "\u202e",
    "C:\\x",
    "file:///x",
]
NORMS = ["linf", "l2", "l1", "l0", "Linf", "LINF", "", "l3", "l-inf", "inf", "2", "l0:", "linf:linf"]
RADII = [*NUMBERS, "4/255", "8", "8/255,4/255", "0.1,0.1", "4/0", "/255", "4/", "4//255", "0.1;0.2", "4 / 255", "1e-5"]
ATTACKS = [
    "pgd",
    "fgsm",
    "square",
    "cw",
    "carlini-wagner",
    "deepfool",
    "hopskipjump",
    "apgd",
    "ddn",
    "auto",
    "jsma",
    "x",
    "",
    "PGD",
    "pgd,fgsm",
    "universal",
    "advgan",
    "msd",
    "\ud800",
    "pgd:steps=2",
    "pgd:steps=2,n_restarts=2",
    "pgd:steps=x",
    "pgd:steps=",
    "pgd:nothing=1",
    "pgd:steps=2,steps=3",
    "pgd:ball=1",
    "pgd:loss=dlr",
    "pgd:steps=1e3",
    f"pgd:steps={10**30}",
    "square:n_queries=3,p_init=0.5",
    "square:p_init=nan",
    "cw:steps=1,binary_search_steps=1",
    "cw:learning_rate=-1",
    "pgd:steps=2,fgsm,fgsm",
    ",",
    ":",
    "fgsm:",
    "none.py:Attack",
]
SHARED = ["universal", "universal-gradient", "advgan", "pgd", "x", ""]
STAGES = [
    "jpeg",
    "jpeg:75",
    "jpeg:0",
    "jpeg:quality=x",
    "jpeg:-1",
    "jpeg:1e9",
    "bits",
    "bit-depth:0",
    "median:1000001",
    "resize-pad",
    "x",
    "",
    ":",
    "jpeg:quality=75,quality=75",
    "jpeg:\ud800",
    "none.py:x",
]
ENCODINGS = [
    "jpeg",
    "jpeg:75",
    "jpeg:0",
    "jpeg:1e9",
    "png",
    "uint8",
    "resize:3",
    "resize:0",
    "resize:-1",
    "resize:x",
    f"resize:{10**8}",
    f"resize:{10**20}",
    "x",
    "",
    ":",
]
GOOD = {"--channels": "1", "--classes": "4", "--size": "6", "--votes": "1", "--device": "cpu", "--epochs": "1",
        "--rate": "1e6"}  # fmt: skip
SIZES = ["6", "0", "-1", "224x", "x224", "6x6", "99999x99999", "9" * 50, "big", "1", ""]
TOML = [
    0,
    -1,
    1,
    3,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    1e-320,
    True,
    "",
    "x",
    "linf:0.1",
    "pgd",
    "\x7f",
    "\0",
    [],
    [[]],
    ["linf:0.1"],
    ["x", 1],
    {},
    {"a": 1},
    {"a": {"b": []}},
]
FILES = [
    "good.csv",
    "odd.csv",
    "empty.csv",
    "noise.bin",
    "names.txt",
    "names.json",
    "good.npy",
    "odd.npy",
    "mine.npz",
    "empty",
    "odd.vnnlib",
    "good.vnnlib",
    "instances.csv",
    "none.csv",
    "mine.py",
    "mine.onnx",
    "plan.toml",
]
AUDIT_KEYS = [
    "model",
    "data",
    "threats",
    "suite",
    "goal",
    "access",
    "surrogate",
    "defend",
    "votes",
    "draws",
    "seed",
    "repeats",
    "limit",
    "batch_size",
    "labels",
    "mask",
    "expected_accuracy",
    "precision",
    "compile",
    "fail_under",
    "accept",
    "effort",
    "input",
    "nothing",
    "certify",
    "certify_timeout",
    "read",
    "effort.steps",
    "effort.queries",
    "input.mean",
    "input.size",
    "input.classes",
    "read.scale",
    "read.labels",
    "read.class_names",
]
TRAIN_KEYS = [
    "model",
    "weights",
    "data",
    "objective",
    "attack",
    "training",
    "validation",
    "devices",
    "nothing",
    "data.train",
    "data.limit",
    "objective.name",
    "objective.beta",
    "training.epochs",
    "training.batch_size",
    "training.seed",
    "training.optimizer",
    "training.precision",
    "validation.val_size",
    "validation.steps",
    "devices.count",
    "devices.accelerator",
]


@dataclass
class World:
    """The files that cases name."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> World:
        """Write a model, data, a finished run and a plan into `root`."""
        (root / "mine.py").write_text(MODEL)
        images = np.random.default_rng(5).integers(0, 256, (6, 1, 6, 6), dtype=np.uint8)
        np.savez(root / "mine.npz", images=images, labels=np.arange(6) % 4)
        np.savez(root / "odd.npz", images=images.astype(np.float64) * 1e300, labels=["a"] * 6)
        (root / "empty").mkdir()
        (root / "plain.toml").write_text("x = 1")
        (root / "good.csv").write_text("".join(f"{i}.png,{i % 4},{(i + 1) % 4}\n" for i in range(6)))
        (root / "odd.csv").write_text('0.png,"a\n1.png,nan,-1\n\n,,\n2.png,99999999999999999999\n')
        (root / "empty.csv").write_text("")
        (root / "noise.bin").write_bytes(np.random.default_rng(1).bytes(600))
        (root / "names.txt").write_text("cat\ndog\nbird\nfish\n")
        (root / "names.json").write_text('{"0": ["cat"], "x": null}')
        np.save(root / "good.npy", np.eye(6, dtype=bool)[None])
        np.save(root / "odd.npy", np.array([["a", "b"]]))
        (root / "odd.vnnlib").write_text("(declare-const X_0 Real)\n(assert (<= X_0 (* 1 Y_0)))\n(assert")
        (root / "good.vnnlib").write_text(
            "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "Y_0"))
            + "(assert (<= X_0 1))\n(assert (>= X_0 0))\n(assert (<= Y_0 0))\n"
        )
        (root / "instances.csv").write_text("mine.onnx,good.vnnlib,1\nnone.onnx,odd.vnnlib,x\n")
        (root / "mine.onnx").write_bytes(b"\x08\x07\x12\x00:\x02\x0a\x00")
        return cls(root)

    @property
    def model(self) -> str:
        return f"{self.root / 'mine.py'}:net"

    @property
    def data(self) -> str:
        return f"npz:{self.root / 'mine.npz'}"


class Case:
    """One command line, drawn from a number."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.draw = world, number, random.Random(number)
        self.out = world.root / f"out-{number}"

    def words(self) -> list[str]:
        """Return the words after `sparring`; files that they name are written."""
        made = getattr(
            self,
            self.draw.choice(
                [
                    "audit",
                    "audit",
                    "attack",
                    "attack",
                    "fit",
                    "train",
                    "plan",
                    "plan",
                    "transfer",
                    "generalize",
                    "apply",
                    "reading",
                    "serve",
                    "zoo",
                    "certify",
                    "certify",
                ]
            ),
        )()
        return [word.replace("\0", "") for word in made]  # which the system passes to no program

    def one(self, pool: list[str]) -> str:
        return self.draw.choice(pool)

    def spec(self, good: str, odds: float = 0.9) -> str:
        """Return a MODEL or DATA, the good one most of the time."""
        if self.draw.random() < odds:
            return good
        word = self.one(TEXTS)
        return good + word if self.draw.random() < 0.2 else word

    def file(self) -> str:
        """Return a file or folder of the world, or a text that is none."""
        return str(self.world.root / self.one(FILES)) if self.draw.random() < 0.8 else self.one(TEXTS)

    def threat(self, odds: float = 0.75) -> str:
        if self.draw.random() < odds:
            return self.one(["linf:0.1", "l2:0.5", "linf:4/255", "linf:0.1,0.2"])
        if self.draw.random() < 0.02:
            return "linf:" + ",".join(f"{i}e-6" for i in range(1, 100_000))
        return f"{self.one(NORMS)}:{self.one(RADII)}" if self.draw.random() < 0.9 else self.one(NORMS + TEXTS)

    def value(self, name: str, pool: list[str]) -> str:
        """Return a value of an option; of a number mostly a good one, so that what comes after is reached."""
        if self.draw.random() < 0.6 and (name in GOOD or pool in (COUNTS, NUMBERS)):
            return GOOD.get(name, "2" if pool == COUNTS else "0.5")
        return self.file() if pool == FILES else self.one(pool)

    def options(self, pools: dict[str, list[str]], most: int) -> list[str]:
        names = self.draw.sample(list(pools), self.draw.randint(0, min(most, len(pools))))
        words: list[str] = []
        for name in names:
            words += [name] if pools[name] is None else [name, self.value(name, pools[name])]
        if self.draw.random() < 0.03:
            words.append(self.one(["--no-such", "--out", "--", "-x", "--threat", "\ud800", ""]))
        return words

    INPUT: ClassVar[dict[str, list[str]]] = {
        "--mean": NUMBERS,
        "--std": NUMBERS,
        "--size": SIZES,
        "--channels": COUNTS,
        "--classes": COUNTS,
    }
    READ: ClassVar[dict[str, list[str]]] = {
        "--scale": NUMBERS,
        "--labels": FILES,
        "--class-names": FILES,
    }
    COMMON: ClassVar[dict[str, list[str]]] = {
        "--limit": COUNTS,
        "--batch-size": COUNTS,
        "--seed": COUNTS,
        "--device": ["cpu", "cuda", "cpu:x", "x", ""],
    }

    def audit(self) -> list[str]:
        pools: dict[str, Any] = {
            "--suite": [*ATTACKS, "quick", "standard", "thorough"],
            "--surrogate": [*TEXTS, self.world.model],
            "--defend": STAGES,
            "--votes": COUNTS,
            "--draws": COUNTS,
            "--fail-under": NUMBERS,
            "--accept": TEXTS,
            "--expected-accuracy": NUMBERS,
            "--goal": ["misclassify", "least-likely", "x", ""],
            "--repeats": COUNTS,
            "--restarts": COUNTS,
            "--steps": COUNTS,
            "--queries": COUNTS,
            "--devices": ["cpu", "cpu,cpu", "x", ",", ""],
            "--workers": [*COUNTS[:8], "ray:x", "ray:", "x"],
            "--precision": ["bfloat16", "x", ""],
            "--mask": FILES,
            "--certify": None,
            "--certify-timeout": [*NUMBERS[:-3], "0.1"],
            "--compile": None,
            "--access": ["scores", "decisions", "x", ""],
            "--junit": [str(self.out) + ".xml", "", "\0", str(self.world.root)],
            **self.COMMON,
            **self.INPUT,
            **self.READ,
        }
        words = ["audit", self.spec(self.world.model), self.spec(self.world.data), "--threat", self.threat()]
        words += ["--suite", "fgsm", *(["--dry-run"] if self.draw.random() < 0.9 else ["--out", str(self.out)])]
        return words + self.options(pools, 3)

    def certify(self) -> list[str]:
        pools: dict[str, Any] = {"--mask": FILES, "--out": [str(self.out)], **self.COMMON, **self.INPUT, **self.READ}
        del pools["--seed"]
        if self.draw.random() < 0.2:
            named = [self.file() for _ in range(self.draw.randint(1, 2))]
        else:
            named = [self.spec(self.world.model), self.spec(self.world.data), "--threat", self.threat()]
        return ["certify", *named, "--timeout", self.one(["0", "0.1"] * 8 + COUNTS), *self.options(pools, 2)]

    def attack(self) -> list[str]:
        pools: dict[str, Any] = {
            "--steps": COUNTS,
            "--targeted": [*COUNTS, str(self.world.root / "good.csv"), str(self.world.root / "odd.csv"), "cat"],
            "--queries": COUNTS,
            "--surrogate": TEXTS,
            "--start-on": TEXTS,
            "--defend": STAGES,
            "--votes": COUNTS,
            "--draws": COUNTS,
            "--access": ["scores", "decisions", "x"],
            "--top-k": COUNTS,
            "--decimals": COUNTS,
            "--encode": ENCODINGS,
            "--rate": NUMBERS,
            "--lock-out": COUNTS,
            "--mask": FILES,
            "--out": [str(self.out), str(self.world.root), "\0", "", "/dev/null/x"],
            **self.COMMON,
            **self.INPUT,
            **self.READ,
        }
        name = self.one(ATTACKS) if self.draw.random() < 0.4 else "fgsm"
        words = ["attack", name, self.spec(self.world.model), self.spec(self.world.data), "--threat", self.threat()]
        words += ["--steps", "2"] if name in ("pgd", "square", "apgd") else []
        return words + self.options(pools, 3)

    def fit(self) -> list[str]:
        pools: dict[str, Any] = {
            "--targeted": COUNTS,
            "--epochs": COUNTS[:6],
            "--attack-batch-size": COUNTS,
            "--held-out": NUMBERS,
            "--checkpoint": [str(self.out), "", "\0", str(self.world.root / "mine.py")],
            "--from": TEXTS,
            **self.COMMON,
            **self.INPUT,
            **self.READ,
        }
        out = self.one(
            [f"{self.out}.safetensors"] * 3 + ["", "x", ".safetensors", "\0.safetensors", "/dev/null/x.safetensors"]
        )
        words = [
            "fit",
            self.one(["universal", "universal-gradient", *SHARED]),
            self.spec(self.world.model),
            self.spec(self.world.data),
            "--threat",
            self.threat(),
        ]
        return [*words, "--out", out, "--epochs", "1", *self.options(pools, 3)]

    def apply(self) -> list[str]:
        artifact = self.one(["none.safetensors", "", "\0", str(self.world.root / "mine.npz"), str(self.world.root)])
        return ["apply", artifact, self.spec(self.world.data), "--out", str(self.out), *self.options(self.COMMON, 2)]

    def transfer(self) -> list[str]:
        models = [f"{name}={self.spec(self.world.model)}" for name in self.draw.choice(["a", "ab", "ab", "abc", "aa"])]
        pools: dict[str, Any] = {
            "--attack": ATTACKS,
            "--steps": COUNTS,
            "--technique": ["di", "x", ""],
            "--targeted": COUNTS,
            "--ensemble": None,
            **self.COMMON,
            **self.READ,
        }
        words = ["transfer", *models, self.spec(self.world.data), "--threat", self.threat(), "--steps", "2"]
        return words + self.options(pools, 2)

    def generalize(self) -> list[str]:
        words = [
            "generalize",
            self.spec(self.world.model),
            "--data",
            self.spec(self.world.data),
            "--out",
            str(self.out),
        ]
        pools: dict[str, Any] = {"--union": RADII, **self.COMMON, **self.READ}
        return [*words, "--threat", self.threat(0.1), *self.options(pools, 2)]

    def reading(self) -> list[str]:
        run = self.one(
            [
                str(self.world.root),
                str(self.world.root / "empty"),
                str(self.world.root / "mine.py"),
                "",
                "\0",
                "none",
                "\ud800",
            ]
        )
        return self.draw.choice(
            [
                ["report", run],
                ["report", run, "--out", self.one(TEXTS), "--figures"],
                ["compare", run, run],
                ["export", run, "--to", self.one(["csv", "json", "parquet", "x", ""])],
                ["compare", run],
                ["list", self.one(["attacks", "data", "x", "", "\ud800"])],
            ]
        )

    def serve(self) -> list[str]:
        """Only what ends before it listens: a port that is none, or a host that is nobody's."""
        end = self.draw.choice(
            [["--port", self.one(["-1", "x", str(10**20)])], ["--host", self.one(["\ud800", "256.1.1.1", "1.2.3.4"])]]
        )
        pools: dict[str, Any] = {
            "--name": TEXTS,
            "--top-k": COUNTS,
            "--rate": NUMBERS,
            "--encode": ENCODINGS,
            **self.INPUT,
        }
        return ["serve", self.spec(self.world.model), *self.options(pools, 2), *end]

    def zoo(self) -> list[str]:
        return ["zoo", *self.draw.choice([["get", self.one([w for w in TEXTS if ":" not in w])], ["x"], [], ["list"]])]

    def toml(self, keys: list[str], good: dict[str, Any]) -> Path:
        """Write a plan of which some values are wrong."""
        table = {key: value for key, value in good.items() if self.draw.random() < 0.95}
        for _ in range(self.draw.randint(0, 3)):
            key, _, inner = self.draw.choice(keys).partition(".")
            value = self.draw.choice(TOML)
            if inner:
                table[key] = (table[key] if isinstance(table.get(key), dict) else {}) | {inner: value}
            else:
                table[key] = value
        path = self.world.root / f"plan-{self.number}.toml"
        text = "\n".join(f"{key} = {toml_value(value)}" for key, value in table.items())
        if self.draw.random() < 0.05:
            text += self.draw.choice(
                ["\nx = ", "\n[[", "\x00", "\nseed = " + "9" * 5000, "\na = " + "[" * 3000, "\xff"]
            )
        path.write_bytes(text.encode("latin-1", "replace"))
        return path

    def plan(self) -> list[str]:
        good = {"model": self.world.model, "data": self.world.data, "threats": ["linf:0.1"], "suite": "fgsm"}
        return ["audit", "--plan", str(self.toml(AUDIT_KEYS, good)), "--dry-run"]

    def train(self) -> list[str]:
        good = {
            "model": self.world.model,
            "data": {"train": self.world.data},
            "objective": {"name": "plain"},
            "training": {"epochs": 1, "batch_size": 2},
            "validation": {"val_size": 2},
        }
        path = (
            self.toml(TRAIN_KEYS, good)
            if self.draw.random() < 0.9
            else self.world.root / self.one(["plain.toml", "none", "empty"])
        )
        return [
            "train",
            str(path),
            "--out",
            str(self.out),
            *self.options({"--resume": None, "--device": ["cpu", "x"]}, 1),
        ]


def toml_value(value: Any) -> str:
    """Return the value as TOML writes it, in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in value) + '"'
    return str(value)


class Slow(BaseException):
    """A case that does not end."""


def _slow(*_: Any) -> None:
    raise Slow


@cache
def runner() -> Any:
    """Return typer's runner, which then builds the commands once and not for every case."""
    from typer import testing

    testing._get_command = cache(testing._get_command)
    return testing.CliRunner()


def fault_of(words: list[str]) -> str | None:
    """Run one command line in this process; return what is wrong with how it ended, or None."""
    from sparring.cli import app
    from sparring.cli.display.errors import Settings

    Settings.debug = False
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _slow)
    signal.alarm(10 * SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    here = os.getcwd()
    clock = time.process_time()
    try:
        result = runner().invoke(app, words)
    except Slow:
        return f"took more than {SECONDS} s"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.chdir(here)
    if time.process_time() - clock > SECONDS:
        return f"took more than {SECONDS} s"
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return "".join(traceback.format_exception(error))[-1500:]
    if result.exit_code not in ALLOWED or "Traceback" in result.output:
        return f"exit code {result.exit_code}: {result.output[-1500:]}"
    if result.exit_code == 2 and not result.output.strip():
        return "exit code 2 without a word"
    return None


def main(count: int, first: int = 0) -> int:
    """Run so many cases and print the faults; return how many there are."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    faults, kinds, clock = 0, Counter[str](), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        world = World.make(Path(folder))
        for number in range(first, first + count):
            words = Case(world, number).words()
            kinds[words[0]] += 1
            started = time.process_time()
            fault = fault_of(words)
            if time.process_time() - started > 5:
                print(f"slow {number}: {time.process_time() - started:.1f} s {words!r:.300}", flush=True)
            if fault is not None:
                faults += 1
                print(f"case {number}: {words!r:.400}\n{fault}\n", flush=True)
    print(f"{count} cases in {time.perf_counter() - clock:.0f} s, {faults} faults; {dict(kinds)}")
    return faults


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
