"""How `redis_url` names Sentinels."""

import pytest

from preble.broker.redis_url import is_sentinel_url, parse_sentinel_url


def test_all_that_a_url_can_say() -> None:
    url = parse_sentinel_url(
        "rediss+sentinel://me:p%40ss@one:1,[::1]:2,three/pre%20ble/4?sentinel_password=other"
    )
    assert url.sentinels == (("one", 1), ("::1", 2), ("three", 26_379))
    assert (url.service, url.db, url.is_tls) == ("pre ble", 4, True)
    assert (url.username, url.password, url.sentinel_password) == ("me", "p@ss", "other")


def test_the_least_that_it_must_say() -> None:
    url = parse_sentinel_url("redis+sentinel://one/preble")
    assert (url.sentinels, url.service, url.db) == ((("one", 26_379),), "preble", 0)
    assert (url.is_tls, url.username, url.password, url.sentinel_password) == (False, *[None] * 3)


def test_a_password_alone() -> None:
    url = parse_sentinel_url("redis+sentinel://:pw@one/preble")
    assert (url.username, url.password) == (None, "pw")


def test_which_urls_name_sentinels() -> None:
    assert is_sentinel_url("redis+sentinel://one/preble")
    assert is_sentinel_url("rediss+sentinel://one/preble")
    assert not is_sentinel_url("redis://one/0")
    assert not is_sentinel_url("unix:///redis")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis+sentinel://one", "no service"), ("redis+sentinel:///preble", "no Sentinel"),
        ("redis+sentinel://one,/preble", "no Sentinel"), ("redis+sentinel://one:x/preble", "port"),
        ("redis+sentinel://one/preble/x", "database"), ("redis+sentinel://one/preble?a=b", "a is"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_sentinel_url(url)
