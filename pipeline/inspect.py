"""A dataset or a tokenizer in a few lines."""

import json
from typing import Any

from fsq.contract import CONTRACT_FILE, TokenContract
from fsq.errors import RequestError
from fsq.tokenizer import parse_contract
from pipeline import storage
from pipeline.manifest import MANIFEST_FILE, STATS_FILE, read_manifest


def inspect_directory(directory: str) -> list[tuple[str, str]]:
    """Describes a directory as (name, value) pairs.

    Raises:
      RequestError: It is neither a finished dataset nor a tokenizer.
      DataError: Its files cannot be read.
    """
    path = storage.join(directory, CONTRACT_FILE)
    if not storage.exists(path):
        raise RequestError(
            f"{directory}: expected a dataset or a tokenizer, found no {CONTRACT_FILE}."
        )
    contract = parse_contract(storage.read(path), path)
    if not storage.exists(storage.join(directory, MANIFEST_FILE)):
        return [("tokenizer", directory), *describe_contract(contract)]
    manifest = read_manifest(directory)
    stats: dict[str, Any] = json.loads(storage.read(storage.join(directory, STATS_FILE)))
    usage = stats["usage"]
    return [
        ("dataset", f"{manifest['name']}, split {manifest['split']}, in {directory}"),
        (
            "images",
            f"{manifest['images_read']:,} read, {manifest['images_rejected']:,} rejected, "
            f"views: {', '.join(manifest['views'])}",
        ),
        ("records", f"{manifest['records']:,} in {len(manifest['shards'])} shards"),
        *describe_contract(contract),
        ("stored as", str(contract.dtype)),
        (
            "codes used",
            f"{usage['used']:,} of {contract.vocab_size:,} ({usage['usage']:.1%}), "
            f"perplexity {usage['perplexity']:.1f}",
        ),
        ("fingerprint", manifest["fingerprint"]["sha256"][:16]),
    ]


def describe_contract(contract: TokenContract) -> list[tuple[str, str]]:
    """Describes what the tokens mean."""
    image = contract.image
    return [
        (
            "images in",
            f"{image.size_pixels} x {image.size_pixels} x {image.channels}, centre crop, "
            f"{image.resize}",
        ),
        ("levels", f"{list(contract.levels)}, preset {contract.preset}, eps {contract.eps:g}"),
        ("tokens", f"{contract.grid[0]} x {contract.grid[1]}, each in [0, {contract.vocab_size})"),
        ("weights", f"sha256 {contract.weights_sha256[:16]}"),
    ]
