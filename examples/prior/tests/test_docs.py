"""The examples of docs/training_a_prior.md run, and its configs are those that exist."""

import math
import re
from pathlib import Path

import pytest
from builders.paths import ROOT

from examples.prior.config import PriorConfig
from fsq.tokenizer import load_codes
from fsq.yaml_config import load_config
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize

DOCS = (ROOT / "docs" / "training_a_prior.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
NAMES = ["tensorflow", "jax", "torch", "numpy"]
CONFIGS = sorted((ROOT / "examples" / "prior" / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def outputs(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prior_docs")
    config = {
        "source": {"kind": "image_folder", "directory": str(image_folder)},
        "tokenizer": str(tokenizer_directory),
        "output": {"directory": str(folder / "out" / "my_images"), "name": "my_images"},
        "batch_size": 8,
    }
    tokenize(TokenizeConfig.model_validate(config))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), list(zip(NAMES, EXAMPLES, strict=True)), ids=NAMES)
def test_an_example_of_the_docs_runs(
    outputs: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip(name, reason=f"needs {name}, an extra")
    assert code.startswith(f"import {name}")
    monkeypatch.chdir(outputs)
    found: dict[str, object] = {}
    exec(compile(code, "docs/training_a_prior.md", "exec"), found)
    if name == "numpy":
        assert found["images"].shape == (4, 16, 16, 3)  # type: ignore[attr-defined]
        assert found["embedding"].shape == (60, 64)  # type: ignore[attr-defined]
        assert (found["codes"] == load_codes("out/my_images")).all()
    else:
        # Better than all tokens alike, after two epochs of a bigram model.
        assert 0 < float(found["loss"]) < math.log(60)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_can_be_read_and_begins_with_its_command(path: Path):
    config = load_config(str(path), PriorConfig)
    command = f"# python -m examples.prior.train {path.relative_to(ROOT)}"
    assert path.read_text().splitlines()[0] == command
    assert f"`{path.name}`" in DOCS
    assert config.training.minutes is not None and config.training.minutes <= 60


@pytest.mark.parametrize("key", ["vocab_size", "grid", "num_classes", "levels"])
def test_nothing_of_the_dataset_is_typed_a_second_time(tmp_path: Path, key: str):
    from fsq.errors import RequestError

    path = tmp_path / "prior.yaml"
    path.write_text(CONFIGS[0].read_text() + f"{key}: 1\n")
    with pytest.raises(RequestError, match=f"prior.yaml.{key}: unknown key"):
        load_config(str(path), PriorConfig)
