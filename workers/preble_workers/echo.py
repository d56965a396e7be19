"""What engines without a model answer: the end of the prompt, once more."""

from preble.messages import TOKEN_BYTES, Tokens


def echo_tokens(prompt: Tokens, num_tokens: int) -> Tokens:
    """The last `num_tokens` of a prompt, repeated as often as that takes.

    Args:
        prompt: Not empty.
        num_tokens: Length of the answer, >= 0.
    """
    size = num_tokens * TOKEN_BYTES
    tail = prompt[max(0, len(prompt) - size) :]
    repeats = -(-size // max(1, len(tail)))
    return Tokens((tail * repeats)[:size])
