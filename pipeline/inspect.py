"""A dataset or a tokenizer in a few lines."""

import json
from typing import Any

from fsq.architecture import AdoptedNetwork
from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.errors import DataError, RequestError
from fsq.saved import check_weights, parse_contract
from fsq.tokenizer import Tokenizer
from pipeline import storage
from pipeline.manifest import (
    STATS_FILE,
    files_of_shard,
    has_manifest,
    read_listed,
    read_manifest,
)
from pipeline.runtime import show_runtime

REFERENCE_BATCH_SIZE = 32  # as small as a batch of large images has to be


def inspect_directory(directory: str) -> list[tuple[str, str]]:
    """Describes a directory as (name, value) pairs.

    Raises:
      RequestError: It is neither a finished dataset nor a tokenizer.
      DataError: Its files cannot be read, or an adopted tokenizer gives other
        tokens than it should.
    """
    path = storage.join(directory, CONTRACT_FILE)
    if not storage.exists(path):
        raise RequestError(
            f"{directory}: expected a dataset or a tokenizer, found no {CONTRACT_FILE}."
        )
    contract = parse_contract(storage.read(path), path)
    if not has_manifest(directory):
        return [
            ("tokenizer", directory),
            *describe_contract(contract),
            *check_tokenizer(directory, contract),
        ]
    manifest = read_manifest(directory)
    stats: dict[str, Any] = json.loads(read_listed(directory, manifest, STATS_FILE))
    usage = stats["usage"]
    both = any(len(files_of_shard(shard)) > 1 for shard in manifest["shards"])
    twice = ", as TFRecord and as ArrayRecord" if both else ""
    return [
        ("dataset", f"{manifest['name']}, split {manifest['split']}, in {directory}"),
        (
            "images",
            f"{manifest['images_listed']:,} listed, {manifest['images_rejected']:,} rejected, "
            f"views: {', '.join(manifest['views'])}",
        ),
        ("records", f"{manifest['records']:,} in {len(manifest['shards'])} shards{twice}"),
        *describe_contract(contract),
        ("stored as", str(contract.dtype)),
        (
            "codes used",
            f"{usage['used']:,} of {contract.vocab_size:,} ({usage['usage']:.1%}), "
            f"perplexity {usage['perplexity']:.1f}",
        ),
        ("runtime", show_runtime(manifest["fingerprint"]["fields"].get("runtime"))),
        ("fingerprint", manifest["fingerprint"]["sha256"][:16]),
        *check_tokenizer(directory, contract),
    ]


def check_tokenizer(directory: str, contract: TokenContract) -> list[tuple[str, str]]:
    """Checks the weights, and encodes the reference batch again if there is one.

    Raises:
      RequestError: The tokenizer cannot be loaded.
      DataError: Too few tokens are the same.
    """
    contract_path, weights_path = (
        storage.join(directory, name) for name in (CONTRACT_FILE, WEIGHTS_FILE)
    )
    if not storage.exists(weights_path):
        raise RequestError(f"{directory}: expected {WEIGHTS_FILE}, found none. Copy it anew.")
    contract_data, weights_data = storage.read(contract_path), storage.read(weights_path)
    check_weights(weights_data, contract, weights_path)
    if not contract.adopted:
        return []
    tokenizer = Tokenizer.from_bytes(
        contract_data, weights_data, where=directory, batch_size=REFERENCE_BATCH_SIZE
    )
    agreement = tokenizer.check_reference()
    assert agreement is not None
    if not agreement.is_good:
        raise DataError(
            f"{directory}: expected at least 99.9 % of the tokens of its reference batch, "
            f"got {agreement.percent} ({agreement.same:,} of {agreement.total:,}). "
            "Use the versions of its card, or import it again on this machine."
        )
    return [("reference", str(agreement))]


def describe_contract(contract: TokenContract) -> list[tuple[str, str]]:
    """Describes what the tokens mean."""
    image, network = contract.image, contract.network
    adopted = []
    if isinstance(network, AdoptedNetwork):
        decoder = "with" if network.decoder else "without"
        adopted.append(("adopted", f"as {network.kind}, {decoder} a decoder"))
    return [
        *adopted,
        (
            "images in",
            f"{image.size_pixels} x {image.size_pixels} x {image.channels}, centre crop, "
            f"{image.resize}",
        ),
        ("levels", f"{list(contract.levels)}, preset {contract.preset}, eps {contract.eps:g}"),
        ("tokens", f"{contract.grid[0]} x {contract.grid[1]}, each in [0, {contract.vocab_size})"),
        ("weights", f"sha256 {contract.weights_sha256[:16]}"),
    ]
