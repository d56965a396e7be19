"""Block keys name whole prefixes."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support import POOL

from preble.block_keys import block_keys, next_key, root_key
from preble.messages import pack_tokens, unpack_keys

IDS = st.lists(st.integers(0, 3), max_size=40)


def keys(ids: list[int], root: int = 1) -> list[int]:
    return unpack_keys(block_keys(pack_tokens(ids), root=root, block_size=4))


@given(IDS, IDS)
def test_key_i_is_shared_exactly_if_all_blocks_up_to_i_are(
    one: list[int], other: list[int]
) -> None:
    shared = sum(a == b for a, b in zip(keys(one), keys(other), strict=False))
    blocks = 0
    while 4 * (blocks + 1) <= min(len(one), len(other)) and (
        one[: 4 * (blocks + 1)] == other[: 4 * (blocks + 1)]
    ):
        blocks += 1
    assert shared == blocks


def test_only_full_blocks_have_keys() -> None:
    assert len(keys([1] * 3)) == 0
    assert len(keys([1] * 4)) == len(keys([1] * 7)) == 1


def test_keys_chain_block_by_block() -> None:
    first, second = keys([1, 2, 3, 4, 5, 6, 7, 8])
    assert next_key(1, pack_tokens([1, 2, 3, 4])) == first
    assert next_key(first, pack_tokens([5, 6, 7, 8])) == second


def test_pools_and_salts_share_nothing() -> None:
    roots = {
        root_key(POOL, ""),
        root_key(POOL, "tenant"),
        root_key(replace(POOL, model="other"), ""),
        root_key(replace(POOL, tokenizer_fingerprint="other"), ""),
    }
    assert len(roots) == 4
    assert len({keys([1, 2, 3, 4], root)[0] for root in roots}) == 4
