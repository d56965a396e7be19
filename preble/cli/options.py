"""The flags that several commands share, and what they are called in the settings.

Every flag is a setting: without the flag its `PREBLE_*` variable counts, then the TOML file, then
the default.
"""

from typing import Annotated, Literal, get_args

import typer

from preble import config
from preble.cli import completion
from preble.config import EngineKind, PolicyName

Host = Annotated[str | None, typer.Option(help="Address that the api listens on.")]
Port = Annotated[int | None, typer.Option(help="Port of the api; 0 for any free one.")]
RedisUrl = Annotated[str | None, typer.Option(help="Redis or Valkey to use.")]
ServeRedisUrl = Annotated[
    str | None, typer.Option("--redis-url", help="Redis or Valkey to use instead of the embedded.")
]
Pool = Annotated[str | None, typer.Option(help="Name of the pool: one model, one set of queues.")]
Model = Annotated[str | None, typer.Option(help="Name of the model, as clients see it.")]
Tokenizer = Annotated[
    str | None, typer.Option(help="Folder with the model's tokenizer, or `embedded`.")
]
ContextLength = Annotated[
    int | None, typer.Option(help="Most tokens of a prompt and its output together.")
]
Engine = Annotated[
    EngineKind | None,
    typer.Option(
        help="What computes: an SGLang that the worker starts, a running one by URL, "
        "a cost model, or nothing."
    ),
]
EngineUrl = Annotated[str | None, typer.Option(help="URL of the running engine, for `http`.")]
EngineUrls = Annotated[
    str | None,
    typer.Option("--engine-url", help="URLs of running engines, for `http`; a worker for each."),
]
ModelPath = Annotated[
    str | None,
    typer.Option(help="What `sglang` loads: a folder, or a model on the hub; else a small one."),
]
Device = Annotated[config.Device | None, typer.Option(help="Where `sglang` runs.")]
Devices = Annotated[
    str | None, typer.Option(help="GPUs of each worker, such as `0,1;2,3`; `auto` finds them.")
]
Gpu = Annotated[str | None, typer.Option(help="GPUs of this instance, such as `0` or `0,1`.")]
TpSize = Annotated[int | None, typer.Option(help="GPUs that share one instance's model.")]
EngineArgs = Annotated[
    str | None, typer.Option(help="More arguments for the SGLang server, as on a command line.")
]
Install = Annotated[
    bool, typer.Option("--install", help="First install the CPU engine, if it is missing.")
]
Workers = Annotated[int | None, typer.Option(help="Workers to start, each with an engine.")]
Instance = Annotated[str | None, typer.Option(help="Name of the instance that the worker feeds.")]
Policy = Annotated[
    str | None,
    typer.Option(
        help=f"The rule that picks an instance: {', '.join(get_args(PolicyName))}; "
        "or your own, as `module:attribute`.",
        autocompletion=completion.policies,
    ),
]
Binding = Annotated[
    config.Binding | None,
    typer.Option(help="Assign jobs as they are seen, or late, as instances have use for them."),
]
DataDir = Annotated[str | None, typer.Option(help="Folder of the embedded Valkey's data.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None, typer.Option(help="What is logged.")
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with settings; else PREBLE_CONFIG names it, or ./preble.toml is read.",
    ),
]
Url = Annotated[str | None, typer.Option(help="Where the api listens.")]

Output = Annotated[
    Literal["text", "json"], typer.Option("--output", "-o", help="For people, or one JSON a line.")
]
