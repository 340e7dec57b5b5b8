"""What was found out about an encoder on this machine, kept for the next run.

Which runtime was chosen, and the encoder as OpenVINO has it: with both a job
starts without TensorFlow, some seconds sooner. An entry belongs to one encoder,
batch size, machine and software; whatever of these changes, it is made anew.
A kept encoder must give the tokens it gave when it was kept, or it is not used.

The folder is $FSQ_CACHE, or fsq-tokenizer in $XDG_CACHE_HOME or ~/.cache;
FSQ_CACHE=off keeps nothing. Removing it costs nothing but time.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fsq.runtimes import NEEDS, RUNTIMES, Runtime, RuntimeName
from fsq.runtimes.openvino_model import OpenVinoModel
from fsq.runtimes.probe import ProbeResult
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem

OFF = "off"
# Their versions decide what an encoder computes.
PACKAGES = ("tensorflow", "keras", "numpy", *sorted({package for package, _ in NEEDS.values()}))
_ABOUT, _GRAPH, _WEIGHTS, _CHECK = "about.json", "encoder.xml", "encoder.bin", "check.npz"
# What reading an entry that is damaged may raise.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile)


class Cache:
    """Keeps what belongs to one encoder at one batch size.

    What cannot be read or written is passed over: it costs time, nothing else.

    Args:
      contract: Of its tokens, with the sha256 of its weights.
      batch_size: Images per call.
      machine: Kind of the machine, as far as last decimals and speed depend on it.
    """

    def __init__(self, contract: TokenContract, batch_size: int, machine: str):
        self._facts = {
            "contract": contract.meaning_sha256,
            "weights": contract.weights_sha256,
            "batch_size": batch_size,
            "machine": machine,
            "cores": len(os.sched_getaffinity(0)),
            "versions": {name: _version(name) for name in PACKAGES},
            "code": _code_sha256(),
        }

    def choice(self, asked: str, precision: str) -> tuple[RuntimeName, ProbeResult] | None:
        """Returns the runtime that was chosen, and how its tokens agreed with the reference's.

        Args:
          asked: What was asked for: a name, or 'auto'.
          precision: Of the encoder.
        """
        with contextlib.suppress(*_DAMAGES):
            content = json.loads(self._read("choice", asked, precision))
            found = {"name": content["name"], "probe": content["probe"]}
            if content["seal"] == self._seal(found) and found["name"] in RUNTIMES:
                return content["name"], ProbeResult(**content["probe"])
        return None

    def keep_choice(
        self, asked: str, precision: str, name: RuntimeName, probe: ProbeResult
    ) -> None:
        """Keeps what `choice` returns."""
        content = {"name": name, "probe": dataclasses.asdict(probe)}
        sealed = {**content, "seal": self._seal(content)}
        self._write("choice", asked, precision, json.dumps(sealed).encode())

    def encoder(self, precision: str) -> Runtime | None:
        """Returns the kept encoder, ready to run, if it gives the tokens that it gave."""
        try:
            data = self._read("encoder", "openvino", precision)
            model, images, tokens, seal = _unpack(data)
        except _DAMAGES:
            return None
        if seal != self._seal(precision):
            return None  # another tokenizer's, under this one's name
        from fsq.runtimes.factory import run_openvino

        try:
            runtime = run_openvino(model, precision)  # type: ignore[arg-type]
        except RuntimeError:  # OpenVINO's own, for a graph that it cannot read
            return None
        return runtime if np.array_equal(runtime(images), tokens) else None

    def has_encoder(self, precision: str) -> bool:
        """Says whether there is one, before OpenVINO is loaded."""
        with contextlib.suppress(OSError):
            return self._path("encoder", "openvino", precision).is_file()
        return False

    def keep_encoder(
        self, precision: str, model: OpenVinoModel, images: np.ndarray, tokens: np.ndarray
    ) -> None:
        """Keeps an encoder.

        Args:
          precision: It is run in.
          model: The encoder.
          images: One batch, to try it with.
          tokens: Those it gives.
        """
        self._write(
            "encoder", "openvino", precision, _pack(model, images, tokens, self._seal(precision))
        )

    def _seal(self, content: Any) -> str:
        """Hashes what an entry says together with what it belongs to."""
        return hashlib.sha256(
            json.dumps([self._facts, content], sort_keys=True).encode()
        ).hexdigest()

    def _read(self, kind: str, asked: str, precision: str) -> bytes:
        """Reads an entry.

        Raises:
          OSError: There is none, or something that is no file.
        """
        path = self._path(kind, asked, precision)
        if not path.is_file():
            raise FileNotFoundError(str(path))
        return path.read_bytes()

    def _path(self, kind: str, asked: str, precision: str) -> Path:
        """Names an entry.

        Raises:
          FileNotFoundError: Nothing is kept.
        """
        if (folder := _folder()) is None:
            raise FileNotFoundError(OFF)
        facts = {**self._facts, "asked": asked, "precision": precision}
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return folder / f"{kind}-{name[:32]}"

    def _write(self, kind: str, asked: str, precision: str, data: bytes) -> None:
        """Writes under another name first: several jobs may do so at a time."""
        with contextlib.suppress(OSError):
            path = self._path(kind, asked, precision)
            path.parent.mkdir(parents=True, exist_ok=True)
            filesystem.write(str(path), data)


def _folder() -> Path | None:
    wanted = os.environ.get("FSQ_CACHE", "")
    if wanted == OFF:
        return None
    if wanted:
        return Path(wanted)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "fsq-tokenizer")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _code_sha256() -> str:
    """Of this package: who changes a network without a new version must not get the old one."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _pack(model: OpenVinoModel, images: np.ndarray, tokens: np.ndarray, seal: str) -> bytes:
    about = {**dataclasses.asdict(model), "seal": seal}
    check, packed = io.BytesIO(), io.BytesIO()
    np.savez(check, images=images, tokens=tokens)
    # A zip file bears checksums.
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(_GRAPH, about.pop("graph"))
        file.writestr(_WEIGHTS, about.pop("weights"))
        file.writestr(_CHECK, check.getvalue())
        file.writestr(_ABOUT, json.dumps(about))
    return packed.getvalue()


def _unpack(data: bytes) -> tuple[OpenVinoModel, np.ndarray, np.ndarray, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        about: dict[str, Any] = json.loads(file.read(_ABOUT))
        with np.load(io.BytesIO(file.read(_CHECK)), allow_pickle=False) as check:
            images, tokens = check["images"], check["tokens"]
        model = OpenVinoModel(
            graph=file.read(_GRAPH),
            weights=file.read(_WEIGHTS),
            images_shape=tuple(about["images_shape"]),
            grid=tuple(about["grid"]),
            levels=tuple(about["levels"]),
            preset=about["preset"],
            eps=about["eps"],
        )
    if images.shape != model.images_shape:
        raise ValueError("expected one batch to try the encoder with, got something else")
    return model, images, tokens, about["seal"]
