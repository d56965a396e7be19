"""`preble bench text`: what text costs, beside the tokenizer alone.

A whole private stack with engines that do nothing. Texts with nothing in common, then texts of
which groups share most, as the prompts of one document do: one a request, and in lists of 100.
Beside each, the same texts are given to the model's tokenizer in this process, one after another.
"""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from importlib import resources
from typing import Final

import msgspec

from preble.bench.throughput import Say, Throughput, ThroughputRow, without_engine
from preble.config import Settings
from preble.serve.private import private_stack
from preble.tokenizer import Tokenizer, load_tokenizer

TEXT_CHARS: Final = 4_096
SHARED_TEXT_CHARS: Final = 8_192
SHARED: Final = 0.75
"""Share of each text that its group has in common."""

GROUPS: Final = 16
LIST_JOBS: Final = 100
PROSE: Final = resources.files("preble") / "broker" / "__init__.py"
"""Whose words the texts are made of: English, with some code."""


class TextRow(msgspec.Struct, frozen=True):
    """One load, beside the tokenizer alone on the same texts."""

    throughput: ThroughputRow
    tokenizer_us_per_text: float
    share_of_tokenizer: float
    """Tokenizer's CPU time over the apis' whole CPU time: their rate on equal cores."""


class TextFigures(msgspec.Struct, frozen=True):
    """All figures of one run."""

    cores: int
    rows: tuple[TextRow, ...]


def run(settings: Settings, *, jobs: int, say: Say) -> TextFigures:
    """Measure all loads on one private stack.

    Args:
        settings: Their engine is replaced by `noop`.
        jobs: Of each load, rounded up to lists of 100.
        say: Told what is being measured.

    Raises:
        LoadFailed: If a request is not accepted.
    """
    tokenizer = load_tokenizer(settings.tokenizer)
    with private_stack(without_engine(settings)) as stack:
        return asyncio.run(_Bench(Throughput(stack, say), tokenizer).run(jobs))


class _Bench:
    def __init__(self, throughput: Throughput, tokenizer: Tokenizer) -> None:
        self._throughput = throughput
        self._tokenizer = tokenizer
        self._chance = random.Random(0)  # noqa: S311  # the same texts in each run
        self._words = PROSE.read_text("utf-8").split()

    async def run(self, jobs: int) -> TextFigures:
        kinds = (("distinct", TEXT_CHARS, 0.0), ("shared", SHARED_TEXT_CHARS, SHARED))
        rows = [
            await self._row(name, self._texts(jobs, chars, shared), jobs_in_body)
            for name, chars, shared in kinds
            for jobs_in_body in (1, LIST_JOBS)
        ]
        return TextFigures(len(os.sched_getaffinity(0)), tuple(rows))

    async def _row(self, name: str, texts: Sequence[str], jobs_in_body: int) -> TextRow:
        load = f"{len(texts[0]) // 1024} KB of text, {name}, {jobs_in_body} a request"
        row = await self._throughput.measure(load, _bodies(texts, jobs_in_body), jobs_in_body)
        alone_us = self._tokenizer_us(texts)
        return TextRow(row, round(alone_us, 1), round(alone_us / row.cpu_us_per_job["api"], 3))

    def _texts(self, number: int, chars: int, shared: float) -> list[str]:
        """New ones each time; what a group shares comes first."""
        number = -(-number // LIST_JOBS) * LIST_JOBS
        heads = [self._text(int(chars * shared)) for _ in range(GROUPS)]
        return [
            (heads[at % GROUPS] + self._text(chars - len(heads[0])))[:chars] for at in range(number)
        ]

    def _text(self, chars: int) -> str:
        return " ".join(self._chance.choices(self._words, k=chars // 2))[:chars]

    def _tokenizer_us(self, texts: Sequence[str]) -> float:
        started_s = time.process_time()
        for text in texts:
            self._tokenizer.encode([text])
        return (time.process_time() - started_s) * 1e6 / len(texts)


def _bodies(texts: Sequence[str], jobs_in_body: int) -> list[bytes]:
    jobs = [{"prompt": text, "sampling_params": {"max_new_tokens": 1}} for text in texts]
    if jobs_in_body == 1:
        return [msgspec.json.encode(job) for job in jobs]
    starts = range(0, len(jobs), jobs_in_body)
    return [msgspec.json.encode(jobs[at : at + jobs_in_body]) for at in starts]
