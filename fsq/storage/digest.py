"""Digests: sha256 of files and of JSON."""

import hashlib
import json
from typing import Any

from fsq.storage import filesystem


def sign(content: dict[str, Any]) -> dict[str, Any]:
    """Adds the sha256 of all the rest, so that an edited manifest shows."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return {**rest, "sha256": digest}


def sha256_of(path: str) -> str:
    """Hashes a file without holding it in memory."""
    digest = hashlib.sha256()
    with filesystem.open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
