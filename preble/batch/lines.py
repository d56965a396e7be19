"""A row of the input as a line of the batch: its id, its job, and the key that names both. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from preble.batch import openai_lines
from preble.batch.rows import Row
from preble.batch.template import Template

KEY_BYTES: Final = 16

_PROMPTS: Final = ("prompt", "text", "messages", "input_ids")
_IDS: Final = ("custom_id", "id")
_JOB: Final = frozenset({
    "model", "sampling_params", "priority", "tenant", "deadline_s", "cache_salt", "webhook",
})  # fmt: skip

_encode: Final = msgspec.json.Encoder().encode


class Line(msgspec.Struct, frozen=True):
    """One line of the batch."""

    number: int
    id: str
    key: bytes
    """Hash of id, job and model: what decides the answer."""
    body: bytes = b""
    """The job as JSON, its prompt first, so that bodies sort as their prompts do."""
    wrong: str = ""
    """Why it can have no job; empty if it can."""
    url: str = ""
    """Of an OpenAI batch line the route; empty for all others."""


class Defaults(msgspec.Struct, frozen=True):
    """What lines get that do not say it themselves."""

    model: str
    """That the server has: part of the key, and not sent."""
    template: Template | None = None
    sampling: Mapping[str, object] = {}
    queue: Mapping[str, object] = {}
    """Where and how long jobs wait: no part of the key, for it decides no answer."""
    has_token_texts: bool = False
    """Whether the answers tell the texts of tokens, as those of a server's own batches."""


class Lines:
    """Makes lines of rows.

    Args:
        defaults: For all of them.
    """

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def of(self, rows: Iterable[Row]) -> Iterator[Line]:
        """The lines of the rows, in their order."""
        return map(self._line, rows)

    def _line(self, row: Row) -> Line:
        id_ = _id_of(row)
        if row.wrong:
            return self._wrong(row, id_, row.wrong)
        is_openai = self._is_openai(row)
        try:
            job = openai_lines.job_of(row.fields) if is_openai else self._job(row.fields)
            if sampling := {**self._defaults.sampling, **_sampling(job)}:
                job["sampling_params"] = sampling
            if is_openai and not self._defaults.has_token_texts:
                openai_lines.require_no_logprobs(sampling)
        except (ValueError, msgspec.ValidationError) as error:
            return self._wrong(row, id_, str(error))
        model, body = job.get("model") or self._defaults.model, _encode(job)
        url = str(row.fields["url"]) if is_openai else ""
        return Line(row.number, id_, _key(id_, str(model), body), self._queued(job, body), url=url)

    def _queued(self, job: Mapping[str, object], body: bytes) -> bytes:
        """The body of a job, with what it does not say of the queue."""
        missing = {name: each for name, each in self._defaults.queue.items() if name not in job}
        return body[:-1] + b"," + _encode(missing)[1:] if missing else body

    def _wrong(self, row: Row, id_: str, wrong: str) -> Line:
        key = _key(id_, self._defaults.model, _encode(row.fields))
        url = str(row.fields["url"]) if self._is_openai(row) else ""
        return Line(row.number, id_, key, wrong=f"row {row.number}: {wrong}", url=url)

    def _is_openai(self, row: Row) -> bool:
        return not self._defaults.template and openai_lines.is_openai_line(row.fields)

    def _job(self, fields: dict[str, object]) -> dict[str, object]:
        """The job of a row of ours, its prompt first. Raises: ValueError."""
        if self._defaults.template:
            return {"prompt": _rendered(self._defaults.template, fields)}
        prompts = [name for name in _PROMPTS if fields.get(name) is not None]
        if len(prompts) != 1:
            names = ", ".join(f"`{name}`" for name in _PROMPTS)
            raise ValueError(f"exactly one of {names} must be given, or --prompt-template")
        if unknown := sorted(fields.keys() - _JOB - {*_PROMPTS, *_IDS}):
            msg = (
                f"field `{unknown[0]}` is none of a job; give --prompt-template '{{{prompts[0]}}}'"
            )
            raise ValueError(f"{msg} for rows that hold other data, too")
        told = {name: fields[name] for name in sorted(_JOB) if fields.get(name) is not None}
        return {prompts[0].replace("text", "prompt"): fields[prompts[0]], **told}


def _rendered(template: Template, fields: Mapping[str, object]) -> str:
    try:
        return template.render(fields)
    except KeyError as error:
        there = ", ".join(f"`{name}`" for name in fields) or "nothing"
        msg = f"the template's field `{error.args[0]}` is missing; the row has {there}"
        raise ValueError(msg) from None


def _sampling(job: dict[str, object]) -> dict[str, object]:
    """The job's own. Changes: `job`, which loses them. Raises: ValueError."""
    try:
        return msgspec.convert(job.pop("sampling_params", None) or {}, dict[str, object])
    except msgspec.ValidationError as error:
        raise ValueError(f"sampling_params: {error}") from None


def _id_of(row: Row) -> str:
    """Its own, or its number."""
    given = next((row.fields[name] for name in _IDS if row.fields.get(name) is not None), None)
    return str(row.number if given is None else given)


def _key(id_: str, model: str, body: bytes) -> bytes:
    """Nothing in an id or a model is the byte between them, as JSON has it."""
    named = _encode([id_, model])
    return blake2b(named + b"\0" + body, digest_size=KEY_BYTES).digest()
