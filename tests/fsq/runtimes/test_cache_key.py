"""What a cached encoder belongs to: if any one of these is another, the entry is not taken."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.paths import ROOT

from fsq.runtimes import cache as module
from fsq.runtimes.base import Precision, Serialization
from fsq.runtimes.cache import RuntimeCache
from fsq.runtimes.probe import ProbeResult
from fsq.runtimes.registry import RUNTIMES, packages
from fsq.spec.contract import TokenContract
from fsq.spec.serialization import parse_contract

CONTRACT = parse_contract((ROOT / "tokenizers/fashion_mnist/tokenizer.json").read_bytes(), "x")
CHOICE = ("onnxruntime", ProbeResult(16_384, 1, 1e-6))
IMAGES = np.zeros((8, *CONTRACT.image.shape), np.uint8)


class Constant:
    """A runtime that gives one token everywhere, so that every batch checks out."""

    batch_size = 8

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), *CONTRACT.grid), np.int32)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache; what 'openvino' and 'xla' have cached is `Constant`."""
    monkeypatch.setenv("FSQ_CACHE", str(tmp_path / "cache"))
    serialization = Serialization(lambda runtime: b"constant", lambda data, precision: Constant())
    for name in ("openvino", "xla"):
        kind = dataclasses.replace(RUNTIMES[name], serialization=serialization)
        monkeypatch.setitem(RUNTIMES, name, kind)


def cache_of(**changes: Any) -> RuntimeCache:
    return RuntimeCache(**{"contract": CONTRACT, "batch_size": 8, "machine": "a kind", **changes})


def store() -> None:
    tokens = Constant()(IMAGES)
    cache_of().store_choice("auto", "float32", *CHOICE)
    cache_of().store_encoder("openvino", "float32", Constant(), IMAGES, tokens)


def found(cache: RuntimeCache, precision: Precision = "float32") -> tuple[object, bool, bool]:
    """What the cache returns: the choice; whether it has, and whether it loads an encoder."""
    encoder = cache.load_encoder("openvino", precision)
    return (
        cache.load_choice("auto", precision),
        cache.has_encoder("openvino", precision),
        encoder is not None,
    )


ALL = (CHOICE, True, True)
NOTHING = (None, False, False)


def edited(**changes: Any) -> TokenContract:
    """The contract with other fields; the weights stay the same."""
    return parse_contract(json.dumps({**CONTRACT.model_dump(mode="json"), **changes}).encode(), "x")


def test_an_entry_is_taken_where_all_is_the_same():
    store()
    assert found(cache_of()) == ALL


@pytest.mark.parametrize(
    "changes",
    [
        {"contract": edited(weights_sha256="0" * 64)},
        {"contract": edited(preset="official")},
        {"contract": edited(eps=5e-4)},
        {"contract": edited(image={**CONTRACT.image.model_dump(), "pixel_range": (0, 1)})},
        {"batch_size": 16},
        {"machine": "another kind"},
    ],
    ids=["weights", "preset", "eps", "pixel range", "batch size", "machine"],
)
def test_an_entry_of_another_tokenizer_batch_size_or_machine_is_not_taken(changes: dict):
    store()
    assert found(cache_of(**changes)) == NOTHING


def test_an_entry_of_another_precision_or_runtime_is_not_taken():
    store()
    assert found(cache_of(), "bfloat16") == NOTHING
    assert cache_of().load_encoder("xla", "float32") is None
    assert cache_of().load_choice("openvino", "float32") is None


def more_cores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = module.count_cores()
    monkeypatch.setattr(module, "count_cores", lambda: cores + 1)


def other_version(package: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        info = folder / f"{package}-99.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99\n")
        monkeypatch.syspath_prepend(folder)

    return install


VERSIONED = ["tensorflow", "keras", "numpy", *packages()]


@pytest.mark.parametrize(
    "change",
    [more_cores, *map(other_version, VERSIONED)],
    ids=["cores", *VERSIONED],
)
def test_an_entry_of_another_number_of_cores_or_package_version_is_not_taken(
    change: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    assert {"onnxruntime", "openvino"} <= set(VERSIONED)
    store()
    with monkeypatch.context() as patch:
        change(tmp_path, patch)
        assert found(cache_of()) == NOTHING
    assert found(cache_of()) == ALL


def test_an_entry_of_other_code_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = tmp_path / "fsq"
    shutil.copytree(ROOT / "fsq", code, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "__file__", str(code / "runtimes" / "cache.py"))
    # Without the memory of this process, as a new one begins.
    monkeypatch.setattr(module, "_code_sha256", module._code_sha256.__wrapped__)
    store()
    assert found(cache_of()) == ALL
    files = sorted(code.rglob("*.py"))
    assert len(files) > 100
    for path in [*files[::10], code / "models" / "networks.py"]:
        before = path.read_bytes()
        path.write_bytes(before + b"# edited\n")
        assert found(cache_of()) == NOTHING, path
        path.write_bytes(before)
    assert found(cache_of()) == ALL
