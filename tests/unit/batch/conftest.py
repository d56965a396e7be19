"""A folder with an input, and an api to run it."""

import os
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from batch_desk import Desk

from preble.cli import batch, batch_detached
from preble.client import Client
from preble.clock import ManualClock


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)

    def use(handler: Callable[[httpx2.Request], httpx2.Response]) -> None:
        clock = ManualClock()

        def client(url: str, *, api_key: str, retry_for_s: float = 1.0) -> Client:
            transport = httpx2.MockTransport(handler)
            return Client(
                url, api_key=api_key, retry_for_s=retry_for_s, transport=transport, clock=clock,
                sleep=clock.advance,
            )  # fmt: skip

        monkeypatch.setattr(batch, "Client", client)
        monkeypatch.setattr(batch_detached, "Client", client)

    return Desk(tmp_path, use)
