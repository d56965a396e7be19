"""Prompts as text, for routers that match characters.

A token is four hexadecimal characters. Their ASCII bytes are the four bytes that `Tokens` has
for each id, so what an engine gets back from the text is exact, and costs no tokenizer.
"""

from hashlib import shake_128

from preble.messages import TOKEN_BYTES, Tokens, unpack_keys
from preble.simulator.workload import TimedRequest


def prompt_text(request: TimedRequest, number: int, block_size: int) -> str:
    """The prompt of a request: equal block keys give equal text, the rest is its own.

    Args:
        request: Of a workload.
        number: Its place in the workload.
        block_size: Tokens in a block of the workload.
    """
    keys = unpack_keys(request.block_keys)
    blocks = [_text(f"block {key}", block_size) for key in keys]
    rest_tokens = request.prompt_tokens - block_size * len(keys)
    return "".join([*blocks, _text(f"request {number}", rest_tokens)])


def tokens_of(text: str) -> Tokens:
    """The token ids of a text made by `prompt_text`.

    Raises:
        UnicodeEncodeError: If the text is not ASCII.
    """
    return Tokens(text.encode("ascii"))


def _text(name: str, tokens: int) -> str:
    """Text that no other name shares, but by chance the first character or two."""
    return shake_128(name.encode()).hexdigest(tokens * TOKEN_BYTES // 2)
