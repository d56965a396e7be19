"""Sends requests from several threads, those of the OpenAPI page among those of the fuzzer."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final

from fuzz.report import Report
from fuzz.shots import drawn
from fuzz.wire import Exchange, Shot, fire

THREADS: Final = 8


class Volley:
    """The requests of one run, by number.

    Args:
        url: Where the api listens.
        requests: How many in all.
        described: Those made from the OpenAPI page.
        seed: Decides all others, and where those stand.
        report: Told what came of each.
    """

    def __init__(
        self, url: str, *, requests: int, described: list[Shot], seed: int, report: Report
    ) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = host, int(port)
        self._seed = seed
        self._report = report
        self._described: list[Shot | None] = [*described, *[None] * (requests - len(described))]
        Random(seed).shuffle(self._described)  # noqa: S311 - must be the same each time

    def send(self, numbers: Iterable[int]) -> None:
        """Several at the same time; returns when all are done."""
        with ThreadPoolExecutor(THREADS) as pool:
            for number, exchange in pool.map(self._fire, numbers):
                self._report.add(number, exchange)

    def _fire(self, number: int) -> tuple[int, Exchange]:
        shot = self._described[number] or drawn(self._seed, number)
        return number, fire(self._address, shot)
