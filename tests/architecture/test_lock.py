"""The lock file, and the Pythons that it is for."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def entries(root: Path) -> list[str]:
    """One text per package: its pin, its hashes, who wants it."""
    return re.split(r"^(?=\w)", (root / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]


def test_all_say_the_same_pythons(root: Path, project: dict[str, Any]):
    prefix = "Programming Language :: Python :: "
    named = [text.removeprefix(prefix) for text in project["classifiers"] if prefix in text]
    assert tuple(named) == PYTHONS
    allowed = SpecifierSet(project["requires-python"])
    assert tuple(f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed) == PYTHONS
    workflow = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())
    assert tuple(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == PYTHONS
    taken = " in " + "|".join(rf"{version}\ *" for version in PYTHONS) + ") break"
    assert taken in (root / "Makefile").read_text()


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_for_every_python(
    project: dict[str, Any], entries: list[str], python: str
):
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    pins = {}
    for entry in entries:
        pin = Requirement(entry.partition("\\\n")[0])
        if pin.marker is None or pin.marker.evaluate(environment):
            (version,) = pin.specifier
            assert pin.name not in pins
            pins[pin.name] = version.version
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["pipeline"], *extras["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


def test_every_package_has_its_hashes_and_none_its_place(entries: list[str]):
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert [entry for entry in entries if "://" in entry or "--index" in entry] == []
