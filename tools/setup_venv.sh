#!/bin/sh
# Build .venv: the packages of requirements/dev.lock, each checked by its hash, and Preble
# itself in editable form. Harmless to run again. The Makefile runs it when the lock or
# pyproject.toml changed. PYTHON names another interpreter.
set -eu

fail() {
    echo "setup: $1" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and not found${PYTHON:+ at $PYTHON}: install it (Debian, Ubuntu: apt install python3)"
}

cd "$(dirname "$0")/.."

if ! is_new_enough .venv/bin/python; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        fail "$python lacks the venv module: install it (Debian, Ubuntu: apt install python3-venv)"
    echo "setup: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

echo "setup: installing the packages of requirements/dev.lock; the first time takes minutes"
.venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements/dev.lock
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --quiet -e .
touch .venv/.installed
echo "setup: done"
