"""Webhooks of one api, put together."""

from preble.broker import Broker
from preble.config import Settings
from preble.metrics import ApiMetrics
from preble_api.webhooks.addresses import Guard
from preble_api.webhooks.deliveries import Deliveries
from preble_api.webhooks.posting import Poster
from preble_api.webhooks.signing import signing_keys


class WebhookService:
    """Delivers the pool's webhooks, if there is a secret to sign them with.

    Args:
        settings: Secrets, and receivers inside the network.
        broker: Knows what is due.
        metrics: Where attempts are counted.

    Raises:
        ConfigError: If a setting is wrong.
    """

    def __init__(self, settings: Settings, broker: Broker, metrics: ApiMetrics) -> None:
        self._keys = signing_keys(settings.webhook_secret)
        self._guard = Guard(settings.webhook_allow)
        self._broker = broker
        self._metrics = metrics

    @property
    def is_offered(self) -> bool:
        """Whether jobs may have webhooks."""
        return bool(self._keys)

    async def run(self) -> None:
        """Deliver until cancelled; what was under way then is due again when its lease ends."""
        if not self.is_offered:
            return
        poster = Poster(self._guard)
        try:
            await Deliveries(self._broker, poster, self._keys, self._metrics).run()
        finally:
            await poster.close()
