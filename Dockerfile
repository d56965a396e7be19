# The images of Preble, each a target:
#
#   preble      api, scheduler, and workers whose engine is a server of its own; no torch
#   engine-cpu  workers that run SGLang on the CPU, with the embedded model
#   app         preble and the embedded model's tokenizer: api and scheduler beside engine-cpu
#
# Code comes last in each, so that a change of it rebuilds neither packages nor engine. No
# feature of BuildKit is used: any builder will do.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# --- Packages, each checked by its hash, and the user that everything runs as
FROM ${PYTHON_IMAGE} AS runtime
ARG PIP_INDEX_URL
RUN python3 -m venv /opt/preble \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin preble \
 && install -d -o preble -g preble /home/preble/.cache /home/preble/.cache/huggingface /home/preble/files
ENV PATH=/opt/preble/bin:$PATH PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/runtime.lock /opt/preble/
RUN pip install --no-cache-dir --quiet --require-hashes -r /opt/preble/runtime.lock

# --- Preble itself as a wheel
FROM runtime AS wheel
ARG PIP_INDEX_URL
WORKDIR /src
COPY requirements/build.lock ./
RUN pip install --no-cache-dir --quiet --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY preble preble
COPY api api
COPY workers workers
RUN pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM runtime AS preble
COPY --from=wheel /wheel /wheel
RUN pip install --quiet --no-cache-dir --no-deps --no-index /wheel/*.whl
USER preble
WORKDIR /home/preble
CMD ["preble", "--help"]

# --- SGLang and the embedded model, by no more of Preble than `preble engine install` needs
FROM runtime AS engine
ARG PIP_INDEX_URL
ARG PREBLE_TORCH_INDEX
WORKDIR /opt/engine
COPY preble/__init__.py preble/clock.py preble/errors.py preble/folders.py preble/
COPY preble/config preble/config
COPY preble/data/engines preble/data/engines
COPY preble/engine_env preble/engine_env
USER preble
RUN UV_CACHE_DIR=/tmp/uv python -c \
    "import functools, os; from preble.engine_env import install; \
    install('cpu', os.environ, functools.partial(print, flush=True))" \
 && rm -rf /tmp/*

FROM engine AS engine-cpu
USER root
COPY --from=wheel /wheel /wheel
RUN pip install --quiet --no-cache-dir --no-deps --no-index /wheel/*.whl
USER preble
WORKDIR /home/preble
CMD ["preble", "worker"]

FROM preble AS app
COPY --from=engine \
    /home/preble/.cache/preble/models/SmolLM2-135M-Instruct/*.json \
    /home/preble/.cache/preble/models/SmolLM2-135M-Instruct/chat_template.jinja \
    /home/preble/.cache/preble/models/SmolLM2-135M-Instruct/
