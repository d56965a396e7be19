"""A body of very many small values is refused before it is decoded; a long text is not."""

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from preble.errors import InvalidJob
from preble_api.batches.validation import LineRules, Validation
from preble_api.errors import HttpError
from preble_api.generate_parsing import parse_generate
from preble_api.openai.endpoints import ENDPOINTS
from preble_api.parsing import MOST_COMMAS, MOST_STRINGS, parse
from preble_api.schemas import JobRequest


@pytest.mark.parametrize(
    ("begin", "value", "number"),
    [(b'{"input_ids": [', b"1", MOST_COMMAS), (b'{"text": [', b'""', MOST_STRINGS)],
)
def test_body_of_too_many_values_is_refused(begin: bytes, value: bytes, number: int) -> None:
    body = begin + (value + b",") * (number + 1) + value + b"]}"
    with pytest.raises(HttpError, match="send it as several requests") as caught:
        parse_generate(body)
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")


@pytest.mark.parametrize(("value", "number"), [(b"1", MOST_COMMAS), (b'""', MOST_STRINGS)])
def test_line_of_too_many_values_is_an_error_at_its_line(
    tmp_path: Path, value: bytes, number: int
) -> None:
    """Wherever they stand, also in fields that are ignored."""
    path = "/v1/completions"
    ignored = b'{"x": [' + (value + b",") * (number + 1) + value + b"]}"
    (tmp_path / "in.jsonl").write_bytes(b"\n" + ignored + b"\n{}\n")
    rules = LineRules(path, ENDPOINTS[path], "m")
    with closing(Validation(tmp_path / "in.jsonl", rules, max_line_bytes=1 << 25)) as validation:
        while validation.step():
            pass
    told = [(each.line, each.code) for each in validation.errors]
    assert told == [(2, "body_too_large"), (3, "invalid_value")]
    assert validation.errors[0].message.startswith("the line has ")


def test_line_that_is_nested_too_deeply_is_no_request() -> None:
    path = "/v1/completions"
    deep = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidJob, match="is no request of a batch"):
        LineRules(path, ENDPOINTS[path], "m").parse(deep)


def test_quotes_within_a_text_are_no_strings() -> None:
    text = '"' * 2 * (MOST_STRINGS + 1)
    job = parse(msgspec.json.encode({"prompt": text}))
    assert isinstance(job, JobRequest)
    is_the_same = job.prompt == text
    assert is_the_same
