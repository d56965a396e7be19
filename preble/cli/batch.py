"""`preble batch run`: a file of prompts through a server, or one that is started for the run.

Exit status, beside those of all commands: 3 if lines failed, 4 if a deadline came first.
"""

import os
import shlex
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from preble.batch import Defaults, Report, RunOptions, opened
from preble.batch.formats import Format, format_of
from preble.batch.options import MAX_INFLIGHT, Existing
from preble.batch.report import shown
from preble.batch.template import Template
from preble.cli import options
from preble.cli.batch_progress import Kind, progress_of
from preble.cli.processes import install_engine
from preble.client import Client
from preble.config import ENV_PREFIX, Priority, Settings, load_settings
from preble.cost_model import load_cost_model
from preble.errors import ConfigError, PrebleError
from preble.serve.private import private_stack

FAILED_LINES: Final = 3
EXPIRED: Final = 4

_RETRY_FOR_S: Final = 3_600.0
"""A queue that is full, or a server that is started again, is no failure of a batch."""
_FIRST_ANSWER_S: Final = 15.0
_LOCAL_RETRY_FOR_S: Final = 120.0

app = typer.Typer(
    no_args_is_help=True,
    help="Run a file of prompts: here and now, or left to a server.",
    epilog="A server is found at --url or PREBLE_URL, and given the key in PREBLE_API_KEY.",
)

In = Annotated[str, typer.Argument(metavar="IN", help="Prompts; - for stdin.")]
InFormat = Annotated[
    Format | None, typer.Option("--format", help="Of IN, and of OUT if it is -; else by suffix.")
]
PromptTemplate = Annotated[
    str | None,
    typer.Option(help="A prompt made of a row's fields, such as 'Sum up: {text}'."),
]
Priorities = Annotated[Priority, typer.Option(help="Of lines that name none.")]
Tenants = Annotated[str | None, typer.Option(help="Of lines that name none.")]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="Longest output of lines that set no limit.")
]
Temperature = Annotated[float | None, typer.Option(help="Of lines that name none; 0 is greedy.")]
SamplingParams = Annotated[
    str | None,
    typer.Option(help="More of that as JSON, such as '{\"top_p\": 0.9}'."),
]

_LOCAL: Final = (
    "engine", "engine_url", "model_path", "device", "devices", "tp_size", "engine_args", "workers",
    "policy", "binding", "model", "tokenizer", "context_length",
)  # fmt: skip
"""Flags of a server that is started for the run."""


@app.command()
def run(
    *,
    source: In,
    out: Annotated[str, typer.Argument(metavar="OUT", help="Results; - for stdout.")],
    source_format: InFormat = None,
    prompt_template: PromptTemplate = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    sampling_params: SamplingParams = None,
    priority: Priorities = "batch",
    tenant: Tenants = None,
    errors: Annotated[
        str | None, typer.Option(help="File of lines that failed (OUT.errors.jsonl).")
    ] = None,
    is_refusing: Annotated[
        bool, typer.Option("--no-resume", help="Refuse to go on with an OUT that is there.")
    ] = False,
    is_overwriting: Annotated[
        bool, typer.Option("--overwrite", help="Replace an OUT that is there.")
    ] = False,
    is_retrying_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run lines again that failed before.")
    ] = False,
    max_errors: Annotated[
        int | None, typer.Option(min=0, help="Give up once more lines than this have failed.")
    ] = None,
    max_inflight: Annotated[
        int, typer.Option(min=1, max=20_000, help="Most jobs under way at once.")
    ] = MAX_INFLIGHT,
    is_ordered: Annotated[
        bool, typer.Option("--ordered", help="Write results in the order of IN.")
    ] = False,
    is_unsorted: Annotated[
        bool, typer.Option("--no-reorder", help="Run lines in their order, not sorted by prefix.")
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds after which to stop; the rest can be resumed."),
    ] = None,
    progress: Annotated[
        Kind, typer.Option(help="On stderr: a bar on a terminal, else lines; or JSON.")
    ] = "auto",
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Also write the figures to this file.")
    ] = None,
    url: options.Url = None,
    engine: options.Engine = None,
    engine_url: options.EngineUrls = None,
    model_path: options.ModelPath = None,
    device: options.Device = None,
    devices: options.Devices = None,
    tp_size: options.TpSize = None,
    engine_args: options.EngineArgs = None,
    workers: options.Workers = None,
    policy: options.Policy = None,
    binding: options.Binding = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    context_length: options.ContextLength = None,
    install: options.Install = False,
) -> None:
    """Run the prompts of IN and write their results to OUT, going on where it left off.

    Without --url or PREBLE_URL a server is started for the run, with the flags of `preble serve`.
    Exit status 3 if lines failed, 4 if a deadline came first.
    """
    given = locals()
    local = {name: given[name] for name in _LOCAL if given[name] is not None}
    settings = load_settings(os.environ, url=url, **local)
    is_remote = url is not None or f"{ENV_PREFIX}URL" in os.environ
    if is_remote and local:
        flag = next(iter(local)).replace("_", "-")
        raise typer.BadParameter(f"--{flag} is of a server started here, and one is named")
    if install and not is_remote:
        install_engine(settings)
    asked = RunOptions(
        source=source, source_format=format_of(source, source_format),
        out=out, out_format=format_of(out, source_format if out == "-" else None),
        errors=errors or "", existing=_existing(is_refusing, is_overwriting),
        is_retrying_failed=is_retrying_failed, max_errors=max_errors, max_inflight=max_inflight,
        is_ordered=is_ordered, is_reordered=not is_unsorted,
        deadline_s=float("inf") if deadline is None else deadline,
    )  # fmt: skip
    defaults = defaults_of(
        settings, is_remote=is_remote, prompt_template=prompt_template,
        sampling=sampling_of(max_new_tokens, temperature, sampling_params),
        queue={"priority": priority, "tenant": tenant},
    )  # fmt: skip
    with _resumable(asked):
        report = _run(settings, asked, defaults, progress, is_remote=is_remote)
    _show(report, report_file, is_quiet=progress == "none")
    if status := _status(report):
        raise typer.Exit(status)


