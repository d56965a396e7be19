"""The flags that several commands share, and what they are called in the settings.

Every flag is a setting: without the flag its `PREBLE_*` variable counts, then the default.
"""

from typing import Annotated, Literal

import typer

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
    typer.Option(help="What computes: a cost model, a running SGLang by URL, or nothing."),
]
EngineUrl = Annotated[str | None, typer.Option(help="URL of the running engine, for `http`.")]
EngineUrls = Annotated[
    str | None,
    typer.Option("--engine-url", help="URLs of running engines, for `http`; a worker for each."),
]
Workers = Annotated[int | None, typer.Option(help="Workers to start, each with an engine.")]
Instance = Annotated[str | None, typer.Option(help="Name of the instance that the worker feeds.")]
Policy = Annotated[PolicyName | None, typer.Option(help="The rule that picks an instance.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of the embedded Valkey's data.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None, typer.Option(help="What is logged.")
]
Url = Annotated[str | None, typer.Option(help="Where the api listens.")]

Output = Annotated[
    Literal["text", "json"], typer.Option("--output", "-o", help="For people, or one JSON a line.")
]
