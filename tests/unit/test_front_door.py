"""The original Preble's functions and commands: what they ask servers, and what they then run."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import pytest
from vllm_stub import RECORDED

import preble
from preble import front_door
from preble.cli import run
from preble.clock import ManualClock
from preble.config import Settings
from preble.errors import ConfigError
from preble.front_door.arguments import device_groups, policy_of, urls_of
from preble.front_door.pools import server_settings
from preble.front_door.servers import WAIT_S, Served, ask_servers
from preble.main import start_server, start_server_and_load_models

TOKENIZER = str(Path(preble.__file__).parent / "data" / "tokenizer")
A, B = "http://127.0.0.1:30000", "http://127.0.0.1:30001"
URLS = f"{A}/generate,{B}/generate"
MODEL = "mistralai/Mistral-7B-v0.1"


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


def served(url: str = A, **said: object) -> Served:
    """What a server says that serves the embedded tokenizer's model."""
    defaults = {
        "model_path": "/models/smol", "tokenizer_path": TOKENIZER, "page_size": 1,
        "context_length": 2048,
    }  # fmt: skip
    return Served(url=url, **{**defaults, **said})  # type: ignore[arg-type]


def settings_of(
    *servers: Served, model: str = MODEL, environ: dict[str, str] | None = None
) -> tuple[Settings, list[str]]:
    """What would be run in front of these servers, and what was said."""
    said: list[str] = []
    made = server_settings(
        "custom", [server.url for server in servers], environ or {},
        ask=lambda _, __: servers, say=said.append, host="127.0.0.1", port=0, model=model,
    )  # fmt: skip
    return made, said


def test_policies_have_the_originals_names() -> None:
    ours = [policy_of(name) for name in ("custom", "round_robin", "lor")]
    assert ours == ["e2", "round_robin", "least_outstanding"]
    with pytest.raises(ConfigError, match="custom, round_robin, lor"):
        policy_of("random")


def test_a_policy_of_ones_own_is_named_by_its_import_path() -> None:
    assert policy_of("my_rules:shortest_queue") == "my_rules:shortest_queue"
    with pytest.raises(ConfigError, match="no policy is named 'my rules:x'"):
        policy_of("my rules:x")


