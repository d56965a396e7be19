"""What is done to the stack, and what it must bear."""

from http import HTTPStatus
from typing import Final, NamedTuple

import httpx2
import msgspec

from tools.compose_test.compose import READY_TIMEOUT_S, RESTART_TIMEOUT_S, Compose
from tools.compose_test.pools import Pool
from tools.compose_test.traffic import Traffic, begun_again, check_placement, show_figures
from tools.compose_test.waiting import elapsed_s, require, say, wait_until


class Stack(NamedTuple):
    """What is tested, and where it answers."""

    compose: Compose
    pool: Pool
    url: str
    api_key: str

    @property
    def traffic(self) -> Traffic:
        """Its client."""
        return Traffic(self.url, self.api_key)


def try_stack(stack: Stack, prometheus_url: str | None) -> None:
    """All steps, in order; in any case show what the services said.

    Args:
        stack: Built, and not started.
        prometheus_url: Where Prometheus is to be published, if it is to be tried.

    Raises:
        CheckFailed: If something does not hold.
        PrebleError: If a client's call fails.
    """
    try:
        start(stack)
        check_key_is_asked_for(stack.url)
        answer_jobs(stack)
        say(f"batch: {stack.traffic.run_batch()}")
        if prometheus_url:
            watch(stack, prometheus_url)
        for service in stack.pool.services:
            kill_under_load(stack, service)
        restart_with_jobs_queued(stack)
    except BaseException as error:
        say(f"failed: {error or type(error).__name__}")
        stack.compose.show_logs(40)
        raise
    stack.compose.show_logs(6)


def start(stack: Stack) -> None:
    """From nothing to all instances."""
    stack.compose.up()
    say(f"{len(stack.pool.services)} containers are healthy")
    wait_for_instances(stack)
    say(f"{stack.pool.num_instances} instances at {stack.url}")


def answer_jobs(stack: Stack) -> None:
    """All that a healthy stack does for jobs."""
    ids = stack.traffic.submit()
    say(f"{len(ids)} jobs accepted")
    started_s = elapsed_s()
    jobs = stack.traffic.wait(ids)
    show_figures(jobs, elapsed_s() - started_s)
    check_placement(jobs, stack.pool.num_instances)


def kill_under_load(stack: Stack, service: str) -> None:
    """Kill a container while jobs run; it comes back, and no job is lost or fails."""
    before = stack.compose.container(service)
    with stack.traffic.load() as load:
        load.runs.wait(READY_TIMEOUT_S)
        stack.compose.kill(service)
        killed_at_s = elapsed_s()
        wait_until(
            lambda: stack.compose.container(service).started_at != before.started_at,
            f"{service} is started again", RESTART_TIMEOUT_S, lambda: f"{service} is not back",
        )  # fmt: skip
        stack.compose.wait_until_healthy([service])
        wait_for_instances(stack)
        back_s = elapsed_s() - killed_at_s
    say(
        f"{service} killed under load, well again after {back_s:.0f} s: {len(load.ended)} jobs "
        f"completed, {begun_again(load.ended)} of them begun again, none lost"
    )


def restart_with_jobs_queued(stack: Stack) -> None:
    """Take all containers away and make new ones; jobs that were accepted are answered."""
    stack.compose.run("stop", *stack.pool.workers)
    ids = stack.traffic.submit()
    stack.compose.remove_containers()
    stack.compose.up()
    jobs = stack.traffic.wait(ids)
    say(f"restarted with {len(ids)} jobs queued: {len(jobs)} completed")


def watch(stack: Stack, prometheus_url: str) -> None:
    """Have Prometheus scrape the pool. Raises: CheckFailed unless all targets are up."""
    stack.compose.run("up", "--detach", "prometheus")
    stack.compose.wait_until_healthy(["prometheus"])
    wanted = len(stack.pool.services) - 1
    wait_until(
        lambda: targets(prometheus_url).count("up") == wanted, f"{wanted} targets are up",
        READY_TIMEOUT_S, lambda: f"targets: {targets(prometheus_url)}",
    )  # fmt: skip
    say(f"Prometheus scrapes {wanted} targets")


class _Target(msgspec.Struct):
    health: str


class _Targets(msgspec.Struct):
    activeTargets: list[_Target]  # noqa: N815  Prometheus's name


class _TargetsReply(msgspec.Struct):
    data: _Targets


def targets(prometheus_url: str) -> list[str]:
    """The health of each."""
    reply = get(f"{prometheus_url}/api/v1/targets?state=active")
    found = msgspec.json.decode(reply.content, type=_TargetsReply)
    return [target.health for target in found.data.activeTargets]


def check_key_is_asked_for(url: str) -> None:
    """Raises: CheckFailed if the api answers anyone."""
    status = get(f"{url}/v1/jobs/none").status_code
    require(status == HTTPStatus.UNAUTHORIZED, f"a request without the key was answered {status}")


def wait_for_instances(stack: Stack) -> None:
    """Raises: CheckFailed if they do not all register in time."""
    wanted = stack.pool.num_instances
    wait_until(
        lambda: num_instances(stack.url) == wanted, f"{wanted} instances work", READY_TIMEOUT_S,
        lambda: f"{num_instances(stack.url)} of {wanted} instances",
    )  # fmt: skip


class _Health(msgspec.Struct):
    instances: int = 0


def num_instances(url: str) -> int:
    """How many instances the api counts; 0 while it does not answer."""
    try:
        return msgspec.json.decode(get(f"{url}/readyz").content, type=_Health).instances
    except (httpx2.TransportError, msgspec.DecodeError):
        return 0


_TIMEOUT_S: Final = 5.0


def get(url: str) -> httpx2.Response:
    """Ask without a key, and without the environment's proxies. Raises: httpx2.TransportError."""
    return httpx2.get(url, timeout=_TIMEOUT_S, trust_env=False)
