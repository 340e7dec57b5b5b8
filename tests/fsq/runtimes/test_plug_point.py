"""The plug point of runtimes: a new one needs its own file and a line in the registry, no more."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from builders.jobs import MakeConfig

import fsq.runtimes.autoselect
from fsq.errors import RequestError
from fsq.runtimes.autoselect import candidates
from fsq.runtimes.base import NetworkKind, Precision, RuntimeKind, Serialization
from fsq.runtimes.cache import RuntimeCache
from fsq.runtimes.registry import RUNTIMES, RuntimeName, packages
from fsq.spec.network_spec import ConvNetwork, ImportedNetwork, ResidualNetwork
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize


class Brightness:
    """A runtime of the test's own: a token is the brightness of its patch."""

    def __init__(self, batch_size: int, grid: list[int], vocab_size: int):
        self.batch_size = batch_size
        self.grid = grid
        self.vocab_size = vocab_size

    def __call__(self, images: np.ndarray) -> np.ndarray:
        (rows, columns), (count, height, width, _) = self.grid, images.shape
        assert count == self.batch_size
        patches = images.reshape(count, rows, height // rows, columns, width // columns, -1)
        return (patches.mean(axis=(2, 4, 5)) * self.vocab_size / 256).astype(np.int32)


def make_brightness(autoencoder: Any, batch_size: int, precision: Precision) -> Brightness:
    spec = autoencoder.spec
    return Brightness(batch_size, list(spec.grid), int(np.prod(spec.levels)))


def to_bytes(runtime: Brightness) -> bytes:
    return json.dumps(vars(runtime)).encode()


def from_bytes(data: bytes, precision: Precision) -> Brightness:
    return Brightness(**json.loads(data))


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Registers the runtime, by one line; the cache is empty."""
    kind = RuntimeKind(
        make=make_brightness,
        networks=frozenset({"conv"}),
        auto_rank=-1,
        serialization=Serialization(to_bytes, from_bytes),
    )
    monkeypatch.setitem(RUNTIMES, "brightness", kind)
    monkeypatch.setenv("FSQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)


def test_a_registered_runtime_encodes_and_is_cached(
    brightness: None, images: np.ndarray, tokenizer_directory: Path
):
    tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
    tokenizer.use_runtime("brightness")
    tokens = tokenizer.encode(images)
    patches = images.reshape(20, 4, 4, 4, 4, 3).mean(axis=(2, 4, 5))
    assert (tokens == patches * tokenizer.contract.vocab_size // 256).all()
    assert tokenizer.encoder.batch_size == 8
    cache = RuntimeCache(tokenizer.contract, 8, "machine")
    assert not cache.has_encoder("brightness", "float32")
    assert cache.load_encoder("brightness", "float32") is None
    tokenizer.cache_encoder(cache)
    assert cache.has_encoder("brightness", "float32")
    loaded = RuntimeCache(tokenizer.contract, 8, "machine").load_encoder("brightness", "float32")
    assert isinstance(loaded, Brightness)
    assert (loaded(images[:8]) == tokens[:8]).all()
    assert (
        RuntimeCache(tokenizer.contract, 16, "machine").load_encoder("brightness", "float32")
        is None
    )


def test_damage_anywhere_in_a_cached_encoder_is_noticed(
    brightness: None, tokenizer_directory: Path, tmp_path: Path
):
    contract = Tokenizer.load(tokenizer_directory).contract
    runtime = Brightness(1, [4, 4], contract.vocab_size)
    images = np.zeros((1, 16, 16, 3), np.uint8)
    cache = RuntimeCache(contract, 1, "machine")
    cache.store_encoder("brightness", "float32", runtime, images, runtime(images))
    assert cache.load_encoder("brightness", "float32") is not None
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert cache.load_encoder("brightness", "float32") is None, place
    for size in range(0, len(whole), 50):
        path.write_bytes(whole[:size])
        assert cache.load_encoder("brightness", "float32") is None, size


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_registered_runtime_runs_a_job_and_the_next_one_from_the_cache(
    brightness: None, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def config_of(name: str) -> TokenizeConfig:
        # Not checked: only a name in the source can be a name in the config.
        return make_config(name, output={"num_shards": 1}).model_copy(
            update={"runtime": "brightness"}
        )

    summary = tokenize(config_of("first"))
    assert summary.runtime is not None and summary.runtime.startswith("brightness; ")
    monkeypatch.setattr(Tokenizer, "from_bytes", None)  # nothing is loaded but the cache
    assert tokenize(config_of("second")).runtime == summary.runtime
    shards = [
        (tmp_path / name / "pets-train.tfrecord-00000-of-00001").read_bytes()
        for name in ("first", "second")
    ]
    assert shards[0] == shards[1]


def test_a_registered_runtime_is_a_candidate_and_is_refused_for_other_tokens(
    brightness: None, tokenizer_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    assert candidates("conv") == ("brightness", "tensorflow")
    assert candidates("residual") == ("openvino", "tensorflow")
    speeds = {"brightness": 1000.0, "tensorflow": 1.0}
    monkeypatch.setattr(fsq.runtimes.autoselect, "measure", lambda runtimes, images: speeds)
    tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
    assert tokenizer.choose_runtime()[0] == "tensorflow"


def test_an_unknown_runtime_is_refused_with_the_names_of_the_others(tokenizer_directory: Path):
    tokenizer = Tokenizer.load(tokenizer_directory)
    with pytest.raises(RequestError, match=r"expected tensorflow, xla or openvino .* got opengl"):
        tokenizer.use_runtime("opengl")


def test_every_name_is_registered_and_every_network_has_one_reference():
    assert get_args(RuntimeName) == tuple(RUNTIMES)
    networks = [
        name
        for model in (ConvNetwork, ResidualNetwork, ImportedNetwork)
        for name in get_args(model.model_fields["kind"].annotation)
    ]
    assert sorted(networks) == sorted(get_args(NetworkKind))
    for network in networks:
        references = [k for k in RUNTIMES.values() if k.reference and network in k.networks]
        assert len(references) == 1, network
        assert "float32" in references[0].precisions
    ranks = [kind.auto_rank for kind in RUNTIMES.values() if kind.auto_rank is not None]
    assert len(set(ranks)) == len(ranks)


def test_the_registry_loads_no_runtime():
    code = "import json, sys, fsq.runtimes.registry; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", *packages()} & set(json.loads(done.stdout))


def test_a_runtime_is_named_in_its_own_files_and_the_registry_alone(root: Path):
    folder = root / "fsq" / "runtimes"
    own = {folder / "registry.py", *(folder / "openvino").iterdir()}
    naming = [
        path
        for package in ("fsq", "pipeline")
        for path in (root / package).rglob("*.py")
        if "openvino" in path.read_text().lower() and path not in own
    ]
    assert naming == []