def _run(
    settings: Settings, asked: RunOptions, defaults: Defaults, progress: Kind, *, is_remote: bool
) -> Report:
    with opened(asked, defaults) as batch:
        server = _remote(settings) if is_remote else _local(settings, is_quiet=progress == "none")
        cost_model = load_cost_model(settings.cost_model)
        return batch.run(server, progress_of(progress, batch.num_lines), cost_model)


def _existing(is_refusing: bool, is_overwriting: bool) -> Existing:  # noqa: FBT001 - two flags
    if is_refusing and is_overwriting:
        raise typer.BadParameter("give --no-resume or --overwrite, not both")
    return "refuse" if is_refusing else "overwrite" if is_overwriting else "resume"


def defaults_of(
    settings: Settings, *, is_remote: bool, prompt_template: str | None,
    sampling: Mapping[str, object], queue: Mapping[str, object], is_detached: bool = False,
) -> Defaults:  # fmt: skip
    """What lines get that do not say it. Raises: PrebleError, if a server does not answer."""
    return Defaults(
        model=model_of(settings) if is_remote else settings.model,
        template=Template(prompt_template) if prompt_template is not None else None,
        sampling=sampling,
        queue={name: value for name, value in queue.items() if value is not None},
        has_token_texts=is_detached,
    )


def sampling_of(
    max_new_tokens: int | None, temperature: float | None, more: str | None
) -> dict[str, object]:
    """How lines are sampled that do not say it. Raises: ConfigError."""
    try:
        parsed = msgspec.json.decode(more or "{}", type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ConfigError(f"--sampling-params is no JSON object: {error}") from None
    flags = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    return parsed | {name: value for name, value in flags.items() if value is not None}


def model_of(settings: Settings) -> str:
    """What the server serves; that it answers is so found out early. Raises: PrebleError."""
    with Client(settings.url, api_key=settings.api_key, retry_for_s=_FIRST_ANSWER_S) as client:
        return next(iter(client.models()), "")


@contextmanager
def _remote(settings: Settings) -> Generator[Client]:
    with Client(settings.url, api_key=settings.api_key, retry_for_s=_RETRY_FOR_S) as client:
        yield client


@contextmanager
def _local(settings: Settings, *, is_quiet: bool) -> Generator[Client]:
    """A server for the length of the run. Raises: PrebleError."""
    if not is_quiet:
        line = f"starting a server with {settings.workers} workers, engine {settings.engine}"
        typer.echo(line, err=True)
    with (
        private_stack(settings) as stack,
        Client(stack.url, api_key=settings.api_key, retry_for_s=_LOCAL_RETRY_FOR_S) as client,
    ):
        yield client


@contextmanager
def _resumable(asked: RunOptions) -> Generator[None]:
    """Say how to go on, if it is possible. Raises: what the block does."""
    try:
        yield
    except ConfigError:
        raise
    except (KeyboardInterrupt, PrebleError):
        if not asked.is_to_stdout:
            typer.echo(f"preble: go on with: {_resume_command(sys.argv[1:])}", err=True)
        raise


def _resume_command(arguments: list[str]) -> str:
    once = {"--no-resume", "--overwrite", "--retry-failed"}
    return shlex.join(["preble", *(each for each in arguments if each not in once)])


def _show(report: Report, report_file: Path | None, *, is_quiet: bool) -> None:
    if not is_quiet:
        typer.echo(shown(report), err=True)
    if report_file is None:
        return
    try:
        report_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"cannot write {report_file}: {error.strerror}") from None


def _status(report: Report) -> int:
    if report.left or report.expired:
        return EXPIRED
    return FAILED_LINES if report.failed or report.failed_before else 0
