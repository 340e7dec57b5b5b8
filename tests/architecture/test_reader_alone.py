"""What a reader of tokens needs: the packages that are installed without any extra."""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from builders.jobs import job_config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fsq.installation import PIPELINE_MODULES, _requirement, explain_missing
from pipeline.run import tokenize

# Refuses every module of a distribution that is not allowed, as if it were not installed.
WITHOUT_OTHERS = """
import importlib.metadata, re, sys
allowed = set({allowed!r})
owners = importlib.metadata.packages_distributions()
class Refuse:
    def find_spec(self, name, path=None, target=None):
        found = owners.get(name.partition(".")[0], [])
        if found and not any(re.sub("[-_.]+", "-", one).lower() in allowed for one in found):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""
COMMAND = "from pipeline.cli import main; main()"


@pytest.fixture(scope="module")
def without_others(root: Path) -> str:
    """Code that hides everything but this project, its dependencies and theirs."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    # Whether these are there is asked of Python's finder, which cannot be refused with an error.
    allowed = {"fsq-tokenizer", "openvino", "onnxruntime"}
    waiting = [Requirement(text) for text in project["dependencies"]]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name not in allowed or wanted.extras:
            allowed.add(name)
            waiting += _dependencies(name, wanted.extras)
    return WITHOUT_OTHERS.format(allowed=sorted(allowed))


def _dependencies(name: str, extras: set[str]) -> list[Requirement]:
    """Returns what an installed distribution needs, with some of its extras."""
    needed = map(Requirement, importlib.metadata.requires(name) or [])
    return [
        one
        for one in needed
        if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in {"", *extras})
    ]


@pytest.fixture(scope="module")
def dataset(
    image_folder: Path, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("tokens") / "pets"
    output = {"formats": ["tfrecord", "array_record"]}
    tokenize(job_config(image_folder, tokenizer_directory, directory, output=output))
    return directory


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tokens_are_read_without_tensorflow_beam_and_keras(without_others: str, dataset: Path):
    code = without_others + (
        "from fsq.dataset import TokenBatches, TokenSource\n"
        "from fsq.tokenizer import load_codes\n"
        "batch = TokenBatches(sys.argv[1], batch_size=5)[0]\n"
        "record = TokenSource(sys.argv[1])[0]\n"
        "print(batch['tokens'].shape, record['tokens'].shape, load_codes(sys.argv[1]).shape)"
    )
    done = run(code, str(dataset))
    assert (done.returncode, done.stdout) == (0, "(5, 16) (16,) (60, 3)\n"), done.stderr


@pytest.mark.parametrize("verb", ["verify", "inspect"])
def test_a_dataset_is_verified_and_described_without_the_extra(
    without_others: str, dataset: Path, verb: str
):
    done = run(without_others + COMMAND, verb, str(dataset))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_verb_that_needs_the_extra_says_so_in_one_line(without_others: str, dataset: Path):
    done = run(without_others + COMMAND, "tokenize", str(dataset / "config.yaml"), "--overwrite")
    assert done.returncode == 2
    assert done.stderr.startswith("fsq: expected the extra 'pipeline', which makes tokens and ")
    assert len(done.stderr.splitlines()) == 1
    assert (dataset / "manifest.json").exists()


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({}, "'fsq-tokenizer[onnx]'"),
        (
            {"url": "file:///dist/fsq_tokenizer-0.1.0-py3-none-any.whl", "archive_info": {}},
            "'fsq-tokenizer[onnx] @ file:///dist/fsq_tokenizer-0.1.0-py3-none-any.whl'",
        ),
        ({"url": "file:///src", "dir_info": {"editable": True}}, "-e '/src[onnx]'"),
        ({"url": "file:///src", "dir_info": {}}, "'fsq-tokenizer[onnx] @ file:///src'"),
        (
            {"url": "https://host/fsq.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
            "'fsq-tokenizer[onnx] @ git+https://host/fsq.git@0a1b'",
        ),
    ],
)
def test_the_advice_installs_from_where_this_copy_came_from(origin: dict, requirement: str):
    assert _requirement("onnx", json.loads(json.dumps(origin))) == requirement


def test_only_modules_of_the_extra_are_explained():
    for module in sorted(PIPELINE_MODULES):
        assert "the extra 'pipeline'" in str(explain_missing(ModuleNotFoundError(name=module)))
    assert explain_missing(ModuleNotFoundError(name="fsq.nothing")) is None
