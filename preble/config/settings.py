"""All settings, their defaults and their meaning.

Each field is the environment variable `PREBLE_<FIELD>`, and a key of `preble.toml`; the command
line sets the same fields. The text below each is what `preble config show` says of it. Some
defaults follow from the engine (`presets`).
"""

import re
from typing import Annotated, Final, Literal, get_args

import msgspec

from preble.errors import ConfigError

EngineKind = Literal["sglang", "http", "emulated", "noop"]
Device = Literal["auto", "cpu", "cuda"]
PolicyName = Literal[
    "preble", "e2", "round_robin", "random", "least_outstanding", "consistent_hash",
    "longest_prefix", "sglang_cache_aware", "smg", "dynamo_kv", "aibrix_preble", "lmetric",
]  # fmt: skip
_OWN_POLICY: Final = re.compile(r"\w+(\.\w+)*:\w+")
Binding = Literal["eager", "late"]
Durability = Literal["local", "replicated"]
Priority = Literal["high", "normal", "batch"]
"""Classes of jobs, the most urgent first; `fair_share` says what each gets."""

WaitOrder = Literal["fcfs", "lpm", "priority_groups"]

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
LONGEST_LEASE_S: Final = 60.0
"""A lease that ends later was given before Redis's clock was set back."""

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process of Preble can be told."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """A server, `rediss://` for TLS; or `redis+sentinel://host:port,host:port/service/0`, where
    Sentinels say which server is the primary."""
    pool: Name = "default"
    """One model, its instances, and its keys in Redis."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged, on stderr."""
    log_format: Literal["text", "json"] = "text"
    """How: a line to be read, or a JSON object for each line, for machines."""
    tracing: Literal["off", "otlp"] = "off"
    """Whether spans are sent to where OpenTelemetry's own variables say. Needs the extra `otel`."""
    metrics_host: str = "127.0.0.1"
    """Address on which a scheduler or worker serves `/metrics` and `/livez`, to everybody who can
    reach it."""
    metrics_port: Port = 0
    """Its port; 0 for none. The api has both pages on its own port, and what `preble serve` starts
    serves none."""

    # The pool: what all its processes must agree on.
    model: str = "preble-emulated"
    """Its name, as clients see it."""
    tokenizer: str = "embedded"
    """`embedded`, a local folder with tokenizer files, or a model's name on the hub."""
    context_length: Positive = 8192
    """Most tokens of a prompt and its output together."""
    block_size: Positive = 64
    """Tokens of a block, the unit of the prefix tree: a multiple of `page_size`."""
    page_size: Positive = 16
    """Tokens of a page of the engines' KV caches."""

    # The api.
    host: str = "127.0.0.1"
    """Address that the api listens on."""
    port: Port = 8000
    """Its port; 0 for any free one."""
    api_key: str = ""
    """The operator's: a bearer token that opens everything. Other keys: `preble keys create`."""
    auth: Literal["auto", "keys"] = "auto"
    """Whether clients must send a key: always, or, `auto`, unless there is none and the api listens
    on loopback. To listen beyond, set `api_key` or `keys`."""
    max_body_bytes: Positive = 32 * 1024 * 1024
    """Most bytes of a request's body, files apart."""
    max_connections: Positive = 4_096
    """Of clients to one api at once; more are told to come back (503)."""
    cors_origins: str = ""
    """Origins whose web pages may ask, such as `https://app.example.com`, separated by commas."""
    console: bool = True
    """Whether the api serves the web console, at `/ui`."""
    console_text: bool = False
    """Whether it shows the outputs of jobs; else they are hidden there."""
    webhook_secret: str = ""
    """Signs webhooks, `whsec_…`; of several, with spaces between, all do. Empty: none are sent."""
    webhook_allow: str = ""
    """Receivers inside the network: `host:port` or networks such as `10.1.0.0/16`, with commas."""
    tokenizer_threads: Positive = 2
    """Prompts that an api tokenizes at once."""
    text_cache_bytes: NotNegative = 64 * 1024 * 1024
    """Of texts whose tokens one api remembers: what begins alike is tokenized once. 0: none."""
    files_dir: str = ""
    """Folder of files and batches; all apis of a pool share it. Empty for `files` in `data_dir`, or
    in the user's data folder."""
    max_file_bytes: Positive = 200 * 1024 * 1024
    """Most bytes of an uploaded file."""
    max_tenant_files: Positive = 1_000
    """Most files of one tenant, with what its batches wrote: beyond, it must delete some."""
    max_tenant_file_bytes: Positive = 10 * 1024 * 1024 * 1024
    """Most bytes of these files together."""
    max_tenant_batches: Positive = 100
    """Most batches of one tenant that have not ended."""

    # The queue.
    max_jobs: Positive = 100_000
    """Most jobs waiting, assigned and running at once."""
    max_prompt_bytes: Positive = 1024 * 1024 * 1024
    """Most bytes of prompts in Redis at once, with all else that was sent with them: sampling, stop
    texts, webhooks, what responses repeat. Of jobs that have not ended."""
    max_dead_letter_bytes: NotNegative = 256 * 1024 * 1024
    """Most bytes of prompts of failed jobs, kept so that `preble jobs retry` can run them again;
    beyond, those submitted first lose theirs. 0 keeps none."""
    max_ended_bytes: Positive = 1024 * 1024 * 1024
    """Most bytes of jobs that have ended, with their results, kept for `result_ttl_s`; beyond,
    those that ended first are forgotten."""
    max_ingresses: Positive = 1_000
    """Most ingress queues at once, one for each priority and tenant with jobs waiting: each
    decision looks at all of them."""
    max_tenant_jobs: NotNegative = 0
    """Most jobs of one tenant waiting, assigned and running at once; 0 for as many as the pool
    takes."""
    tenant_jobs_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Jobs a second that each tenant may submit, over ten seconds; 0 for any number."""
    durability: Durability = "local"
    """When a job counts as accepted: once Redis has it, or once a replica has it on disk, too."""
    result_ttl_s: Positive = 24 * 3600
    """Seconds for which a job is known after its end, within `max_ended_bytes`."""
    max_attempts: Positive = 5
    """Executions of a job that end with the death of its worker, after which it fails: two beside
    other jobs, then alone."""
    lease_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_LEASE_S)] = 8.0
    """Seconds for which a worker that says nothing keeps its jobs: less than 10 s with what it
    takes to notice."""

    # The scheduler.
    policy: str = "preble"
    """A `PolicyName`, or the import path of a policy of your own: `module:attribute`."""
    binding: Binding | Literal["auto"] = "auto"
    """When a job is bound to its instance: as soon as it is seen, or, planned late, when the
    instance has credit; `auto`: late for `preble`, eager for all others, as their origins do."""
    credit_s: Seconds = 0.5
    """Seconds of predicted prefill that late binding gives an instance ahead."""
    window_jobs: Positive = 64
    """Jobs at the head of each ingress queue that are considered at once: late binding plans
    them all at each decision. While all of them can be placed, up to `batch_window_jobs`."""
    batch_window_jobs: Positive = 256
    """The same of queues of priority `batch`, whose jobs wait in the order of their prefixes
    and are in no hurry."""
    history_s: Seconds = 180.0
    """The window H of the paper: seconds of history that count."""

    # The worker.
    instance: Name = "gpu0"
    """Name of the instance that the worker feeds."""
    engine: EngineKind = "sglang"
    """What computes: an SGLang that the worker starts, a running one by URL, a cost model in real
    time, or nothing."""
    engine_url: str = ""
    """Of the running SGLang or vLLM, for `http`."""
    model_path: str = ""
    """What `sglang` loads: a folder, or a model's name on the hub."""
    device: Device = "auto"
    """Where `sglang` runs; `auto` takes the GPU if there is one and its engine is installed."""
    gpu: str = ""
    """GPUs of this instance, as CUDA_VISIBLE_DEVICES takes them: `0`, or `0,1`."""
    tp_size: Positive = 1
    """GPUs that share the model of one instance (tensor parallelism)."""
    engine_args: str = ""
    """More arguments for the SGLang server, as on a command line; they win over ours."""
    engine_start_s: Seconds = 600.0
    """Most seconds that the SGLang server may take to load its model and answer."""
    slots: Positive = 64
    """Jobs that run in the engine at once."""
    wait_jobs: NotNegative = 16
    """Jobs that the worker claims beyond its slots, to choose the next from. A quarter of the
    slots is a choice, and leaves most of a backlog where it is taken back at once from a dead
    worker, with no attempt counted."""
    wait_order: WaitOrder = "priority_groups"
    """In which order they start: first come first served, longest hit first, or the paper's."""
    kv_capacity_tokens: NotNegative = 198_516
    """Tokens that the engine's KV cache holds; 0 lets `sglang` take what its memory allows."""
    assumed_ttl_s: Seconds = 600.0
    """How long an `http` engine without KV events is assumed to hold what no job uses."""
    engine_stall_s: Seconds = 60.0
    """An engine that makes no step for so many seconds counts as hung and loses its leases."""
    max_run_s: Seconds = 3600.0
    """Most seconds of one job in an engine; beyond, it fails."""
    cost_model: str = "mistral_7b_a6000"
    """A shipped one's name, or a path that ends in `.json`, which scheduler and worker read."""
    chunk_tokens: Positive = 2048
    """Most prompt tokens computed in one step (chunked prefill)."""
    emulated_speed: Seconds = 1.0
    """How many times faster than real the emulated engine runs."""

    # The command line: `preble serve` and the client.
    workers: Positive = 2
    """Workers that `preble serve` starts; with engine `http` one for each URL instead, on GPUs one
    for each group of `devices`."""
    devices: str = ""
    """The GPUs of each worker that `preble serve` starts, such as `0;1` or `0,1;2,3`; `auto`, and
    empty for engine `sglang` on GPUs, finds them, in groups of `tp_size`."""
    data_dir: str = ""
    """Folder of the embedded Valkey; empty for the user's data folder (`data_folder`)."""
    torch_index: str = ""
    """Where `preble engine install cpu` finds torch's CPU build: an index URL, or a folder."""
    url: str = "http://127.0.0.1:8000"
    """Where the client finds the api."""

    @property
    def may_be_open(self) -> bool:
        """Whether an api on loopback may answer without a key, while none was made."""
        return self.auth == "auto" and not self.api_key

    @property
    def is_late(self) -> bool:
        """Whether jobs are bound late."""
        return self.binding == "late" or (self.binding == "auto" and self.policy == "preble")

    def __post_init__(self) -> None:
        """Check what no field's type says. Raises: ValueError, or ConfigError for the policy."""
        check_policy(self.policy)
        if self.block_size % self.page_size:
            msg = (
                f"block_size {self.block_size} is not a multiple of page_size {self.page_size}; "
                "choose a block that is made of whole engine pages"
            )
            raise ValueError(msg)


def check_policy(name: str) -> None:
    """Refuse what is no policy's name and no import path. Raises: ConfigError."""
    known = get_args(PolicyName)
    if name not in known and not _OWN_POLICY.fullmatch(name):
        msg = f"no policy is named {name!r}; there are: {', '.join(known)}"
        raise ConfigError(f"{msg}; one of your own is named as module:attribute")
