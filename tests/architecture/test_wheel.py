"""The wheel: every module of the two packages, marked as typed, what the demo needs, no more."""

import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_holds_every_module_and_says_that_it_is_typed(root: Path, tmp_path: Path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {
        path.relative_to(root).as_posix()
        for package in ("fsq", "pipeline")
        for path in (root / package).rglob("*.py")
    }
    carried = {
        f"pipeline/starters/data/{path.relative_to(root).as_posix()}"
        for folder in ("samples/fashion_mnist", "tokenizers/fashion_mnist")
        for path in (root / folder).iterdir()
    }
    assert names == modules | carried | {"fsq/py.typed", "pipeline/py.typed"}
    assert sum(zipfile.ZipFile(wheel).getinfo(name).file_size for name in carried) < 2_000_000
