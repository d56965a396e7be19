"""Text of tokens as they come: however an output is cut, its parts make the whole."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models

from preble.tokenizer import load_tokenizer
from preble_workers.detokenizer import Detokenizer
from preble_workers.stop_guard import StopGuard

TOKENIZER: Final = load_tokenizer("embedded")
"""Of the kind that makes tokens of bytes."""

PIECES: Final = ["▁Hello", "▁world", "▁", "!", "s", "▁a", "▁été", "界"]
WORDS: Final = Core(models.WordLevel({piece: at for at, piece in enumerate(PIECES)}, "!"))
"""Of the kind that writes a space before a word, unless it is the first."""
WORDS.decoder = decoders.Metaspace()

CUTS = st.lists(st.integers(0, 400), max_size=400)


def parts(ids: Sequence[int], cuts: Sequence[int]) -> list[Sequence[int]]:
    """The ids, cut at these places."""
    ends = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    return [ids[start:end] for start, end in pairwise(ends)]


@given(st.text(max_size=300), CUTS)
def test_parts_of_any_text_join_to_the_whole(text: str, cuts: list[int]) -> None:
    ids = TOKENIZER.encode([text], add_special_tokens=False)[0]
    one = Detokenizer(TOKENIZER.decode)
    said = "".join(one.add(part) for part in parts(ids, cuts))
    assert said == text.removesuffix("\ufffd")


@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=300), CUTS)
def test_parts_of_any_tokens_begin_the_whole_and_lack_a_character_at_most(
    ids: list[int], cuts: list[int]
) -> None:
    check_bytes(ids, cuts)


@given(st.lists(st.integers(97, 260), max_size=300), CUTS)
def test_so_do_those_of_bytes_that_are_no_text(ids: list[int], cuts: list[int]) -> None:
    check_bytes(ids, cuts)


def check_bytes(ids: list[int], cuts: list[int]) -> None:
    one = Detokenizer(TOKENIZER.decode)
    said = "".join(one.add(part) for part in parts(ids, cuts))
    whole = TOKENIZER.decode(ids)
    assert said in {whole, whole.removesuffix("\ufffd")}


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=200), CUTS)
def test_a_space_before_a_word_is_kept(ids: list[int], cuts: list[int]) -> None:
    one = Detokenizer(WORDS.decode)
    assert "".join(one.add(part) for part in parts(ids, cuts)) == WORDS.decode(ids)


@pytest.mark.parametrize("ids", [[97] * 2_000, TOKENIZER.encode(["word 界 " * 700])[0]])
def test_what_is_decoded_for_a_token_does_not_grow_with_the_output(ids: list[int]) -> None:
    decoded: list[int] = []

    def decode(some: Sequence[int]) -> str:
        decoded.append(len(some))
        return TOKENIZER.decode(some)

    one = Detokenizer(decode)
    for token in ids:
        one.add([token])
    assert max(decoded) < 50
    assert sum(decoded) < 60 * len(ids)


ALPHABET = st.sampled_from("abc")
STOPS = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3)


@given(st.text(ALPHABET, max_size=60), CUTS, STOPS)
def test_no_part_of_a_stop_string_is_said(text: str, cuts: list[int], stops: list[str]) -> None:
    """What is said begins the text before the first stop string, as an engine cuts it."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    final = text[: min(found, default=len(text))]
    guard = StopGuard(stops)
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    said = ""
    for start, end in pairwise(ends):
        said += guard.add(text[start:end])
        assert final.startswith(said)
        longest = max(map(len, stops), default=1)
        assert len(said) >= min(len(final), end) - (longest - 1), "more is held than a stop"


def test_without_stop_strings_nothing_is_held() -> None:
    assert StopGuard(()).add("any text") == "any text"
