"""A receiver of webhooks: a real server on loopback that answers as a test wants."""

import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

SECRET: Final = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET: Final = "whsec_" + "dGhlIG90aGVyIHNlY3JldCBvZiBhIHRlc3Q="


class Got(NamedTuple):
    """A request that came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """What came, and what is answered: the first of `answers`, then 200."""

    port: int = 0
    got: list[Got] = field(default_factory=list[Got])
    answers: list[int] = field(default_factory=list[int])
    location: str = ""
    """Where answers lead, as a redirect does."""
    padding_bytes: int = 0
    """Of each answer."""
    hold: threading.Event = field(default_factory=threading.Event)
    """Answers come once it is set."""

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/hook?token=of-the-receiver"


@contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Generator[Receiver]:
    made = Receiver()
    made.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.got.append(Got(self.path, headers, body))
            made.hold.wait(60)
            self.answer(made.answers.pop(0) if made.answers else 200)

        def do_GET(self) -> None:
            made.got.append(Got(self.path, {}, b""))
            self.answer(200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            if made.location:
                self.send_header("location", made.location)
            self.send_header("content-length", str(made.padding_bytes))
            self.end_headers()
            try:
                self.wfile.write(b"x" * made.padding_bytes)
            except OSError:  # the other side has heard enough
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
