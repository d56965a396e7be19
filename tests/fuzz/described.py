"""Requests made from the api's own OpenAPI page by schemathesis: some fit it, some do not."""

from collections.abc import Iterator
from typing import Any, Final, cast

import schemathesis
from fuzz.wire import Shot, message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from requests import Request
from schemathesis import GenerationMode

_KINDS: Final = {
    GenerationMode.POSITIVE: "as described",
    GenerationMode.NEGATIVE: "not as described",
}
_OURS: Final = frozenset({"content-length", "host"})

_TOLERATED: Final = (
    HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
)  # fmt: skip
"""Of data for a fuzzer, which need not be quick or small."""

AnyCase = schemathesis.Case[Any]


def described(url: str, *, number: int, run_seed: int) -> list[Shot]:
    """About so many requests, evenly over the operations that take anything.

    Args:
        url: Where the api listens.
        number: Of requests.
        run_seed: Makes them the same each time.

    Cost: some 50 ms each.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    sources = _sources(schema)
    share = number // len(sources)
    return [
        shot
        for kind, source in sources
        for case in _cases(source, share, run_seed)
        for shot in _shots(kind, case, url)
    ]


def _sources(schema: schemathesis.BaseSchema) -> list[tuple[str, SearchStrategy[AnyCase]]]:
    found = cast("Iterator[Any]", schema.get_all_operations())
    return [
        (kind, each.as_strategy(generation_mode=mode))
        for each in (result.ok() for result in found)
        if each.body or each.path_parameters or each.query or each.headers
        for mode, kind in _KINDS.items()
    ]


def _cases(source: SearchStrategy[AnyCase], number: int, run_seed: int) -> list[AnyCase]:
    cases: list[AnyCase] = []

    @seed(run_seed)
    @settings(
        max_examples=number, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=_TOLERATED,
    )  # fmt: skip
    @given(case=source)
    def collect(case: AnyCase) -> None:
        cases.append(case)

    collect()
    return cases


def _shots(kind: str, case: AnyCase, url: str) -> list[Shot]:
    """As bytes; none where a case has no form as an HTTP request."""
    try:
        made = case.as_transport_kwargs(base_url=url)
        prepared = Request(
            made["method"], made["url"], headers=made["headers"], cookies=made["cookies"],
            params=made.get("params"), data=made.get("data"), json=made.get("json"),
        ).prepare()  # fmt: skip
    except (ValueError, UnicodeError):
        return []
    headers = [
        (_bytes(name), _bytes(value))
        for name, value in prepared.headers.items()
        if name.lower() not in _OURS
    ]
    method, target = _bytes(prepared.method or ""), _bytes(prepared.path_url)
    return [Shot(kind, (message(method, target, headers, _bytes(prepared.body or b"")),))]


def _bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")
