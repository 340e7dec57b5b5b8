"""The journey of an encoder from PyTorch: import, inspect, tokenize, verify, decode."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from builders.paths import ROOT
from click.testing import CliRunner
from PIL import Image

from fsq.dataset import token_dataset
from pipeline.cli import cli

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
RECIPE = "configs/import/torch_fsq.yaml"


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A folder in which the recipes find what they name."""
    for name in ("configs", "samples", "tests"):
        (tmp_path / name).symlink_to(root / name)
    return tmp_path


def good(run: Run, *arguments: str, cwd: Path) -> str:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_encoder_from_pytorch_goes_all_the_way(run: Run, checkout: Path):
    agreement = "6,272 of 6,272 tokens agree (100.00 %)"
    directory = "out/torch_fsq_tokenizer"
    assert "\n  import " in good(run, "--help", cwd=checkout)
    done = run("import", RECIPE, cwd=checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{directory}: {agreement}\n", "")
    card = (checkout / directory / "README.md").read_text()
    assert f"| Reference batch | {agreement} |" in card and "PyTorch" not in card
    inspected = good(run, "inspect", directory, cwd=checkout)
    assert "\nimported   as onnx, with a decoder\n" in inspected
    assert f"\nreference  {agreement}\n" in inspected

    job = yaml.safe_load((checkout / "configs/tokenize/demo.yaml").read_text())
    (checkout / "job.yaml").write_text(yaml.safe_dump({**job, "tokenizer": directory}))
    # The first 128 of the sample images are those of the reference batch.
    good(run, "tokenize", "job.yaml", "--limit", "128", cwd=checkout)
    assert good(run, "verify", "out/demo", cwd=checkout) == "out/demo: all is well\n"
    assert f"\nreference    {agreement}\n" in good(run, "inspect", "out/demo", cwd=checkout)
    with np.load(checkout / "tests/data/torch_fsq/reference.npz") as reference:
        expected = reference["tokens"].reshape(128, -1)
    (records,) = token_dataset(str(checkout / "out/demo"), batch_size=128)
    numbers = [int(key.decode().rsplit("__", 1)[1]) for key in records["key"].numpy()]
    np.testing.assert_array_equal(records["tokens"].numpy(), expected[numbers])

    command = ("decode", "out/demo", "--count", "4", "--originals", "--output", "s.png")
    good(run, *command, cwd=checkout)
    with Image.open(checkout / "s.png") as sheet:
        decoded, original = (np.asarray(sheet)[top : top + 80, 100:] for top in (92, 4))
    assert np.square(decoded.astype(float) - original).mean() < 1000


def test_without_a_decoder_tokenizing_works_and_decoding_is_one_line(run: Run, checkout: Path):
    config = yaml.safe_load((checkout / RECIPE).read_text())
    del config["decoder"]
    (checkout / "import.yaml").write_text(yaml.safe_dump(config))
    good(run, "import", "import.yaml", cwd=checkout)
    job = yaml.safe_load((checkout / "configs/tokenize/demo.yaml").read_text())
    job["tokenizer"] = config["output"]
    (checkout / "job.yaml").write_text(yaml.safe_dump(job))
    good(run, "tokenize", "job.yaml", "--limit", "128", cwd=checkout)
    done = run("decode", "out/demo", "--output", "s.png", cwd=checkout)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fsq: out/demo: expected a tokenizer with a decoder, got one that was imported without. "
        "Import it again with its decoder, then tokenize again.\n"
    )


def test_a_wrong_preset_is_bad_data_in_one_line(run: Run, checkout: Path):
    config = yaml.safe_load((checkout / RECIPE).read_text())
    (checkout / "import.yaml").write_text(yaml.safe_dump({**config, "preset": "atanh"}))
    done = run("import", "import.yaml", cwd=checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fsq: tests/data/torch_fsq/reference.npz: expected at least ")
    assert done.stderr.endswith("They would agree with preset: torch (100.00 %).\n")
    assert done.stderr.count("\n") == 1
    assert not (checkout / "out").exists()


def test_only_an_imported_tokenizer_needs_tensorflow_to_be_inspected(root: Path):
    code = (
        "import sys; from pipeline.reports.inspect import inspect_directory as inspect; "
        "inspect('tokenizers/cifar10'); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "False False\n"


def test_what_the_tool_makes_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    from tools import torch_fsq
    from tools.fashion_mnist import DEBIAN

    if not DEBIAN.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    monkeypatch.setattr(torch_fsq, "STEPS", 3)
    monkeypatch.chdir(tmp_path)
    files = Path("tests/data/torch_fsq")
    CliRunner().invoke(torch_fsq.main, [str(files)], catch_exceptions=False)
    recipe = ROOT / RECIPE
    done = CliRunner().invoke(cli, ["import", str(recipe), "--dry-run"], catch_exceptions=False)
    assert "6,272 of 6,272 tokens agree" in done.stdout


def import_recipes() -> list[str]:
    folder = ROOT / "configs" / "import"
    return sorted(f"configs/import/{path.name}" for path in folder.glob("*.yaml"))


@pytest.mark.parametrize("recipe", import_recipes())
def test_every_recipe_for_importing_passes_a_dry_run(
    root: Path, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
):
    assert (root / recipe).read_text().startswith(f"# fsq import {recipe}\n")
    for name in ("configs", "tests"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["import", recipe, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "tokens agree (100.00 %)" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configs", "tests"]
