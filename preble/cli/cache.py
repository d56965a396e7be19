"""`preble cache tree`: which prefixes are cached where. It reads Redis itself, as `doctor` does."""

import asyncio
import os
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from preble.cached_prefixes import CachedPrefixes, look
from preble.cli import completion, options
from preble.clock import SystemClock
from preble.config import load_settings
from preble.messages import InstanceId
from preble.prefix_tree import DrawnNode, Selection

app = typer.Typer(
    no_args_is_help=True,
    help="Look at what the KV caches of the pool hold.",
    epilog="It is read from the Redis that --redis-url or PREBLE_REDIS_URL names, for --pool.",
)

_KEY_DIGITS = 8


@app.command("tree")
def tree(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most prefixes to print.")] = 40,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Most prefixes, one behind the other, to go down.")
    ] = None,
    min_tokens: Annotated[
        int, typer.Option(min=0, help="Leave out what has fewer tokens cached, in and behind it.")
    ] = 0,
    instance: Annotated[
        str | None,
        typer.Option(help="Only what it holds.", autocompletion=completion.instances),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    redis_url: options.RedisUrl = None,
    pool: options.Pool = None,
) -> None:
    """Print the cached prefixes as a tree, the hottest first, without any text of prompts.

    Each line: the share of all cached blocks that lies in a prefix and behind it, its own tokens,
    who holds them (`gpu1:128` holds the first 128 only), and the jobs there that have it.
    """
    settings = load_settings(os.environ, redis_url=redis_url, pool=pool)
    seen = asyncio.run(
        look(
            settings, SystemClock(), instance_id=InstanceId(instance) if instance else None,
            selection=Selection(max_nodes=limit, max_depth=depth), min_cached_tokens=min_tokens,
        )
    )  # fmt: skip
    if as_json:
        typer.echo(msgspec.json.encode(seen))
        return
    for line in describe(seen):
        typer.echo(line)


def describe(seen: CachedPrefixes) -> Iterator[str]:
    """The tree for people."""
    drawing, size = seen.drawing, seen.block_size
    yield f"pool {seen.pool}: {drawing.cached_blocks * size:,} tokens cached, in blocks of {size}"
    for name, capacity in seen.capacity_blocks.items():
        held = drawing.held_blocks.get(name, 0)
        use = f", {held / capacity:.0%} of its KV cache" if capacity else ""
        yield f"  {name}: {held * size:,} tokens{use}"
    if drawing.nodes:
        yield " SHARE    TOKENS  HELD BY"
    for node in drawing.nodes:
        yield _line(node, drawing.cached_blocks, size)
        if node.omitted_nodes:
            yield _omission(node.omitted_nodes, node.depth + 1)
    if drawing.omitted_nodes:
        yield _omission(drawing.omitted_nodes, 0)


def _line(node: DrawnNode, cached_blocks: int, size: int) -> str:
    share = node.cached_blocks / cached_blocks if cached_blocks else 0.0
    holders = " ".join(
        name if held == node.blocks else f"{name}:{held * size:,}"
        for name, held in node.held_blocks.items()
    )
    jobs = sum(node.hits.values())
    parts = [f"{share:>6.1%}", f"{node.blocks * size:>8,}", "  " * node.depth + (holders or "none")]
    parts += [f"jobs {jobs}"] if jobs else []
    return "  ".join([*parts, f"[{node.first_key[:_KEY_DIGITS]}]"])


def _omission(nodes: int, depth: int) -> str:
    return f"{'':>18}{'  ' * depth}… {nodes:,} more"
