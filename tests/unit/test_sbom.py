"""The bill of materials: of each package that is locked, hashes; of what is installed, licences."""

import re
from typing import Any

from tools.release.places import RUNTIME_LOCK
from tools.sbom import locked, merged

HASHES = [{"type": "distribution", "hashes": [{"alg": "SHA-256", "content": "ab"}]}]
MIT = {"license": {"id": "MIT"}}
TEXT = {"license": {"name": "declared", "text": {"content": "Do as you like."}}}


def package(ref: str, name: str, version: str, **more: object) -> dict[str, Any]:
    """A component, as the tool has it."""
    purl = f"pkg:pypi/{name.lower()}@{version}"
    return {"bom-ref": ref, "name": name, "version": version, "purl": purl, **more}


INSTALLED = {
    "metadata": {"component": {"bom-ref": "root"}},
    "components": [
        package("Jinja2==3", "Jinja2", "3", licenses=[TEXT, MIT], externalReferences=()),
        package("odd==1", "odd", "1", licenses=[TEXT]),
        package("pip==9", "pip", "9"),
    ],
    "dependencies": [{"ref": "root", "dependsOn": ["Jinja2==3"]}, {"ref": "Jinja2==3"},
                     {"ref": "odd==1"}, {"ref": "pip==9"}],
}  # fmt: skip
REQUIRED = {
    "components": [
        package(f"line-{name}", name, version, description="the line", externalReferences=HASHES)
        for name, version in (("jinja2", "3"), ("odd", "1"), ("colorama", "2"))
    ],
}


def test_all_that_is_locked_is_there_with_its_hashes_and_nothing_else() -> None:
    bom = merged(INSTALLED, REQUIRED)
    refs = [each["bom-ref"] for each in bom["components"]]
    assert refs == ["Jinja2==3", "odd==1", "colorama==2"]
    assert all(HASHES[0] in each["externalReferences"] for each in bom["components"])
    assert [each["ref"] for each in bom["dependencies"]] == ["root", *refs]
    assert bom["dependencies"][0]["dependsOn"] == ["Jinja2==3"]


def test_a_declared_licence_is_named_and_another_one_told_by_its_text() -> None:
    jinja, odd, colorama = merged(INSTALLED, REQUIRED)["components"]
    assert jinja["licenses"] == [MIT]
    assert odd["licenses"] == [TEXT]
    assert "licenses" not in colorama
    assert colorama["description"] == "Not installed on this platform."


def test_every_package_of_the_lock_is_looked_for() -> None:
    text = RUNTIME_LOCK.read_text()
    found = locked(text)
    assert len(found) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
    assert any(each.startswith("pkg:pypi/msgspec@") for each in found)
