"""Which engine the settings make, and which settings they refuse."""

import pytest

from preble.clock import SystemClock
from preble.config import Settings
from preble.errors import ConfigError
from preble_workers.emulated_engine import EmulatedEngine
from preble_workers.engines import create_engine
from preble_workers.http_engine import HttpEngine
from preble_workers.noop_engine import NoopEngine


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (Settings(engine="emulated"), EmulatedEngine),
        (Settings(engine="noop"), NoopEngine),
        (Settings(engine="http", engine_url="http://127.0.0.1:30000"), HttpEngine),
        (Settings(engine="http", engine_url="https://gpu-7.example/"), HttpEngine),
    ],
)
def test_the_settings_choose_the_engine(settings: Settings, kind: type) -> None:
    assert isinstance(create_engine(settings, SystemClock()), kind)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:30000", "http://", "ftp://host/", "http://host:port", "http://[::1"]
)
def test_an_http_engine_needs_the_url_of_a_server(url: str) -> None:
    with pytest.raises(ConfigError, match="setting engine_url: "):
        create_engine(Settings(engine="http", engine_url=url), SystemClock())


def test_an_unknown_cost_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no cost model"):
        create_engine(Settings(engine="emulated", cost_model="abacus"), SystemClock())
