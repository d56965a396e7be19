"""Inboxes and logs as streams of Redis: written by TELL and by what ends jobs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import (
    STREAM_START,
    Argument,
    Client,
    Entries,
    block_ms,
    translated,
)
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.streams import INBOX_TTL_S, InboxNews, LogPage
from preble.errors import BrokerUnavailable
from preble.messages import JobId, TokenDelta, encode

_READ_TOGETHER: Final = 1_000
"""Entries of a stream in one read."""

_RENEW_S: Final = INBOX_TTL_S / 4

_decode_deltas: Final = msgspec.msgpack.Decoder(tuple[TokenDelta, ...]).decode
_decode_delta: Final = msgspec.msgpack.Decoder(TokenDelta).decode


class RedisStreams:
    """Streams of one pool. Implements `preble.broker.streams.Streams`."""

    def __init__(self, client: Client, scripts: ScriptRunner, keys: PoolKeys) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys
        self._heard: dict[str, str] = {}
        """Newest entry that was read, of each inbox."""
        self._renew_at_s: dict[str, float] = {}

    async def listen(self, inbox: str, *, timeout_s: float) -> InboxNews:
        """Wait until something comes into an inbox, or the timeout."""
        key = self._keys("inbox", inbox=inbox)
        try:
            with translated():
                await self._keep(key)
                heard = {key: self._heard.get(key, STREAM_START)}
                reply = await self._client.xread(
                    heard, count=_READ_TOGETHER, block=block_ms(timeout_s)
                )
        except BrokerUnavailable:
            self._forget(key)  # another server may come, without the stream or with another clock
            raise
        if not reply:
            return InboxNews()
        [(_, entries)] = reply
        self._heard[key] = entries[-1][0].decode()
        return _news(entries)

    async def publish(
        self, by_inbox: Mapping[str, Sequence[TokenDelta]], logged: Sequence[TokenDelta]
    ) -> None:
        """Tell what executions have made."""
        arguments: list[Argument] = [len(by_inbox)]
        for inbox, deltas in by_inbox.items():
            arguments += (inbox, encode(deltas))
        for delta in logged:
            arguments += (delta.job_id, delta.execution_id, encode(delta))
        await self._scripts.run("tell", *arguments)

    async def read_log(self, job_id: JobId, after: str) -> LogPage:
        """What a job's log holds after a place."""
        with translated():
            key = self._keys("log", job=job_id)
            reply = await self._client.xread({key: after}, count=_READ_TOGETHER)
        if not reply:
            return LogPage((), after)
        [(_, entries)] = reply
        deltas = tuple(_decode_delta(fields[b"d"]) for _, fields in entries)
        return LogPage(deltas, entries[-1][0].decode())

    async def _keep(self, key: str) -> None:
        """See to it that the inbox is there, at times."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._renew_at_s.get(key, now_s):
            return
        if not await self._client.execute_command("EXPIRE", key, INBOX_TTL_S):
            self._forget(key)
            await self._client.execute_command("XADD", key, "*", "begin", "")
            await self._client.execute_command("EXPIRE", key, INBOX_TTL_S)
        self._renew_at_s[key] = now_s + _RENEW_S

    def _forget(self, key: str) -> None:
        self._heard.pop(key, None)
        self._renew_at_s.pop(key, None)


def _news(entries: Entries) -> InboxNews:
    deltas: list[TokenDelta] = []
    ended: list[JobId] = []
    for _, fields in entries:
        if told := fields.get(b"t"):
            deltas += _decode_deltas(told)
        elif job := fields.get(b"e"):
            ended.append(JobId(job.decode()))
    return InboxNews(tuple(deltas), tuple(ended))
