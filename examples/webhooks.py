"""Be told when a job has ended: a receiver that verifies what it is told.

The api must have `PREBLE_WEBHOOK_SECRET`, and this process the same; and because the receiver
listens on loopback, `PREBLE_WEBHOOK_ALLOW=127.0.0.1:9000` (docs/howto/webhooks.md).
"""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
from openai import InvalidWebhookSignatureError, OpenAI

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any
PORT = int(os.environ.get("RECEIVER_PORT", "9000"))
SECRET = os.environ["PREBLE_WEBHOOK_SECRET"]

MOST_BYTES = 1_000_000


class Receiver(BaseHTTPRequestHandler):
    """Takes what is signed, and forgets what came before: an event may come twice."""

    verifier = OpenAI(api_key="none", webhook_secret=SECRET).webhooks
    seen: set[str] = set()  # noqa: RUF012 - of all requests

    def do_POST(self) -> None:
        """One event."""
        body = self.rfile.read(min(int(self.headers["content-length"]), MOST_BYTES))
        try:
            self.verifier.verify_signature(body, dict(self.headers))
        except (InvalidWebhookSignatureError, ValueError):
            self.send_error(400)
            return
        # Answer within ten seconds, and do the work later.
        self.send_response(204)
        self.end_headers()
        if self.headers["webhook-id"] not in self.seen:
            self.seen.add(self.headers["webhook-id"])
            print(body.decode())


with HTTPServer(("127.0.0.1", PORT), Receiver) as server:
    job = {
        "prompt": "The capital of France is",
        "webhook": {"url": f"http://127.0.0.1:{PORT}/hooks/preble"},
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    httpx2.post(f"{URL}/v1/jobs", json=job, headers=headers).raise_for_status()
    while not Receiver.seen:
        server.handle_request()
