"""JSON documents with a digest: canonical sha256, rendering, first difference of two."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST = "sha256"


def sha256_of_json(content: Any) -> str:
    """Hashes JSON data in canonical form: sorted keys, default separators."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the sha256 of all other fields as 'sha256', so that an edit is detected."""
    rest = {name: value for name, value in content.items() if name != DIGEST}
    return {**rest, DIGEST: sha256_of_json(rest)}


def render(content: Mapping[str, Any]) -> bytes:
    """Renders a document with its digest; the same content gives the same bytes."""
    return (json.dumps(with_digest(content), indent=2) + "\n").encode()


def has_its_digest(content: Any) -> bool:
    """Returns whether the digest in a document is that of its other fields."""
    return isinstance(content, dict) and content.get(DIGEST) == with_digest(content)[DIGEST]


def first_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Names the first value in which two nested mappings differ.

    Returns:
      '<path> was <before>, is <after>', digests shortened; None if they are equal.

    >>> first_difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'a b was 1, is 2'
    """
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            return f"{name} {first_difference(old, new)}"
        return f"{name} was {_shorten(old)}, is {_shorten(new)}"
    return None


def _shorten(value: Any) -> str:
    if value is None:
        return "absent"
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
