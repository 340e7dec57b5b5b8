"""The examples of docs/reading.md run, where what they import is installed."""

import ast
import re
from pathlib import Path

import pytest
from builders.jobs import job_config
from builders.paths import ROOT

from pipeline.run import tokenize

pytestmark = pytest.mark.slow


def examples_of(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


DOCS = ROOT / "docs" / "reading.md"
EXAMPLES = examples_of("docs/reading.md")
OPTIONAL = ("grain", "torch", "seqio")


def imports_of(code: str) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import)]
    return {alias.name.partition(".")[0] for node in nodes for alias in node.names}


@pytest.fixture(scope="module")
def outputs(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    for name, output in {
        "my_images": {"formats": ["tfrecord", "array_record"]},
        "my_integers": {"tokens": "int64_list"},
    }.items():
        output = {"name": name, "num_shards": 2, **output}
        directory = folder / "out" / name
        tokenize(job_config(image_folder, tokenizer_directory, directory, output=output))
    return folder


def name_of(code: str) -> str:
    return "_".join(sorted(imports_of(code) & {*OPTIONAL, "tensorflow"})) or "numpy"


@pytest.mark.parametrize("code", EXAMPLES, ids=map(name_of, EXAMPLES))
def test_an_example_of_the_docs_runs(
    outputs: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for module in imports_of(code) & set(OPTIONAL):
        pytest.importorskip(module)
    (tmp_path / "out").symlink_to(outputs / "out")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(compile(code, str(DOCS), "exec"), found)
    if "task" in found:
        (batch, *_) = found["task"].as_numpy_iterator()  # type: ignore[attr-defined]
        assert batch["targets"].shape == (16,)
    elif "tokens" in found:
        assert found["tokens"].shape[-1] in (16, 17)  # type: ignore[attr-defined]


def test_there_are_as_many_examples_as_loaders():
    assert [name_of(code) for code in EXAMPLES] == [
        "numpy",
        "tensorflow",
        "numpy",
        "grain",
        "torch",
        "torch",
        "seqio_tensorflow",
        "numpy",
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/reading.md", "docs/training_a_prior.md"])
def test_an_example_that_shuffles_names_the_epoch(page: str):
    # Without it, a loop over epochs has the same order in each of them.
    named = 0
    for code in examples_of(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call):
                arguments = {keyword.arg for keyword in node.keywords}
                assert "shuffle_seed" not in arguments or "epoch" in arguments, ast.unparse(node)
                named += "epoch" in arguments
    assert named
