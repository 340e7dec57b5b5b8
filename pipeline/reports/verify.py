"""Verification: reads a finished dataset back; checks checksums, records, tokens and counts."""

import functools
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fsq.dataset.example.proto import Example
from fsq.dataset.formats import FORMATS
from fsq.dataset.manifest import (
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    TIMING_FILE,
    Manifest,
    ShardEntry,
    read_manifest,
)
from fsq.dataset.open_dataset import grid_of, read_contract, tokens_of
from fsq.dataset.records import Place, decode_key, place_of
from fsq.dataset.split_by_key import split_of
from fsq.errors import DataError, FsqError
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.spec.serialization import check_weights
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import first_difference
from pipeline.planning.output_directory import stays
from pipeline.reports.verify_unfinished import verify_unfinished

DAMAGED = "The dataset is damaged; tokenize it again."


def verify_dataset(directory: str) -> Iterator[str]:
    """Yields one line for every problem found.

    It checks the sha256 of every file; the checksum, key, place and order of every
    record, which excludes duplicate keys; the number and range of its tokens; the
    accounting, the statistics and the weights. Of an unfinished job: the parts.

    Raises:
      RequestError: The directory is not a finished dataset.
      DataError: The manifest cannot be read.
    """
    path = filesystem.join(directory, MANIFEST_FILE)
    files = {entry.name for entry in filesystem.list_files(directory)}
    if filesystem.exists(path) and MANIFEST_FILE not in files:
        yield f"{path}: expected a file, found something else. Tokenize it again."
        return
    if MANIFEST_FILE not in files:
        problems = list(verify_unfinished(directory))
        if problems:
            yield from problems
            return
    manifest = read_manifest(directory)
    if filesystem.read(path) != manifest.render():
        yield f"{path}: expected its text as it was written, got other spacing. Tokenize it again."
    try:
        yield from _verify(directory, manifest, files)
    except FsqError as error:
        yield str(error)
    except OSError as error:
        yield f"{error.filename or directory}: {error.strerror or error}."
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        yield f"{path}: expected a manifest with valid entries, got: {error!r}."


def _verify(directory: str, manifest: Manifest, present: set[str]) -> Iterator[str]:
    damaged: set[str] = set()
    for name, problem in _check_files(directory, manifest, present):
        damaged.add(name)
        yield problem
    # Files with a wrong sha256 are not parsed: they can hold anything, of any size.
    if damaged & {CONTRACT_FILE, WEIGHTS_FILE}:
        return
    contract = read_contract(directory)
    yield from _check_tokenizer(directory, manifest, contract)
    counts: Counter[int] = Counter()
    grids: Counter[tuple[int, ...]] = Counter()
    for number, shard in enumerate(manifest.shards):
        if shard.file in present:
            yield from _check_shard(directory, manifest, contract, number, counts, grids)
        if not damaged & {file.file for file in manifest.shard_files(shard).values()}:
            yield from _check_other_formats(directory, manifest, shard)
    if not damaged:
        yield from _check_accounts(directory, manifest)
        yield from _check_rejects(directory, manifest)
        yield from _check_stats(directory, contract, counts, grids)


def _check_files(
    directory: str, manifest: Manifest, present: set[str]
) -> Iterator[tuple[str, str]]:
    """Yields the name of every file that differs from the manifest, and the problem."""
    expected = dict(manifest.files)
    for shard in manifest.shards:
        expected |= {file.file: file.sha256 for file in manifest.shard_files(shard).values()}
    for name in sorted(present - expected.keys() - {MANIFEST_FILE, TIMING_FILE}):
        if stays(name):
            continue
        path = filesystem.join(directory, name)
        yield name, f"{path}: expected no such file in the dataset. Remove it."
    for name, digest in expected.items():
        path = filesystem.join(directory, name)
        if name not in present:
            yield name, f"{path}: expected a file, found none. {DAMAGED}"
        elif (found := sha256_of_file(path)) != digest:
            yield name, f"{path}: expected sha256 {digest[:12]}, got {found[:12]}. {DAMAGED}"


def _check_tokenizer(directory: str, manifest: Manifest, contract: TokenContract) -> Iterator[str]:
    """Compares the contract with the manifest; raises if contract and weights do not match."""
    expected, found = (
        each.model_dump(mode="json", exclude_none=True)
        for each in (manifest.fingerprint.fields.tokenizer, contract)
    )
    if (difference := first_difference(expected, found)) is not None:
        yield (
            f"{filesystem.join(directory, CONTRACT_FILE)}: expected the tokenizer of this "
            f"dataset, got another: {difference}."
        )
    weights = filesystem.join(directory, WEIGHTS_FILE)
    check_weights(filesystem.read(weights), contract, weights)


def _check_shard(
    directory: str,
    manifest: Manifest,
    contract: TokenContract,
    number: int,
    counts: Counter[int],
    grids: Counter[tuple[int, ...]],
) -> Iterator[str]:
    """Checks the records of one shard and adds their tokens and grids to the counts."""
    shard = manifest.shards[number]
    path = filesystem.join(directory, shard.file)
    check_place = functools.partial(
        _check_place, shard, manifest.shards_of(shard.split), manifest.fingerprint.fields.shares
    )
    last: Place | None = None
    records = 0
    tokens: list[np.ndarray] = []
    try:
        for data in FORMATS[manifest.formats[0]].read(path):
            where = f"{path}: record {records}"
            feature = Example.FromString(data).features.feature
            place = check_place(feature, where)
            found = _check_tokens(feature, contract, where)
            if last is not None and (place.high, place.low) <= (last.high, last.low):
                raise DataError(
                    f"{where}: expected records in shuffled order, got one out of order or a "
                    "duplicate key."
                )
            tokens.append(found)
            grids[grid_of(feature, contract)] += 1
            last = place
            records += 1
    except (OSError, FsqError, ValueError) as error:
        yield str(error)
        return
    except Exception as error:  # protobuf's DecodeError
        yield f"{path}: record {records}: expected a tf.train.Example, got: {error}."
        return
    if records != shard.records:
        yield f"{path}: expected {shard.records:,} records, got {records:,}. {DAMAGED}"
    if tokens:
        values, times = np.unique(np.concatenate(tokens), return_counts=True)
        counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))


