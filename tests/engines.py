"""Engines as tests use them."""

from collections.abc import Sequence

from preble_workers.engine import Completion, Engine, EngineRequest


def ignore(ids: Sequence[int], text: str | None) -> None:
    """Take no notice of tokens."""
    del ids, text


async def complete(engine: Engine, request: EngineRequest) -> Completion:
    """Complete one prompt, whenever its tokens come."""
    return await engine.generate(request, ignore)
