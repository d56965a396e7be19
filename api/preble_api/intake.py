"""Job requests into submissions: all that is checked and computed before the queue is asked.

Token ids are checked, packed and keyed where they are, on the event loop: 30 microseconds
for 1,000 of them, less than a thread's hand-over costs. Text goes to threads, because the
tokenizer takes a millisecond for 4 KB and releases the GIL; a short text stays.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from preble.block_keys import block_keys, root_key
from preble.errors import InvalidJob
from preble.messages import (
    TOKEN_BYTES,
    JobSpec,
    PoolRecord,
    SamplingParams,
    Submission,
    Tokens,
    Webhook,
    pack_tokens,
)
from preble.metrics import ApiMetrics
from preble.tokenizer import Message, TextCache, TextTokens, Tokenizer
from preble_api.draft import PART_CHARS, Draft
from preble_api.errors import HttpError
from preble_api.job_ids import JobIds
from preble_api.logprobs import require_few
from preble_api.principal import Principal
from preble_api.sampling_schemas import RoomSampling, Sampling
from preble_api.schemas import ChatMessage, JobRequest
from preble_api.threads import TextThreads
from preble_api.webhooks.schemas import WebhookRequest

SHORT_CHARS: Final = 400
"""Text that is tokenized on the spot: about 100 microseconds."""

CHARS_PER_TOKEN: Final = 32
"""More characters a token of context than any real text has; bounds the tokenizer's work."""

PACE_TOKENS: Final = 32_768
"""Token ids after which a list lets other requests run: about a millisecond."""

_PACE_JOB: Final = 1_024
"""Token ids that take as long as all else about a job."""

_PACE_CHAR: Final = 32
"""Token ids that take as long as one character, of those that tokenizers find hard."""


