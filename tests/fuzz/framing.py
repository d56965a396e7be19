"""Requests that say a wrong length, come in pieces, come slowly, break off, or are no HTTP."""

from collections.abc import Callable
from random import Random
from typing import Final

from fuzz.bodies import JOBS, encoded
from fuzz.heads import JSON
from fuzz.wire import Shot, message

MOST_BODY_BYTES: Final = 1_000_000
"""What the api of a run takes (`max_body_bytes`)."""

_JOBS: Final = b"/v1/jobs"
_CHUNKED: Final = ((b"Transfer-Encoding", b"chunked"),)
_GOOD: Final = encoded(JOBS[0])
_LENGTHS: Final = (
    b"-1", b"+5", b"0x10", b"", b"a", b"1.5", b"1e3", b"5, 6", b"9" * 30, b"9" * 5_000, b"\xb2",
    b"1 2", b"18446744073709551616", b"1000001",
)  # fmt: skip
_ODD_CODINGS: Final = (
    b"gzip", b"chunked, gzip", b"gzip, chunked", b"identity", b"xchunked", b"chunked, chunked", b"",
    b"\x0b",
)  # fmt: skip
_ODD_CHUNKS: Final = (
    b"zz\r\n", b"-1\r\n", b"f" * 17 + b"\r\n", b"F" * 5_000 + b"\r\n",
    b"5;" + b"e" * 80_000 + b"\r\n", b"5\n", b" 5\r\n", b"5\r\nhelloX",
    b"0\r\nTrailer: a\r\n\x00\r\n\r\n",
)  # fmt: skip
_NOT_HTTP: Final = (
    b"*1\r\n$4\r\nPING\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 5_000, b"\0" * 3_000, b"GET", b"G" * 70_000,
    b"\n\n\n", b"GET / HTTP/1.1\r\n: a\r\n\r\n", b"GET /\r\n\r\n",
    b"GET / HTTP/1.1\r\na\r\n b\r\n\r\n", b"",
)  # fmt: skip


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _chunked_head(target: bytes = _JOBS) -> bytes:
    return message(b"POST", target, JSON, frame=_CHUNKED)


def _in_chunks(random: Random) -> Shot:
    size = random.choice((1, 7, 1_000))
    chunks = b"".join(_chunk(_GOOD[at : at + size]) for at in range(0, len(_GOOD), size))
    return Shot("in chunks", (_chunked_head(), chunks + b"0\r\n\r\n"))


def _in_odd_chunks(random: Random) -> Shot:
    return Shot("odd chunks", (_chunked_head(), random.choice(_ODD_CHUNKS)), is_owed=False)


def _in_endless_chunks(random: Random) -> Shot:
    chunks = (_chunk(b" " * random.choice((1, 1_000))),) * random.choice((1, 5))
    return Shot("endless chunks", (_chunked_head(), *chunks), pause_s=0.02, is_owed=False)


def _of_odd_length(random: Random) -> Shot:
    frame = [(b"Content-Length", random.choice(_LENGTHS))]
    if random.random() < 0.3:
        frame.append((b"Content-Length", b"%d" % len(_GOOD)))
    return Shot("odd length", (message(b"POST", _JOBS, JSON, _GOOD, frame=frame),), is_owed=False)


def _of_odd_coding(random: Random) -> Shot:
    frame = ((b"Transfer-Encoding", random.choice(_ODD_CODINGS)),)
    return Shot("odd coding", (message(b"POST", _JOBS, JSON, _GOOD, frame=frame),), is_owed=False)


def _of_two_lengths(random: Random) -> Shot:
    frame = [*_CHUNKED, (b"Content-Length", b"%d" % random.choice((0, 3, len(_GOOD))))]
    random.shuffle(frame)
    body = _chunk(_GOOD) + b"0\r\n\r\n"
    return Shot("two lengths", (message(b"POST", _JOBS, JSON, body, frame=frame),), is_owed=False)


def _too_short(random: Random) -> Shot:
    frame = ((b"Content-Length", b"%d" % random.randrange(len(_GOOD))),)
    return Shot("longer than said", (message(b"POST", _JOBS, JSON, _GOOD, frame=frame),))


def _broken_off(random: Random) -> Shot:
    whole = message(b"POST", _JOBS, JSON, _GOOD)
    part = whole[: random.randrange(len(whole))]
    return Shot("broken off", (part,), is_owed=False, is_gone=random.random() < 0.8)


def _gone(random: Random) -> Shot:
    target = random.choice((_JOBS, b"/generate", b"/metrics"))
    field = b"text" if target == b"/generate" else b"prompt"
    body = b'{"%b": "gone", "sampling_params": {"max_new_tokens": 100}}' % field
    method = b"GET" if target == b"/metrics" else b"POST"
    return Shot("client gone", (message(method, target, JSON, body),), is_gone=True)


def _too_large(random: Random) -> Shot:
    body = b"[" + b" " * (MOST_BODY_BYTES + random.choice((0, 1, 500_000))) + b"]"
    if random.random() < 0.5:
        return Shot("too large", (message(b"POST", _JOBS, JSON, body),))
    return Shot("too large", (_chunked_head(), _chunk(body), b"0\r\n\r\n"))


def _slow_body(random: Random) -> Shot:
    whole = message(b"POST", random.choice((_JOBS, b"/generate")), JSON, _GOOD)
    size = len(whole) // random.randint(3, 8) + 1
    pieces = tuple(whole[at : at + size] for at in range(0, len(whole), size))
    return Shot("slow", pieces, pause_s=0.05)


def _pipelined(random: Random) -> Shot:
    whole = message(b"POST", _JOBS, JSON, _GOOD) + message(b"GET", b"/livez")
    times = random.choice((1, 5, 40))
    return Shot("pipelined", (whole * times,), untold_jobs=times - 1)


def _followed_by_junk(random: Random) -> Shot:
    """The answer may be to either."""
    target, body = random.choice(((_JOBS, _GOOD), (b"/generate", b'{"text": "a"}')))
    whole = message(b"POST", target, JSON, body)
    junk = random.choice((b"\0", b"x" * 300 + b"\r\n\r\n", _chunked_head() + b"zz\r\n"))
    times = random.choice((1, 3))
    return Shot("followed by junk", (whole * times + junk,), untold_jobs=times)


def _not_http(random: Random) -> Shot:
    return Shot("no HTTP", (random.choice((*_NOT_HTTP, random.randbytes(500))),), is_owed=False)


FRAMES: Final[dict[str, Callable[[Random], Shot]]] = {
    "in chunks": _in_chunks,
    "odd chunks": _in_odd_chunks,
    "endless chunks": _in_endless_chunks,
    "odd length": _of_odd_length,
    "odd coding": _of_odd_coding,
    "two lengths": _of_two_lengths,
    "longer than said": _too_short,
    "broken off": _broken_off,
    "client gone": _gone,
    "too large": _too_large,
    "slow": _slow_body,
    "pipelined": _pipelined,
    "followed by junk": _followed_by_junk,
    "no HTTP": _not_http,
}
