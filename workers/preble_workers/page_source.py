"""Where the page events of a server come from: from itself, or from what it must hold."""

from collections.abc import AsyncGenerator
from typing import Protocol

from preble_workers.engine import Completion, EngineRequest, PageEvent


class PageSource(Protocol):
    """Page events of one server."""

    def batches(self) -> AsyncGenerator[list[PageEvent]]:
        """Events in order, until `close`; with the first batch, all that is held was told.

        One reader at most; a later one goes on where an earlier one stopped.

        Raises:
            EventsLost: If some can no longer be had.
        """
        ...

    def prefilled(self, request: EngineRequest) -> None:
        """Tell that the server has computed a prompt: its first token is there."""
        ...

    def completed(self, request: EngineRequest, completion: Completion) -> None:
        """Tell that the server has completed a request."""
        ...

    def restarted(self) -> None:
        """Tell that the server has begun anew, with an empty cache."""
        ...

    def flushed(self) -> None:
        """Tell that the server has emptied its cache when asked to."""
        ...

    def close(self) -> None:
        """End `batches`."""
        ...
