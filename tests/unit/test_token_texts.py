"""What single tokens stand for: their bytes, whatever kind of tokenizer they are of."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models

from preble.tokenizer import TokenText, TokenTexts, load_tokenizer

EMBEDDED = load_tokenizer("embedded")


@given(st.text(max_size=40))
def test_the_bytes_of_tokens_are_those_of_their_text(text: str) -> None:
    """Also where a token is a part of a character."""
    [ids] = EMBEDDED.encode([text], add_special_tokens=False)
    tokens = [EMBEDDED.token_texts.of(token_id) for token_id in ids]
    assert b"".join(token.bytes or b"" for token in tokens) == text.encode()


def test_a_part_of_a_character_has_bytes_and_no_whole_text() -> None:
    [ids] = EMBEDDED.encode(["💥"])
    tokens = [EMBEDDED.token_texts.of(token_id) for token_id in ids]
    assert len(tokens) > 1
    assert b"".join(token.bytes or b"" for token in tokens) == "💥".encode()
    assert all("\ufffd" in token.text for token in tokens)


def test_special_tokens_show_their_names() -> None:
    name = "<|endoftext|>"
    assert EMBEDDED.token_texts.of(0) == TokenText(name, name.encode(), is_special=True)


def test_an_id_beyond_the_vocabulary_stands_for_nothing() -> None:
    """Engines may fill up a vocabulary, and tell such ids among the likeliest."""
    assert EMBEDDED.token_texts.of(EMBEDDED.vocab_size + 5) == TokenText("", None)


def sentence_pieces() -> TokenTexts:
    """A tokenizer as Llama's: spaces are signs, and bytes have tokens."""
    vocabulary = {"<unk>": 0, "\u2581the": 1, "<0xE4>": 2, "cat": 3}
    core = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))  # noqa: S106  a token of text
    core.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    core.add_special_tokens([AddedToken("<unk>", special=True)])
    return TokenTexts(core)


@pytest.mark.parametrize(
    ("token_id", "expected"),
    [
        (1, TokenText(" the", b" the")), (2, TokenText("\ufffd", b"\xe4")),
        (3, TokenText("cat", b"cat")), (0, TokenText("<unk>", b"<unk>", is_special=True)),
    ],
)  # fmt: skip
def test_tokens_of_a_sentence_piece_model(token_id: int, expected: TokenText) -> None:
    assert sentence_pieces().of(token_id) == expected


def test_tokens_of_any_other_model_are_what_it_makes_of_them_alone() -> None:
    core = tokenizers.Tokenizer(models.WordLevel({"cat": 0}, unk_token="cat"))  # noqa: S106  likewise
    assert TokenTexts(core).of(0) == TokenText("cat", b"cat")
