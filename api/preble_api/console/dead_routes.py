"""Dead letters: jobs that failed and may run again, and webhooks that were given up."""

from collections import Counter
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from preble.broker import Broker
from preble.errors import PromptDropped, QueueFull
from preble.messages import JobId, JobState
from preble_api.console.fleet_routes import require_operator
from preble_api.console.job_pages import row_of
from preble_api.console.job_routes import query_of
from preble_api.console.login import read_form
from preble_api.console.paths import DEAD
from preble_api.console.render import Renderer, visitor_of
from preble_api.errors import HttpError
from preble_api.job_ids import JobIds
from preble_api.principal import principal_of

MOST_WEBHOOKS: Final = 50
_MOST_DIGITS: Final = 6
_OUTCOMES: Final = {
    "retried": "wait again", "dropped": "have lost their prompts: submit them again",
    "refused": "were refused, as the queue is full", "gone": "are no failed jobs any more",
    "due": "webhooks are due again",
}  # fmt: skip


class DeadRoutes:
    """`/ui/dead`."""

    def __init__(self, broker: Broker, ids: JobIds, renderer: Renderer) -> None:
        self._broker = broker
        self._ids = ids
        self._renderer = renderer

    async def show(self, request: Request) -> Response:
        """The page. Raises: InvalidJob, HttpError (403), BrokerUnavailable."""
        query = query_of(request, JobState.FAILED)
        page = await self._broker.list_jobs(query)
        visitor = visitor_of(request)
        webhooks = await self._broker.webhooks.dead(MOST_WEBHOOKS) if visitor.is_operator else []
        lists = await self._renderer.fragment(
            "dead_lists", rows=[row_of(view) for view in page.jobs], webhooks=webhooks,
            after=page.after, query=query, visitor=visitor,
        )  # fmt: skip
        return self._renderer.page(request, "dead", lists=lists, notice=_notice(request))

    async def retry(self, request: Request) -> Response:
        """Let the jobs of a form run again. Raises: HttpError (403, 404), BrokerUnavailable."""
        job_ids = await self._own(request, (await read_form(request)).get("id", []))
        outcomes: Counter[str] = Counter()
        for reply in await self._broker.retry(job_ids):
            outcomes[_outcome(reply)] += 1
        return _back(outcomes)

    async def retry_webhooks(self, request: Request) -> Response:
        """Let webhooks be due at once. Raises: HttpError (403), BrokerUnavailable."""
        require_operator(request)
        names = (await read_form(request)).get("id", [])
        done = await self._broker.webhooks.retry([JobId(name) for name in names])
        return _back(Counter({"due": sum(done), "gone": done.count(False)}))

    async def _own(self, request: Request, names: list[str]) -> list[JobId]:
        """Raises: HttpError (404) if one is not of whoever asks."""
        job_ids = [JobId(name) for name in names if self._ids.may_be(name)]
        principal = principal_of(request.scope)
        for view in await self._broker.views(job_ids):
            if view is None or not principal.may_see(view.spec.tenant):
                raise HttpError(HTTPStatus.NOT_FOUND, "job_not_found", "no such job")
        return job_ids


def _outcome(reply: JobState | PromptDropped | QueueFull | None) -> str:
    if isinstance(reply, PromptDropped):
        return "dropped"
    if isinstance(reply, QueueFull):
        return "refused"
    return "gone" if reply is None or reply.is_terminal else "retried"


def _back(outcomes: Counter[str]) -> Response:
    told = urlencode({name: number for name, number in outcomes.items() if number})
    return RedirectResponse(f"{DEAD}?{told}" if told else DEAD, HTTPStatus.SEE_OTHER)


def _notice(request: Request) -> str:
    """What became of the jobs of the form before, by figures alone: the address may be anyone's."""
    given = request.query_params
    told = [
        f"{int(given[name][:_MOST_DIGITS])} {words}"
        for name, words in _OUTCOMES.items()
        if given.get(name, "").isdecimal()
    ]
    return f"{'; '.join(told)}." if told else ""
