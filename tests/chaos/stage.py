"""Builds a pool to break, and takes it down again, whatever happened to it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from chaos.links import Links
from chaos.means import found_means
from chaos.pool import APIS, SCHEDULERS, Pool
from chaos.redis_server import RedisServer
from chaos.wanted import Wanted
from support import free_port

SETTINGS: Final = {"lease_s": "2", "max_attempts": "5"}
"""Short leases, so that what breaks is soon noticed; emulated jobs take 20 ms to 1.5 s."""


@contextmanager
def built_pool(wanted: Wanted, settings: Mapping[str, str]) -> Generator[Pool]:
    """A pool that has formed.

    Args:
        wanted: Of the run.
        settings: Over `SETTINGS`, and those of its kind.

    Raises:
        TimeoutError: If it does not form.
    """
    data = wanted.folder / "redis"
    data.mkdir()
    with found_means(wanted.binary, data, is_wanted=wanted.with_all_means) as means:
        server = RedisServer(wanted.binary, data, free_port(), faketime=means.faketime)
        kind = wanted.kind
        hosts = {kind.workers[-1]: means.namespace.host} if means.namespace else {}
        links = Links(server.port, (*APIS, *SCHEDULERS, *kind.workers), wanted.seed, hosts)
        pool = Pool(
            wanted.folder, server, links, {**SETTINGS, **kind.settings, **settings}, means, kind
        )
        try:
            server.start()
            for name in pool.names:
                pool.launch(name)
            pool.await_formed(kind.forming_s)
            yield pool
        finally:
            pool.stop()
            links.close()
            server.kill()
