"""Custody on Redis; see `custody.py`."""

from preble.broker.redis_scripts import ScriptRunner


class RedisCustody:
    """Custody of names in one pool. Implements `Custody`."""

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def take(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """Take or renew custody; False while another has it."""
        return bool(await self._scripts.run("custody", name, holder, int(ttl_s * 1_000)))

    async def give_up(self, name: str, holder: str) -> None:
        """Let others take it at once, if it is held."""
        await self._scripts.run("custody", name, holder, 0)
