"""Inspection: describes a dataset or a tokenizer in a few lines."""

import json
from typing import Any

from fsq.dataset.formats import show_formats
from fsq.dataset.manifest import STATS_FILE, has_manifest, read_listed, read_manifest, show_splits
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE
from fsq.spec.serialization import parse_contract
from fsq.storage import filesystem
from fsq.storage.path_expansion import looked_in
from pipeline.core.left_out import describe_left_out
from pipeline.planning.runtime_request import show_runtime
from pipeline.tokenizers.describe import check_tokenizer, describe_contract


def inspect_directory(directory: str) -> list[tuple[str, str]]:
    """Describes a directory as (name, value) pairs.

    Raises:
      RequestError: It is neither a finished dataset nor a tokenizer.
      DataError: Its files cannot be read, or an imported tokenizer does not give
        the tokens of its reference batch.
    """
    path = filesystem.join(directory, CONTRACT_FILE)
    if not filesystem.exists(path):
        raise RequestError(
            f"{directory}: expected a dataset or a tokenizer, found no {CONTRACT_FILE}"
            f"{looked_in(directory)}. Check the path."
        )
    contract = parse_contract(filesystem.read(path), path)
    if not has_manifest(directory):
        return [
            ("tokenizer", directory),
            *describe_contract(contract),
            *check_tokenizer(directory, contract),
        ]
    manifest = read_manifest(directory)
    stats: dict[str, Any] = json.loads(read_listed(directory, manifest, STATS_FILE))
    usage = stats["usage"]
    empty = manifest.fingerprint.fields.input.describe_empty()
    formats = f", {show_formats(manifest.formats)}" if len(manifest.formats) > 1 else ""
    left_out = describe_left_out(manifest.left_out)
    return [
        ("dataset", f"{manifest.name}, in {directory}"),
        ("splits", show_splits(manifest.splits)),
        (
            "images",
            f"{manifest.images_listed:,} listed, {manifest.images_rejected:,} rejected, "
            f"views: {', '.join(manifest.views)}",
        ),
        *([("empty", empty)] if empty else []),
        *(("classes", line) for line in manifest.fingerprint.fields.input.describe_classes()),
        *([("left out", left_out)] if left_out else []),
        ("records", f"{manifest.records:,} in {len(manifest.shards)} shards{formats}"),
        *describe_contract(contract),
        *_describe_grids(stats),
        ("stored as", str(contract.dtype)),
        (
            "codes used",
            f"{usage['used']:,} of {contract.vocab_size:,} ({usage['usage']:.1%}), "
            f"perplexity {usage['perplexity']:.1f}",
        ),
        ("runtime", show_runtime(manifest.fingerprint.fields.runtime)),
        ("fingerprint", manifest.fingerprint.sha256[:16]),
        *check_tokenizer(directory, contract),
    ]


def _describe_grids(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """Describes how many records there are of each grid, in datasets with buckets."""
    grids = stats.get("grids", {})
    shown = "; ".join(f"{grid}: {count:,} records" for grid, count in grids.items())
    return [("grids", shown)] if grids else []
