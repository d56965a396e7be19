"""Requests whose method, target or headers are odd; the body is none, or a good one."""

from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Final

from fuzz.bodies import GENERATES, JOBS, encoded
from fuzz.wire import Headers, Shot, message

from preble.messages import DEFAULT_TENANT
from preble_api.job_ids import JobIds

JSON: Final = ((b"Content-Type", b"application/json"),)
_IDS: Final = JobIds("default")
_KEYS: Final = (b"one", b"one", b"two", b"two", b"three", b"a" * 255)


def _job_path(key: str) -> bytes:
    """Of the first job that is submitted under a key (`preble_api.idempotency`)."""
    name = f"{DEFAULT_TENANT}\x00{key}\x000"
    return f"/v1/jobs/{_IDS.keyed(key, sha256(name.encode()).hexdigest())}".encode()


_KEYED: Final = (_job_path("one"), _job_path("two"))
KNOWN_PATHS: Final = (
    b"/v1/jobs", b"/v1/jobs/job_1", b"/v1/jobs/job_1/cancel", b"/v1/jobs/job_1/retry", *_KEYED,
    *(path + action for path in _KEYED for action in (b"/cancel", b"/retry")),
    b"/generate", b"/livez", b"/readyz", b"/health", b"/metrics", b"/docs", b"/openapi.json",
)  # fmt: skip

_METHODS: Final = (
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT",
    b"PROPFIND", b"BREW", b"get", b"M" * 300, b"P\xc3\xb6ST", b"",
)  # fmt: skip
_PATHS: Final = (
    b"/", b"//", b"/v1", b"/v1/", b"/v1/jobs/", b"//v1/jobs", b"/v1//jobs", b"/V1/JOBS",
    b"/v1/jobs/..", b"/v1/jobs/%2e%2e", b"/v1/jobs/a%2Fb", b"/v1/jobs/%00", b"/v1/jobs/%",
    b"/v1/jobs/%zz", b"/v1/jobs/%ff%fe", b"/v1/jobs/\xff", b"/v1/jobs/%F0%9F%92%A5",
    b"/v1/jobs/a%0d%0ab", b"/v1/jobs/*", b"/v1/jobs/a b", b"/v1/jobs/{job_id}",
    b"/v1/jobs/" + b"a" * 65, b"/v1/jobs/" + b"a" * 20_000, b"/v1/jobs/job_1/cancel/",
    b"/v1/jobs//cancel", b"/v1/jobs/job_1/explain", b"*", b"livez", b"", b"http://preble/livez",
    b"http://other:99999/v1/jobs", b"preble:80", b"/livez#a", b"/livez;a=b", b"/a" * 5_000,
    b"/docs/oauth2-redirect", b"/static/../../etc/passwd", b"/.env", b"/metrics/",
)  # fmt: skip
_QUERIES: Final = (
    b"", b"?", b"?a", b"?a=b&a=c", b"?%", b"?%ff=%00", b"?" + b"a=1&" * 2_000, b"?\xff",
    b"?limit=-1", b"?limit=99999999999999999999", b"?limit=1&limit=2", b"?limit=", b"?limit=1e2",
    b"?order=up", b"?after=a%2Fb", b"?after=%00", b"?after=job_1&order=asc", b"?after=",
    b"?tenant=*", b"?status=failed&tenant=acme", b"?status=x&tenant=%F0%9F",
    b"?tenant=default:expired",
)  # fmt: skip
_VERSIONS: Final = (
    b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1", b"HTTP", b"", b"http/1.1",
    b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP/11", b"RTSP/1.0", b"ICE/1.0",
)  # fmt: skip

