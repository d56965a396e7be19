"""Builds a pool to break, and takes it down again, whatever happened to it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from chaos.links import Links
from chaos.means import found_means
from chaos.pool import NAMES, WORKERS, Pool
from chaos.redis_server import RedisServer
from chaos.session import Wanted
from support import free_port

FORMING_S: Final = 90.0
SETTINGS: Final = {
    "lease_s": "2", "slots": "16", "wait_jobs": "4", "emulated_speed": "8", "max_attempts": "5",
}  # fmt: skip
"""Short leases, so that what breaks is soon noticed; jobs of 20 ms to 1.5 s."""


@contextmanager
def built_pool(wanted: Wanted, settings: Mapping[str, str]) -> Generator[Pool]:
    """A pool that has formed.

    Args:
        wanted: Of the run.
        settings: Over `SETTINGS`.

    Raises:
        TimeoutError: If it does not form.
    """
    data = wanted.folder / "redis"
    data.mkdir()
    with found_means(wanted.binary, data, is_wanted=wanted.with_all_means) as means:
        server = RedisServer(wanted.binary, data, free_port(), faketime=means.faketime)
        hosts = {WORKERS[-1]: means.namespace.host} if means.namespace else {}
        links = Links(server.port, NAMES, wanted.seed, hosts)
        pool = Pool(wanted.folder, server, links, {**SETTINGS, **settings}, means)
        try:
            server.start()
            for name in NAMES:
                pool.launch(name)
            pool.await_formed(FORMING_S)
            yield pool
        finally:
            pool.stop()
            links.close()
            server.kill()
