"""A model's tokenizer and chat template."""

from collections.abc import Sequence
from functools import cached_property

import tokenizers

from preble.messages import Tokens, pack_tokens
from preble.tokenizer.chat import ChatTemplate, Message
from preble.tokenizer.cuts import may_cut
from preble.tokenizer.token_texts import TokenTexts


class Tokenizer:
    """A model's tokenizer and chat template. Safe to use from several threads at once."""

    def __init__(self, core: tokenizers.Tokenizer, chat: ChatTemplate, fingerprint: str) -> None:
        # A saved file may ask for either; a prompt must be neither cut nor filled up.
        core.no_truncation()
        core.no_padding()
        self._core = core
        self._chat = chat
        self.fingerprint = fingerprint
        """Hex SHA-256 of tokenizer.json and the chat template."""
        self.vocab_size = 1 + max(core.get_vocab(with_added_tokens=True).values())
        """One more than the highest token id."""

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
        """Token ids of each text.

        Releases the GIL while it works, which the library's call for one text does not.

        Args:
            texts: Prompts as the user wrote them, or rendered chats.
            add_special_tokens: Whether to add what the tokenizer puts around a raw prompt;
                False for a rendered chat, whose template has written it already.

        Cost: about 250 microseconds for 1,000 characters of English.
        """
        encodings = self._core.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    @cached_property
    def may_cut(self) -> bool:
        """Whether the tokens of `cuts.pieces` of a text are those of the text."""
        return may_cut(self._core.to_str().encode())

    @cached_property
    def around(self) -> tuple[Tokens, Tokens]:
        """What `add_special_tokens` puts before and after a text."""
        [plain], [whole] = (self.encode(["a"], add_special_tokens=add) for add in (False, True))
        begin = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
        return pack_tokens(whole[:begin]), pack_tokens(whole[begin + len(plain) :])

    @cached_property
    def token_texts(self) -> TokenTexts:
        """What single tokens stand for."""
        return TokenTexts(self._core)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return self._core.decode(list(ids), skip_special_tokens=True)

    def render_chat(self, messages: Sequence[Message]) -> str:
        """A chat as the one text that the model was trained on, ready for the answer.

        Raises:
            InvalidJob: If the template refuses these messages, or the model has none.
        """
        return self._chat.render(messages)
