"""A request, its attempts, and what is raised if they fail. Pure.

Each request may come twice without harm: reading and cancelling as they are, a body because all
its attempts carry one `Idempotency-Key`, under which the api takes it once (ADR 0021).
"""

import logging
import random
from typing import Final
from urllib.parse import urlsplit

import httpx2
import msgspec

from preble.client.errors import ServerUnreachable, SubmissionUncertain
from preble.client.exchange import JSON, Exchange, Program, refusal
from preble.client.retries import (
    Outcome,
    may_have_acted,
    may_try_again,
    retry_after_s,
    retry_pause_s,
)
from preble.clock import Clock
from preble.errors import ConfigError

_log: Final = logging.getLogger(__name__)


class Attempts:
    """Tries requests to one api until they are answered, for a bounded time.

    Args:
        url: Where the api listens.
        retry_for_s: How long to go on trying before an error is raised.
        clock: Measures that.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(self, url: str, *, retry_for_s: float, clock: Clock) -> None:
        self._url = _checked(url)
        self._retry_for_s = retry_for_s
        self._clock = clock

    def ask(self, exchange: Exchange) -> Program[httpx2.Response]:
        """A success.

        Raises:
            RequestRefused: If the api refuses it.
            ServerUnreachable: If the api does not answer.
            UnexpectedReply: If something else answers.
        """
        outcome, _ = yield from self._tried(exchange)
        return self._success(outcome)

    def send(self, path: str, body: bytes, idempotency_key: str) -> Program[httpx2.Response]:
        """A success, of a body that is POSTed; all attempts under one key.

        Raises:
            SubmissionUncertain: If an attempt may have been taken, and none was answered.
            RequestRefused, ServerUnreachable, UnexpectedReply: As `ask`.
        """
        headers = {"Content-Type": JSON, "Idempotency-Key": idempotency_key}
        outcome, is_in_doubt = yield from self._tried(Exchange("POST", path, body, headers))
        if is_in_doubt:
            raise SubmissionUncertain(self.why(outcome), idempotency_key=idempotency_key)
        return self._success(outcome)

    def _tried(self, exchange: Exchange) -> Program[tuple[Outcome, bool]]:
        """How the last attempt ended, and whether one may have been taken that no answer told."""
        patience = Patience(self._retry_for_s, self._clock)
        is_in_doubt = False
        while True:
            outcome = yield exchange
            can_repeat = may_try_again(outcome)
            is_in_doubt = may_have_acted(outcome) or (is_in_doubt and can_repeat)
            pause_s = patience.pause_s(outcome)
            if not can_repeat or pause_s is None:
                return outcome, is_in_doubt
            if patience.failures == 1:
                _log.warning("%s: trying again for %g s", self.why(outcome), self._retry_for_s)
            exchange = msgspec.structs.replace(exchange, pause_s=pause_s)

    def _success(self, outcome: Outcome) -> httpx2.Response:
        """The final reply, if it is a success; else its error."""
        if not isinstance(outcome, httpx2.Response):
            raise ServerUnreachable(self.why(outcome)) from outcome
        if not outcome.is_success:
            raise refusal(outcome)
        return outcome

    def why(self, outcome: Outcome) -> str:
        """Why an attempt failed, in words."""
        if isinstance(outcome, httpx2.Response):
            return f"{self._url} answers {outcome.status_code} {outcome.reason_phrase}"
        return f"cannot reach {self._url}: {str(outcome) or type(outcome).__name__}"


class Patience:
    """How long failures in a row are borne.

    Args:
        retry_for_s: From now on, or from the last `renew`.
        clock: Measures that.
    """

    def __init__(self, retry_for_s: float, clock: Clock) -> None:
        self._retry_for_s = retry_for_s
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """Forget all failures: something went well."""
        self.failures = 0
        self._give_up_s = self._clock.now_s() + self._retry_for_s

    def pause_s(self, outcome: Outcome | None) -> float | None:
        """Seconds until the next attempt after a failure; None if there is to be none."""
        self.failures += 1
        asked_s = retry_after_s(outcome) if outcome is not None else None
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        pause_s = retry_pause_s(self.failures, asked_s, jitter=jitter)
        return None if self._clock.now_s() + pause_s > self._give_up_s else pause_s


def _checked(url: str) -> str:
    try:
        httpx2.URL(url)
        is_usable = url.startswith(("http://", "https://")) and bool(urlsplit(url).hostname)
    except (httpx2.InvalidURL, ValueError):
        is_usable = False
    if not is_usable:
        msg = f"`{url}` is no URL of an api: give one such as http://127.0.0.1:8000"
        raise ConfigError(msg)
    return url


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine's loopback interface."""
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
