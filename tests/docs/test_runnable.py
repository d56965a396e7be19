"""Every example, and every snippet of the documentation, run as a reader would.

A fence of the language `sh` or `python` is run; a page's fences run in one shell, in their order.
What is not to be run has no language, or says `not run` and why behind it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from reader_support import ROOT, SECRET, Reader, serving, snippets
from support import free_port

pytestmark = pytest.mark.process

EXAMPLES = ROOT / "examples"
ON_THEIR_OWN = {"keys.sh", "keys.py", "submit_batch.py", "webhooks.py"}
"""Have a test of their own below."""

PAGES = [ROOT / "README.md", EXAMPLES / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUARDED = ROOT / "docs/howto/auth.md"
RUNNABLE = [page for page in PAGES if snippets(page) and page != GUARDED]
RECEIVER_PORT = free_port()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """An open api; twenty times as fast as the GPU would be."""
    with serving(
        tmp_path_factory.mktemp("reader"), emulated_speed="20", webhook_secret=SECRET,
        webhook_allow=f"127.0.0.1:{RECEIVER_PORT}",
    ) as made:  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """An api that wants a key."""
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, emulated_speed="20", workers="1", auth="keys") as made:
        yield made


def scripts(pattern: str) -> list[str]:
    return sorted(each.name for each in EXAMPLES.glob(pattern) if each.name not in ON_THEIR_OWN)


@pytest.mark.parametrize("name", scripts("*.sh"))
def test_example_for_curl(reader: Reader, name: str) -> None:
    assert reader.runs("sh", str(EXAMPLES / name))


@pytest.mark.parametrize("name", scripts("*.py"))
def test_example_in_python(reader: Reader, name: str) -> None:
    assert reader.runs("python", "-W", "error", str(EXAMPLES / name))


def test_demo_prompts_are_submitted_as_a_batch(reader: Reader) -> None:
    assert reader.runs("python", "-W", "error", str(EXAMPLES / "submit_batch.py"), reader.url)


def test_receiver_of_webhooks_is_told(reader: Reader) -> None:
    path = str(EXAMPLES / "webhooks.py")
    assert '"type":"job.completed"' in reader.runs("python", path, RECEIVER_PORT=str(RECEIVER_PORT))


def test_keys_keep_tenants_apart(guarded: Reader) -> None:
    said = guarded.runs("sh", str(EXAMPLES / "keys.sh")).splitlines()
    assert said[:3] == ["200", "404", "this api key lacks the scope `submit`"]
    keys = [
        guarded.runs("preble", "keys", "create", "--name", name, "--tenant", name).strip()
        for name in ("acme", "globex")
    ]
    told = guarded.runs("python", str(EXAMPLES / "keys.py"), *keys).splitlines()
    assert told[:2] == ["alice asks for alice's job: 200", "bob asks for alice's job: 404"]
    assert told[3] == "bob asks it again: 0 tokens cached"


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_of_a_page(reader: Reader, page: Path) -> None:
    reader.reads(page)


def test_snippets_about_keys(guarded: Reader) -> None:
    guarded.reads(GUARDED)
