"""Serialization of a tokenizer: reads, checks and packs its contract and weights.

Imports neither TensorFlow nor Keras.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from fsq.errors import RequestError
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, TokenContract
from fsq.storage import filesystem
from fsq.storage.path_expansion import looked_in
from fsq.validation import parse

# Key in the metadata of the weights file.
CONTRACT_SHA256 = "contract_sha256"


def parse_contract(data: bytes, where: str) -> TokenContract:
    """Parses the bytes of a tokenizer.json.

    Raises:
      RequestError: They are not a valid contract.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where}: expected JSON, got: {error}.") from error
    return parse(TokenContract, content, where)


def load_codes(directory: str | os.PathLike[str]) -> np.ndarray:
    """Returns the code of every token, as `FSQ.indices_to_codes` does.

    Reads only tokenizer.json, of a tokenizer or of a finished dataset, for example to
    initialize a prior's embedding; imports neither TensorFlow nor Keras.

    Returns:
      float32 [vocab_size, channels]; row t is the code of token t.

    Raises:
      RequestError: There is no valid contract, or its vocabulary is larger than 2**24.
    """
    folder = folder_of(directory)
    where = filesystem.join(folder, CONTRACT_FILE)
    contract = parse_contract(read_file(folder, CONTRACT_FILE), where)
    try:
        return lattice.codebook(contract.levels, symmetric=contract.preset == "symmetric")
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from error


def check_weights(data: bytes, contract: TokenContract, where: str) -> None:
    """Checks the weights against the contract's sha256, and the contract against theirs.

    Raises:
      RequestError: They do not belong together.
    """
    if (found := hashlib.sha256(data).hexdigest()) != contract.weights_sha256:
        raise RequestError(
            f"{where}: expected weights with sha256 {contract.weights_sha256[:12]}, "
            f"got {found[:12]}. Copy both files of the tokenizer again."
        )
    digest = read_metadata(data).get(CONTRACT_SHA256)
    if digest is None:
        raise RequestError(
            f"{where}: expected safetensors, got: no sha256 of their contract. "
            "Train or import the tokenizer again."
        )
    if digest != contract.meaning_sha256:
        raise RequestError(
            f"{where}: expected the contract that the weights were saved with, got another: "
            f"{CONTRACT_FILE} was edited. Copy both files of the tokenizer again."
        )


def folder_of(directory: str | os.PathLike[str]) -> str:
    """Returns a tokenizer's directory as text; a local one without needless slashes and dots."""
    text = os.fspath(directory)
    return str(Path(text)) if filesystem.is_local(text) else text


def read_file(folder: str, name: str) -> bytes:
    """Reads a file of a tokenizer directory, on a disk, in a store or on the hub.

    Raises:
      RequestError: It is missing, or cannot be read.
    """
    try:
        return filesystem.read(filesystem.join(folder, name))
    except OSError as error:
        # A store has more reasons than a disk, where most often nothing is there.
        reason = "" if filesystem.is_local(folder) else f": {error.strerror}"
        raise RequestError(
            f"{folder}: expected a tokenizer, found no {name} that can be read"
            f"{looked_in(folder)}{reason}. "
            "Train one with 'fsq train', or give another directory."
        ) from error


def pack_weights(autoencoder: Any) -> bytes:
    """Packs all weights as safetensors, with the sha256 of their contract as metadata."""
    contract = TokenContract.of(autoencoder.spec, weights_sha256="")
    metadata = {CONTRACT_SHA256: contract.meaning_sha256}
    packed: bytes = safetensors.numpy.save(autoencoder.weights(), metadata)
    return packed


def read_metadata(data: bytes) -> dict[str, str]:
    """Reads the metadata in the JSON header of safetensors bytes.

    Returns:
      The metadata; empty if it cannot be read.
    """
    size = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
