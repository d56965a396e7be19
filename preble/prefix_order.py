"""The order in which offline work is best run: prompts that share a prefix one after another.

A prompt that follows its neighbour in the prefix tree finds what they share still in the KV
cache, however small that is. The walk goes through the tree depth first.
"""

from collections.abc import Sequence

from preble.messages import BlockKeys, unpack_keys


def by_prefix(keys: Sequence[BlockKeys]) -> list[int]:
    """Indices of prompts, so ordered that all that share a prefix stand together.

    Lexicographic by key sequence: a prompt comes before those that extend it. Of the keys
    after one prefix that comes first whose prompt was given first, so what is in such an order
    already stays as it is, also across lists that are ordered one by one. Prompts with the
    same keys, which differ at most in their last block that is not full, keep their order.

    Args:
        keys: Of each prompt, from one `block_keys.root_key` or several.

    Cost: O(keys of all prompts) and a sort; about 0.1 microseconds a key.
    """
    first: dict[int, int] = {}
    ranks = [
        [first.setdefault(key, at) for key in unpack_keys(each)] for at, each in enumerate(keys)
    ]
    return sorted(range(len(keys)), key=ranks.__getitem__)
