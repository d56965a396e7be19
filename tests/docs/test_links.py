"""No page is left out of the index, and no link leads nowhere."""

import re
from pathlib import Path

import pytest
from reader_support import ROOT

from tools.reference.markdown import anchor

DOCS = ROOT / "docs"
PAGES = sorted([
    *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
])  # fmt: skip
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Of all headings, as GitHub names them: those alike are numbered."""
    found: list[str] = []
    for heading in HEADING.findall(prose(page)):
        name = anchor(heading)
        found.append(name if name not in found else f"{name}-{found.count(name)}")
    return set(found)


def broken(page: Path) -> list[str]:
    """Links to what is not there."""
    found: list[str] = []
    for target in LINK.findall(prose(page)):
        path, _, place = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if "://" in target:
            continue
        if not goal.exists() or (place and place not in anchors(goal)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_of_a_page_is_broken(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n[a](#one) [b](#two) [c](page.md#one) [d](other.md) [e](https://x.y/z)"
    )
    assert broken(page) == ["#two", "other.md"]


def test_every_page_is_in_the_index() -> None:
    listed = {(DOCS / target).resolve() for target in LINK.findall(prose(DOCS / "README.md"))}
    pages = {page for page in DOCS.rglob("*.md") if page.parent.name != "adr"}
    assert sorted(pages - listed - {DOCS / "README.md"}) == []


def test_every_decision_is_listed() -> None:
    listed = set(LINK.findall(prose(DOCS / "adr/README.md")))
    assert {page.name for page in (DOCS / "adr").glob("0*.md")} == listed
