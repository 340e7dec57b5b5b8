"""A user's own `pipeline.py` hides our package of that name; neither readers nor `fsq` mind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fsq.__main__ import load_pipeline


@pytest.fixture
def hidden(tmp_path: Path) -> dict[str, str]:
    """An environment in which `import pipeline` finds another module."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text("raise ImportError('a module of the user')\n")
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def python(root: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fsq_and_the_readers_work_beside_a_foreign_pipeline(
    root: Path, hidden: dict[str, str], tmp_path: Path
):
    hidden["PYTHONPATH"] += f"{os.pathsep}{root}"
    config = {
        "source": {"kind": "tfds", "directory": "samples/fashion_mnist", "split": "test"},
        "tokenizer": "tokenizers/fashion_mnist",
        "output": {
            "directory": str(tmp_path / "out"),
            "name": "few",
            "formats": ["tfrecord", "array_record"],
        },
        "batch_size": 8,
    }
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(config))
    job = str(tmp_path / "few.yaml")
    said = python(root, hidden, "-m", "fsq", "tokenize", job, "--limit", "16")
    assert said.endswith("16 images listed = 16 written + 0 rejected\n")
    reading = (
        "import sys; from fsq.dataset import TokenBatches, TokenSource, token_dataset; "
        "from fsq.tokenizer import Tokenizer; "
        "directory = sys.argv[1]; "
        "shapes = [next(iter(token_dataset(directory, batch_size=16)))['tokens'].shape.as_list(), "
        "list(TokenBatches(directory, batch_size=16)[0]['tokens'].shape), "
        "list(TokenSource(directory)[3]['tokens'].shape), "
        "list(Tokenizer.load(directory).contract.grid)]; "
        "print(shapes, [name for name in sys.modules if name.startswith('pipeline')])"
    )
    assert python(root, hidden, "-c", reading, str(tmp_path / "out")) == (
        "[[16, 49], [16, 49], [49], [7, 7]] []\n"
    )


def test_a_package_that_is_missing_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], root: Path
):
    with pytest.raises(SystemExit) as stop:
        load_pipeline(tmp_path)
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"fsq: expected the package 'pipeline' of fsq-tokenizer in {tmp_path}, found "
        f"{root / 'pipeline' / '__init__.py'}. Install fsq-tokenizer again.\n"
    )
