"""Bodies that are nearly right: good JSON, damaged as values or as bytes."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Final, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Path = tuple[str | int, ...]

_IDS: Final[Json] = [*range(5, 45)]
_SHORT: Final[Json] = {"max_new_tokens": 4}
JOBS: Final[tuple[Json, ...]] = (
    {"prompt": "One and one is", "sampling_params": _SHORT},
    {"input_ids": _IDS, "priority": "batch", "tenant": "acme", "deadline_s": 60.0},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Good morning"}]}]},
    {"prompt": "b", "sampling_params": {"max_new_tokens": 4, "seed": 7, "logprobs": 2}},
    [{"prompt": "a", "sampling_params": {"stop": ["x", "y"], "top_k": 5}}, {"input_ids": _IDS}],
    {"jobs": [{"prompt": "Two and two is", "priority": "high"}, {"prompt": "c"}]},
)
GENERATES: Final[tuple[Json, ...]] = (
    {"text": "One and one is", "sampling_params": _SHORT},
    {"input_ids": _IDS, "sampling_params": _SHORT, "rid": "r1"},
    {"text": "Two and two is", "sampling_params": _SHORT, "stream": True},
    {
        "text": ["a", "b"],
        "sampling_params": {"max_new_tokens": 4, "sampling_seed": 7},
        "return_logprob": [True, False],
        "top_logprobs_num": 2,
        "return_text_in_logprobs": True,
        "logprob_start_len": -1,
    },
)

ODD_VALUES: Final[tuple[Json, ...]] = (
    None, True, False, 0, -1, 1, 0.5, -1e308, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63) - 1,
    10**40, "", " ", "\0", "\n", "\ud800", "\udfff\ud800", "\U0010ffff", "💥" * 50, "a" * 5_000,
    "-1", "NaN", "true", "../../etc/passwd", "'; DROP TABLE jobs; --", "{{7*7}}", "$.prompt`",
    "Expected `int` - at `$.a`", [], [[]], [None], [[[[[[]]]]]], {}, {"": {}}, {"a": [1]},
    [0] * 5_000, ["x"] * 1_025, {"type": "text"}, {"role": "user", "content": "x"},
)  # fmt: skip

_ODD_NUMBERS: Final = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e-999999", b"-0", b"-0.0", b"00",
    b"0x10", b"1_000", b"+1", b"1.", b".5", b"1e", b"--1", b"9" * 400, b"9" * 5_000, b"-" * 500,
    b"1" + b"0" * 5_000 + b".0", b"0." + b"0" * 5_000 + b"1", b"1e" + b"9" * 400,
)  # fmt: skip
_ODD_KEYS: Final = (
    "",
    "Prompt",
    "promp",
    "prompt ",
    "__proto__",
    "a`b",
    "\0",
    "é" * 99,
    "k" * 9_999,
)
_ALIENS: Final = (
    b"", b" ", b"\0", b"null", b"true", b"1", b'"prompt"', b"[]", b"{}", b"{}{}", b"[{}]", b"[[]]",
    b"<jobs/>", b"prompt=a&jobs=b", b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n--b--\r\n",
    gzip.compress(b'{"prompt": "a"}'), b"\xff" * 100, b"\x80abc", b"\xed\xa0\x80",
    b'{"prompt":"\xc0\xaf"}',
)  # fmt: skip
_LONG: Final[tuple[Json, ...]] = (
    {"prompt": "word " * 40_000}, {"text": "w" * 300_000}, {"input_ids": [7] * 60_000},
    [{"prompt": "a"}] * 1_001, {"jobs": [{"input_ids": ""}] * 20_000}, [[0]] * 100_000,
    {"messages": [{"role": "user", "content": "x"}] * 4_097}, {"x" * 200_000: 1},
    {"prompt": "a", "sampling_params": {"stop": ["s" * 256] * 16}},
    {"messages": [{"role": "r" * 64, "content": [{"type": "text", "text": ""}] * 1_024}]},
)  # fmt: skip
_DEPTHS: Final = (20, 500, 1_000, 5_000, 100_000)
_PLACE: Final = "@here@"


def encoded(value: Json) -> bytes:
    """As JSON, with what JSON has no form for as Python writes it."""
    return json.dumps(value, ensure_ascii=True).encode()


def _span(random: Random, text: bytes) -> tuple[int, int]:
    first, last = sorted((random.randrange(len(text)), random.randrange(len(text))))
    return first, last + 1


def _truncated(random: Random, good: Json) -> bytes:
    text = encoded(good)
    return text[: random.randrange(len(text))]


def _doubled(random: Random, good: Json) -> bytes:
    text = encoded(good)
    first, last = _span(random, text)
    return text[:last] + text[first:last] * random.choice((1, 2, 50)) + text[last:]


def _with_a_gap(random: Random, good: Json) -> bytes:
    text = encoded(good)
    first, last = _span(random, text)
    return text[:first] + text[last:]


def _flipped(random: Random, good: Json) -> bytes:
    text = bytearray(encoded(good))
    for _ in range(random.randint(1, 8)):
        text[random.randrange(len(text))] ^= 1 << random.randrange(8)
    return bytes(text)


def _with_junk(random: Random, good: Json) -> bytes:
    text = encoded(good)
    at = random.randrange(len(text))
    return text[:at] + random.randbytes(random.choice((1, 4, 300))) + text[at:]


def _with_an_odd_value(random: Random, good: Json) -> bytes:
    return encoded(_replaced(good, random.choice(_places(good)), random.choice(ODD_VALUES)))


def _with_an_odd_key(random: Random, good: Json) -> bytes:
    text = encoded(good)
    key = encoded(random.choice((*_ODD_KEYS, "prompt", "text", "input_ids", "jobs", "stream")))
    pair = key + b": " + encoded(random.choice(ODD_VALUES))
    return text.replace(b"{", b"{" + pair + b", ", 1)


def _with_an_odd_number(random: Random, good: Json) -> bytes:
    return _with_raw(random, good, random.choice(_ODD_NUMBERS))


def _deep(random: Random, good: Json) -> bytes:
    depth = random.choice(_DEPTHS)
    begin, end = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"prompt":', b"}")))
    nested = begin * depth + b"1" + end * random.choice((depth, depth, 0))
    return _with_raw(random, good, nested) if random.random() < 0.7 else nested


def _long(random: Random, good: Json) -> bytes:
    del good
    return encoded(random.choice(_LONG))


def _otherwise_encoded(random: Random, good: Json) -> bytes:
    text = json.dumps(good, ensure_ascii=False)
    return text.encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037")))


def _alien(random: Random, good: Json) -> bytes:
    del good
    return random.choice((*_ALIENS, random.randbytes(random.randrange(1, 2_000))))


def _whole(random: Random, good: Json) -> bytes:
    del random
    return encoded(good)


DAMAGES: Final[dict[str, Callable[[Random, Json], bytes]]] = {
    "truncated": _truncated,
    "doubled": _doubled,
    "gap": _with_a_gap,
    "bits flipped": _flipped,
    "junk inside": _with_junk,
    "odd value": _with_an_odd_value,
    "odd key": _with_an_odd_key,
    "odd number": _with_an_odd_number,
    "deeply nested": _deep,
    "very long": _long,
    "other encoding": _otherwise_encoded,
    "no job at all": _alien,
    "nothing wrong": _whole,
}
"""What can be wrong with a body, by name."""


def _with_raw(random: Random, good: Json, raw: bytes) -> bytes:
    """The value with bytes in a place of it that need not be JSON."""
    text = encoded(_replaced(good, random.choice(_places(good)), _PLACE))
    return text.replace(encoded(_PLACE), raw)


def _places(value: Json) -> list[Path]:
    return list(_walk(value, ()))


def _walk(value: Json, path: Path) -> Iterator[Path]:
    yield path
    for key, below in _below(value):
        yield from _walk(below, (*path, key))


def _below(value: Json) -> list[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return [(str(key), below) for key, below in value.items()]
    return list(enumerate(value)) if isinstance(value, list) else []


def _replaced(value: Json, path: Path, new: Json) -> Json:
    if not path:
        return new
    below = dict(_below(value))
    below[path[0]] = _replaced(below[path[0]], path[1:], new)
    if isinstance(value, list):
        return list(below.values())
    return {str(key): each for key, each in below.items()}
