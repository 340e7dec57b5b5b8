"""The fingerprint of a job: all that decides the bytes of its dataset."""

import hashlib
import json
from typing import Any

# Their versions decide pixels, latents or bytes.
PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "simplejpeg",
    "protobuf",
)


def fingerprint_of(fields: dict[str, Any]) -> str:
    """sha256 of all that decides the bytes of a dataset."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
