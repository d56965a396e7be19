"""`preble batch submit`, `watch`, `fetch` and `cancel`: a batch that a server drives by itself."""

import os
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated, Final, Literal

import msgspec
import typer

from preble.batch.detached import openai_lines
from preble.batch.formats import format_of
from preble.batch.lines import Defaults, Lines
from preble.batch.plan import Plan
from preble.batch.rows import read_rows, readable
from preble.cli import batch, options
from preble.client import Client
from preble.client.batches import Batches, BatchStatus
from preble.config import load_settings
from preble.errors import ConfigError

_PERIOD_S: Final = 1.0

_STATUS: Final = {"completed": 0, "failed": 1, "expired": batch.EXPIRED, "cancelled": 1}

BatchId = Annotated[str, typer.Argument(metavar="ID", help="Of the batch, as `submit` printed it.")]


def submit(
    *,
    source: batch.In,
    source_format: batch.InFormat = None,
    prompt_template: batch.PromptTemplate = None,
    max_new_tokens: batch.MaxNewTokens = None,
    temperature: batch.Temperature = None,
    sampling_params: batch.SamplingParams = None,
    priority: batch.Priorities = "batch",
    window: Annotated[
        str, typer.Option(help="Time for all of it: 90s, 15m, 24h, 7d at most.")
    ] = "24h",
    order: Annotated[
        Literal["prefix", "input"], typer.Option(help="In which order lines run.")
    ] = "prefix",
    url: options.Url = None,
) -> None:
    """Hand the prompts of IN to a server, which runs them by itself, and print the batch's id."""
    settings = load_settings(os.environ, url=url)
    defaults = batch.defaults_of(
        settings, is_remote=True, prompt_template=prompt_template,
        sampling=batch.sampling_of(max_new_tokens, temperature, sampling_params), queue={},
        is_detached=True,
    )  # fmt: skip
    with ExitStack() as stack:
        path = readable(source, stack)
        file = stack.enter_context(NamedTemporaryFile(suffix=".jsonl"))
        endpoint = _write(file, path, source, source_format, defaults)
        batches = stack.enter_context(_connected(url))
        file_id = batches.upload(Path(file.name), Path(source).name)
        asked = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window}
        made = batches.create({**asked, "priority": priority, "order": order})
    typer.echo(made.id)


def _write(
    file: IO[bytes], path: str, source: str, given: batch.InFormat, defaults: Defaults
) -> str:
    """The lines in OpenAI's form. Returns: their route. Raises: ConfigError."""
    kind, lines = format_of(source, given), Lines(defaults)
    plan = Plan(lines.of(read_rows(path, kind)))
    plan.refuse_doubles(lines.of(read_rows(path, kind)))
    endpoint = ""
    for line in openai_lines(lines.of(read_rows(path, kind)), defaults.model):
        endpoint = line.url
        file.write(msgspec.json.encode(line) + b"\n")
    file.flush()
    return endpoint


def watch(
    *,
    batch_id: BatchId,
    output: options.Output = "text",
    url: options.Url = None,
) -> None:
    """Wait until a batch has ended, telling on stderr how far it is, and print how it ended.

    Exit status 3 if lines failed, 4 if its time was over first, 1 if it was refused or cancelled.
    """
    with _connected(url) as batches:
        told = ""
        while not (status := batches.show(batch_id)).has_ended:
            if (line := _line(status)) != told:
                typer.echo(line, err=True)
                told = line
            time.sleep(_PERIOD_S)
    typer.echo(_line(status) if output == "text" else msgspec.json.encode(status))
    for problem in status.errors.data if status.errors else ():
        where = f"line {problem.line}: " if problem.line else ""
        typer.echo(f"preble: {where}{problem.message}", err=True)
    _exit(status)


def fetch(
    *,
    batch_id: BatchId,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File for the answers.")],
    errors: Annotated[
        Path | None, typer.Option(help="File for lines that failed (OUT.errors.jsonl).")
    ] = None,
    url: options.Url = None,
) -> None:
    """Write the results of a batch that has ended to OUT, as OpenAI has them.

    Exit status as `watch`.
    """
    with _connected(url) as batches:
        status = batches.show(batch_id)
        if not status.has_ended:
            raise ConfigError(f"{_line(status)}: it has not ended; see `preble batch watch`")
        files: Mapping[Path, str | None] = {
            out: status.output_file_id,
            errors or Path(f"{out}.errors.jsonl"): status.error_file_id,
        }
        for path, file_id in files.items():
            if file_id:
                _save(batches, file_id, path)
    _exit(status)


def cancel(*, batch_id: BatchId, url: options.Url = None) -> None:
    """End a batch; what was answered is kept."""
    with _connected(url) as batches:
        typer.echo(_line(batches.cancel(batch_id)))


def _save(batches: Batches, file_id: str, path: Path) -> None:
    try:
        batches.save(file_id, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    typer.echo(path, err=True)


def _line(status: BatchStatus) -> str:
    counts, usage = status.request_counts, status.usage
    line = f"{status.id} {status.status}: {counts.completed:,} of {counts.total:,} lines"
    line += f", {counts.failed:,} failed" if counts.failed else ""
    if usage is None or not usage.input_tokens:
        return line
    cached = usage.input_tokens_details.cached_tokens
    return f"{line}, {usage.input_tokens:,} prompt tokens ({cached:,} cached)"


def _exit(status: BatchStatus) -> None:
    failed = batch.FAILED_LINES if status.request_counts.failed else 0
    if code := _STATUS.get(status.status, 1) or failed:
        raise typer.Exit(code)


@contextmanager
def _connected(url: str | None) -> Generator[Batches]:
    settings = load_settings(os.environ, url=url)
    with Client(settings.url, api_key=settings.api_key) as client:
        yield Batches(client)
