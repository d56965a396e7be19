"""Rows become lines: their ids, jobs and keys, and what is said of those that cannot."""

import json
from pathlib import Path
from typing import Any

import pytest

from preble.batch.formats import format_of
from preble.batch.lines import Defaults, Line, Lines
from preble.batch.order import Sequence, by_prefix, windows
from preble.batch.rows import Row, read_rows
from preble.batch.template import Template
from preble.errors import ConfigError

CHAT = "/v1/chat/completions"


def line_of(fields: dict[str, Any], defaults: Defaults | None = None, number: int = 1) -> Line:
    [line] = Lines(defaults or Defaults("m")).of([Row(number, fields)])
    return line


def job_of(fields: dict[str, Any], defaults: Defaults | None = None) -> dict[str, Any]:
    line = line_of(fields, defaults)
    assert not line.wrong, line.wrong
    return dict(json.loads(line.body))


def openai_line(body: dict[str, Any], url: str = CHAT) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "m", **body}}


HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("fields", "job"),
    [
        ({"prompt": "a"}, {"prompt": "a"}),
        ({"text": "a", "id": 7}, {"prompt": "a"}),
        ({"messages": HELLO}, {"messages": HELLO}),
        ({"input_ids": [1, 2]}, {"input_ids": [1, 2]}),
        (
            {"priority": "high", "prompt": "a", "sampling_params": {"top_p": 0.5}, "tenant": None},
            {"prompt": "a", "priority": "high", "sampling_params": {"top_p": 0.5}},
        ),
        (
            openai_line({
                "messages": HELLO, "max_tokens": 5, "temperature": 0, "n": 1, "seed": 7,
                "logprobs": False, "top_logprobs": 0,
            }),
            {"messages": HELLO, "model": "m",
             "sampling_params": {"max_new_tokens": 5, "seed": 7, "temperature": 0}},
        ),
        (
            openai_line({"prompt": "a", "stream": False, "user": "me"}, "/v1/completions"),
            {"prompt": "a", "model": "m", "sampling_params": {"max_new_tokens": 16}},
        ),
        (
            openai_line({"prompt": [1, 2], "max_tokens": 5}, "/v1/completions"),
            {"input_ids": [1, 2], "model": "m", "sampling_params": {"max_new_tokens": 5}},
        ),
    ],
)  # fmt: skip
def test_every_form_of_a_line_is_a_job(fields: dict[str, Any], job: dict[str, Any]) -> None:
    made = job_of(fields)
    assert made == job
    assert next(iter(made)) in {"prompt", "messages", "input_ids"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "exactly one of `prompt`, `text`, `messages`, `input_ids` must be given"),
        ({"prompt": "a", "text": "b"}, "exactly one of"),
        ({"prompt": "a", "max_tokens": 5}, "field `max_tokens` is none of a job"),
        ({"prompt": "a", "sampling_params": 5}, "sampling_params: Expected `object`"),
        (openai_line({}), "body.messages: is required"),
        (openai_line({"messages": HELLO, "prompt": "a"}), "body.prompt: is not offered here"),
        (openai_line({"messages": HELLO, "tools": [{}]}), "body.tools: is not offered here"),
        (openai_line({"messages": HELLO, "logprobs": True}), "use `preble batch submit`"),
        (openai_line({"prompt": "a", "logprobs": 0}, "/v1/completions"), "texts of tokens"),
        (openai_line({"messages": HELLO, "top_logprobs": 2}), "body.top_logprobs: goes with"),
        (openai_line({"prompt": ["a"]}, "/v1/completions"), "not a list of texts"),
        (openai_line({"prompt": ["a", "b"]}, "/v1/completions"), "a line of its own"),
        (openai_line({}, "/v1/embeddings"), "url: must be"),
        ({**openai_line({}), "body": 1}, "Expected `object`"),
    ],
)
def test_what_can_be_no_job_is_told_with_row_and_field(fields: dict[str, Any], says: str) -> None:
    line = line_of(fields, number=12)
    assert line.wrong.startswith("row 12: ")
    assert says in line.wrong


def test_a_servers_own_batch_tells_the_logprobs_of_openais_lines() -> None:
    line = openai_line({"messages": HELLO, "logprobs": True, "top_logprobs": 2})
    job = job_of(line, Defaults("m", has_token_texts=True))
    assert job["sampling_params"] == {"logprobs": 2}


def test_a_template_makes_prompts_of_any_rows() -> None:
    defaults = Defaults("m", template=Template("{{{name}}}: {age}, {tags}"))
    fields = {"name": "Ann", "age": 7, "tags": ["a", "b"], "other": 1}
    assert job_of(fields, defaults) == {"prompt": '{Ann}: 7, ["a","b"]'}
    assert "the template's field `age` is missing; the row has `name`" in (
        line_of({"name": "Bob"}, defaults).wrong
    )


