"""Which addresses a webhook may lead to, whatever form they come in."""

import ipaddress
import socket
from collections.abc import Sequence

import pytest

from preble_api.webhooks.addresses import Guard, TargetRefused, TargetUnknown, is_public
from preble_api.webhooks.targets import target_of

INSIDE = (
    "0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
OUTSIDE = ("1.1.1.1", "8.8.8.8", "172.32.0.1", "100.63.255.255", "100.128.0.1", "223.255.255.254")
INSIDE_6 = (
    "::", "::1", "::7f00:1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1",
    "5f00::1",
)  # fmt: skip


def carriers(address: str) -> list[str]:
    """IPv6 addresses that lead to an IPv4 one."""
    number = int(ipaddress.IPv4Address(address))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    return [f"::ffff:{high}:{low}", f"2002:{high}:{low}::1", f"64:ff9b::{high}:{low}"]


@pytest.mark.parametrize("address", [*INSIDE, *INSIDE_6])
def test_what_is_not_everybodys_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", [*OUTSIDE, "2606:4700::1111", "2a00:1450::1"])
def test_what_is_everybodys_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_another_is_no_way_in(address: str) -> None:
    for carrier in carriers(address):
        assert not is_public(ipaddress.ip_address(carrier)), carrier


def test_an_address_inside_another_may_be_public() -> None:
    for carrier in carriers("8.8.8.8"):
        assert is_public(ipaddress.ip_address(carrier)), carrier


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def address_of(
    found: Sequence[str],
    *,
    allowed: str = "",
    url: str = "https://app.example.com/",
    attempt: int = 1,
) -> str:
    def look_up(host: str, port: int) -> Sequence[str]:
        del host, port
        return found

    guard = Guard(allowed, look_up)
    try:
        return await guard.address_of(target_of(url), attempt=attempt, tenant="t")
    finally:
        guard.close()


@pytest.mark.anyio
async def test_one_address_inside_among_others_refuses_the_name() -> None:
    with pytest.raises(TargetRefused, match="PREBLE_WEBHOOK_ALLOW"):
        await address_of(["8.8.8.8", "10.0.0.1"])


@pytest.mark.anyio
async def test_a_zone_does_not_hide_an_address() -> None:
    with pytest.raises(TargetRefused):
        await address_of(["fe80::1%eth0"])


@pytest.mark.anyio
async def test_each_attempt_takes_the_next_address() -> None:
    both = ["8.8.8.8", "1.1.1.1"]
    assert [await address_of(both, attempt=n) for n in (1, 2, 3)] == [both[1], both[0], both[1]]


@pytest.mark.anyio
async def test_a_network_is_allowed_and_no_other() -> None:
    assert await address_of(["10.1.2.3"], allowed="10.1.0.0/16, fd00::/8") == "10.1.2.3"
    with pytest.raises(TargetRefused):
        await address_of(["10.2.2.3"], allowed="10.1.0.0/16, fd00::/8")


@pytest.mark.anyio
async def test_a_place_is_allowed_with_its_port_alone() -> None:
    place = "Receiver.internal:9000"
    inside = ["10.0.0.1"]
    url = "http://receiver.INTERNAL:9000/"
    assert await address_of(inside, allowed=place, url=url) == "10.0.0.1"
    for other in ("http://receiver.internal:9001/", "http://other.internal:9000/"):
        with pytest.raises(TargetRefused):
            await address_of(inside, allowed=place, url=other)


@pytest.mark.anyio
async def test_a_name_that_leads_nowhere_is_no_refusal() -> None:
    def fail(host: str, port: int) -> Sequence[str]:
        del host, port
        raise socket.gaierror("no such name")

    guard = Guard("", fail)
    with pytest.raises(TargetUnknown):
        await guard.address_of(target_of("https://app.example.com/"), attempt=1, tenant="t")
    guard.close()
    with pytest.raises(TargetUnknown):
        await address_of([])
