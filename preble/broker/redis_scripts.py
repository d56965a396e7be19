"""Runs Lua scripts on Redis by name; loads them where Redis does not know them yet."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from preble.broker.redis_client import (
    Argument,
    Client,
    Pipeline,
    as_broker_error,
    translated,
)
from preble.errors import BrokerError

Arguments = Sequence[Argument]


class ScriptRunner:
    """The scripts of one pool."""

    def __init__(self, client: Client, sources: Mapping[str, str]) -> None:
        self._client = client
        self._sources = sources
        self._shas = {
            name: hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            for name, source in sources.items()
        }

    @property
    def names(self) -> dict[str, str]:
        """Of the scripts, by their hashes."""
        return {sha: name for name, sha in self._shas.items()}

    async def run(self, name: str, *arguments: Argument) -> Any:  # noqa: ANN401  # any Lua reply
        """One script's reply. Raises: BrokerUnavailable, BrokerError."""
        with translated():
            try:
                return await self._call(self._client, name, arguments)
            except NoScriptError:
                await self._client.script_load(self._sources[name])
                return await self._call(self._client, name, arguments)

    async def run_each(
        self, name: str, calls: Sequence[Arguments], *, then: Sequence[Arguments] = ()
    ) -> list[Any]:
        """One script with several argument lists in one round trip.

        Args:
            name: Of the script.
            calls: Its arguments.
            then: Commands that follow on the same connection.

        Returns:
            For each call and command its reply, or the BrokerError it met.
        """
        if len(calls) == 1 and not then:
            return [await self._run_or_error(name, calls[0])]
        replies = await self._pipeline(name, calls, then)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            with translated():
                await self._client.script_load(self._sources[name])
            replies = await self._pipeline(name, calls, then)
        return [as_broker_error(r) if isinstance(r, Exception) else r for r in replies]

    async def _run_or_error(self, name: str, arguments: Arguments) -> Any:  # noqa: ANN401
        try:
            return await self.run(name, *arguments)
        except BrokerError as error:
            return error

    async def _pipeline(
        self, name: str, calls: Sequence[Arguments], then: Sequence[Arguments]
    ) -> list[Any]:
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for arguments in calls:
                    self._call(pipeline, name, arguments)
                for command in then:
                    pipeline.execute_command(*command)
                return await pipeline.execute(raise_on_error=False)

    def _call(self, client: Client | Pipeline, name: str, arguments: Arguments) -> Any:  # noqa: ANN401
        return client.execute_command("EVALSHA", self._shas[name], 0, *arguments)
