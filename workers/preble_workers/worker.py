"""The worker: one engine, one life after another, until it is told to drain."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from preble import __version__
from preble.broker import Broker
from preble.broker.insisting import insist
from preble.clock import Clock
from preble.config import Settings
from preble.errors import ConfigError, EngineUnavailable, InstanceFenced
from preble.messages import InstanceId, InstanceRecord
from preble.pool import pool_record, weights_fingerprint
from preble.tokenizer import Tokenizer
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import Engine, EngineInfo
from preble_workers.hit_predictor import HitPredictor
from preble_workers.life import Ending, Life
from preble_workers.prefix_publisher import PrefixPublisher
from preble_workers.recorder import Recorder

ENGINE_PAUSE_S: Final = 1.0
"""Before the first question whether a lost engine is back; doubles with each loss."""

LONGEST_ENGINE_PAUSE_S: Final = 30.0
_MAX_DOUBLINGS: Final = 16
FORGIVE_ENGINE_S: Final = 120.0

_log = logging.getLogger(__name__)


class Worker:
    """Feeds one instance. `run` once."""

    def __init__(
        self, broker: Broker, engine: Engine, settings: Settings, tokenizer: Tokenizer,
        clock: Clock, recorder: Recorder,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._recorder = recorder
        self._engine = engine
        self._settings = settings
        self._tokenizer = tokenizer
        self._clock = clock
        self._pool = pool_record(settings, tokenizer)
        self._engine_losses = 0
        self._engine_lost_at_s = clock.now_s()

    async def run(self, draining: asyncio.Event) -> None:
        """Work until `draining` is set and the running jobs have ended or were handed back.

        Raises:
            ConfigError: If engine and pool do not fit together.
            PoolMismatch: If the pool was founded with other settings.
            EngineUnavailable: If the engine cannot be reached at the start.
        """
        try:
            await self._agree_on_weights()  # before minutes go into loading the wrong ones
            info = await self._engine.start()
            self._require_fit(info)
            await insist(lambda: self._broker.agreement.join_pool(self._pool))
            mapper = BlockMapper(self._pool, page_size=info.page_size)
            while not draining.is_set():
                ending = await self._live(info, mapper, draining)
                if ending is not Ending.DRAINED:
                    is_lost = ending is Ending.EVENTS_LOST
                    info = await self._await_engine(info, draining, is_flushed=is_lost)
        finally:
            await self._engine.close()

    async def _agree_on_weights(self) -> None:
        """Only the files of a folder can be told; a model of the hub goes by its name."""
        if self._settings.engine != "sglang":
            return
        fingerprint = await asyncio.to_thread(_weights_of, self._settings.model_path)
        if fingerprint:
            await insist(lambda: self._broker.agreement.agree_on_weights(fingerprint))

    async def _live(self, info: EngineInfo, mapper: BlockMapper, draining: asyncio.Event) -> Ending:
        """One life. Returns why it ended; a fenced one asks for nothing, like a drained one."""
        record = self._record(info)
        publisher = PrefixPublisher(
            bulletin=self._broker.bulletin, engine=self._engine, mapper=mapper, record=record,
            clock=self._clock, metrics=self._recorder.metrics,
        )  # fmt: skip
        life = Life(
            self._broker, self._engine, info, record, publisher,
            HitPredictor(mapper, self._clock, has_kv_cache=info.has_kv_cache),
            self._tokenizer, self._clock, self._settings, self._recorder,
        )  # fmt: skip
        reason = "stopped"
        try:
            ending = await life.run(draining)
            reason = ending.name.lower()
        except ExceptionGroup as group:
            fenced, others = group.split(InstanceFenced)
            if others:
                raise others.exceptions[0] from None
            reason = "fenced"
            error = fenced.exceptions[0] if fenced else group
            _log.warning("%s; beginning anew, dropped_jobs=%d", error, life.num_held)
            return Ending.DRAINED
        else:
            return ending
        finally:
            self._recorder.metrics.end_life(reason)

    async def _await_engine(
        self, info: EngineInfo, draining: asyncio.Event, *, is_flushed: bool
    ) -> EngineInfo:
        """Wait until the engine answers again, and was flushed if need be, asking ever rarer.

        An engine that answers and loses its next job is asked as rarely, so that it cannot
        use up the attempts of a whole queue.

        Returns:
            What it takes now.
        """
        while not draining.is_set():
            self._engine_losses += 1
            await _at_most(draining.wait(), self._engine_pause_s())
            try:
                info = await self._engine.start()
                self._require_fit(info)
                if is_flushed:
                    await self._engine.flush()
            except (EngineUnavailable, ConfigError) as error:
                _log.warning("the engine is not back yet: %s", error)
            else:
                return info
        return info

    def _engine_pause_s(self) -> float:
        now_s = self._clock.now_s()
        if now_s - self._engine_lost_at_s > FORGIVE_ENGINE_S:
            self._engine_losses = 1
        self._engine_lost_at_s = now_s
        return engine_pause_s(self._engine_losses)

    def _record(self, info: EngineInfo) -> InstanceRecord:
        return InstanceRecord(
            instance_id=InstanceId(self._settings.instance), epoch=uuid4().hex,
            engine=self._settings.engine, slots=info.slots,
            kv_capacity_tokens=info.kv_capacity_tokens, cost_model=self._settings.cost_model,
            version=__version__,
        )  # fmt: skip

    def _require_fit(self, info: EngineInfo) -> None:
        context = self._settings.context_length
        if info.context_length < context:
            msg = (
                f"the engine's context of {info.context_length} tokens is shorter than the "
                f"pool's context_length {context}"
            )
            raise ConfigError(msg)
        if info.kv_capacity_tokens < context:
            msg = (
                f"the engine's KV cache of {info.kv_capacity_tokens} tokens cannot hold one "
                f"prompt of context_length {context}; lower one or raise the other"
            )
            raise ConfigError(msg)


def engine_pause_s(losses: int) -> float:
    """Seconds to wait after so many losses of an engine, which may be very many."""
    return min(ENGINE_PAUSE_S * 2.0 ** min(losses - 1, _MAX_DOUBLINGS), LONGEST_ENGINE_PAUSE_S)


def _weights_of(model_path: str) -> str:
    """Their fingerprint; empty if there is no folder of that name."""
    folder = Path(model_path)
    return weights_fingerprint(folder) if model_path and folder.is_dir() else ""


async def _at_most(what: Coroutine[Any, Any, object], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await what
