"""What ran on one instance within the window H: the `L` of the paper's load cost.

L_i = sum over the requests r placed on instance i in the last H seconds of
      PrefillTime(missed tokens of r on i) + DecodeTime(average output on i in H)

Source: Preble, Algorithm 2. Kept as running sums, so that reading L is O(1) and every
request is added once and expired once.
"""

from collections import deque
from typing import Final

import msgspec

DEFAULT_OUTPUT_TOKENS: Final = 45
"""Output length assumed before any was observed: the released code's default."""


class _Placed(msgspec.Struct, frozen=True):
    at_s: float
    prefill_s: float
    token_decode_s: float


class _Output(msgspec.Struct, frozen=True):
    at_s: float
    tokens: int


class History:
    """Requests placed and outputs observed in the last `window_s` seconds.

    Memory is bounded by the rate of placements times the window.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._placed: deque[_Placed] = deque()
        self._outputs: deque[_Output] = deque()
        self._prefill_s = 0.0
        self._token_decode_s = 0.0
        self._output_tokens = 0

    def place(self, prefill_s: float, token_decode_s: float, *, now_s: float) -> None:
        """A request was placed here.

        Args:
            prefill_s: Predicted seconds to prefill what it misses here.
            token_decode_s: Predicted seconds to decode one of its output tokens.
            now_s: Clock seconds.
        """
        self._placed.append(_Placed(now_s, prefill_s, token_decode_s))
        self._prefill_s += prefill_s
        self._token_decode_s += token_decode_s

    def observe_output(self, tokens: int, *, now_s: float) -> None:
        """A request ended here after this many output tokens."""
        self._outputs.append(_Output(now_s, tokens))
        self._output_tokens += tokens

    def average_output_tokens(self, *, now_s: float) -> float:
        """Mean output length observed here in the window."""
        self._expire(now_s)
        if not self._outputs:
            return DEFAULT_OUTPUT_TOKENS
        return self._output_tokens / len(self._outputs)

    def load_s(self, *, now_s: float) -> float:
        """L: seconds of GPU time placed here in the window."""
        output_tokens = self.average_output_tokens(now_s=now_s)
        return self._prefill_s + self._token_decode_s * output_tokens

    def _expire(self, now_s: float) -> None:
        start_s = now_s - self._window_s
        while self._placed and self._placed[0].at_s <= start_s:
            gone = self._placed.popleft()
            self._prefill_s -= gone.prefill_s
            self._token_decode_s -= gone.token_decode_s
        if not self._placed:
            self._prefill_s = self._token_decode_s = 0.0  # no rounding error outlives a lull
        while self._outputs and self._outputs[0].at_s <= start_s:
            self._output_tokens -= self._outputs.popleft().tokens
