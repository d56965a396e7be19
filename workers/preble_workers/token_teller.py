"""What is told of one answer while it comes: that it begins, then its tokens, if somebody asks."""

from collections.abc import Callable, Sequence

from preble.messages import TokenLogprob
from preble_workers.engine import EngineRequest, OnTokens
from preble_workers.logprobs import check_logprobs


class TokenTeller:
    """Tells of one answer, whatever the words of its server.

    Args:
        request: That is answered.
        on_tokens: Called with what is new; once, with nothing, if the request is not streamed.
        on_begin: Called with the request before the first tokens are told.
    """

    def __init__(
        self, request: EngineRequest, on_tokens: OnTokens,
        on_begin: Callable[[EngineRequest], None],
    ) -> None:  # fmt: skip
        self.request = request
        self._on_tokens = on_tokens
        self._on_begin = on_begin
        self._has_begun = False

    def begin(self) -> None:
        """There is an answer; said once more, that is nothing new."""
        if self._has_begun:
            return
        self._has_begun = True
        self._on_begin(self.request)
        if not self.request.is_streamed:
            self._on_tokens((), None, ())

    def tell(self, ids: Sequence[int], text: str, logprobs: Sequence[TokenLogprob]) -> None:
        """These are new, of a request that is streamed.

        Raises:
            EngineRefused: If logprobs were asked for, and not each of these tokens has one.
        """
        check_logprobs(self.request.sampling, ids, logprobs)
        if ids or text:
            self._on_tokens(ids, text, logprobs)