@pytest.mark.parametrize("text", ["", "no field", "{", "{}", "a } b"])
def test_a_template_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--prompt-template"):
        Template(text)


def test_flags_are_for_lines_that_do_not_say_it() -> None:
    sampling = {"max_new_tokens": 8, "temperature": 0}
    defaults = Defaults("m", sampling=sampling, queue={"priority": "batch", "tenant": "t"})
    own = {"prompt": "a", "tenant": "own", "sampling_params": {"max_new_tokens": 2}}
    assert job_of(own, defaults) == {
        "prompt": "a", "tenant": "own", "priority": "batch",
        "sampling_params": {"max_new_tokens": 2, "temperature": 0},
    }  # fmt: skip


def test_a_key_is_of_id_job_and_model_and_of_nothing_else() -> None:
    fields = {"id": "a", "prompt": "x"}
    key = line_of(fields).key
    assert line_of({"prompt": "x", "id": "a"}, number=9).key == key
    assert line_of(fields, Defaults("m", queue={"priority": "batch"})).key == key
    others = [
        line_of({"id": "b", "prompt": "x"}), line_of({"id": "a", "prompt": "y"}),
        line_of(fields, Defaults("n")), line_of({**fields, "model": "n"}),
        line_of(fields, Defaults("m", sampling={"temperature": 0})),
    ]  # fmt: skip
    assert key not in {each.key for each in others}


def test_a_line_without_an_id_has_its_number() -> None:
    assert [line_of({"prompt": "x"}, number=n).id for n in (3, 4)] == ["3", "4"]
    assert line_of({"prompt": "x", "id": 0}).id == "0"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("a.jsonl", None, "jsonl"), ("a.NDJSON", None, "jsonl"), ("a.csv", None, "csv"),
        ("a.parquet", None, "parquet"), ("-", None, "jsonl"), ("-", "csv", "csv"),
        ("a.txt", "jsonl", "jsonl"),
    ],
)  # fmt: skip
def test_the_suffix_tells_the_format(name: str, given: Any, expected: str) -> None:  # noqa: ANN401
    assert format_of(name, given) == expected


def test_a_suffix_that_tells_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.txt: the suffix tells no format.* --format"):
        format_of("a.txt", None)


def test_rows_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a"}\n\n[1]\n{"prompt"\n{"prompt": "b"}')
    rows = list(read_rows(str(file), "jsonl"))
    assert [row.number for row in rows] == [1, 3, 4, 5]
    assert [bool(row.wrong) for row in rows] == [False, True, True, False]
    lines = list(Lines(Defaults("m")).of(rows))
    assert lines[1].wrong.startswith("row 3: is no JSON object")
    assert len({line.key for line in lines}) == 4


def test_csv_has_texts_of_several_lines_and_ragged_rows_are_told(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('id,prompt\r\n1,"two\nlines"\r\n2\r\n3,a,b\r\n', encoding="utf-8-sig")
    rows = list(read_rows(str(file), "csv"))
    assert rows[0].fields == {"id": "1", "prompt": "two\nlines"}
    assert [bool(row.wrong) for row in rows] == [False, True, True]


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_text("no parquet")
    with pytest.raises(ConfigError, match=r"cannot read .*a\.parquet as parquet"):
        list(read_rows(str(file), "parquet"))


def numbered(*prompts: str) -> list[Line]:
    rows = [Row(number, {"prompt": prompt}) for number, prompt in enumerate(prompts)]
    return list(Lines(Defaults("m")).of(rows))


def test_what_begins_alike_stands_together() -> None:
    lines = numbered("to be or", "an apple", "to be", "an ant", "to be not")
    assert [line.number for line in by_prefix(lines)] == [3, 1, 4, 0, 2]


def test_windows_are_bounded_by_lines_and_by_bytes() -> None:
    lines = numbered(*"abcdefg")
    assert [len(each) for each in windows(lines, most_lines=3)] == [3, 3, 1]
    assert [len(each) for each in windows(lines, most_bytes=2 * len(lines[0].body))] == [2, 2, 2, 1]
    assert list(windows([])) == []


def test_a_sequence_puts_back_into_order() -> None:
    sequence: Sequence[str] = Sequence()
    sequence.announce([1, 2, 5])
    assert list(sequence.put(2, "b")) == []
    assert list(sequence.put(1, "a")) == ["a", "b"]
    sequence.announce([6])
    assert list(sequence.put(6, "d")) == []
    assert len(sequence) == 1
    assert list(sequence.put(5, "c")) == ["c", "d"]
