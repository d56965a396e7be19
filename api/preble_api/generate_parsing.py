"""The body of a `/generate` into jobs, and msgspec's errors into ours."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar, cast

import msgspec

from preble.errors import InvalidJob
from preble_api.generate_schemas import GenerateRequest, GenerateSampling, require_offered
from preble_api.logprobs import FIELD as LOGPROBS
from preble_api.parsing import decode_json
from preble_api.sampling_schemas import AnySampling, Sampling
from preble_api.schemas import MAX_JOBS, JobRequest

NO_BODY_LIST: Final = "send one object, whose `text` or `input_ids` may be a list"

_DECODER: Final = msgspec.json.Decoder(GenerateRequest)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_OF_A_LIST: Final = re.compile(r"jobs(\[\d+\])\.(prompt|input_ids)(.*)", re.DOTALL)
_LONGEST: Final = 200

_T = TypeVar("_T")


def parse_generate(body: bytes) -> GenerateRequest:
    """One request.

    Raises:
        HttpError: If the body is not JSON.
        InvalidJob: If a field is wrong or not offered, naming it.
    """
    request = decode_json(_DECODER, body, _invalid)
    require_offered(request)
    return request


class Generation(NamedTuple):
    """What a request asks for: several jobs, or one."""

    jobs: Sequence[JobRequest]
    rids: Sequence[str | None]
    """By which its client calls each."""
    is_list: bool
    """Whether the answer is a list, be it of one."""
    is_streamed: bool
    has_logprob_texts: bool
    """Whether logprobs have the texts of their tokens."""


def generation_of(request: GenerateRequest) -> Generation:
    """The jobs that a request asks for. Raises: InvalidJob if its lists do not fit."""
    prompts, is_list = _prompts(request)
    sampling = _samplings(request, len(prompts), is_list=is_list)
    jobs = [
        JobRequest(
            prompt=prompt if isinstance(prompt, str) else None,
            input_ids=None if isinstance(prompt, str) else prompt,
            sampling_params=params, cache_salt=request.cache_salt,
        )
        for prompt, params in zip(prompts, sampling, strict=True)
    ]  # fmt: skip
    rids = _rids(request.rid, len(prompts), is_list=is_list)
    has_texts = bool(request.return_text_in_logprobs)
    return Generation(jobs, rids, is_list, bool(request.stream), has_texts)


def in_our_names(error: InvalidJob) -> InvalidJob:
    """The same, of the field as it is called here: `jobs[3].prompt` is `text[3]`."""
    if error.field == "prompt":
        return type(error)("text", str(error))
    if error.field.endswith(LOGPROBS):
        return type(error)("top_logprobs_num", str(error))
    found = _OF_A_LIST.fullmatch(error.field)
    if found is None:
        return error
    name = "text" if found[2] == "prompt" else found[2]
    return type(error)(f"{name}{found[1]}{found[3]}", str(error))


def _prompts(request: GenerateRequest) -> tuple[Sequence[str | list[int]], bool]:
    """The prompts, and whether they came as a list. Raises: InvalidJob if there is none."""
    # The original's clients send both, with empty ids.
    if request.input_ids:
        return _by_ids(request.input_ids)
    if request.text is None:
        raise InvalidJob("text", "give `text` or `input_ids`")
    is_list = isinstance(request.text, list)
    return (request.text if isinstance(request.text, list) else [request.text]), is_list


def _by_ids(given: Sequence[int | list[int]]) -> tuple[Sequence[list[int]], bool]:
    """One prompt, or each of a list. Raises: InvalidJob if it is a mixture, or too long."""
    kinds = set(map(type, given))
    if list not in kinds:
        return [cast("list[int]", given)], False
    if len(kinds) > 1:
        raise InvalidJob("input_ids", "give token ids, or a list of them for each prompt")
    if len(given) > MAX_JOBS:
        raise InvalidJob("input_ids", f"expected at most {MAX_JOBS} prompts, got {len(given)}")
    return cast("Sequence[list[int]]", given), True


def _samplings(
    request: GenerateRequest, number: int, *, is_list: bool
) -> Sequence[Sampling | None]:
    """How to sample each. Raises: InvalidJob if a list does not fit."""
    given = _each(request.sampling_params, number, "sampling_params", is_list=is_list)
    logprobs = _logprobs(request, number, is_list=is_list)
    return [_sampling(*each) for each in zip(given, logprobs, strict=True)]


def _sampling(given: GenerateSampling | None, logprobs: int | None) -> Sampling | None:
    """In our own names."""
    if given is None:
        return None if logprobs is None else Sampling(logprobs=logprobs)
    shared = {name: getattr(given, name) for name in AnySampling.__struct_fields__}
    return Sampling(**shared, seed=given.sampling_seed, logprobs=logprobs)


def _logprobs(request: GenerateRequest, number: int, *, is_list: bool) -> list[int | None]:
    """How many to tell of each prompt's output. Raises: InvalidJob."""
    wanted = _each(request.return_logprob, number, "return_logprob", is_list=is_list)
    tops = _each(request.top_logprobs_num, number, "top_logprobs_num", is_list=is_list)
    starts = _each(request.logprob_start_len, number, "logprob_start_len", is_list=is_list)
    if any(
        is_wanted and start not in {None, -1}
        for is_wanted, start in zip(wanted, starts, strict=True)
    ):
        msg = "must be -1: logprobs are told of the output, and not of the prompt"
        raise InvalidJob("logprob_start_len", msg)
    return [(top or 0) if is_wanted else None for is_wanted, top in zip(wanted, tops, strict=True)]


def _each(
    given: _T | list[_T] | None, number: int, field: str, *, is_list: bool
) -> Sequence[_T | None]:
    """One for all prompts, or one for each. Raises: InvalidJob if a list does not fit."""
    if not isinstance(given, list):
        return [given] * number
    each = cast("list[_T]", given)
    _require_one_each(len(each), number, field, is_list=is_list)
    return each


def _rids(rid: str | list[str] | None, number: int, *, is_list: bool) -> Sequence[str | None]:
    """As SGLang: one for a list is numbered."""
    if isinstance(rid, list):
        _require_one_each(len(rid), number, "rid", is_list=is_list)
        if len(set(rid)) != number:
            raise InvalidJob("rid", "must be another for each prompt")
        return rid
    if rid is not None and is_list:
        return [f"{rid}_{place}" for place in range(number)]
    return [rid] * number


def _require_one_each(given: int, number: int, field: str, *, is_list: bool) -> None:
    """Refuse a list that is not one for each prompt. Raises: InvalidJob."""
    if not is_list or given != number:
        wanted = f"a list of {number}, one for each prompt" if is_list else "one, as the prompt is"
        raise InvalidJob(field, f"expected {wanted}; got a list of {given}")


def _invalid(error: str) -> InvalidJob:
    """`Expected … - at `$.text`` becomes field `text` and what was expected."""
    what, _, where = error.partition(" - at `$")
    field = where.strip(".`")
    if what.endswith("got `array`") and not field:
        return InvalidJob(field, NO_BODY_LIST)
    if unknown := _UNKNOWN.match(what):
        path = f"{field}.{unknown[1]}".strip(".")
        return InvalidJob(path[:_LONGEST], "is not a field that is known here")
    return InvalidJob(field, what[:1].lower() + what[1:_LONGEST])
