"""Settings from a TOML file, beside the environment and flags; files of secrets; typing errors."""

import logging
from pathlib import Path

import pytest

from preble.config import Settings, flat_environ, load_configuration, load_settings, to_environ
from preble.config.sources import RENAMED
from preble.errors import ConfigError

HOME = {"HOME": "/home/user"}


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def refused(environ: dict[str, str], **flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, **flags)
    return str(caught.value)


# Which source counts.


def test_a_flag_counts_more_than_a_variable_that_more_than_the_file(toml: Path) -> None:
    toml.write_text('port = 1\nslots = 2\nengine = "emulated"\nlease_s = 5\n')
    environ = HOME | {"PREBLE_PORT": "11", "PREBLE_SLOTS": "12", "PREBLE_CONFIG": str(toml)}

    loaded = load_configuration(environ, port=21)

    told = loaded.settings
    assert (told.port, told.slots, told.engine, told.lease_s) == (21, 12, "emulated", 5.0)
    assert loaded.origins == {
        "port": "--port", "slots": "PREBLE_SLOTS", "engine": str(toml), "lease_s": str(toml)
    }  # fmt: skip
    assert loaded.file == toml


def test_an_empty_variable_does_not_take_back_what_the_file_says(toml: Path) -> None:
    """As Compose gives one that is not set: an api must not be open for that."""
    toml.write_text('api_key = "closed"')
    environ = {"PREBLE_API_KEY": "", "PREBLE_CONFIG": str(toml)}
    assert load_settings(environ).api_key == "closed"
    assert load_settings(flat_environ(environ)).api_key == "closed"


def test_a_flag_that_is_no_setting_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="unknown field `prot`"):
        load_settings({}, prot=1)


def test_what_follows_from_the_engine_follows_from_the_file_s_engine(toml: Path) -> None:
    toml.write_text('engine = "noop"')
    loaded = load_configuration(HOME, config=str(toml))
    assert loaded.settings.cost_model == "noop"
    assert loaded.presets == {"cost_model"}


def test_the_flag_names_the_file_before_the_variable(toml: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    toml.write_text("port = 1")
    other.write_text("port = 2")
    environ = {"PREBLE_CONFIG": str(toml)}
    assert load_settings(environ).port == 1
    assert load_settings(environ, config=str(other)).port == 2


def test_the_working_directory_s_file_is_read_unless_another_or_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_configuration({}).file is None
    (tmp_path / "preble.toml").write_text("port = 7")
    assert load_configuration({}).file == tmp_path / "preble.toml"
    assert load_settings({}).port == 7
    assert load_settings({"PREBLE_CONFIG": ""}).port == Settings().port


def test_a_child_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its parent was told is all there is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "preble.toml").write_text('model_path = "/elsewhere"\nport = 7')
    settings = Settings(port=1, engine="emulated")
    assert load_settings(to_environ(settings)) == settings


def test_an_environment_with_the_file_in_it_says_the_same(toml: Path) -> None:
    toml.write_text('port = 1\nslots = 2\ntokenizer = "/tok"')
    environ = HOME | {"PREBLE_SLOTS": "3", "PREBLE_CONFIG": str(toml)}
    flat = flat_environ(environ)
    assert flat["PREBLE_TOKENIZER"] == "/tok"
    assert load_settings(flat) == load_settings(environ)


# What a file may not say.


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("wokers = 2", "unknown setting wokers: did you mean workers?"),
        ("tenant-jobs-per-s = 1.0", "did you mean tenant_jobs_per_s?"),
        ("abacus = 2", "unknown setting abacus: `preble config show` shows them"),
        ('port = "8000"', "port: expected `int`, got `str`"),
        ("pool = 5", "pool: expected `str`, got `int`"),
        ("port = 8000.5", "port: expected `int`, got `float`"),
        ("is_on = true", "unknown setting is_on"),
        ("slots = 0", "slots: expected `int` >= 1"),
        ('engine = "abacus"', "engine: invalid enum value 'abacus'"),
        ("[api]\nport = 1", "[api] is a table; settings stand alone"),
        ('cors_origins = ["a"]', "cors_origins: expected `str`, got `array`"),
        ("slots = 3\nport = !", "is no TOML: invalid value (at line 2, column 8)"),
        ("port = 1\nport = 2", "is no TOML: cannot overwrite a value"),
    ],
)
def test_file_and_key_are_named(toml: Path, text: str, what: str) -> None:
    toml.write_text(text)
    said = refused({"PREBLE_CONFIG": str(toml)})
    assert said.startswith(str(toml))
    assert what in said


def test_what_only_all_settings_tell_names_the_setting(toml: Path) -> None:
    toml.write_text("page_size = 48")
    assert "block_size 64 is not a multiple of page_size 48" in refused({}, config=str(toml))


def test_bytes_that_are_no_text_are_no_toml(toml: Path) -> None:
    toml.write_bytes(b"\xff\xfe")
    assert "is no TOML" in refused({}, config=str(toml))


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_named_file_must_be_there(tmp_path: Path, name: str) -> None:
    said = refused({}, config=str(tmp_path / name))
    assert f"cannot read {tmp_path / name}" in said
    assert "PREBLE_CONFIG" in said


# What a variable may not be called.


