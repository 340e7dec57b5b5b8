"""The command line and the library under settings of Keras and matplotlib that others made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# As JAX users have it; and the plots of a notebook, whose module this environment may lack.
OTHERS = {"KERAS_BACKEND": "jax", "MPLBACKEND": "module://no_such_notebook.backend"}

LOAD = """
import sys
from fsq.errors import RequestError
from fsq.tokenizer import Tokenizer
try:
    Tokenizer.load(sys.argv[1])
except RequestError as error:
    print(error)
"""

INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "pipeline.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from fsq.__main__ import main
main()
"""


def run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        cwd=root,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def keras_home(tmp_path: Path) -> Path:
    home = tmp_path / "keras"
    home.mkdir()
    (home / "keras.json").write_text(json.dumps({"backend": "jax", "floatx": "float16"}))
    return home


@pytest.mark.slow
def test_the_command_line_runs_its_networks_on_tensorflow_whatever_others_set(
    root: Path, tmp_path: Path, keras_home: Path
):
    job = ["-m", "fsq", "tokenize", "configs/tokenize/demo.yaml", "--limit", "10"]
    plain = run(root, *job, "--output", str(tmp_path / "plain"))
    other = run(
        root, *job, "--output", str(tmp_path / "other"), KERAS_HOME=str(keras_home), **OTHERS
    )
    assert (plain.returncode, other.returncode, other.stdout) == (
        0,
        0,
        plain.stdout.replace("/plain:", "/other:"),
    ), other.stderr
    assert other.stderr.startswith("tokenize: 10 of 10 ")
    assert other.stderr.count("\n") == 1
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*tfrecord*")}
        for name in ("plain", "other")
    )
    assert one == two != {}
    sheet = ["decode", str(tmp_path / "other"), "--count", "2", "--output"]
    done = run(root, "-m", "fsq", *sheet, str(tmp_path / "sheet.png"), **OTHERS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_tokenizer_is_refused_in_one_line_where_keras_runs_on_another_backend(
    root: Path, keras_home: Path
):
    message = (
        "Keras: expected the backend tensorflow, got jax. Set KERAS_BACKEND=tensorflow before "
        "Keras is imported; the layers of fsq alone run on other backends.\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "tokenizers/fashion_mnist"],
        env=environment | {"KERAS_HOME": str(keras_home)},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == (message, 0), done.stderr


def test_an_interrupt_while_the_command_line_is_imported_is_one_line(root: Path):
    done = run(root, "-c", INTERRUPTED)
    expected = "fsq: interrupted; run the same command again to go on.\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", expected)
