"""A real Prometheus scrapes a whole stack, and its alerts fire when a worker is killed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own
from processes import Stack
from support import eventually, free_port, valkey

PROMETHEUS: Final = shutil.which("prometheus")
DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus/alerts.yml"
DASHBOARD: Final = DEPLOY / "grafana/dashboards/preble.json"
WITHIN_S: Final = 60.0

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        PROMETHEUS is None and "REQUIRE_PROMETHEUS" not in os.environ,
        reason="prometheus is not installed",
    ),
]


class Prometheus:
    """A server that scrapes and judges each second, with the rules that are shipped, at once."""

    def __init__(self, folder: Path, targets: dict[str, list[int]]) -> None:
        self._url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        impatient = re.sub(r"for: \w+", "for: 0s", RULES.read_text())
        (folder / "alerts.yml").write_text(impatient)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(_config(targets)))

    @contextmanager
    def running(self) -> Generator["Prometheus"]:
        assert PROMETHEUS
        command = [
            PROMETHEUS, f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/tsdb",
            f"--web.listen-address={self._url.removeprefix('http://')}",
        ]  # fmt: skip
        with (self._folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield self
        finally:
            process.kill()
            process.wait()

    def query(self, expression: str) -> list[float]:
        told = self._ask("query", query=expression)
        return [float(each["value"][1]) for each in told.get("result", [])]

    def accepts(self, expression: str) -> bool:
        """Whether it can be asked for, whatever the answer."""
        everywhere = expression.replace("$pool", ".*").replace("$__rate_interval", "1m")
        return "result" in self._ask("query", query=everywhere)

    def firing(self) -> set[str]:
        alerts = self._ask("alerts").get("alerts", [])
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        try:
            reply = httpx2.get(f"{self._url}/api/v1/{what}", params=parameters, trust_env=False)
        except httpx2.TransportError:
            return {}
        return dict(reply.json()["data"]) if reply.is_success else {}


def _config(targets: dict[str, list[int]]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [
            {
                "job_name": f"preble-{name}",
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
            }
            for name, ports in targets.items()
        ],
    }


@contextmanager
def watched(folder: Path) -> Generator[tuple[Stack, Prometheus]]:
    redis_port, ports = free_port(), [free_port() for _ in range(3)]
    with valkey(folder, redis_port):
        stack = Stack(folder, redis_port, {"emulated_speed": "20"})
        try:
            stack.start("api")
            for name, port in zip(("scheduler", "gpu0", "gpu1"), ports, strict=True):
                stack.start(name, metrics_port=str(port))
            eventually(lambda: stack.ready(2), within_s=WITHIN_S)
            api_port = int(stack.url.rpartition(":")[2])
            targets = {"api": [api_port], "scheduler": ports[:1], "worker": ports[1:]}
            with Prometheus(folder, targets).running() as prometheus:
                yield stack, prometheus
        finally:
            stack.stop()


def test_all_is_scraped_and_the_death_of_a_worker_is_told(tmp_path: Path) -> None:
    with watched(tmp_path) as (stack, prometheus):
        eventually(lambda: prometheus.query("sum(up)") == [4], within_s=WITHIN_S)
        stack.submit([{"prompt": f"job {number}"} for number in range(20)])
        eventually(
            lambda: prometheus.query('sum(preble_executions_ended_total{result="completed"})')
            == prometheus.query("max(preble_pool_jobs_completed_total)") == [20],
            within_s=WITHIN_S,
        )  # fmt: skip
        expected = {
            "sum(preble_decisions_total)": 20,
            "sum(preble_job_e2e_seconds_count)": 20,
            "sum(preble_leading)": 1,
            "sum(preble_placeable_instances)": 2,
            'sum(preble_pool_instance_state{state="ready"})': 2,
            "sum(rq_workers_success_total)": 20,
            'count(count by (job) (preble_redis_call_seconds_count{call="smembers"}))': 1,
            "count(process_resident_memory_bytes)": 4,
        }
        eventually(
            lambda: {name: prometheus.query(name) for name in expected}
            == {name: [value] for name, value in expected.items()},
            within_s=WITHIN_S,
        )  # fmt: skip
        panels = json.loads(DASHBOARD.read_text())["panels"]
        asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
        assert [each for each in asked if not prometheus.accepts(each)] == []
        eventually(lambda: prometheus.firing() == set(), within_s=WITHIN_S)

        stack.kill("gpu1")

        told = {"PrebleProcessDown", "PrebleInstanceGone"}
        eventually(lambda: told <= prometheus.firing(), within_s=WITHIN_S)
        stack.kill("scheduler")
        eventually(lambda: "PrebleNoLeader" in prometheus.firing(), within_s=WITHIN_S)
