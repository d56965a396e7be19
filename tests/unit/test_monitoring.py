"""The alert rules and the dashboard ask for what the processes tell, and their pages exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own
from prometheus_client import Metric

from preble.messages import PoolStats, RqView
from preble.metrics import (
    ApiMetrics,
    RedisCalls,
    SchedulerMetrics,
    WorkerMetrics,
    process_registry,
)
from preble.metrics.table import all_rows
from preble_api.pool_metrics import PoolCollector, PoolLook

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD: Final = ROOT / "deploy/grafana/dashboards/preble.json"
PROMTOOL: Final = shutil.which("promtool") or ""
SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
OF_PROMETHEUS: Final = {"pool", "instance", "job", "le"}
NAME: Final = re.compile(r"\b(?:preble|rq|process)_\w+")
SELECTOR: Final = re.compile(r"(\w+)\{([^}]*)\}")


def families() -> list[Metric]:
    registry = process_registry()
    for make in (ApiMetrics, SchedulerMetrics, WorkerMetrics, RedisCalls):
        make(registry)
    registry.register(PoolCollector(PoolLook(PoolStats(0, 0, 0, 0, 0, {}), [], RqView())))
    return list(registry.collect())


def series() -> dict[str, set[str]]:
    """Each series that some page has, with its labels."""
    labels = {row.full_name: set(row.labels) for row in all_rows()}
    return {
        family.name + suffix: labels.get(family.name, set())
        for family in families()
        for suffix in SUFFIXES[family.type]
    }


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    asked = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in panels():
        asked |= {f"{panel['title']} {t['refId']}": t["expr"] for t in panel["targets"]}
    return asked


EXPRESSIONS: Final = expressions()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_is_asked_for_is_told(name: str) -> None:
    known, asked = series(), EXPRESSIONS[name]
    names = set(NAME.findall(asked))
    assert names or "up{" in asked
    assert names <= known.keys()
    for selected, matchers in SELECTOR.findall(asked):
        labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
        assert labels <= known.get(selected, set()) | OF_PROMETHEUS, selected
    grouped = {label for by in re.findall(r"by \(([^)]*)\)", asked) for label in by.split(", ")}
    assert grouped <= {label for each in names for label in known[each]} | OF_PROMETHEUS


def test_what_a_legend_names_is_a_label_that_is_left() -> None:
    for panel in panels():
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                by = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert not by or any(label in each.split(", ") for each in by), panel["title"]


def test_panels_say_what_they_show_and_do_not_overlap() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in panels()]
    assert len(set(places)) == len(places)
    assert all(panel["description"] for panel in panels())


def test_each_alert_says_what_to_do_and_has_its_section() -> None:
    for rule in rules():
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "action", "docs"}
        page, _, section = notes["docs"].partition("#")
        assert section == rule["alert"].lower()
        assert f"\n### {rule['alert']}\n" in (ROOT / page).read_text()
        assert rule["labels"]["severity"] in {"warning", "critical"}


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_the_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    told = yaml.safe_load((ROOT / "tests/recorded/alert_cases.yml").read_text())
    cases.write_text(yaml.safe_dump({**told, "rule_files": [str(RULES)]}))
    done = subprocess.run(
        [PROMTOOL, "test", "rules", cases], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
