"""The frames of KV events, and where a server publishes them."""

import msgspec
import pytest

from preble.errors import EventsLost
from preble_workers.kv_events import (
    END_OF_REPLAY,
    Endpoints,
    Message,
    parse_message,
    replay_request,
)
from preble_workers.sglang_events import advertised_endpoints

SEQ = (258).to_bytes(8, "big")
END = b"\xff" * 8
URL = "http://gpu-host:30000"


@pytest.mark.parametrize(
    "frames", [[b"", SEQ, b"x"], [b"topic", SEQ, b"x"], [b"", b"", SEQ, b"x"], [SEQ, b"x"]]
)
def test_number_and_payload_stand_last(frames: list[bytes]) -> None:
    """Replays come with a delimiter and, but for those of SGLang 0.5.21, with a topic."""
    assert parse_message(frames) == Message(258, b"x")


@pytest.mark.parametrize("frames", [[b"", b"", END, b""], [b"", END, b""]])
def test_the_end_of_a_replay_is_told(frames: list[bytes]) -> None:
    assert parse_message(frames).seq == END_OF_REPLAY


@pytest.mark.parametrize("frames", [[], [b"x"], [b"", b"x"], [SEQ], [b"", SEQ[1:], b"x"]])
def test_what_is_no_message_is_a_loss(frames: list[bytes]) -> None:
    with pytest.raises(EventsLost, match="message of"):
        parse_message(frames)


def test_a_replay_is_asked_for_by_its_first_number() -> None:
    assert replay_request(258) == [b"", SEQ]


def advertised(url: str = URL, **config: object) -> Endpoints | None:
    said = msgspec.json.encode({"publisher": "zmq", **config}).decode()
    return advertised_endpoints({"kv_events_config": said, "dp_size": 1}, url)


@pytest.mark.parametrize(
    ("endpoint", "events"),
    [
        ("tcp://*:5557", "tcp://gpu-host:5557"),
        ("tcp://0.0.0.0:5557", "tcp://gpu-host:5557"),
        ("tcp://[::]:5557", "tcp://gpu-host:5557"),
    ],
)
def test_a_server_that_listens_is_connected_to_by_its_host(endpoint: str, events: str) -> None:
    assert advertised(endpoint=endpoint) == Endpoints(events)


def test_sockets_of_a_file_system_are_reached_on_this_machine_only() -> None:
    config = {"endpoint": "ipc:///run/events", "replay_endpoint": "ipc:///run/replay"}
    here = Endpoints("ipc:///run/events", "ipc:///run/replay")
    assert advertised("http://127.0.0.1:30000", **config) == here
    assert advertised("http://gpu-host:30000", **config) is None


@pytest.mark.parametrize(
    ("endpoint", "replay"),
    [
        ("tcp://*:5558", "tcp://gpu-host:5558"),
        ("tcp://10.0.0.1:5558", "tcp://10.0.0.1:5558"),
        ("inproc://replay", ""),
        (None, ""),
    ],
)
def test_replays_are_always_listened_for(endpoint: str | None, replay: str) -> None:
    found = advertised(endpoint="tcp://*:5557", replay_endpoint=endpoint)
    assert found == Endpoints("tcp://gpu-host:5557", replay)


@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.1:5557", "inproc://events", "", "junk"])
def test_a_server_that_does_not_listen_is_not_followed(endpoint: str) -> None:
    """SGLang connects to an address that is not a wildcard."""
    assert advertised(endpoint=endpoint) is None


@pytest.mark.parametrize(
    "server_info",
    [
        {},
        {"kv_events_config": None},
        {"kv_events_config": "junk"},
        {"kv_events_config": '{"publisher": "null", "endpoint": "tcp://*:5557"}'},
        {"kv_events_config": '{"publisher": "zmq", "endpoint": "tcp://*:5557"}', "dp_size": 2},
    ],
)
def test_a_server_without_events_of_its_one_cache_is_not_followed(
    server_info: dict[str, object],
) -> None:
    assert advertised_endpoints(server_info, URL) is None


def test_an_ipv6_host_keeps_its_brackets() -> None:
    found = advertised("http://[fd00::1]:30000", endpoint="tcp://*:5557")
    assert found == Endpoints("tcp://[fd00::1]:5557")
