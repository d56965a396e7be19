"""One api as a client reaches it: a request, its attempts, and what is raised if they fail.

Each request may come twice without harm: reading and cancelling as they are, a body because all
its attempts carry one `Idempotency-Key`, under which the api takes it once (ADR 0021).
"""

import logging
import random
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx2
import msgspec

from preble.client.errors import (
    JobUnknown,
    RequestRefused,
    ServerUnreachable,
    SubmissionUncertain,
    UnexpectedReply,
)
from preble.client.retries import (
    Outcome,
    may_have_acted,
    may_try_again,
    retry_after_s,
    retry_pause_s,
)
from preble.clock import Clock
from preble.errors import ConfigError, PrebleError

TIMEOUT_S: Final = 30.0
_log = logging.getLogger(__name__)
_GONE: Final = frozenset({404, 410})


class _ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None
    param: str | None = None


class _Problem(msgspec.Struct, frozen=True):
    error: _ErrorDetail


class Connection:
    """Sends requests to one api until they are answered, for a bounded time.

    Args:
        url: Where the api listens.
        api_key: Bearer token; empty for none.
        retry_for_s: How long to go on trying before an error is raised.
        transport: Replaces the network, for tests.
        clock: Measures `retry_for_s`.
        sleep: Waits for so many seconds.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        retry_for_s: float,
        transport: httpx2.BaseTransport | None,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._url = url
        self._retry_for_s = retry_for_s
        self._clock = clock
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=_checked(url),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=TIMEOUT_S,
            transport=transport,
            # A proxy from the environment cannot reach this machine's own loopback.
            trust_env=not is_loopback(url),
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def request(self, method: str, path: str) -> httpx2.Response:
        """A success, of a request without a body.

        Raises:
            RequestRefused: If the api refuses it.
            ServerUnreachable: If the api does not answer.
            UnexpectedReply: If something else answers.
        """
        outcome, _ = self._tried(method, path, None, {})
        return self._success(outcome)

    def send(self, path: str, body: bytes, idempotency_key: str) -> httpx2.Response:
        """A success, of a body that is POSTed; all attempts under one key.

        Raises:
            SubmissionUncertain: If an attempt may have been taken, and none was answered.
            RequestRefused, ServerUnreachable, UnexpectedReply: As `request`.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        outcome, is_in_doubt = self._tried("POST", path, body, headers)
        if is_in_doubt:
            raise SubmissionUncertain(self._why(outcome), idempotency_key=idempotency_key)
        return self._success(outcome)

    def _tried(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Outcome, bool]:
        """How the last attempt ended, and whether one may have been taken that no answer told."""
        give_up_s = self._clock.now_s() + self._retry_for_s
        failures, is_in_doubt = 0, False
        while True:
            outcome = self._attempt(method, path, body, headers)
            can_repeat = may_try_again(outcome)
            is_in_doubt = may_have_acted(outcome) or (is_in_doubt and can_repeat)
            failures += 1
            jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
            pause_s = retry_pause_s(failures, retry_after_s(outcome), jitter=jitter)
            if not can_repeat or self._clock.now_s() + pause_s > give_up_s:
                return outcome, is_in_doubt
            if failures == 1:
                _log.warning("%s: trying again for %g s", self._why(outcome), self._retry_for_s)
            self._sleep(pause_s)

    def _attempt(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Outcome:
        try:
            return self._http.request(method, path, content=body, headers=headers)
        except httpx2.TransportError as error:
            return error

    def _success(self, outcome: Outcome) -> httpx2.Response:
        """The final reply, if it is a success; else its error."""
        if not isinstance(outcome, httpx2.Response):
            raise ServerUnreachable(self._why(outcome)) from outcome
        if not outcome.is_success:
            raise _refusal(outcome)
        return outcome

    def _why(self, outcome: Outcome) -> str:
        """Why an attempt failed, in words."""
        if isinstance(outcome, httpx2.Response):
            return f"{self._url} answers {outcome.status_code} {outcome.reason_phrase}"
        return f"cannot reach {self._url}: {str(outcome) or type(outcome).__name__}"


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


def _refusal(reply: httpx2.Response) -> PrebleError:
    try:
        detail = msgspec.json.decode(reply.content, type=_Problem).error
    except msgspec.DecodeError:
        return UnexpectedReply(f"{reply.url} answered {reply.status_code}, and not as Preble does")
    kind = JobUnknown if reply.status_code in _GONE else RequestRefused
    return kind(
        detail.message, status=reply.status_code, code=detail.code or "", field=detail.param
    )
