"""Who leads the memory broker's pool: what LEAD and RESIGN do."""

from preble.broker.answers import NOT_LEADER
from preble.clock import Clock
from preble.errors import NotLeader
from preble.messages import LeaderToken


class MemoryLeader:
    """The leader's lease."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = 0
        self._token: LeaderToken | None = None
        self._expires_at_s = 0.0

    def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader; None if another is."""
        token = self._held()
        if token is None:
            self._epoch += 1
            token = LeaderToken(f"{self._epoch}-{holder}")
        elif token.partition("-")[2] != holder:
            return None
        self._token, self._expires_at_s = token, self._clock.now_s() + ttl_s
        return token

    def resign(self, token: LeaderToken) -> None:
        """Give leadership up, if it is held."""
        if self._token == token:
            self._token = None

    def require(self, token: LeaderToken) -> None:
        """Refuse all but the leader. Raises: NotLeader."""
        if self._held() != token:
            raise NotLeader(NOT_LEADER)

    def _held(self) -> LeaderToken | None:
        return self._token if self._clock.now_s() < self._expires_at_s else None
