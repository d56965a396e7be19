"""What each tenant got, and how the service was shared while several waited for it."""

from collections.abc import Sequence
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from preble.messages import DEFAULT_TENANT
from preble.simulator.distribution import Distribution, distribution
from preble.simulator.outcome import Served

_Floats = NDArray[np.float64]


class TenantFigures(msgspec.Struct, frozen=True):
    """Of one tenant's measured requests.

    Args:
        num_requests: How many.
        latency_s: E2E, from arrival to the last token.
        wait_s: From arrival to the begin of its prefill in an engine.
        service_tokens: Prefilled and produced for it.
        contended_share: Of the tokens prefilled and produced while each tenant had a request
            waiting; None if there was no such time.
    """

    num_requests: int
    latency_s: Distribution
    wait_s: Distribution
    service_tokens: int
    contended_share: float | None


def tenant_figures(served: Sequence[Served]) -> dict[str, TenantFigures]:
    """Figures by tenant, in the order of names; none if there is but one. Cost: O(n log n)."""
    by_tenant = _by_tenant(served)
    if len(by_tenant) < 2:  # noqa: PLR2004 - one shares with nobody
        return {}
    clock = _ContendedTime(list(by_tenant.values()))
    tokens = {name: clock.tokens(requests) for name, requests in by_tenant.items()}
    total = sum(tokens.values())
    return {
        name: TenantFigures(
            num_requests=len(requests),
            latency_s=distribution(one.latency_s for one in requests),
            wait_s=distribution(one.wait_s for one in requests),
            service_tokens=sum(
                one.prefilled_tokens + one.request.output_tokens for one in requests
            ),
            contended_share=tokens[name] / total if total else None,
        )
        for name, requests in by_tenant.items()
    }


def _by_tenant(served: Sequence[Served]) -> dict[str, list[Served]]:
    def tenant(one: Served) -> str:
        return one.request.tenant or DEFAULT_TENANT

    return {name: list(each) for name, each in groupby(sorted(served, key=tenant), key=tenant)}


class _ContendedTime:
    """The time that passes only while each tenant has a request waiting."""

    def __init__(self, tenants: Sequence[Sequence[Served]]) -> None:
        waits = [
            (
                np.sort([one.request.at_s for one in served]),
                np.sort([one.admitted_at_s for one in served]),
            )
            for served in tenants
        ]
        self._at_s: _Floats = np.unique(np.concatenate([part for wait in waits for part in wait]))
        is_contended = np.logical_and.reduce([self._is_waiting(*wait) for wait in waits])
        lasted_s = np.diff(self._at_s) * is_contended[:-1]
        self._contended_s: _Floats = np.append(0.0, np.cumsum(lasted_s))

    def tokens(self, served: Sequence[Served]) -> float:
        """Service in that time, each phase of a request taken as even."""
        admitted_s = np.array([one.admitted_at_s for one in served], float)
        first_s = np.array([one.first_token_at_s for one in served], float)
        ended_s = np.array([one.ended_at_s for one in served], float)
        prefilled = np.array([one.prefilled_tokens for one in served])
        produced = np.array([one.request.output_tokens for one in served])
        tokens = prefilled * self._share(admitted_s, first_s)
        tokens += produced * self._share(first_s, ended_s)
        return float(tokens.sum())

    def _share(self, start_s: _Floats, end_s: _Floats) -> _Floats:
        """Of each span, how much of it was contended; 0 for spans of no length."""
        contended_s = np.interp(end_s, self._at_s, self._contended_s)
        contended_s -= np.interp(start_s, self._at_s, self._contended_s)
        lasted_s = end_s - start_s
        share: _Floats = np.divide(
            contended_s, lasted_s, out=np.zeros_like(lasted_s), where=lasted_s > 0
        )
        return share

    def _is_waiting(self, came_s: _Floats, admitted_s: _Floats) -> NDArray[np.bool_]:
        """From each moment to the next."""
        came = np.searchsorted(came_s, self._at_s, side="right")
        return came > np.searchsorted(admitted_s, self._at_s, side="right")
