"""The on-disk cache holds the chosen runtime and its encoder; neither changes a token."""

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from builders.jobs import MakeConfig, files_of

import fsq.runtimes.autoselect
import pipeline.planning.runtime_request
import pipeline.run
import pipeline.stages.shared_encoder
from fsq.runtimes.cache import RuntimeCache
from fsq.runtimes.openvino.model import OpenVinoModel
from fsq.runtimes.probe import ProbeResult
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.planning.plan import make_plan
from pipeline.planning.runtime_selection import cache_of, choice_from_cache, runtime_from_cache
from pipeline.run import tokenize

pytestmark = pytest.mark.slow

PROBE = ProbeResult(16_384, 1, 1e-6)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FSQ_CACHE", str(folder))
    return folder


@pytest.fixture
def make_config(make_config: MakeConfig) -> MakeConfig:
    return functools.partial(make_config, runtime="openvino")


def found(config: TokenizeConfig) -> object:
    """What a run finds of its encoder."""
    return runtime_from_cache(make_plan(config))


def entries(folder: Path) -> dict[str, Path]:
    return {path.name.partition("-")[0]: path for path in folder.iterdir()}


def test_a_cached_encoder_gives_the_same_dataset_without_tensorflow(
    folder: Path, make_config: MakeConfig, tmp_path: Path, root: Path
):
    first = make_config("first")
    tokenize(first)
    assert set(entries(folder)) == {"choice", "encoder"}
    second = make_config("second")
    path = tmp_path / "second.yaml"
    path.write_text(yaml.safe_dump(second.model_dump(mode="json", exclude_none=True)))
    code = """
import sys
from pipeline.cli import main
try:
    main()
finally:
    print([name for name in ("tensorflow", "keras") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "tokenize", str(path)],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    fingerprints = [
        json.loads(Path(c.output.directory, "manifest.json").read_text())["fingerprint"]
        for c in (first, second)
    ]
    assert {**fingerprints[0]["fields"], "name": ""} == {**fingerprints[1]["fields"], "name": ""}


def test_an_entry_of_another_encoder_is_not_taken(
    folder: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    tokenize(make_config("first"))
    assert found(make_config("second")) is not None
    assert found(make_config("second", batch_size=16)) is None
    assert found(make_config("second", precision="bfloat16")) is None
    assert found(make_config("second", runtime="tensorflow")) is None
    monkeypatch.setattr("pipeline.planning.runtime_selection.machine_kind", lambda: "another")
    assert found(make_config("second")) is None


@pytest.mark.parametrize("place", [40, -3000, -60])
def test_a_damaged_entry_is_made_again(
    folder: Path, make_config: MakeConfig, tmp_path: Path, place: int
):
    tokenize(make_config("first"))
    path = entries(folder)["encoder"]
    whole = path.read_bytes()
    data = bytearray(whole)
    data[place] ^= 0xFF
    path.write_bytes(data)
    tokenize(make_config("second"))
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    path.write_bytes(whole[: len(whole) // 2])
    entries(folder)["choice"].write_text('{"name": "opengl", "probe": {}}')
    tokenize(make_config("third"))
    assert files_of(tmp_path / "first") == files_of(tmp_path / "third")
    assert found(make_config("fourth")) is not None


def test_an_entry_under_another_s_name_is_not_taken(folder: Path, make_config: MakeConfig):
    tokenize(make_config("first"))
    theirs = entries(folder)["encoder"].read_bytes()
    for path in folder.iterdir():
        path.unlink()
    tokenize(make_config("second", batch_size=16))
    whole = {kind: path.read_bytes() for kind, path in entries(folder).items()}
    entries(folder)["encoder"].write_bytes(theirs)
    assert set(whole) == {"choice", "encoder"}
    assert found(make_config("third", batch_size=16)) is None
    entries(folder)["encoder"].write_bytes(whole["encoder"])
    assert found(make_config("third", batch_size=16)) is not None


@pytest.mark.parametrize(
    "content",
    [
        '"changed": 9',
        '"farthest": 1e400',
        '"farthest": "x"',
        '"farthest": NaN',
        '"total": "x"',
        "[" * 100_000,
    ],
)
def test_a_choice_that_was_edited_is_not_taken(folder: Path, make_config: MakeConfig, content: str):
    tokenize(make_config("first"))
    path = entries(folder)["choice"]
    text = path.read_text()
    name = content.partition(":")[0]
    edited = re.sub(f"{name}: [^,}}]+", content, text) if ":" in content else content
    assert edited != text
    path.write_text(edited)
    assert found(make_config("second")) is None


def test_what_is_no_file_is_not_read(folder: Path, make_config: MakeConfig):
    tokenize(make_config("first"))
    path = entries(folder)["encoder"]
    path.unlink()
    os.mkfifo(path)
    assert found(make_config("second")) is None
    path.unlink()
    path.symlink_to("/dev/zero")
    assert found(make_config("second")) is None


def test_a_cached_encoder_that_gives_other_tokens_is_not_taken(
    folder: Path, make_config: MakeConfig
):
    tokenize(make_config("first"))
    plan, encoder = runtime_from_cache(make_plan(make_config("second")))
    images = np.random.default_rng(0).integers(0, 256, (8, *plan.job.contract.image.shape))
    images = images.astype(np.uint8)
    tokens = encoder.encode_batch(images)
    model = encoder.runtime.model
    weights = np.frombuffer(model.weights, np.float32).copy()
    weights[: len(weights) // 2] *= 1.5
    other = SimpleNamespace(model=replace(model, weights=weights.tobytes()))
    cache = cache_of(plan.job)
    cache.store_encoder("openvino", "float32", encoder.runtime, images, tokens)
    assert found(make_config("second")) is not None
    cache.store_encoder("openvino", "float32", other, images, tokens)
    assert found(make_config("second")) is None


def test_a_cached_encoder_that_cannot_be_run_is_not_taken(folder: Path, make_config: MakeConfig):
    tokenize(make_config("first"))
    plan, encoder = runtime_from_cache(make_plan(make_config("second")))
    images = np.zeros((8, *plan.job.contract.image.shape), np.uint8)
    tokens = encoder.encode_batch(images)
    other = SimpleNamespace(model=replace(encoder.runtime.model, graph=b"<net/>"))
    cache_of(plan.job).store_encoder("openvino", "float32", other, images, tokens)
    assert found(make_config("second")) is None


def test_a_choice_is_cached_whatever_it_was(
    folder: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline.planning.runtime_request, "SMALL_JOB", 0)
    speeds = {"openvino": 1.0, "tensorflow": 10.0}
    monkeypatch.setattr(fsq.runtimes.autoselect, "measure", lambda runtimes, images: speeds)
    assert tokenize(make_config("first", runtime="auto")).runtime is None
    assert set(entries(folder)) == {"choice"}
    speeds["openvino"] = 100.0
    assert tokenize(make_config("second", runtime="auto")).runtime is None
    entries(folder)["choice"].unlink()
    summary = tokenize(make_config("third", runtime="auto"))
    assert summary.runtime is not None and summary.runtime.startswith("openvino")
    assert set(entries(folder)) == {"choice", "encoder"}


def test_nothing_is_cached_where_that_is_not_wanted_or_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer_directory: Path
):
    contract = Tokenizer.load(tokenizer_directory).contract
    model = OpenVinoModel(b"", b"", (1, 16, 16, 3), (4, 4), (3, 5, 4), "atanh", 1e-3)
    images, tokens = np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 4, 4), np.int32)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "file").touch()
    for place in ("off", str(tmp_path / "file")):
        monkeypatch.setenv("FSQ_CACHE", place)
        cache = RuntimeCache(contract, 1, "machine")
        cache.store_choice("auto", "float32", "xla", PROBE)
        cache.store_encoder("openvino", "float32", SimpleNamespace(model=model), images, tokens)
        assert cache.load_choice("auto", "float32") is None
        assert cache.load_encoder("openvino", "float32") is None
        assert not cache.has_encoder("openvino", "float32")
    assert not (tmp_path / "home").exists()
    # And where nothing is said, in the home folder.
    monkeypatch.delenv("FSQ_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    RuntimeCache(contract, 1, "machine").store_choice("auto", "float32", "xla", PROBE)
    cache = RuntimeCache(contract, 1, "machine")
    assert cache.load_choice("auto", "float32") == ("xla", PROBE)
    assert len(os.listdir(tmp_path / "home" / ".cache" / "fsq-tokenizer")) == 1


def test_a_worker_process_takes_the_cached_encoder(
    folder: Path, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokenize(make_config("first"))
    job = choice_from_cache(make_plan(make_config("second"))).job
    monkeypatch.setattr(pipeline.stages.shared_encoder, "_encoders", {})
    monkeypatch.setattr(Tokenizer, "from_bytes", None)
    encoder = pipeline.stages.shared_encoder.shared_encoder(job)
    assert encoder is pipeline.stages.shared_encoder.shared_encoder(job)
    assert encoder.batch_size == 8
    # As on another machine: nobody has shared an encoder with its threads.
    monkeypatch.setattr(pipeline.stages.shared_encoder, "_encoders", {})
    monkeypatch.setattr(pipeline.run, "share_encoder", lambda job, encoder: None)
    options = ["--runner=FnApiRunner", "--direct_running_mode=multi_threading"]
    tokenize(make_config("second"), beam_options=[*options, "--direct_num_workers=2"])
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
