"""A body of very many small values is refused before it is decoded; a long text is not."""

import msgspec
import pytest

from preble_api.errors import HttpError
from preble_api.generate_parsing import parse_generate
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


def test_quotes_within_a_text_are_no_strings() -> None:
    text = '"' * 2 * (MOST_STRINGS + 1)
    job = parse(msgspec.json.encode({"prompt": text}))
    assert isinstance(job, JobRequest)
    is_the_same = job.prompt == text
    assert is_the_same
