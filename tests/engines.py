"""Engines as tests use them."""

from preble_workers.engine import Completion, Engine, EngineRequest


def ignore() -> None:
    """Take no notice of a first token."""


async def complete(engine: Engine, request: EngineRequest) -> Completion:
    """Complete one prompt, whenever its first token comes."""
    return await engine.generate(request, ignore)
