"""On-disk cache of encoders: the choice of a runtime, and the serialized encoder.

They let a job start some seconds sooner, without TensorFlow. An entry belongs to
one tokenizer, batch size, machine and set of versions; if one of these changes, a
new entry is made. A cached encoder is used only if it gives the tokens that it
gave when it was stored.

The folder is $FSQ_CACHE, or fsq-tokenizer in $XDG_CACHE_HOME or ~/.cache;
FSQ_CACHE=off turns the cache off. The folder can be removed at any time.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsq.cores import count_cores
from fsq.runtimes.base import Precision, Runtime
from fsq.runtimes.probe import ProbeResult
from fsq.runtimes.registry import RUNTIMES, RuntimeName, packages
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import sha256_of_json

OFF = "off"
_Entry = Literal["choice", "encoder"]


class RuntimeCache:
    """The cache entries of one tokenizer at one batch size.

    An entry that cannot be read counts as missing, and one that cannot be written is
    skipped: this costs only time.

    Args:
      contract: The token contract, with the sha256 of the weights.
      batch_size: Images per call.
      machine: The kind of machine, as far as rounding errors and speed depend on it.
    """

    def __init__(self, contract: TokenContract, batch_size: int, machine: str):
        versions = ("tensorflow", "keras", "numpy", *packages())
        self._facts = {
            "contract": contract.meaning_sha256,
            "weights": contract.weights_sha256,
            "batch_size": batch_size,
            "machine": machine,
            "cores": count_cores(),
            "versions": {name: _version(name) for name in versions},
            "code": _code_sha256(),
        }

    def load_choice(
        self, asked: str, precision: Precision
    ) -> tuple[RuntimeName, ProbeResult] | None:
        """Returns the chosen runtime and the agreement of its tokens with the reference's.

        Args:
          asked: Runtime in the config; a name, or 'auto'.
          precision: Precision of the encoder.
        """
        try:
            content = json.loads(self._read("choice", asked, precision))
        except (OSError, ValueError):
            return None
        return content["name"], ProbeResult(**content["probe"])

    def store_choice(
        self, asked: str, precision: Precision, name: RuntimeName, probe: ProbeResult
    ) -> None:
        """Stores what `load_choice` returns."""
        content = {"name": name, "probe": dataclasses.asdict(probe)}
        self._write("choice", asked, precision, json.dumps(content).encode())

    def has_encoder(self, name: RuntimeName, precision: Precision) -> bool:
        """Returns whether there is an entry that `load_encoder` would try."""
        with contextlib.suppress(OSError):
            return self._path("encoder", name, precision).is_file()
        return False

    def load_encoder(self, name: RuntimeName, precision: Precision) -> Runtime | None:
        """Returns the cached encoder, if it still gives the tokens that were stored with it."""
        if (serialization := RUNTIMES[name].serialization) is None:
            return None
        try:
            data, images, tokens = _unpack(self._read("encoder", name, precision))
            runtime = serialization.from_bytes(data, precision)
        except (OSError, ValueError):
            return None
        return runtime if np.array_equal(runtime(images), tokens) else None

    def store_encoder(
        self,
        name: RuntimeName,
        precision: Precision,
        runtime: Runtime,
        images: np.ndarray,
        tokens: np.ndarray,
    ) -> None:
        """Stores an encoder.

        Args:
          name: Name of the runtime; its kind must have a serialization.
          precision: Precision of the encoder.
          runtime: The encoder.
          images: One batch to check it with, uint8 [batch_size, H, W, C].
          tokens: Tokens of the batch.
        """
        serialization = RUNTIMES[name].serialization
        assert serialization is not None, name
        content = _pack(serialization.to_bytes(runtime), images, tokens)
        self._write("encoder", name, precision, content)

    def _read(self, entry: _Entry, asked: str, precision: Precision) -> bytes:
        """Reads the content of an entry.

        Raises:
          OSError: There is none, or it is not a file.
          ValueError: It is damaged, or belongs to another tokenizer.
        """
        path = self._path(entry, asked, precision)
        if not path.is_file():
            raise FileNotFoundError(str(path))
        digest, _, content = path.read_bytes().partition(b"\n")
        if digest != self._digest(entry, asked, precision, content):
            raise ValueError(f"{path}: expected an entry of this tokenizer, found other bytes")
        return content

    def _write(self, entry: _Entry, asked: str, precision: Precision, content: bytes) -> None:
        """Writes an entry atomically; several jobs may do so at a time."""
        with contextlib.suppress(OSError):
            path = self._path(entry, asked, precision)
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = self._digest(entry, asked, precision, content)
            filesystem.write(str(path), digest + b"\n" + content)

    def _path(self, entry: _Entry, asked: str, precision: Precision) -> Path:
        """Returns the path of an entry.

        Raises:
          FileNotFoundError: The cache is off.
        """
        if (folder := _folder()) is None:
            raise FileNotFoundError(OFF)
        return folder / f"{entry}-{sha256_of_json(self._key(entry, asked, precision))[:32]}"

    def _digest(self, entry: _Entry, asked: str, precision: Precision, content: bytes) -> bytes:
        """Hashes the content of an entry together with its key."""
        key = self._key(entry, asked, precision)
        return sha256_of_json({**key, "content": hashlib.sha256(content).hexdigest()}).encode()

    def _key(self, entry: _Entry, asked: str, precision: Precision) -> dict[str, Any]:
        return {**self._facts, "entry": entry, "asked": asked, "precision": precision}


def _folder() -> Path | None:
    wanted = os.environ.get("FSQ_CACHE", "")
    if wanted == OFF:
        return None
    if wanted:
        return Path(os.path.expanduser(wanted))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "fsq-tokenizer")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _code_sha256() -> str:
    """Hashes the code of `fsq`, so that an edited network does not get an old encoder."""
    files = sorted(Path(__file__).parent.parent.rglob("*.py"))
    return sha256_of_json({"files": [sha256_of_file(str(path)) for path in files]})


def _pack(runtime: bytes, images: np.ndarray, tokens: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, runtime=np.frombuffer(runtime, np.uint8), images=images, tokens=tokens)
    return packed.getvalue()


def _unpack(data: bytes) -> tuple[bytes, np.ndarray, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return arrays["runtime"].tobytes(), arrays["images"], arrays["tokens"]
