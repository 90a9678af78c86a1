#!/bin/sh
# Tests and benchmark on a GPU machine without network, in two halves:
#
#   sh benchmarks/gpu.sh pack FOLDER          with a network: packages, the zoo's pictures and weights, the commit
#   sh benchmarks/gpu.sh run FOLDER RESULTS   where the GPU is, by a python3 that has torch with CUDA
#
# RESULTS gets tests.txt, benchmark.txt and SUITE-cuda.json; the exit code is that of the tests, or 3 where no suite
# was measured. GPU_PYTHON is Python's version there (3.12), SECONDS_TESTS and SECONDS_EACH (of the suites) bound them.
set -eu
cd "$(dirname "$0")/.."

platforms="--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64"

pack() {
    made=$(mktemp -d)
    # shellcheck disable=SC2086
    python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: --implementation cp \
        --python-version "${GPU_PYTHON:-3.12}" $platforms --target "$made/site" -r benchmarks/requirements-gpu.txt
    rm -rf "$made/site/pyautoattack/examples" # 44 MB of somebody's net
    .venv/bin/python - "$made/cache" <<'PYTHON'
import shutil
import sys
from pathlib import Path

from sparring.zoo import assets
from sparring.zoo.pinned import ASSETS

for name in ("mnist", "mnist-5k", "imagenet-20"):
    shutil.copytree(assets.get(name), Path(sys.argv[1]) / ASSETS[name].directory)
PYTHON
    mkdir -p "$1"
    tar -C "$made" -czf "$1/packed.tar.gz" site cache
    rm -rf "$made"
    git describe --always --dirty --abbrev=40 --exclude '*' >"$1/commit"
    du -h "$1/packed.tar.gz"
}

run() {
    mkdir -p "$2"
    unpacked=$(mktemp -d)
    tar -C "$unpacked" -xzf "$1/packed.tar.gz"
    export PYTHONPATH="$unpacked/site:src" SPARRING_CACHE="$unpacked/cache" PYTHONUNBUFFERED=1
    BENCHMARK_COMMIT=$(cat "$1/commit")
    export BENCHMARK_COMMIT
    python3 -c 'import torch; assert torch.cuda.is_available(), "no CUDA device here"'

    # Plugins of that machine stay out; its versions are not ours, so that a warning is told and is no failure.
    tests=0
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 timeout "${SECONDS_TESTS:-200}" python3 -m pytest -vv --tb=short --durations=10 \
        -p xdist.plugin -n 6 -o filterwarnings=default tests/engine/test_cuda.py >"$2/tests.txt" 2>&1 || tests=$?
    tail -n 40 "$2/tests.txt"

    for suite in overhead pgd fixed cw deepfool square; do
        only=""
        if [ "$suite" = fixed ]; then only="--only mnist-pgd:0.3"; fi
        # shellcheck disable=SC2086
        timeout "${SECONDS_EACH:-90}" python3 -m benchmarks.run --suite "$suite" $only --device cuda --out "$2" 2>&1 |
            tee -a "$2/benchmark.txt" || true
    done
    ls "$2"/*-cuda.json >/dev/null || exit 3
    exit "$tests"
}

case "${1:-}" in
pack | run) "$@" ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
