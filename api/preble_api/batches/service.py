"""Files and batches of one api, put together."""

import asyncio
import logging
from pathlib import Path
from typing import Final

import msgspec
from fastapi import FastAPI

from preble.broker import Broker
from preble.clock import Clock
from preble.config import Settings
from preble.metrics import ApiMetrics
from preble_api.admission import Admission
from preble_api.batches.drivers import Drivers
from preble_api.batches.routes import BatchRoutes
from preble_api.batches.schemas import Batch, BatchList, BatchRequest
from preble_api.batches.store import BatchStore
from preble_api.batches.tools import Tools
from preble_api.files.layout import Layout
from preble_api.files.off_loop import in_thread
from preble_api.files.routes import FileRoutes
from preble_api.files.schemas import FileDeleted, FileList, FileObject
from preble_api.files.store import FileBounds, FileStore
from preble_api.files.sweeping import FileSweep
from preble_api.intake import Intake
from preble_api.rendering import Rendering
from preble_api.waits import Waits

BATCH_STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (
    FileObject, FileList, FileDeleted, Batch, BatchList, BatchRequest,
)  # fmt: skip
"""What the routes send and get, to be described."""

SWEEP_S: Final = 600.0

_log = logging.getLogger(__name__)


class BatchService:
    """`/v1/files`, `/v1/batches`, and what runs behind them."""

    def __init__(
        self, settings: Settings, broker: Broker, intake: Intake, rendering: Rendering,
        admission: Admission, waits: Waits, metrics: ApiMetrics, clock: Clock,
    ) -> None:  # fmt: skip
        self.is_offered = bool(settings.files_dir)
        """Whether there is a folder for files."""
        self.layout = layout = Layout(Path(settings.files_dir), settings.pool)
        bounds = FileBounds(
            settings.max_file_bytes, settings.max_tenant_files, settings.max_tenant_file_bytes
        )
        files = FileStore(layout, bounds)
        self.store = BatchStore(
            layout, files, model=settings.model, max_tenant_batches=settings.max_tenant_batches
        )
        tools = Tools(
            broker, intake, rendering, admission, waits, files, metrics, clock,
            settings.result_ttl_s, settings.max_body_bytes,
        )  # fmt: skip
        self._drivers = Drivers(tools, self.store)
        self._sweep = FileSweep(files, layout)
        self._file_routes = FileRoutes(files, layout)
        self._batch_routes = BatchRoutes(self.store, layout, intake, self._drivers.look_again)

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes, if there is a folder for files."""
        if self.is_offered:
            self._file_routes.add_to(app)
            self._batch_routes.add_to(app)

    async def run(self) -> None:
        """Drive batches and sweep, until cancelled."""
        if not self.is_offered:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._drivers.run())
            tasks.create_task(self._sweep_often())

    async def _sweep_often(self) -> None:
        while True:
            try:
                await in_thread(self._sweep.sweep)
                await in_thread(self.store.sweep)
            except OSError:
                _log.exception("files that have expired could not be removed")
            await asyncio.sleep(SWEEP_S)
