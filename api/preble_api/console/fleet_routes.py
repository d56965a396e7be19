"""The fleet: how the pool stands, and which instances are to get no more jobs. For operators."""

from collections import deque
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from preble.broker import Broker
from preble.clock import Clock, unix_s
from preble.messages import InstanceId
from preble_api.console.fleet import Fleet, Sample, fleet_of, sample_of
from preble_api.console.paths import FLEET, JOBS
from preble_api.console.render import Fragment, Renderer, fragment_of, is_operator
from preble_api.errors import HttpError
from preble_api.principal import principal_of
from preble_api.remembered import Remembered

LOOK_S: Final = 1.0
"""For which what was seen stands, however many look."""

MOST_SAMPLES: Final = 240
_NOTICES: Final = {
    "drain": "{} gets no more jobs, until it is resumed.",
    "resume": "{} gets jobs again.",
}


class _Seen(NamedTuple):
    """The two parts of the page that change, and both as they are sent."""

    strip: Fragment
    panel: Fragment
    both: Fragment


class FleetRoutes:
    """`/ui`, `/ui/fleet`."""

    def __init__(self, broker: Broker, renderer: Renderer, clock: Clock) -> None:
        self._broker = broker
        self._renderer = renderer
        self._samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self._seen = Remembered(self._look, clock, for_s=LOOK_S)

    async def enter(self, request: Request) -> Response:
        """The first page: the fleet for operators, their jobs for all others."""
        first = FLEET if is_operator(principal_of(request.scope)) else JOBS
        return RedirectResponse(first, HTTPStatus.SEE_OTHER)

    async def show(self, request: Request) -> Response:
        """The page. Raises: HttpError (403), BrokerUnavailable."""
        require_operator(request)
        seen = await self._seen.get()
        notice = _notice(request.query_params.get("did"), request.query_params.get("instance"))
        return self._renderer.page(
            request, "fleet", strip=seen.strip, panel=seen.panel, notice=notice
        )

    async def panel(self, request: Request) -> Response:
        """What of the page changes. Raises: HttpError (403), BrokerUnavailable."""
        require_operator(request)
        return (await self._seen.get()).both.alone()

    async def drain(self, request: Request) -> Response:
        """Give an instance no more jobs. Raises: HttpError (403, 404), BrokerUnavailable."""
        require_operator(request)
        instance = InstanceId(request.path_params["instance"])
        if not await self._broker.roster.drain(instance):
            raise HttpError(
                HTTPStatus.NOT_FOUND, "instance_not_found", "no such instance is registered"
            )
        return self._done("drain", instance)

    async def resume(self, request: Request) -> Response:
        """Give it jobs again. Raises: HttpError (403), BrokerUnavailable."""
        require_operator(request)
        instance = InstanceId(request.path_params["instance"])
        await self._broker.roster.resume(instance)
        return self._done("resume", instance)

    def _done(self, what: str, instance: InstanceId) -> Response:
        self._seen.forget()
        query = urlencode({"did": what, "instance": instance})
        return RedirectResponse(f"{FLEET}?{query}", HTTPStatus.SEE_OTHER)

    async def _look(self) -> _Seen:
        stats = await self._broker.counts.stats()
        views = await self._broker.roster.views()
        self._samples.append(sample_of(stats, unix_s()))
        return await self._drawn(fleet_of(views, tuple(self._samples)))

    async def _drawn(self, fleet: Fleet) -> _Seen:
        strip = await self._renderer.fragment("fleet_strip", fleet=fleet, series=fleet.series.json)
        panel = await self._renderer.fragment("fleet_panel", fleet=fleet)
        beside = f'<div id="strip" hx-swap-oob="innerHTML">{strip.html}</div>'
        return _Seen(strip, panel, fragment_of(panel.html + beside))


def require_operator(request: Request) -> None:
    """Refuse who may not look at the whole pool. Raises: HttpError (403)."""
    principal = principal_of(request.scope)
    principal.require_all_tenants()
    principal.require("admin")


def _notice(did: str | None, instance: str | None) -> str:
    return _NOTICES[did].format(instance or "") if did in _NOTICES else ""
