"""Weights of a tokenizer, changed and saved again with every digest right."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.spec.serialization import CONTRACT_SHA256, parse_contract


def forge_tokenizer(
    directory: Path, weights: dict[str, np.ndarray] | None = None, **changes: Any
) -> None:
    """Changes a tokenizer's contract and weights; only what they mean can tell.

    Args:
      directory: The tokenizer.
      weights: Instead of those that it has.
      changes: Of the contract's fields.
    """
    path = directory / WEIGHTS_FILE
    arrays = safetensors.numpy.load(path.read_bytes()) if weights is None else weights
    content = {**json.loads((directory / CONTRACT_FILE).read_text()), **changes}
    contract = parse_contract(json.dumps(content).encode(), CONTRACT_FILE)
    data = safetensors.numpy.save(arrays, {CONTRACT_SHA256: contract.meaning_sha256})
    path.write_bytes(data)
    content["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (directory / CONTRACT_FILE).write_text(json.dumps(content))
