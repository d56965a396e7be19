"""The embedded Valkey's arguments, and who may use its data folder."""

import importlib
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from preble.errors import ConfigError
from preble.serve.embedded_redis import hold_folder, redis_url, valkey_binary, valkey_command
from preble.serve.network import claim_port, http_url, without_password


def options(command: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(command[1::2], command[2::2], strict=True))


def test_valkey_keeps_every_write_and_evicts_nothing() -> None:
    told = options(valkey_command(Path("/bin/valkey"), Path("/data"), 7000))

    assert told["--appendonly"] == "yes"
    assert told["--appendfsync"] == "everysec"
    assert told["--save"] == ""
    assert told["--maxmemory-policy"] == "noeviction"
    assert told["--dir"] == "/data"


def test_valkey_listens_on_loopback_only() -> None:
    told = options(valkey_command(Path("/bin/valkey"), Path("/data"), 7000))

    assert (told["--bind"], told["--port"]) == ("127.0.0.1", "7000")
    assert told["--protected-mode"] == "yes"
    assert redis_url(7000) == "redis://127.0.0.1:7000/0"


def test_platform_without_valkey_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(ConfigError, match="--redis-url") as refused:
        valkey_binary()

    assert "\n" not in str(refused.value)


def test_data_folder_belongs_to_one_server(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    with hold_folder(folder), pytest.raises(ConfigError, match="in use"), hold_folder(folder):
        pass


def test_data_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        pass
    with hold_folder(tmp_path):
        pass


def test_data_folder_is_private(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "data") as folder:
        assert folder.stat().st_mode & 0o077 == 0


def test_data_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="data folder"), hold_folder(tmp_path / "file"):
        pass


def test_taken_port_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}: .*--port"):
            claim_port("127.0.0.1", port)


def test_port_zero_finds_one_that_no_client_can_be_given() -> None:
    assert 20_000 <= claim_port("127.0.0.1", 0) < 32_768


def test_host_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        claim_port("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("::", "http://[::1]:8000"),
    ],
)
def test_url_leads_to_this_machine(host: str, url: str) -> None:
    assert http_url(host, 8000) == url


def test_shown_url_has_no_password() -> None:
    assert without_password("redis://me:secret@host:6379/0") == "redis://me:***@host:6379/0"
    assert without_password("redis://host:6379/0") == "redis://host:6379/0"
