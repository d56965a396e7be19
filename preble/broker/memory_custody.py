"""Custody in memory; see `custody.py`."""

from preble.clock import Clock


class MemoryCustody:
    """Custody of names. Implements `Custody`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}

    async def take(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """Take or renew custody; False while another has it."""
        now_s = self._clock.now_s()
        of, until_s = self._held.get(name, (holder, 0.0))
        if of != holder and now_s < until_s:
            return False
        self._held[name] = holder, now_s + ttl_s
        return True

    async def give_up(self, name: str, holder: str) -> None:
        """Let others take it at once, if it is held."""
        if self._held.get(name, ("", 0.0))[0] == holder:
            del self._held[name]
