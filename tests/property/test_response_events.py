"""Numbers of a response's events follow from what they tell, however the text came."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support import assignment, completed, record, submission

from preble.messages import (
    ExecutionId,
    JobFailure,
    JobId,
    JobState,
    JobView,
    Lease,
    TokenLogprob,
)
from preble.tokenizer import load_tokenizer
from preble_api.openai.asked import Echo
from preble_api.openai.response_events import BEFORE_TEXT, ResponseEvents
from preble_api.transcript import Piece

JOB = JobId("job_1")
ECHO = Echo(model="m", created_at_s=5.0, instructions="be brief")
DELTA = "response.output_text.delta"
TOKENIZER = load_tokenizer("embedded")
TEXTS = TOKENIZER.token_texts

Event = dict[str, Any]


def ended(text: str, finish_reason: str = "stop") -> JobView:
    result = completed(Lease(JOB, ExecutionId("e")), text).result
    assert result
    job = submission(JOB)
    return JobView(
        JOB, JobState.COMPLETED, job.spec, 1, submitted_at_s=4.0, ended_at_s=6.0,
        instance_id=record().instance_id, assignment=assignment(job),
        result=replace(result, finish_reason=finish_reason),
    )  # fmt: skip


def stream(pieces: list[str], after: int = -1) -> list[Event]:
    """All events that a client lacks whose last one was `after`."""
    events = ResponseEvents(ECHO, JOB, TEXTS, after=after)
    made = list(events.opening())
    for piece in pieces:
        made += events.more(Piece(piece, ()))
    return [*made, *events.closing(ended("".join(pieces)))]


def text_up_to(events: list[Event], number: int) -> str:
    told = (each for each in events if each["sequence_number"] <= number)
    return "".join(each["delta"] for each in told if each["type"] == DELTA)


def without_deltas(events: list[Event], after: int = -1) -> list[Event]:
    return [e for e in events if e["type"] != DELTA and e["sequence_number"] > after]


PIECES = st.lists(st.text(max_size=8), max_size=8)


@given(PIECES)
def test_numbers_grow(pieces: list[str]) -> None:
    numbers = [each["sequence_number"] for each in stream(pieces)]
    assert numbers == sorted(set(numbers))


@given(PIECES, st.data())
def test_what_follows_a_number_is_what_its_client_lacks(
    pieces: list[str], data: st.DataObject
) -> None:
    """Whatever the pieces in which the text comes the second time."""
    text = "".join(pieces)
    whole = stream(pieces)
    seen = data.draw(st.sampled_from([each["sequence_number"] for each in whole]))
    cut = data.draw(st.integers(0, len(text)))
    resumed = stream([text[:cut], text[cut:]], after=seen)

    assert text_up_to(whole, seen) + text_up_to(resumed, 1 << 53) == text
    assert without_deltas(resumed) == without_deltas(whole, seen)
    assert all(each["sequence_number"] > seen for each in resumed)


@given(PIECES, PIECES)
def test_a_number_means_the_same_text_in_every_stream(one: list[str], other: list[str]) -> None:
    text = "".join(one)
    other = [*(each for each in other if each), text]  # other cuts of a longer text
    longer = "".join(other)
    for cuts in (other, [longer]):
        for each in stream(cuts):
            if each["type"] == DELTA:
                number = each["sequence_number"]
                assert text_up_to(stream(cuts), number) == longer[: number - BEFORE_TEXT]


def pieces_of(ids: tuple[int, ...], cuts: list[int]) -> list[Piece]:
    """An output told in pieces that end after so many tokens; text waits for whole characters."""
    told = [TEXTS.of(token_id).bytes or b"" for token_id in ids]
    ends = [0, *sorted(cuts), len(ids)]
    texts = [b"".join(told[:end]).decode(errors="ignore") for end in ends]
    return [
        Piece(text[len(before) :], ids[one:other], tuple(TokenLogprob(-i) for i in ids[one:other]))
        for (one, other), (before, text) in zip(pairwise(ends), pairwise(texts), strict=True)
    ]


def stream_of_tokens(pieces: list[Piece], after: int = -1) -> list[Event]:
    """The deltas that a client lacks, of an output with logprobs."""
    events = ResponseEvents(replace(ECHO, top_logprobs=0), JOB, TEXTS, after=after)
    made = [each for piece in pieces for each in events.more(piece)]
    return [each for each in made if each["type"] == DELTA]


def logprobs_in(events: list[Event]) -> list[float]:
    return [told.logprob for each in events for told in each["logprobs"]]


@given(st.text("aé💥 ß", min_size=1, max_size=12), st.data())
def test_each_token_is_told_once_whatever_the_cuts_and_the_break(
    text: str, data: st.DataObject
) -> None:
    ids = tuple(TOKENIZER.encode([text], add_special_tokens=False)[0])
    cuts = st.lists(st.integers(0, len(ids)), max_size=4)
    whole = stream_of_tokens(pieces_of(ids, data.draw(cuts)))
    assert logprobs_in(whole) == [-token_id for token_id in ids]

    at = data.draw(st.integers(0, len(whole) - 1))
    rest = stream_of_tokens(pieces_of(ids, data.draw(cuts)), whole[at]["sequence_number"])
    assert logprobs_in(whole[: at + 1] + rest) == [-token_id for token_id in ids]


@given(st.text("aé💥 ß", min_size=1, max_size=12))
def test_a_token_is_told_with_the_text_that_it_ends(text: str) -> None:
    ids = tuple(TOKENIZER.encode([text], add_special_tokens=False)[0])
    known, told = "", b""
    for each in stream_of_tokens(pieces_of(ids, list(range(len(ids))))):
        known += each["delta"]
        told += b"".join(bytes(token.bytes) for token in each["logprobs"])
        assert told.decode(errors="ignore") == known


def test_a_text_that_was_cut_short_is_incomplete() -> None:
    events = ResponseEvents(ECHO, JOB, TEXTS)
    more = events.more(Piece("ab", ()))
    made = [*events.opening(), *more, *events.closing(ended("ab", "length"))]
    assert made[-1]["type"] == "response.incomplete"
    assert made[-1]["response"].incomplete_details.reason == "max_output_tokens"
    assert made[-2]["item"].status == "incomplete"


def test_a_failure_comes_after_whatever_its_client_saw() -> None:
    """Also to a client that saw text of which nothing is left."""
    job = submission(JOB)
    failure = JobFailure("attempts_used_up", "three died")
    view = JobView(JOB, JobState.FAILED, job.spec, 5, submitted_at_s=4.0, failure=failure)
    events = ResponseEvents(ECHO, JOB, TEXTS, after=900)
    [failed] = [*events.opening(), *events.closing(view)]
    assert failed["type"] == "response.failed"
    assert failed["sequence_number"] > 900
    assert failed["response"].error.message == "attempts_used_up: three died"


def test_a_stream_that_breaks_off_numbers_nothing_anew() -> None:
    """So that a client which resumes after the last number lacks nothing."""
    events = ResponseEvents(ECHO, JOB, TEXTS)
    made = [*events.opening(), *events.more(Piece("abc", ()))]
    error = {"message": "stopping", "code": "wait_ended", "param": None, "type": "server_error"}
    broken = events.broken_off(error)
    assert broken["sequence_number"] == made[-1]["sequence_number"]
    assert (broken["type"], broken["code"]) == ("error", "wait_ended")
