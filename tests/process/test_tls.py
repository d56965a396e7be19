"""`rediss://`: all processes reach their Redis by TLS, and none that they should not trust."""

import shutil
from pathlib import Path

import pytest
from processes import Stack
from support import eventually, free_port, redis_broker, submission, valkey
from tls_support import HOST, NEEDS, make_certificates, tls_front

from preble.broker.redis import RedisBroker
from preble.errors import BrokerUnavailable

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which(NEEDS) is None, reason=f"there is no {NEEDS}"),
]

NAMES = ("api", "scheduler", "gpu0")
JOB: dict[str, object] = {"input_ids": [*range(64)], "sampling_params": {"max_new_tokens": 8}}


@pytest.mark.parametrize("asks_clients", [False, True])
def test_a_job_goes_its_whole_way_by_tls(tmp_path: Path, *, asks_clients: bool) -> None:
    make_certificates(tmp_path)
    port = free_port()
    with valkey(tmp_path, port), tls_front(tmp_path, port, asks_clients=asks_clients) as front:
        url = f"rediss://{HOST}:{front}/0?ssl_ca_certs={tmp_path}/ca.pem"
        if asks_clients:
            url += f"&ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.key"
        running = Stack(tmp_path, port, {"redis_url": url, "emulated_speed": "25"})
        try:
            for name in NAMES:
                running.start(name)
            eventually(lambda: running.ready(1))
            [job_id] = running.submit([JOB])
            eventually(lambda: running.job(job_id)["status"] == "completed")
        finally:
            running.stop()


async def refused(broker: RedisBroker) -> bool:
    """Whether the connection is not trusted, on either side."""
    [answer] = await broker.admit([[submission("a")]])
    await broker.close()
    return isinstance(answer, BrokerUnavailable)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "query"),
    [
        (HOST, ""),  # signed by nobody whom this machine knows
        ("127.0.0.1", "?ssl_ca_certs={folder}/ca.pem"),  # the certificate names another host
    ],
)
async def test_a_server_that_is_not_proven_is_not_talked_to(
    tmp_path: Path, host: str, query: str
) -> None:
    make_certificates(tmp_path)
    port = free_port()
    with valkey(tmp_path, port), tls_front(tmp_path, port) as front:
        broker = redis_broker(f"rediss://{host}:{front}/0{query.format(folder=tmp_path)}")
        assert await refused(broker)


@pytest.mark.anyio
async def test_a_client_without_a_certificate_is_refused_where_one_is_asked(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    port = free_port()
    with valkey(tmp_path, port), tls_front(tmp_path, port, asks_clients=True) as front:
        assert await refused(
            redis_broker(f"rediss://{HOST}:{front}/0?ssl_ca_certs={tmp_path}/ca.pem")
        )
