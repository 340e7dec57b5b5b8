"""The architecture: imports run downhill, and light modules stay light."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_imports_run_downhill(root: Path, monkeypatch: pytest.MonkeyPatch):
    """The layers stand in pyproject.toml, `[tool.importlinter]`; ARCHITECTURE.md draws them."""
    monkeypatch.chdir(root)
    assert lint_imports(cache_dir=None) == EXIT_STATUS_SUCCESS


def test_every_package_and_module_is_a_layer(root: Path):
    (layers,) = (
        contract["layers"]
        for contract in tomllib.loads((root / "pyproject.toml").read_text())["tool"][
            "importlinter"
        ]["contracts"]
        if contract["type"] == "layers"
    )
    named = {name for layer in layers for name in layer.split(" | ")}
    found = {
        f"{package}.{path.stem}"
        for package in ("fsq", "pipeline")
        for path in (root / package).iterdir()
        if path.stem not in ("__init__", "__pycache__", "__main__", "py")
    }
    assert named == found


def test_the_wheel_holds_the_two_packages_alone(root: Path):
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["packages"] == ["fsq", "pipeline"]


@pytest.mark.parametrize(
    "statement",
    [
        "import fsq",
        "from fsq import levels_for",
        "import fsq.quantizer.codebook_usage, fsq.quantizer.latent_stats, fsq.quantizer.presets",
        "from fsq.yaml_config import load_config; from pipeline.job.config import TokenizeConfig",
        "import pipeline.planning.plan",
        "import pipeline.planning.runtime_selection, pipeline.planning.background_listing",
        "import fsq.runtimes.cache, fsq.runtimes.autoselect, fsq.runtimes.registry",
        "import pipeline.reports.verify",
        "import pipeline.cli",
        "from fsq.spec.serialization import parse_contract",
        "from fsq.dataset import SequenceSpec, TokenBatches, TokenSource",
        "import examples.prior.config, examples.prior.data, examples.prior.baselines",
    ],
)
def test_light_modules_import_neither_tensorflow_nor_beam(statement: str):
    code = (
        f"{statement}; import sys; "
        "print([m for m in ('tensorflow', 'keras', 'apache_beam') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
