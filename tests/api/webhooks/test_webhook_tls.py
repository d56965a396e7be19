"""Webhooks over TLS: the certificate must be the name's, though an address is connected to."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from webhook_support import Receiver, receiver

from preble_api.webhooks.addresses import Guard
from preble_api.webhooks.posting import Poster, PostFailed
from preble_api.webhooks.targets import target_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not shutil.which("openssl"), reason="makes its certificate with openssl"),
]


@pytest.fixture
def names() -> list[str | None]:
    """Those that clients asked for as they connected."""
    return []


@pytest.fixture
def hook(
    tmp_path: Path, names: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Receiver]:
    """A receiver called hook.test, whose certificate is trusted."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",  # noqa: S607  any
         "-subj", "/CN=hook.test", "-addext", "subjectAltName=DNS:hook.test",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        names.append(name)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = note
    with receiver(context) as made:
        yield made


def loopback(host: str, port: int) -> Sequence[str]:
    del host, port
    return ["127.0.0.1"]


async def post(hook: Receiver, name: str) -> None:
    poster = Poster(Guard("127.0.0.0/8", loopback))
    try:
        await poster.post(
            target_of(f"https://{name}:{hook.port}/"), b"{}", {}, attempt=1, tenant="t"
        )
    finally:
        await poster.close()


async def test_the_receiver_is_called_by_its_name(hook: Receiver, names: list[str | None]) -> None:
    await post(hook, "hook.test")
    assert names == ["hook.test"]
    assert [got.headers["host"] for got in hook.got] == [f"hook.test:{hook.port}"]


async def test_a_certificate_of_another_name_is_no_receiver(hook: Receiver) -> None:
    with pytest.raises(PostFailed, match="ConnectError"):
        await post(hook, "other.test")
    assert hook.got == []
