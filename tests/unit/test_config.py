"""Settings: where they come from and what is refused."""

import pytest

from preble.config import Settings, load_settings, to_environ
from preble.cost_model import load_cost_model
from preble.errors import ConfigError
from preble.folders import embedded_model_folder


def test_the_environment_sets_fields_and_the_command_line_overrides_them() -> None:
    settings = load_settings({"PREBLE_PORT": "9000", "PREBLE_SLOTS": "3", "HOME": "/"}, port=1)
    assert (settings.port, settings.slots) == (1, 3)


def test_an_option_that_was_not_given_overrides_nothing() -> None:
    assert load_settings({"PREBLE_PORT": "9000"}, port=None).port == 9000


def test_settings_survive_the_way_through_the_environment() -> None:
    settings = Settings(
        port=1, emulated_speed=2.5, model="m", policy="round_robin", engine="emulated"
    )
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


HOME = {"HOME": "/home/user"}
FILES = "/home/user/.local/share/preble/files"
EMBEDDED = "/home/user/.cache/preble/models/SmolLM2-135M-Instruct"


def test_sglang_serves_the_embedded_model_with_its_tokenizer() -> None:
    settings = load_settings(HOME)
    assert settings.engine == "sglang"
    assert settings.model == "SmolLM2-135M-Instruct"
    assert settings.model_path == settings.tokenizer == EMBEDDED == str(embedded_model_folder(HOME))
    assert (settings.slots, settings.chunk_tokens, settings.context_length) == (8, 512, 4096)
    assert settings.wait_jobs == 2
    assert settings.kv_capacity_tokens == 16_384
    assert settings.cost_model == "smollm2_135m_cpu"


def test_the_embedded_model_lies_in_the_users_cache_folder() -> None:
    settings = load_settings(HOME | {"XDG_CACHE_HOME": "/cache"})
    assert settings.model_path == "/cache/preble/models/SmolLM2-135M-Instruct"


@pytest.mark.parametrize(
    ("path", "name"), [("Qwen/Qwen3-8B", "Qwen3-8B"), ("/models/llama/", "llama")]
)
def test_a_model_of_ones_own_brings_its_name_and_tokenizer(path: str, name: str) -> None:
    settings = load_settings(HOME, model_path=path)
    assert (settings.model, settings.model_path, settings.tokenizer) == (name, path, path)
    assert settings.kv_capacity_tokens == 0
    untouched = ("slots", "chunk_tokens", "context_length", "cost_model")
    for field in untouched:
        assert getattr(settings, field) == getattr(Settings(), field)


def test_an_engine_that_answers_at_once_is_predicted_to() -> None:
    settings = load_settings(HOME, engine="noop")
    assert settings == Settings(engine="noop", cost_model="noop", files_dir=FILES)
    assert load_cost_model(settings.cost_model).prefill_s(100_000, 100_000) < 0.001


@pytest.mark.parametrize("engine", ["emulated", "http"])
def test_other_engines_have_the_plain_defaults(engine: str) -> None:
    plain = Settings(engine=engine, files_dir=FILES)  # type: ignore[arg-type]  # a literal
    assert load_settings(HOME, engine=engine) == plain


def test_what_is_given_wins_over_what_follows_from_the_engine() -> None:
    given = {"PREBLE_MODEL": "mine", "PREBLE_SLOTS": "3", "PREBLE_KV_CAPACITY_TOKENS": "9999"}
    settings = load_settings(HOME | given, tokenizer="/tok", cost_model="mistral_7b_a6000")
    assert (settings.model, settings.slots, settings.kv_capacity_tokens) == ("mine", 3, 9999)
    assert (settings.tokenizer, settings.cost_model) == ("/tok", "mistral_7b_a6000")
    assert settings.model_path == EMBEDDED


@pytest.mark.parametrize(
    "given",
    [{}, {"model_path": "org/model"}, {"engine": "emulated"}, {"model_path": "m", "slots": 3}],
)
def test_a_child_elsewhere_gets_the_same_settings(given: dict[str, object]) -> None:
    """What followed from one environment is not derived again in another."""
    settings = load_settings(HOME, **given)
    assert load_settings({"HOME": "/other"} | to_environ(settings)) == settings


def test_an_empty_model_path_is_none() -> None:
    """As Compose gives a variable that is not set."""
    assert load_settings(HOME | {"PREBLE_MODEL_PATH": ""}).model_path == EMBEDDED


@pytest.mark.parametrize(
    ("environ", "overrides", "expected"),
    [
        (HOME, {}, FILES),
        (HOME, {"data_dir": "/data"}, "/data/files"),
        (HOME, {"data_dir": "/data", "files_dir": "/shared"}, "/shared"),
        ({"XDG_DATA_HOME": "/xdg"}, {}, "/xdg/preble/files"),
        ({}, {}, ""),
    ],
)
def test_files_lie_beside_the_data_unless_a_folder_is_named(
    environ: dict[str, str], overrides: dict[str, str], expected: str
) -> None:
    assert load_settings(environ, **overrides).files_dir == expected
