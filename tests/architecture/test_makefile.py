"""The Makefile: which Python it takes, when it makes the environment anew, what its checks are."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

COMMANDS = ("sh", "make", "cat", "rm", "mkdir", "chmod")
# A Python of which only the version and `-m venv` are looked at; its pip does nothing.
FAKE = """#!/bin/sh
case "$1" in
  -c) case "$2" in *_base_executable*) echo "{version} $0" ;; *) echo "{version}" ;; esac ;;
  -m) mkdir -p .venv/bin; printf '#!/bin/sh\\n' > .venv/bin/pip; chmod +x .venv/bin/pip
      echo "$0" > .venv/made_by ;;
esac
"""


class Checkout:
    """A folder with the Makefile, and a PATH with nothing on it but what is put there."""

    def __init__(self, folder: Path, makefile: Path):
        self.folder, self.path = folder / "checkout", folder / "path"
        self.folder.mkdir()
        self.path.mkdir()
        shutil.copy(makefile, self.folder)
        for name in ("requirements.lock", "pyproject.toml"):
            (self.folder / name).touch()
        for name in COMMANDS:
            (self.path / name).symlink_to(str(shutil.which(name)))

    def add_python(self, name: str, version: str) -> None:
        (self.path / name).write_text(FAKE.format(version=version))
        (self.path / name).chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return subprocess.run(
            ["make", "setup", *arguments],
            cwd=self.folder,
            env=environment | {"PATH": str(self.path)},
            capture_output=True,
            text=True,
            check=False,
        )

    def made_by(self) -> str:
        return Path((self.folder / ".venv" / "made_by").read_text().strip()).name


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    return Checkout(tmp_path, root / "Makefile")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_python3_is_taken_if_it_is_one_of_the_three(checkout: Checkout, version: str):
    checkout.add_python("python3", version)
    checkout.add_python("python3.13", "3.13")
    done = checkout.make()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"with Python {version}, once" in done.stdout
    assert checkout.made_by() == "python3"


@pytest.mark.parametrize("version", ["3.10", "3.14", "3.1", "2.7"])
def test_else_the_newest_on_the_path(checkout: Checkout, version: str):
    checkout.add_python("python3", version)
    checkout.add_python("python3.11", "3.11")
    checkout.add_python("python3.12", "3.12")
    assert checkout.make().returncode == 0
    assert checkout.made_by() == "python3.12"


@pytest.mark.parametrize("named", [(), ("PYTHON=python3",), ("PYTHON=no_such_python",)])
def test_without_one_of_the_three_it_says_what_it_wants(checkout: Checkout, named: tuple[str, ...]):
    checkout.add_python("python3", "3.10")
    done = checkout.make(*named)
    assert done.returncode == 2
    first, *others = done.stderr.splitlines()
    assert first.startswith("Makefile: expected Python 3.11, 3.12 or 3.13, found none by: ")
    assert first.endswith(". Run make PYTHON=/path/to/python3.12.")
    assert all(line.startswith("make: ***") for line in others)
    assert not (checkout.folder / ".venv").exists()


def test_an_environment_is_made_once_and_anew_for_another_python(checkout: Checkout):
    checkout.add_python("python3", "3.11")
    checkout.add_python("other", "3.13")
    assert checkout.make().returncode == 0
    assert "Setting up" not in checkout.make().stdout
    assert "with Python 3.13" in checkout.make("PYTHON=other").stdout
    assert checkout.made_by() == "other"
    # The same again, or none named: what is there stays.
    assert "Setting up" not in checkout.make("PYTHON=other").stdout
    assert "Setting up" not in checkout.make().stdout
    os.utime(checkout.folder / "requirements.lock", (2**32, 2**32))
    assert "with Python 3.11" in checkout.make().stdout


def test_the_python_of_an_environment_that_fell_short_is_not_taken_for_good(checkout: Checkout):
    checkout.add_python("python3", "3.12")
    (checkout.path / "python3").write_text(FAKE.format(version="3.12") + "exit 1\n")
    assert checkout.make().returncode == 2
    assert not (checkout.folder / ".venv" / ".ready").exists()


def test_check_and_test_differ_in_the_slow_tests_alone(root: Path):
    rules = dict(
        re.findall(r"^(check|test): lint\n((?:\t.+\n)+)", (root / "Makefile").read_text(), re.M)
    )
    assert rules["check"] == rules["test"].replace("worksteal", 'worksteal -m "not slow"')