def test_a_wrong_value_tells_who_gave_it() -> None:
    assert "setting port: expected `int` <= 65535 (PREBLE_PORT)" in refused(
        {"PREBLE_PORT": "70000"}
    )
    with pytest.raises(ConfigError, match=r"\(--lease-s\)"):
        load_settings({}, lease_s=-1)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("PREBLE_PROT", "PREBLE_PORT"), ("PREBLE_REDISURL", "PREBLE_REDIS_URL"),
        ("PREBLE_API_KEYFILE", "PREBLE_API_KEY_FILE"), ("PREBLE_CONFIGS", "PREBLE_CONFIG"),
        ("PREBLE_MODELS", "PREBLE_MODEL"),
    ],
)  # fmt: skip
def test_a_variable_that_is_like_a_known_one_is_refused(variable: str, meant: str) -> None:
    assert f"unknown setting {variable}: did you mean {meant}?" in refused({variable: "1"})


def test_another_s_variable_is_ignored_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load_settings({"PREBLE_DASHBOARD_THEME": "dark"}) == load_settings({})
    assert caplog.messages == [
        "preble: PREBLE_DASHBOARD_THEME is no setting, and ignored; see `preble config show`"
    ]


def test_what_kubernetes_tells_of_a_service_called_preble_is_not_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    links = {
        "PREBLE_PORT": "tcp://10.0.0.1:8000", "PREBLE_SERVICE_HOST": "10.0.0.1",
        "PREBLE_SERVICE_PORT": "8000", "PREBLE_SERVICE_PORT_HTTP": "8000",
        "PREBLE_PORT_8000_TCP": "tcp://10.0.0.1:8000", "PREBLE_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PREBLE_REDIS_PORT": "tcp://10.0.0.2:6379", "PREBLE_REDIS_SERVICE_HOST": "10.0.0.2",
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert load_settings(links) == load_settings({})
    assert caplog.messages == []


# Secrets in files of their own.


def test_a_secret_is_read_from_its_file(tmp_path: Path, toml: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "redis").write_text("redis://:pw@host/0")
    toml.write_text(f"redis_url_file = '{tmp_path / 'redis'}'")

    loaded = load_configuration(
        {"PREBLE_API_KEY_FILE": str(tmp_path / "key"), "PREBLE_CONFIG": str(toml)}
    )

    assert (loaded.settings.api_key, loaded.settings.redis_url) == ("s3cret", "redis://:pw@host/0")
    assert loaded.origins["api_key"] == f"PREBLE_API_KEY_FILE: {tmp_path / 'key'}"
    assert loaded.origins["redis_url"] == f"{toml}: {tmp_path / 'redis'}"
    child = to_environ(loaded.settings)
    assert child["PREBLE_API_KEY"] == "s3cret"
    assert "PREBLE_API_KEY_FILE" not in child


def test_a_variable_counts_more_than_the_file_s_secret_file(tmp_path: Path, toml: Path) -> None:
    (tmp_path / "key").write_text("low")
    toml.write_text(f"api_key_file = '{tmp_path / 'key'}'")
    assert load_settings({"PREBLE_API_KEY": "high"}, config=str(toml)).api_key == "high"


def test_a_secret_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a")
    environ = {"PREBLE_API_KEY": "b", "PREBLE_API_KEY_FILE": str(tmp_path / "key")}
    assert "api_key and api_key_file are both given" in refused(environ)
    assert load_settings(environ | {"PREBLE_API_KEY": ""}).api_key == "a"  # as Compose gives it
    assert load_settings(environ | {"PREBLE_API_KEY_FILE": ""}).api_key == "b"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot read"),
        (b" \n", "is empty"),
        (b"\xff", "is no text"),
        (b"x" * 100_000, "is too long"),
    ],
)
def test_a_secret_s_file_must_hold_one(tmp_path: Path, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    said = refused({"PREBLE_WEBHOOK_SECRET_FILE": str(tmp_path / "key")})
    assert said.startswith("setting webhook_secret: ")
    assert what in said


# Settings that were renamed.


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As if `slots` had been called `places` in the last version."""
    monkeypatch.setitem(RENAMED, "places", "slots")
    caplog.set_level(logging.WARNING)


@pytest.mark.usefixtures("renamed")
def test_an_old_name_is_read_and_told(toml: Path, caplog: pytest.LogCaptureFixture) -> None:
    toml.write_text("places = 2")
    assert load_settings(HOME, config=str(toml)).slots == 2
    assert f"{toml}: setting places is called slots now" in caplog.text
    assert load_settings(HOME | {"PREBLE_PLACES": "3"}).slots == 3
    assert "the environment: setting places is called slots now" in caplog.text


@pytest.mark.usefixtures("renamed")
def test_old_and_new_name_at_once_are_refused_unless_the_old_is_empty(toml: Path) -> None:
    assert "places is called slots now, and both are given: drop places" in refused(
        {"PREBLE_PLACES": "2", "PREBLE_SLOTS": "3"}
    )
    assert load_settings({"PREBLE_PLACES": "", "PREBLE_SLOTS": "3"}).slots == 3
    assert load_settings({"PREBLE_PLACES": "2", "PREBLE_SLOTS": ""}).slots == 2
    toml.write_text("places = 2\nslots = 3")
    assert "drop places" in refused({}, config=str(toml))