_TEXTS: Final = (
    b"", b" ", b"0", b"-1", b"1", b"null", b"NaN", b"1e999", b"9" * 300, b"a" * 256, b"b" * 5_000,
    b"\xe9", b"\xff\xfe", b"\xf0\x9f\x92\xa5", b"a\tb", b"a b", b"\x7f", b"a\x00b", b"\x01", b"%00",
    b"$.x`", b"Expected `str` - at `$.tenant`", b'"', b"'", b"<script>", b"../..", b"${7*7}", b",",
    b";", b"a,b", b"*",
)  # fmt: skip
_TIMES: Final = (
    b"90", b"90s", b"15m", b"1h30m", b"0", b"0s", b"-5", b"1.5", b"1.5555", b"h", b"s", b"1h1h",
    b"1m1h", b"9999h", b"721h", b"99999999s", b"999999999s", b"1e3", b"inf", b"\xb2", b"1 h", b"1H",
    b"0.0001",
)  # fmt: skip
_MEDIA: Final = (
    b"", b"application/json; charset=utf-16", b"APPLICATION/JSON", b"application/json, text/plain",
    b"application/json\x00", b"text/plain", b"application/x-www-form-urlencoded",
    b"application/xml", b"multipart/form-data; boundary=b", b"application/vnd.api+json", b"\xff",
    b"a" * 5_000, b"/", b";",
)  # fmt: skip
_HEADERS: Final[tuple[tuple[bytes, tuple[bytes, ...]], ...]] = (
    (b"Idempotency-Key", _KEYS), (b"Idempotency-Key", _TEXTS), (b"Cancel-After", _TIMES),
    (b"Cancel-After", _TEXTS), (b"Content-Type", _MEDIA),
    (b"X-Preble-Priority", (b"high", *_TEXTS)), (b"X-Preble-Tenant", (b"acme", *_TEXTS)),
    (b"X-Request-ID", _TEXTS), (b"Authorization", _TEXTS),
    (b"Authorization", (b"Bearer", b"Bearer \xff", b"Basic YTpi", b"bearer " + b"k" * 9_000)),
    (b"Host", (b"", b"a b", b"[::1", b"\xff", b"a" * 9_000, b"http://x")),
    (b"Cookie", (b"a=b; " * 1_000,)), (b"Accept", (b"text/html", b"application/xml;q=9", b"\xff")),
    (b"Accept-Encoding", (b"br", b"\xff")), (b"Content-Encoding", (b"gzip", b"br", b"zstd", b"x")),
    (b"Expect", (b"100-continue", b"200-ok")),
    (b"Connection", (b"close", b"keep-alive", b"Upgrade", b"close, keep-alive", b"\xff")),
    (b"Upgrade", (b"websocket", b"h2c", b"x")), (b"Range", (b"bytes=0-0", b"bytes=9-1")),
    (b"X-Forwarded-For", (b"::1", b"x", b"\xff")), (b"Origin", (b"null", b"http://evil")),
    (b"TE", (b"trailers", b"x")), (b"If-None-Match", (b"*",)), (b"", (b"a",)), (b"a b", (b"c",)),
    (b"\xff", (b"\xff",)), (b"a:b", (b"c",)), (b"(", (b")",)), (b"x" * 9_000, (b"y",)),
)  # fmt: skip


def _odd_header(random: Random) -> tuple[bytes, bytes]:
    name, values = random.choice(_HEADERS)
    return name, random.choice(values)


def _posted(random: Random, kind: str, headers: Headers) -> Shot:
    """A good body under such headers; what these make of it is the api's to say."""
    target, goods = random.choice(((b"/v1/jobs", JOBS), (b"/generate", GENERATES)))
    body = encoded(random.choice(goods))
    return Shot(kind, (message(b"POST", target, headers, body),))


def _with_odd_headers(random: Random) -> Shot:
    odd = [_odd_header(random) for _ in range(random.choice((1, 1, 1, 2, 4)))]
    media = () if any(name == b"Content-Type" for name, _ in odd) else JSON
    return _posted(random, "odd headers", (*odd, *media))


def _with_doubled_headers(random: Random) -> Shot:
    name, value = _odd_header(random)
    return _posted(
        random, "doubled headers", ((name, value), _odd_header(random), (name, value), *JSON)
    )


def _with_many_headers(random: Random) -> Shot:
    many = [(b"x-%d" % number, b"v" * 50) for number in range(random.choice((150, 900, 3_000)))]
    return _posted(random, "many headers", (*many, *JSON))


def _with_a_huge_head(random: Random) -> Shot:
    huge = b"v" * random.choice((60_000, 66_000, 300_000))
    return _posted(random, "huge head", ((b"x-huge", huge), *JSON))


def _with_an_odd_method(random: Random) -> Shot:
    method, target = random.choice(_METHODS), random.choice(KNOWN_PATHS)
    body = random.choice((b"", b"", b"{}"))
    shot = message(method, target, JSON, body)
    return Shot("odd method", (shot,), is_head=method == b"HEAD")


def _with_an_odd_path(random: Random) -> Shot:
    target = random.choice(_PATHS) + random.choice((b"", random.choice(_QUERIES)))
    return Shot("odd path", (message(random.choice((b"GET", b"POST")), target, JSON),))


def _with_a_query(random: Random) -> Shot:
    target = random.choice(KNOWN_PATHS) + random.choice(_QUERIES)
    return Shot("odd query", (message(b"GET", target),))


def _with_an_odd_version(random: Random) -> Shot:
    head = message(b"GET", random.choice(KNOWN_PATHS), version=random.choice(_VERSIONS))
    return Shot("odd version", (head,))


HEADS: Final[dict[str, Callable[[Random], Shot]]] = {
    "odd headers": _with_odd_headers,
    "doubled headers": _with_doubled_headers,
    "many headers": _with_many_headers,
    "huge head": _with_a_huge_head,
    "odd method": _with_an_odd_method,
    "odd path": _with_an_odd_path,
    "odd query": _with_a_query,
    "odd version": _with_an_odd_version,
}
