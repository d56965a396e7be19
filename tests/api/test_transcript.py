"""What is known of an output: put together from deltas that come twice, late or not at all."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from stream_support import execution, ids_of
from support import completed

from preble.messages import JobId, JobResult, Lease, TokenDelta, TokenLogprob
from preble_api.transcript import Piece, Place, Reader, Transcript


def delta(text: str, at: int = 0, *, run: int = 1) -> TokenDelta:
    return TokenDelta(JobId("a"), execution(run), at, at, ids_of(text), text)


def result(text: str) -> JobResult:
    outcome = completed(Lease(JobId("a"), execution(1)), text)
    assert outcome.result
    return replace(outcome.result, output_ids=ids_of(text))


def transcript(*deltas: TokenDelta) -> Transcript:
    made = Transcript()
    for each in deltas:
        made.add(each)
    return made


def test_deltas_extend_it() -> None:
    made = transcript(delta("hel"), delta("lo", 3))
    assert (made.text, tuple(made.output_ids)) == ("hello", ids_of("hello"))
    assert made.cuts == []


def test_a_long_output_is_not_copied_at_each_delta() -> None:
    made = transcript(delta("hel"))
    grown = made.output_ids
    made.add(delta("lo", 3))
    made.add(delta("p", 3, run=2))
    assert made.output_ids is grown
    assert tuple(grown) == ids_of("help")


@pytest.mark.parametrize("again", [delta("hel"), delta("lo", 3), delta("el", 1), delta("lo wo", 3)])
def test_what_comes_twice_does_no_harm(again: TokenDelta) -> None:
    made = transcript(delta("hel"), delta("lo", 3), again)
    assert made.text == ("hello wo" if again.text == "lo wo" else "hello")
    assert made.cuts == []


def test_after_a_gap_nothing_is_known_until_the_end() -> None:
    made = transcript(delta("hel"), delta("world", 6))
    assert made.text == "hel"
    made.complete(result("hello world"))
    assert made.text == "hello world"
    assert made.cuts == []


def test_an_execution_that_says_the_same_goes_on_seamlessly() -> None:
    made = transcript(delta("hello"), delta("hel", run=2), delta("lo world", 3, run=2))
    assert (made.text, made.cuts) == ("hello world", [])


def test_an_execution_that_says_something_else_takes_it_back() -> None:
    made = transcript(delta("hello"), delta("help", run=2))
    assert made.text == "help"
    assert made.cuts == [Place(3, 3)]


def test_an_execution_that_was_followed_by_another_is_not_heard_any_more() -> None:
    made = transcript(delta("hello"), delta("help", run=2), delta(" world", 5), delta("hello"))
    assert made.text == "help"


@pytest.mark.parametrize(("final", "agreed"), [("help", 3), ("hel", 3), ("", 0)])
def test_a_result_that_says_something_else_takes_it_back(final: str, agreed: int) -> None:
    made = transcript(delta("hello"))
    made.complete(result(final))
    assert (made.text, made.cuts) == (final, [Place(agreed, agreed)])


def test_after_the_end_nothing_is_added() -> None:
    made = transcript(delta("hel"))
    made.complete(result("hello"))
    made.add(delta("help", run=2))
    assert (made.text, made.cuts) == ("hello", [])


def test_a_late_reader_gets_what_gathered_as_one() -> None:
    reader = Reader(transcript(delta("hel"), delta("lo", 3)))
    assert reader.take() == Piece("hello", ids_of("hello"))
    assert reader.take() is None


def test_only_a_reader_that_was_beyond_must_step_back() -> None:
    made = transcript(delta("hello"))
    far, near, late = Reader(made), Reader(made), Reader(made, Place(2, 2))
    far.take()
    made.add(delta("help", run=2))
    assert (far.step_back(), far.place) == (True, Place(3, 3))
    assert (near.step_back(), late.step_back()) == (False, False)
    assert not far.step_back(), "it has stepped back"


@given(st.text("ab", max_size=30), st.data())
def test_any_deltas_of_one_output_make_its_beginning(text: str, data: st.DataObject) -> None:
    """Lost, repeated, in any order: what is known is right, and nothing is ever taken back."""
    made = Transcript()
    places = st.integers(0, len(text))
    for _ in range(data.draw(st.integers(0, 8))):
        start, end = sorted((data.draw(places), data.draw(places)))
        before = made.text
        made.add(delta(text[start:end], start))
        assert text.startswith(made.text)
        assert len(made.text) >= len(before)
    made.complete(result(text))
    assert (made.text, made.cuts) == (text, [])


def with_logprobs(made: TokenDelta) -> TokenDelta:
    """A token is as likely as its id says."""
    return replace(made, logprobs=logprobs_of_ids(made.output_ids))


def logprobs_of_ids(ids: Sequence[int]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(-float(each), ((each, 0.0),)) for each in ids)


@given(st.lists(st.text("ab", max_size=12), min_size=1, max_size=3), st.data())
def test_logprobs_stay_with_their_tokens(runs: list[str], data: st.DataObject) -> None:
    """Whatever comes twice, is lacking, or is said otherwise by a later execution."""
    made = Transcript()
    reader = Reader(made)
    held: list[tuple[int, TokenLogprob]] = []

    def read() -> None:
        reader.step_back()
        del held[reader.place.tokens :]
        if piece := reader.take():
            held.extend(zip(piece.output_ids, piece.logprobs, strict=True))

    for run, text in enumerate(runs):
        for _ in range(data.draw(st.integers(0, 5))):
            start, end = sorted(data.draw(st.integers(0, len(text))) for _ in range(2))
            made.add(with_logprobs(delta(text[start:end], start, run=run)))
            if data.draw(st.booleans()):
                read()
    ids = ids_of(runs[-1])
    made.complete(replace(result(runs[-1]), logprobs=logprobs_of_ids(ids)))
    read()
    assert held == list(zip(ids, logprobs_of_ids(ids), strict=True))


def test_a_worker_that_tells_no_logprobs_harms_no_other() -> None:
    """As an older one, whose job another goes on with."""
    made = transcript(delta("hel"), with_logprobs(delta("lo", 3, run=2)))
    assert Reader(made).take() == Piece("hello", ids_of("hello"))
    made.complete(replace(result("hello"), logprobs=logprobs_of_ids(ids_of("hello"))))
    assert Reader(made).take() == Piece("hello", ids_of("hello"), logprobs_of_ids(ids_of("hello")))