@pytest.mark.parametrize(
    "given", [URLS, f"{A}, {B}/", [f"{A}/generate", B], f"['{A}/generate', '{B}']"]
)
def test_urls_come_with_or_without_generate(given: str | Sequence[str]) -> None:
    assert urls_of(given) == [A, B]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("", "no server"), ([], "no server"), ("gpu-a:30000", "gpu-a:30000"),
        ("http://a:x", "http://a:x"), ("http://", "http://"), ("http://a/generate?x=1", "x=1"),
        (f"{A}/generate,{A}", "more than once"),
    ],
)  # fmt: skip
def test_wrong_urls_are_told(given: str | Sequence[str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        urls_of(given)
    assert str(caught.value).startswith("runtime_urls")
    assert named in str(caught.value)


@pytest.mark.parametrize("given", [[0, 1, 2, 3], "[0, 1, 2, 3]", "0,1,2,3", (0, 1, 2, 3)])
def test_devices_are_grouped_in_order(given: str | Sequence[int]) -> None:
    assert device_groups(given, tp_size=1) == [[0], [1], [2], [3]]
    assert device_groups(given, tp_size=2) == [[0, 1], [2, 3]]
    assert device_groups(3, tp_size=1) == [[3]]


@pytest.mark.parametrize(
    ("given", "tp_size", "named"),
    [
        ([], 1, "no GPU"), ("[]", 1, "no GPU"), ([0, 0], 1, "more than once"), ([-1], 1, "-1"),
        ("a", 1, "'a'"), ([0, 1, 2], 2, "tp_size 2"), ([0], 0, "tp_size 0"),
    ],
)  # fmt: skip
def test_wrong_devices_are_told(given: str | Sequence[int], tp_size: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        device_groups(given, tp_size=tp_size)


def test_the_servers_say_what_they_serve() -> None:
    settings, said = settings_of(served(), served(B, context_length=1024, page_size=16))
    assert (settings.engine, settings.policy, settings.model) == ("http", "e2", MODEL)
    assert settings.engine_url == f"{A},{B}"
    assert (settings.context_length, settings.page_size) == (1024, 16)
    assert settings.tokenizer == TOKENIZER
    assert said == [f"the servers serve /models/smol; clients will see the name {MODEL}"]


def test_known_name_is_not_warned_of() -> None:
    assert settings_of(served(), model="org/smol")[1] == []


def test_environment_wins_over_what_servers_say() -> None:
    environ = {"PREBLE_CONTEXT_LENGTH": "100", "PREBLE_TOKENIZER": "/t", "PREBLE_POOL": "p"}
    settings, _ = settings_of(served(tokenizer_path="/elsewhere"), environ=environ)
    assert (settings.context_length, settings.tokenizer, settings.pool) == (100, "/t", "p")


def test_each_model_has_a_pool_of_its_own() -> None:
    names = {
        settings_of(served())[0].pool,
        settings_of(served(), model="other")[0].pool,
        settings_of(served(model_path="/models/other"))[0].pool,
    }
    assert len(names) == 3
    assert settings_of(served())[0].pool in names


def test_servers_must_serve_one_model() -> None:
    with pytest.raises(ConfigError, match=r"/models/smol.*/models/other"):
        settings_of(served(), served(B, model_path="/models/other"))


def test_pages_must_divide_a_block() -> None:
    with pytest.raises(ConfigError, match=r"page_size 48.*--page-size"):
        settings_of(served(page_size=48))


def test_model_may_be_the_tokenizers_folder() -> None:
    settings, _ = settings_of(served(tokenizer_path="/elsewhere/smol"), model=TOKENIZER)
    assert settings.tokenizer == TOKENIZER


def test_tokenizer_of_another_machine_is_never_guessed_from_the_clients_name() -> None:
    with pytest.raises(ConfigError, match=r"/elsewhere/smol.*PREBLE_TOKENIZER"):
        settings_of(served(tokenizer_path="/elsewhere/smol"))


class Play:
    """Servers in memory, and a clock that a pause moves."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.said: list[str] = []
        self.clock = ManualClock()
        self._answer = answer

    def ask(self, *urls: str) -> list[Served]:
        return ask_servers(
            urls, self.said.append, clock=self.clock, sleep=self.clock.advance,
            transport=httpx2.MockTransport(self._answer),
        )  # fmt: skip


def server(**pages: object) -> Callable[[httpx2.Request], httpx2.Response]:
    """One that answers these paths."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        page = pages.get(request.url.path.removeprefix("/"))
        if page is None:
            return httpx2.Response(404)
        return httpx2.Response(200, content=page if isinstance(page, str) else json.dumps(page))

    return answer


def test_newer_and_older_servers_are_understood() -> None:
    model = {"model_path": "/m", "tokenizer_path": "/t", "is_generation": True}
    limits = {"page_size": 16, "context_length": 4096, "more": [1]}
    newer = Play(server(model_info=model, server_info=limits)).ask(A)
    older = Play(server(get_model_info=model, get_server_info=limits)).ask(A)
    assert newer == older == [Served(A, "/m", "/t", 16, 4096)]


def test_context_length_is_told_by_the_longest_input_if_need_be() -> None:
    limits = {"page_size": None, "context_length": None, "max_req_input_len": 4090}
    [said] = Play(server(model_info={"model_path": "/m"}, server_info=limits)).ask(A)
    assert said == Served(A, "/m", "/m", 1, 4096)


def test_vllm_is_understood() -> None:
    """By what a real server answered."""
    pages = {
        "/version": RECORDED["version"], "/v1/models": RECORDED["models"],
        "/metrics": RECORDED["metrics"],
    }  # fmt: skip
    play = Play(server(**{path.removeprefix("/"): page for path, page in pages.items()}))
    assert play.ask(A) == [Served(A, "/models/smollm2", "/models/smollm2", 32, 256)]


@pytest.mark.parametrize(
    "pages",
    [
        {}, {"model_info": {"is_generation": True}}, {"model_info": 3},
        {"version": {}, "v1/models": {"data": []}},
    ],
)  # fmt: skip
def test_other_servers_are_told_from_engines(pages: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{A} answers like neither SGLang nor vLLM"):
        Play(server(**pages)).ask(A)


def test_servers_that_start_are_awaited_with_a_line_now_and_then() -> None:
    up = server(model_info={"model_path": "/m"}, server_info={})

    def answer(request: httpx2.Request) -> httpx2.Response:
        if play.clock.now_s() < 3:
            raise httpx2.ConnectError("connection refused")
        return httpx2.Response(503) if play.clock.now_s() < 12 else up(request)

    play = Play(answer)
    assert [each.url for each in play.ask(A, B)] == [A, B]
    assert [line.rpartition(": ")[2] for line in play.said] == [
        "connection refused", "it answers 503", "it answers 503",
    ]  # fmt: skip


def test_server_that_never_starts_is_an_error_after_a_minute() -> None:
    play = Play(lambda _: httpx2.Response(503))
    with pytest.raises(ConfigError, match=rf"{A} within 60 s .*it answers 503"):
        play.ask(A)
    assert WAIT_S <= play.clock.now_s() < WAIT_S + 1


@pytest.fixture
def run_settings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, bool]]:
    """What would be run, instead of running it, in front of servers that all agree."""
    told: list[tuple[Settings, bool]] = []

    def serve(settings: Settings, *, embedded: bool) -> None:
        told.append((settings, embedded))

    def ask(urls: Sequence[str], _: object) -> list[Served]:
        return [served(url) for url in urls]

    monkeypatch.setattr(front_door, "serve", serve)
    monkeypatch.setattr(front_door, "ask_servers", ask)
    return told


def test_first_example_of_the_original(run_settings: list[tuple[Settings, bool]]) -> None:
    start_server(
        runtime_selection_policy="custom", runtime_urls=URLS, host="127.0.0.1", port=8000,
        model="mistralai/Mistral-7B-v0.1",
    )  # fmt: skip
    [(settings, embedded)] = run_settings
    assert (settings.engine_url, settings.policy, settings.port) == (f"{A},{B}", "e2", 8000)
    assert embedded


def test_second_example_of_the_original(run_settings: list[tuple[Settings, bool]]) -> None:
    start_server_and_load_models(
        model_name="mistralai/Mistral-7B-v0.1", devices=[0, 1], host="127.0.0.1", port=8000
    )
    [(settings, _)] = run_settings
    assert (settings.engine, settings.workers, settings.devices) == ("sglang", 2, "0;1")
    assert settings.model_path == settings.tokenizer == settings.model == MODEL


def test_devices_share_a_model_by_tp_size(run_settings: list[tuple[Settings, bool]]) -> None:
    start_server_and_load_models(model_name=TOKENIZER, devices=[0, 1, 2, 3], tp_size=2)
    [(settings, _)] = run_settings
    assert (settings.workers, settings.devices, settings.tp_size) == (2, "0,1;2,3", 2)
    assert (settings.model, settings.tokenizer) == ("tokenizer", TOKENIZER)


def test_redis_of_the_environment_is_used(
    run_settings: list[tuple[Settings, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREBLE_REDIS_URL", "redis://elsewhere:6379/0")
    start_server(runtime_urls=A)
    assert run_settings[0][1] is False
    assert run_settings[0][0].redis_url == "redis://elsewhere:6379/0"


@pytest.mark.parametrize("name", ["server", "run", "start_server"])
@pytest.mark.parametrize(
    "flags",
    [
        [f"--runtime_urls={URLS}"], ["--runtime_urls", URLS], ["--runtime-urls", URLS],
        [URLS], [f"{A}/generate", B],
    ],
)  # fmt: skip
def test_server_command_under_each_name_and_spelling(
    name: str, flags: list[str], run_settings: list[tuple[Settings, bool]]
) -> None:
    assert run([name, *flags, "--runtime_selection_policy=lor", "--port", "9000"]) == 0
    [(settings, _)] = run_settings
    assert settings.engine_url == f"{A},{B}"
    assert (settings.policy, settings.port) == ("least_outstanding", 9000)


@pytest.mark.parametrize(
    "devices", [["--devices=[0,1]"], ["--devices", "[0, 1]"], ["--devices", "0,1"]]
)
def test_deploy_command(devices: list[str], run_settings: list[tuple[Settings, bool]]) -> None:
    assert run(["deploy_and_run", f"--model_name={MODEL}", *devices, "--tp-size", "2"]) == 0
    [(settings, _)] = run_settings
    assert (settings.devices, settings.tp_size) == ("0,1", 2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["server", "--runtime_urls", "nowhere"], "nowhere"),
        (["server", A, "--runtime_urls", B], "--runtime_urls"),
        (["run", "--runtime_selection_policy", "random"], "random"),
        (["start_server", A, "--port", "70000"], "port"),
        (["deploy_and_run", "--devices", "[0,0]"], "devices"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("preble: ")
    assert named in said
    assert said.count("\n") == 1
