"""Settings: where they come from and what is refused."""

import pytest

from preble.config import Settings, load_settings, to_environ
from preble.errors import ConfigError


def test_the_environment_sets_fields_and_the_command_line_overrides_them() -> None:
    settings = load_settings({"PREBLE_PORT": "9000", "PREBLE_SLOTS": "3", "HOME": "/"}, port=1)
    assert (settings.port, settings.slots) == (1, 3)


def test_an_option_that_was_not_given_overrides_nothing() -> None:
    assert load_settings({"PREBLE_PORT": "9000"}, port=None).port == 9000


def test_settings_survive_the_way_through_the_environment() -> None:
    settings = Settings(port=1, emulated_speed=2.5, model="m", policy="round_robin")
    assert load_settings(to_environ(settings)) == settings


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("PORT", "x", "setting port: expected `int`"),
        ("PORT", "70000", "setting port: expected `int` <= 65535"),
        ("SLOTS", "0", "setting slots: expected `int` >= 1"),
        ("LEASE_S", "-1", "setting lease_s: expected `float` > 0"),
        ("ENGINE", "abacus", "setting engine: invalid enum value 'abacus'"),
        ("POOL", "a/b", "setting pool: expected `str` matching"),
        ("WORKESR", "2", "unknown setting PREBLE_WORKESR"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({f"PREBLE_{name}": value})
    assert what in str(caught.value)


def test_a_block_must_be_made_of_whole_pages() -> None:
    with pytest.raises(ConfigError, match="block_size 64 is not a multiple of page_size 48"):
        load_settings({}, page_size=48)
