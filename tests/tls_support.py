"""TLS before a Valkey that knows none: an authority, certificates, and a process's end of TLS.

client ──TLS──▶ TlsFront ──plain──▶ Valkey
"""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support import free_port

NEEDS: Final = "openssl"
HOST: Final = "localhost"


def make_certificates(folder: Path, names: str = f"DNS:{HOST}") -> None:
    """`ca.pem`, and `server` and `client` (`.pem` with `.key`) that it signed; needs openssl.

    Args:
        folder: Where they go.
        names: Whom they prove, as openssl writes it.
    """
    _openssl(
        folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=ours",
        "-keyout", "ca.key", "-out", "ca.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    for name in ("server", "client"):
        _openssl(
            folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr",
        )  # fmt: skip
        (folder / "names").write_text(f"subjectAltName={names}\n")
        _openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "1", "-extfile", "names", "-out", f"{name}.pem",
        )  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    command = [str(shutil.which(NEEDS)), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@contextmanager
def tls_front(folder: Path, redis_port: int, *, asks_clients: bool = False) -> Generator[int]:
    """The port where a server speaks TLS; what it hears goes to Redis.

    Args:
        folder: Where `make_certificates` left them.
        redis_port: Where Redis is.
        asks_clients: Whether clients must have a certificate, too.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED if asks_clients else ssl.CERT_NONE
    port, loop = free_port(), asyncio.new_event_loop()
    loop.set_exception_handler(_ignore)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = await asyncio.open_connection("127.0.0.1", redis_port)
        await asyncio.gather(_pass(reader, beyond[1]), _pass(beyond[0], writer))

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    starting = asyncio.start_server(serve, HOST, port, ssl=context)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result()
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Refused clients are what some tests want."""
    del loop, context


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # one side has gone; so does the other
    finally:
        writer.close()


async def _end(server: asyncio.Server) -> None:
    """And all that it serves."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
