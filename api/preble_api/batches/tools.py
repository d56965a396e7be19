"""What every batch of an api is run with."""

from dataclasses import dataclass

from preble.broker import Broker
from preble.clock import Clock
from preble.metrics import ApiMetrics
from preble_api.admission import Admission
from preble_api.files.store import FileStore
from preble_api.intake import Intake
from preble_api.rendering import Rendering
from preble_api.waits import Waits


@dataclass(frozen=True, slots=True)
class Tools:
    """Of one api; see each."""

    broker: Broker
    intake: Intake
    rendering: Rendering
    admission: Admission
    waits: Waits
    files: FileStore
    metrics: ApiMetrics
    clock: Clock
    result_ttl_s: float
    max_line_bytes: int
    """As large as a request."""
