#!/usr/bin/env bash
# The GPU check on a machine that has PyTorch and a copy of this checkout: bash benchmarks/gpu/check.sh [OUT] [SECONDS] [more]
# `more` goes to check.py, as --wheels DIR. OUT may also be a variable; PYTHON names the interpreter.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "${PYTHON:-python3}" "$here/check.py" --out "${1:-${OUT:-gpu_check}}" --seconds "${2:-440}" "${@:3}"
