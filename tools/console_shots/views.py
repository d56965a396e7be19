"""Each view in a real Chromium: drawn, photographed, judged."""

import shutil
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tools.console_shots.work import Work

CHROMIUM: Final = shutil.which("chromium") or "chromium"
FLAGS: Final = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
SETTLE_MS: Final = 4_500
"""After which a view has asked for what changes at least once, but for the latencies."""

_AXE: Final = (files("axe_core_python") / "axe.min.js").read_text()


def views_of(work: Work) -> Mapping[str, str]:
    """Paths of all views, by the names of their pictures."""
    return {
        "fleet": "fleet",
        "prefixes": "prefixes",
        "prefixes-of-one": "prefixes?instance=gpu0",
        "jobs": "jobs",
        "jobs-found": "jobs?status=completed&tenant=acme",
        "job": f"jobs/{work.job}",
        "job-failed": f"jobs/{work.failed_job}",
        "batches": "batches",
        "batch": f"batches/{work.batch}",
        "latency": "latency",
        "dead": "dead",
        "error": "jobs/nobody",
        "login": "login",
    }


def photograph(url: str, views: Mapping[str, str], folder: Path) -> list[str]:
    """Draw all views in both themes.

    Args:
        url: Of the api.
        views: From `views_of`.
        folder: Where the pictures go, as `VIEW-THEME.png`.

    Returns:
        What went wrong in a page, and what axe takes to be serious or critical.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        return [trouble for theme in THEMES for trouble in _in(theme, browser, url, views, folder)]


def _in(
    theme: Literal["light", "dark"], browser: Browser, url: str, views: Mapping[str, str],
    folder: Path,
) -> Iterator[str]:  # fmt: skip
    size = {"width": 1360, "height": 860}
    with browser.new_context(color_scheme=theme, viewport=size) as context:  # type: ignore[arg-type]
        page = context.new_page()
        logged: list[str] = []
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("console", lambda message: logged.extend(_complaint(message, page.url)))
        for name, path in views.items():
            page.goto(f"{url}/ui/{path}", wait_until="load")
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / f"{name}-{theme}.png", full_page=True)
            yield from (f"{name}, {theme}: {each}" for each in [*logged, *_judged(page)])
            logged.clear()


def _complaint(message: ConsoleMessage, url: str) -> list[str]:
    """Not that the view itself is an error, which may be what it shows."""
    is_status = message.text.startswith("Failed to load resource")
    if message.type not in {"error", "warning"} or (is_status and message.location["url"] == url):
        return []
    return [message.text]


def _judged(page: Page) -> list[str]:
    page.evaluate(_AXE)
    told: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in told["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
