#!/bin/sh
# Makes the benchmark's own environment in one command: benchmarks/.venv-peers with the peers and sparring.
# Run again, it returns at once unless a requirement changed.
set -eu
cd "$(dirname "$0")/.."

environment=benchmarks/.venv-peers
python=$environment/bin/python
wanted=$(cat benchmarks/requirements-peers*.txt constraints-cpu.txt pyproject.toml | cksum)

if [ -x "$python" ] && [ "$(cat "$environment/made-from" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

constraint="-c constraints-cpu.txt"
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
    constraint=""
fi

"${PYTHON:-python3}" -m venv "$environment"
# shellcheck disable=SC2086
"$python" -m pip install --quiet $constraint -r benchmarks/requirements-peers.txt
"$python" -m pip install --quiet --no-deps -r benchmarks/requirements-peers-no-deps.txt
# shellcheck disable=SC2086
"$python" -m pip install --quiet $constraint -e '.[train]'
printf '%s' "$wanted" >"$environment/made-from"
