"""What tests of the console share: a browser's way of asking, and a house with keys."""

from collections.abc import Sequence

import httpx2

from preble.broker.api_keys import Scope
from preble.broker.memory_api_keys import MemoryApiKeys

ORIGIN = "http://preble"
"""Of the client of `serve`."""


class Browser:
    """Keeps a cookie, sends its origin with forms, and follows nothing by itself."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self._cookie = ""

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Look at a page."""
        return await self.client.get(path, headers=self._headers() | headers)

    async def post(
        self, path: str, form: Sequence[tuple[str, str]] = (), *, origin: str | None = ORIGIN
    ) -> httpx2.Response:
        """Send a form."""
        headers = self._headers() | {"content-type": "application/x-www-form-urlencoded"}
        headers |= {"origin": origin} if origin else {}
        content = str(httpx2.QueryParams(list(form))).encode()
        reply = await self.client.post(path, content=content, headers=headers)
        for cookie in reply.headers.get_list("set-cookie"):
            self._cookie = cookie.partition(";")[0]
        return reply

    async def log_in(self, key: str, after: str = "") -> httpx2.Response:
        """Send the form of the login."""
        return await self.post("/ui/login", [("key", key), ("next", after)])

    def _headers(self) -> dict[str, str]:
        return {"cookie": self._cookie} if self._cookie else {}


async def new_key(keys: MemoryApiKeys, tenant: str | None, *scopes: Scope) -> str:
    """A key that may do what is said, else submit and read."""
    allowed: Sequence[Scope] = scopes or ("submit", "read")
    key, _ = await keys.create("n", tenant=tenant, scopes=allowed, life_s=None)
    return key