class Intake:
    """Turns what clients ask for into what the queue takes, for one pool.

    Args:
        pool: What all of it agrees on.
        ids: Of its jobs.
        tokenizer: The pool's.
        cache: What remembers the tokens of texts.
        threads: Where long texts are tokenized.
        metrics: Where that is timed.
        has_webhooks: Whether jobs may have one.
    """

    def __init__(
        self, pool: PoolRecord, ids: JobIds, tokenizer: Tokenizer, cache: TextCache,
        threads: TextThreads, metrics: ApiMetrics, *, has_webhooks: bool = False,
    ) -> None:  # fmt: skip
        self._has_webhooks = has_webhooks
        self._pool = pool
        self.ids = ids
        self._tokenizer = tokenizer
        self._cache = cache
        self._threads = threads
        self._metrics = metrics
        self._most_chars = pool.context_length * CHARS_PER_TOKEN
        self._has_rendered = False

    async def one(self, request: JobRequest, principal: Principal) -> Submission:
        """A single job, on behalf of whoever asks.

        Raises:
            InvalidJob: If a field is wrong, naming it.
            HttpError: If the model is not the pool's, or the tenant another's.
        """
        job = self._begin(Draft(request, principal))
        if isinstance(job, Submission):
            return job
        [submission] = await self._threads.map(self._from_text, [job])
        return submission

    async def many(self, requests: Sequence[JobRequest], principal: Principal) -> list[Submission]:
        """The jobs of a list, in order; an error names the job, as in `jobs[3].prompt`.

        Raises:
            InvalidJob: As `one`.
            HttpError: As `one`.
        """
        jobs = [self._begin(draft) async for draft in _paced(requests, principal)]
        texts = [job for job in jobs if isinstance(job, Draft)]
        done = iter(await self._threads.map(self._from_text, texts))
        return [next(done) if isinstance(job, Draft) else job for job in jobs]

    def _begin(self, draft: Draft) -> Submission | Draft:
        """Checks that cost little; a draft is returned if it is to be finished on a thread."""
        self._require_model(draft)
        _ = draft.tenant  # refused before anything is computed
        self.require_webhooks(draft.request.webhook, draft.place)
        if draft.request.input_ids is not None:
            return self._from_ids(draft, draft.request.input_ids)
        if draft.chars > self._most_chars:
            msg = (
                f"{draft.chars} characters are more than a context of "
                f"{self._pool.context_length} tokens can hold (at most {self._most_chars}; "
                f"each message, and each of its parts, counts {PART_CHARS} more)"
            )
            raise draft.too_long(msg)
        return self._from_text(draft) if self._is_short(draft) else draft

    def _is_short(self, draft: Draft) -> bool:
        """Whether to make its tokens on the spot: not the first chat, which imports a library."""
        if draft.request.messages is not None and not self._has_rendered:
            return False
        return draft.chars <= SHORT_CHARS

    def _require_model(self, draft: Draft) -> None:
        model = draft.request.model
        if model is not None and model != self._pool.model:
            msg = f"the model here is {self._pool.model}"
            param = draft.place + "model"
            raise HttpError(HTTPStatus.NOT_FOUND, "model_not_found", f"{param}: {msg}", param=param)

    def require_webhooks(self, webhook: WebhookRequest | None, place: str = "") -> None:
        """Refuse a webhook where there are none. Raises: InvalidJob."""
        if webhook is not None and not self._has_webhooks:
            msg = "there are no webhooks here; whoever runs it can set PREBLE_WEBHOOK_SECRET"
            raise InvalidJob(place + "webhook", msg)

    def _from_ids(self, draft: Draft, ids: list[int]) -> Submission:
        self._require_fit(draft, len(ids))
        try:
            # Packing refuses what is negative or huge, so the largest id tells the rest.
            tokens = pack_tokens(ids) if max(ids) < self._pool.vocab_size else None
        except OverflowError:
            tokens = None
        if tokens is None:
            raise self._outside_vocabulary(draft, ids)
        return self._submission(draft, tokens)

    def _outside_vocabulary(self, draft: Draft, ids: list[int]) -> InvalidJob:
        last = self._pool.vocab_size - 1
        at, wrong = next((i, token) for i, token in enumerate(ids) if not 0 <= token <= last)
        field = f"{draft.place}input_ids[{at}]"
        return InvalidJob(field, f"token id {wrong} is not in the vocabulary, 0 to {last}")

    def _from_text(self, draft: Draft) -> Submission:
        with self._metrics.tokenize_seconds.time():
            tokens, known_chars, new_chars = self._encode(draft)
        self._metrics.text_chars.labels("known").inc(known_chars)
        self._metrics.text_chars.labels("new").inc(new_chars)
        if not tokens:
            raise draft.invalid("has no tokens")
        self._require_fit(draft, len(tokens) // TOKEN_BYTES)
        return self._submission(draft, tokens)

    def _encode(self, draft: Draft) -> TextTokens:
        request = draft.request
        if request.messages is None:
            return self._cache.encode(request.prompt or "", salt=draft.cache_salt)
        try:
            chat = self._tokenizer.render_chat([_message(each) for each in request.messages])
        except InvalidJob as error:
            raise draft.invalid(str(error)) from None
        finally:
            self._has_rendered = True
        return self._cache.encode(chat, salt=draft.cache_salt, add_special_tokens=False)

    def _require_fit(self, draft: Draft, prompt_tokens: int) -> None:
        sampling = draft.request.sampling_params or _DEFAULT
        new_tokens = 1 if isinstance(sampling, RoomSampling) else sampling.max_new_tokens
        total = prompt_tokens + new_tokens
        if total > self._pool.context_length:
            msg = (
                f"{prompt_tokens} prompt tokens and {new_tokens} of output make {total}, "
                f"more than the context of {self._pool.context_length} tokens"
            )
            raise draft.too_long(msg)

    def _submission(self, draft: Draft, tokens: Tokens) -> Submission:
        request = draft.request
        sampling = self._sampling(request.sampling_params or _DEFAULT, len(tokens) // TOKEN_BYTES)
        require_few(sampling, draft.place)
        salt = draft.cache_salt
        root = root_key(self._pool, salt)
        keys = block_keys(tokens, root=root, block_size=self._pool.block_size)
        spec = JobSpec(
            len(tokens) // TOKEN_BYTES, sampling, salt, request.priority, draft.tenant,
            request.deadline_s, is_logged=request.stream, traceparent=draft.traceparent,
        )  # fmt: skip
        webhook = Webhook(request.webhook.url) if request.webhook else None
        return Submission(self.ids.new(), spec, tokens, keys, webhook=webhook)

    def _sampling(self, given: Sampling, prompt_tokens: int) -> SamplingParams:
        params = _sampling_params(given)
        if not isinstance(given, RoomSampling):
            return params
        room_tokens = self._pool.context_length - prompt_tokens
        return msgspec.structs.replace(
            params, max_new_tokens=min(params.max_new_tokens, room_tokens)
        )


_DEFAULT: Final = Sampling()


async def _paced(requests: Sequence[JobRequest], principal: Principal) -> AsyncIterator[Draft]:
    """Each with its place in the list; others run between."""
    paced_tokens = 0
    for number, request in enumerate(requests):
        draft = Draft(request, principal, f"jobs[{number}].")
        paced_tokens += _as_tokens(draft)
        if paced_tokens >= PACE_TOKENS:
            await asyncio.sleep(0)
            paced_tokens = 0
        yield draft


def _as_tokens(draft: Draft) -> int:
    """Token ids that take as long as a job does on the event loop, whence long texts go."""
    ids = len(draft.request.input_ids or ())
    return _PACE_JOB + ids + _PACE_CHAR * min(draft.chars, SHORT_CHARS)


def _message(message: ChatMessage) -> Message:
    """As the template takes it: parts are joined by newlines, as vLLM does."""
    content = message.content
    text = content if isinstance(content, str) else "\n".join(part.text for part in content)
    return {"role": message.role, "content": text}


def _sampling_params(given: Sampling) -> SamplingParams:
    stop = (given.stop,) if isinstance(given.stop, str) else tuple(given.stop or ())
    return SamplingParams(
        max_new_tokens=given.max_new_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        min_p=given.min_p,
        frequency_penalty=given.frequency_penalty,
        presence_penalty=given.presence_penalty,
        repetition_penalty=given.repetition_penalty,
        stop=stop,
        ignore_eos=given.ignore_eos,
        seed=given.seed,
        logprobs=given.logprobs,
    )
