"""Traces: what each format becomes, on small samples of it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from preble.errors import ConfigError
from preble.messages import unpack_keys
from preble.simulator.workload import TimedRequest, Workload, describe, load_trace

Write = Callable[..., Path]

HEADER = {"format": "preble-trace", "version": 1, "block_size": 4}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(*lines: object, name: str = "sample.jsonl") -> Path:
        text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return _write


def mooncake(timestamp: int, tokens: int, ids: list[int]) -> dict[str, object]:
    return {
        "timestamp": timestamp,
        "input_length": tokens,
        "output_length": 7,
        "hash_ids": ids,
    }


def leval(group: str, tokens: int, ids: list[int]) -> dict[str, object]:
    return mooncake(0, tokens, ids) | {"group": group}


def turn(t: float, tokens: int, *runs: tuple[int, int], kind: str = "n") -> dict[str, object]:
    return {"t": t, "type": kind, "in": tokens, "out": 5, "runs": runs}


def session(
    name: str, *requests: object, tool_tokens: int = 0, block_size: int = 64
) -> dict[str, object]:
    return {
        "id": name,
        "block_size": block_size,
        "tool_tokens": tool_tokens,
        "system_tokens": 10,
        "requests": requests,
    }


def own(at_s: float, tokens: int, **fields: object) -> dict[str, object]:
    return {"at_s": at_s, "prompt_tokens": tokens, "output_tokens": 3, **fields}


def keys(request: TimedRequest) -> list[int]:
    return unpack_keys(request.block_keys)


def shared_blocks(workload: Workload, one: int = 0, other: int = 1) -> int:
    pairs = zip(keys(workload.requests[one]), keys(workload.requests[other]), strict=False)
    return sum(a == b for a, b in pairs)


def test_mooncake_blocks_have_512_tokens_and_the_partial_one_has_no_key(write: Write) -> None:
    path = write(mooncake(0, 1536, [0, 1, 2]), mooncake(3000, 1100, [0, 1, 9]))
    workload = load_trace(path, seed=1)

    assert workload.block_size == 512
    assert [len(keys(one)) for one in workload.requests] == [3, 2]
    assert shared_blocks(workload) == 2
    assert [one.output_tokens for one in workload.requests] == [7, 7]


def test_mooncake_requests_are_spread_over_their_tick_by_seed(write: Write) -> None:
    path = write(*(mooncake(tick, 512, [0]) for tick in (0, 3000) for _ in range(20)))
    workload = load_trace(path, seed=1)

    times = [one.at_s for one in workload.requests]
    assert len(set(times)) == 40
    assert times == sorted(times)
    assert max(times[:20]) < 3.0 <= min(times[20:])
    assert load_trace(path, seed=1) == workload
    assert load_trace(path, seed=2) != workload


def test_mooncake_groups_by_the_second_block_as_the_first_is_in_all(write: Write) -> None:
    path = write(
        mooncake(0, 1024, [0, 5]), mooncake(3000, 1536, [0, 5, 6]), mooncake(6000, 1024, [0, 7])
    )

    assert [one.group for one in load_trace(path, seed=1).requests] == ["5", "5", "7"]


def test_a_rate_rescales_a_trace_that_has_arrivals(write: Write) -> None:
    path = write(*(mooncake(tick, 512, [0]) for tick in range(0, 60_000, 3000)))

    assert load_trace(path, seed=1, rps=5.0).rps == pytest.approx(5.0)


def test_blocks_split_finer_share_what_the_trace_shares_and_no_more(write: Write) -> None:
    """1100 tokens are 17 blocks of 64; the first 16 are the two blocks of 512 in common."""
    path = write(mooncake(0, 1536, [0, 1, 2]), mooncake(3000, 1100, [0, 1, 9]))
    workload = load_trace(path, seed=1, block_size=64)

    assert workload.block_size == 64
    assert [len(keys(one)) for one in workload.requests] == [24, 17]
    assert shared_blocks(workload) == 16
    assert len(set(keys(workload.requests[0]))) == 24


def test_a_rest_without_an_id_is_unique_when_split_finer(write: Write) -> None:
    """100 tokens are one block of 64 with an id and one more of 32 without."""
    path = write(session("s", turn(0.0, 100, (1, 1)), turn(1.0, 100, (1, 1))))
    workload = load_trace(path, seed=1, rps=1.0, block_size=32)

    assert [len(keys(one)) for one in workload.requests] == [3, 3]
    assert shared_blocks(workload) == 2


def test_blocks_merged_share_only_whole_runs(write: Write) -> None:
    """Three blocks of 16 in common are no block of 64; five are one."""
    path = write(
        leval("a", 100, [1, 2, 3, 4, 5, 6]),
        leval("a", 100, [1, 2, 3, 9, 10, 11]),
        leval("a", 100, [1, 2, 3, 4, 5, 12]),
    )
    workload = load_trace(path, seed=1, rps=1.0, block_size=64)

    assert [len(keys(one)) for one in workload.requests] == [1, 1, 1]
    assert shared_blocks(workload, 0, 1) == 0
    assert shared_blocks(workload, 0, 2) == 1


def test_merged_blocks_keep_the_keys_of_a_longer_prompt(write: Write) -> None:
    path = write(leval("a", 32, [1, 2]), leval("a", 64, [1, 2, 3, 4]))
    workload = load_trace(path, seed=1, rps=1.0, block_size=32)

    assert shared_blocks(workload) == 1


def test_a_block_size_that_does_not_fit_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="multiple or a divisor"):
        load_trace(write(mooncake(0, 512, [0])), seed=1, block_size=100)


def test_leval_arrivals_are_drawn_in_the_order_of_the_file(write: Write) -> None:
    path = write(*(leval(f"doc/{index % 3}", 40, [1, 2]) for index in range(400)))
    workload = load_trace(path, seed=1, rps=4.0)

    assert workload.block_size == 16
    assert workload.rps == pytest.approx(4.0, rel=0.15)
    assert [one.group for one in workload.requests[:4]] == ["doc/0", "doc/1", "doc/2", "doc/0"]
    assert load_trace(path, seed=1, rps=4.0) == workload
    assert load_trace(path, seed=2, rps=4.0) != workload


def test_a_trace_without_arrivals_needs_a_rate(write: Write) -> None:
    for line in (leval("a", 16, [1]), session("s", turn(0, 64, (1, 1)))):
        with pytest.raises(ConfigError, match="give a rate"):
            load_trace(write(line), seed=1)


def test_runs_of_a_session_name_its_blocks(write: Write) -> None:
    path = write(
        session(
            "s",
            turn(0.0, 256, (1, 4)),
            turn(9.0, 330, (1, 3), (10, 2)),
        )
    )
    workload = load_trace(path, seed=1, rps=1.0)

    assert [len(keys(one)) for one in workload.requests] == [4, 5]
    assert shared_blocks(workload) == 3
    first, second = workload.requests
    assert second.at_s - first.at_s == pytest.approx(9.0)
    assert (first.group, second.group) == ("s", "s")


def test_block_ids_of_sessions_are_their_own_but_for_equal_tools(write: Write) -> None:
    path = write(
        session("a", turn(0, 256, (1, 4)), tool_tokens=130),
        session("b", turn(0, 256, (1, 4)), tool_tokens=130),
        session("c", turn(0, 256, (1, 4)), tool_tokens=131),
    )
    requests = {one.group: keys(one) for one in load_trace(path, seed=1, rps=1.0).requests}

    assert requests["a"][:2] == requests["b"][:2]
    assert not set(requests["a"][2:]) & set(requests["b"][2:])
    assert not set(requests["a"]) & set(requests["c"])


def test_turns_of_a_subagent_count_from_its_start(write: Write) -> None:
    subagent = {
        "t": 20.0,
        "type": "subagent",
        "agent": "agent_1",
        "requests": [turn(0.0, 64, (7, 1)), turn(5.0, 128, (7, 2), kind="s")],
    }
    path = write(session("s", turn(0.0, 64, (1, 1)), subagent, turn(22.0, 192, (1, 3))))
    workload = load_trace(path, seed=1, rps=1.0)

    start_s = workload.requests[0].at_s
    times = [one.at_s - start_s for one in workload.requests]
    assert times == pytest.approx([0.0, 20.0, 22.0, 25.0])
    assert [one.prompt_tokens for one in workload.requests] == [64, 64, 192, 128]


def test_a_pause_of_a_session_counts_ten_minutes_at_most(write: Write) -> None:
    path = write(session("s", turn(0.0, 64, (1, 1)), turn(40_000.0, 64, (1, 1))))
    first, second = load_trace(path, seed=1, rps=1.0).requests

    assert second.at_s - first.at_s == pytest.approx(600.0)


def test_sessions_start_as_often_as_brings_the_rate(write: Write) -> None:
    path = write(
        *(session(f"s{n}", turn(0.0, 64, (1, 1)), turn(1.0, 64, (1, 1))) for n in range(400))
    )

    assert load_trace(path, seed=1, rps=4.0).rps == pytest.approx(4.0, rel=0.15)


def test_azure_prompts_have_times_and_lengths_and_share_nothing(write: Write) -> None:
    path = write(
        AZURE,
        "2023-11-16 18:15:50.5000000,128,9",
        "2023-11-16 18:15:46.0000000,64,0",
        name="azure.csv",
    )
    workload = load_trace(path, seed=1)

    assert (workload.name, workload.block_size) == ("azure", 64)
    assert [one.at_s for one in workload.requests] == [0.0, 4.5]
    assert [one.output_tokens for one in workload.requests] == [1, 9]
    assert describe(workload).hit_rate == 0.0


def test_own_format_with_block_ids(write: Write) -> None:
    path = write(
        HEADER,
        own(2.0, 9, blocks=[1, 3], tenant="t", priority="batch"),
        own(1.0, 8, blocks=[1, 2], group="g"),
    )
    workload = load_trace(path, seed=1)

    first, second = workload.requests
    assert workload.block_size == 4
    assert shared_blocks(workload) == 1
    assert (first.at_s, first.group, first.tenant, first.priority) == (1.0, "g", "", "normal")
    assert (second.at_s, second.group, second.tenant, second.priority) == (2.0, "", "t", "batch")


def test_own_format_with_shared_tokens_of_a_group(write: Write) -> None:
    """10 and 6 tokens of one content in blocks of 4: one block is in both."""
    path = write(
        HEADER,
        own(0, 16, group="g", shared_tokens=10),
        own(1, 16, group="g", shared_tokens=10),
        own(2, 16, group="g", shared_tokens=6),
        own(3, 16, group="h", shared_tokens=10),
        own(4, 16),
    )
    workload = load_trace(path, seed=1)

    assert [shared_blocks(workload, 0, other) for other in (1, 2, 3, 4)] == [2, 1, 0, 0]


def test_a_format_is_told_by_the_content_plain_or_gzip(write: Write) -> None:
    line = mooncake(0, 512, [0])

    plain = load_trace(write(line, name="one.txt"), seed=1)
    packed = load_trace(write(line, name="one.jsonl.gz"), seed=1)
    assert plain == packed
    assert plain.name == "one"


def test_keys_do_not_depend_on_what_was_read_before(write: Write) -> None:
    lines = [leval("a", 48, [1, 2, 3]), leval("a", 48, [1, 5, 6]), leval("b", 48, [1, 2, 4])]
    forward = load_trace(write(*lines, name="x.jsonl"), seed=1, rps=1.0)
    backward = load_trace(write(*reversed(lines), name="x.jsonl"), seed=1, rps=1.0)

    assert [keys(one) for one in forward.requests] == [
        keys(one) for one in reversed(backward.requests)
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([mooncake(0, 512, [0]), '{"timestamp": 0'], r"line 2: .*truncated.*remove the line"),
        ([mooncake(0, 512, [0]), {"timestamp": 0}], r"line 2: .*`input_length`"),
        ([mooncake(0, 512, [0]), "", mooncake(0, 512, [-1])], r"line 3: .*>= 0.*hash_ids"),
        ([mooncake(0, 1024, [0])], r"line 1: 1 block ids for 1024 tokens.*Give 2 ids"),
        ([mooncake(0, 600, [0, 1, 2])], r"line 1: 3 block ids.*Give 1 ids.*or 2 with"),
        ([mooncake(0, 10**12, [0])], r"line 1: .*<= 16777216"),
        ([leval("a", 40, [1])], r"line 1: 1 block ids.*Give 2 ids"),
        ([session("a", turn(0, 256, (1, 3)))], r"line 1: 3 block ids.*Give 4 ids"),
        ([session("a", turn(0, 64, (1, 1), kind="x"))], r"line 1: .*'x'"),
        ([session("a"), session("b", block_size=32)], r"line 2: blocks of 32 .* after .* of 64"),
        ([AZURE, "2023-11-16 18:15:46,1"], rf"line 2: .*Write {AZURE}"),
        ([AZURE, "yesterday,1,1"], r"line 2: .*datetime"),
        ([HEADER, own(0, 8, blocks=[1])], r"line 2: 1 block ids.*Give 2 ids"),
        ([HEADER, own(0, 8, blocks=[1, 2], shared_tokens=4)], r"line 2: .*Give one of them"),
        ([HEADER, own(0, 8, shared_tokens=4)], r"line 2: .*Name the group"),
        ([HEADER, own(0, 8, group="g", shared_tokens=9)], r"line 2: .*at most the prompt"),
        ([HEADER, own(-1, 8)], r"line 2: .*>= 0"),
        ([HEADER, own(0, 8, tenent="x")], r"line 2: .*`tenent`"),
        ([HEADER | {"version": 2}], r"line 1: .*2"),
        ([{"prompt": "hello"}], r"line 1: .*no known trace.*preble-trace"),
        (["hello"], r"line 1: .*no known trace"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(
    write: Write, lines: list[object], problem: str
) -> None:
    path = write(*lines)

    with pytest.raises(ConfigError, match=problem) as raised:
        load_trace(path, seed=1, rps=1.0)
    assert str(path) in str(raised.value)


def test_an_empty_trace_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        load_trace(write(), seed=1)
    with pytest.raises(ConfigError, match="has no requests"):
        load_trace(write(HEADER), seed=1)
    with pytest.raises(ConfigError, match="has no requests"):
        load_trace(write(AZURE), seed=1)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_trace(tmp_path / "none.jsonl", seed=1)


def test_a_damaged_file_is_refused(write: Write) -> None:
    path = write(*(mooncake(0, 512, [index]) for index in range(50)), name="cut.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(ConfigError, match=r"cut.*cannot be read after line"):
        load_trace(path, seed=1)


@pytest.mark.parametrize("options", [{"rps": 0.0}, {"block_size": 0}])
def test_rates_and_block_sizes_must_be_positive(
    write: Write, options: dict[str, float | int]
) -> None:
    with pytest.raises(ConfigError, match="is not possible"):
        load_trace(write(mooncake(0, 512, [0])), seed=1, **options)  # type: ignore[arg-type] # one each
