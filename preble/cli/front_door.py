"""The commands of the original Preble, under its names and flags."""

from typing import Annotated, Final

import typer

from preble import front_door

SERVER_NAMES: Final = ("server", "run", "start_server")
"""One command, as the original named it."""

SERVER_HELP: Final = """Serve in front of SGLang or vLLM servers that run already.

They say which tokenizer, context length and page size they use. The original Preble's command,
under its three names `server`, `run` and `start_server`; `preble serve` has more flags."""

DEPLOY_HELP: Final = """Start an SGLang server on each device, and serve in front of them.

The original Preble's command; `preble serve` has more flags."""

Urls = Annotated[
    list[str] | None,
    typer.Argument(metavar="URL", help="The servers, instead of --runtime_urls."),
]
SelectionPolicy = Annotated[
    str,
    typer.Option(
        "--runtime_selection_policy",
        "--runtime-selection-policy",
        help="`custom` (E2), `round_robin`, `lor` (least outstanding requests), or your own, as "
        "`module:attribute`.",
    ),
]
RuntimeUrls = Annotated[
    str,
    typer.Option(
        "--runtime_urls",
        "--runtime-urls",
        help="Their /generate URLs, separated by commas.",
    ),
]
Host = Annotated[str, typer.Option(help="Address that the api listens on.")]
Port = Annotated[int, typer.Option(help="Port of the api; 0 for any free one.")]
Model = Annotated[str, typer.Option(help="Name of the model, as clients see it.")]
ModelName = Annotated[
    str,
    typer.Option("--model_name", "--model-name", help="A folder, or a model's name on the hub."),
]
Devices = Annotated[
    str, typer.Option(help="GPUs, as 0,1 or [0,1]; without a GPU they count the servers.")
]
TpSize = Annotated[
    int, typer.Option("--tp_size", "--tp-size", help="GPUs that share the model of one server.")
]


def server(
    urls: Urls = None,
    *,
    runtime_selection_policy: SelectionPolicy = "custom",
    runtime_urls: RuntimeUrls = "",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    model: Model = "mistralai/Mistral-7B-v0.1",
) -> None:
    """See `SERVER_HELP`."""
    if urls and runtime_urls:
        raise typer.BadParameter("give the URLs either alone or with --runtime_urls")
    front_door.start_server(
        runtime_selection_policy=runtime_selection_policy,
        runtime_urls=urls or runtime_urls or "http://127.0.0.1:30000/generate",
        host=host,
        port=port,
        model=model,
    )


def deploy_and_run(
    *,
    model_name: ModelName = "mistralai/Mistral-7B-v0.1",
    devices: Devices = "0,1",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    tp_size: TpSize = 1,
) -> None:
    """See `DEPLOY_HELP`."""
    front_door.start_server_and_load_models(
        model_name=model_name, devices=devices, host=host, port=port, tp_size=tp_size
    )