def _check_other_formats(directory: str, manifest: Manifest, shard: ShardEntry) -> Iterator[str]:
    """Compares the records of a shard's other formats with those of its first format."""
    first = filesystem.join(directory, shard.file)
    for name, file in shard.other_formats.items():
        path = filesystem.join(directory, file.file)
        try:
            pairs = itertools.zip_longest(
                FORMATS[manifest.formats[0]].read(first), FORMATS[name].read(path)
            )
            for number, (expected, found) in enumerate(pairs):
                if expected != found:
                    yield (
                        f"{path}: record {number}: expected the same as in {shard.file}, "
                        f"got {'none' if found is None else 'another'}. {DAMAGED}"
                    )
                    break
        except (OSError, FsqError) as error:
            yield str(error)


def _check_place(
    shard: ShardEntry,
    shards: Sequence[ShardEntry],
    shares: Mapping[str, float] | None,
    feature: Any,
    where: str,
) -> Place:
    """Returns the place of a record, which decides its shard among those of its split."""
    (key,) = feature["key"].bytes_list.value
    view = feature["view"].bytes_list.value[0].decode()
    place = place_of(key, view)
    split = shard.split if shares is None else split_of(decode_key(key), shares)
    if split != shard.split:
        raise DataError(f"{where}: expected in split {split} by its key, found in {shard.split}.")
    expected = shards[place.shard(len(shards))]
    if expected != shard:
        raise DataError(f"{where}: expected in {expected.file} by its key, found in {shard.file}.")
    return place


def _check_tokens(feature: Any, contract: TokenContract, where: str) -> np.ndarray:
    tokens = tokens_of(feature, contract)
    grid = grid_of(feature, contract)
    if grid not in contract.grids:
        raise DataError(
            f"{where}: expected a grid of {contract.show_grid} tokens, "
            f"got {' x '.join(map(str, grid))}."
        )
    if len(tokens) != math.prod(grid):
        raise DataError(f"{where}: expected {math.prod(grid)} tokens, got {len(tokens)}.")
    try:
        return lattice.check_tokens(tokens, contract.vocab_size)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def _check_accounts(directory: str, manifest: Manifest) -> Iterator[str]:
    """Checks images listed = written + rejected, in total and by source file."""
    listed, rejected = manifest.images_listed, manifest.images_rejected
    written = (listed - rejected) * len(manifest.views)
    where = filesystem.join(directory, MANIFEST_FILE)
    if manifest.records != written:
        yield (
            f"{where}: expected {written:,} records for {listed:,} images, {rejected:,} of them "
            f"rejected, got {manifest.records:,}."
        )
    if (total := sum(shard.records for shard in manifest.shards)) != manifest.records:
        yield f"{where}: expected {manifest.records:,} records in the shards, got {total:,}."
    for name, split in manifest.splits.items():
        if (total := sum(shard.records for shard in manifest.shards_of(name))) != split.records:
            yield f"{where}: expected {split.records:,} records in split {name}, got {total:,}."
    for name, entry in manifest.by_file.items():
        if entry.listed != entry.written + sum(entry.rejected.values()):
            found = entry.model_dump()
            yield f"{where}: expected listed = written + rejected for {name}, got {found}."
    if (total := sum(entry.listed for entry in manifest.by_file.values())) != listed:
        yield f"{where}: expected {listed:,} images in its source files, got {total:,}."


def _check_rejects(directory: str, manifest: Manifest) -> Iterator[str]:
    """Compares the list of rejects with the counts in the manifest."""
    path = filesystem.join(directory, REJECTS_FILE)
    rejects = Counter[tuple[str, str]]()
    for line in filesystem.read(path).splitlines():
        reject = json.loads(line)
        rejects[reject["file"], f"{reject['stage']}: {reject['reason']}"] += 1
    if rejects.total() != manifest.images_rejected:
        yield f"{path}: expected {manifest.images_rejected:,} rejects, got {rejects.total():,}."
    for name, entry in manifest.by_file.items():
        for reason, count in entry.rejected.items():
            if rejects[name, reason] != count:
                yield (
                    f"{path}: expected {count:,} rejects of {name} for {reason!r}, "
                    f"got {rejects[name, reason]:,}."
                )


def _check_stats(
    directory: str,
    contract: TokenContract,
    counts: Counter[int],
    grids: Counter[tuple[int, ...]],
) -> Iterator[str]:
    """Compares the counts of tokens, and of grids, with those found in the shards."""
    path = filesystem.join(directory, STATS_FILE)
    stats = json.loads(filesystem.read(path))
    if {int(token): count for token, count in stats["token_counts"].items()} != counts:
        yield f"{path}: expected the token counts of the shards, got others."
    found = {f"{grid[0]} x {grid[1]}": grids[grid] for grid in contract.grids}
    if contract.buckets and stats["grids"] != found:
        yield f"{path}: expected the counts of grids {found}, got {stats['grids']}."
